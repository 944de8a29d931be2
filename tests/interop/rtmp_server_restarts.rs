//! nginx-rtmp is killed and started again in mid-call: the call survives, the stream returns, its time goes on.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::baresip::Baresip;
use crate::support::flv::{self, Body};
use crate::support::nginx::Nginx;
use crate::support::process::run;
use crate::support::sipcast::{Sipcast, order};
use crate::support::wait_for;

#[test]
fn the_stream_returns_and_its_time_goes_on() {
    let mut nginx = Nginx::start();
    let baresip = Baresip::start("PCMU");
    let sipcast = Sipcast::start(&[]);
    let answer = sipcast.post("call/startup", &order("survivor", baresip.port, &nginx.url(), "survivor"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    sipcast.wait_for_status("survivor", "ESTABLISHED", Duration::from_secs(20));
    wait_for("pictures at the server", Duration::from_secs(20), || pictures(&nginx, 0).filter(|n| *n > 60));
    let before = stream_time(&nginx);

    nginx.kill();
    wait_for("notice of the loss", Duration::from_secs(10), || {
        let state = sipcast.call("survivor")?["rtmpStreamStatus"].clone();
        (state != "PUBLISHING").then_some(())
    });
    assert_eq!(sipcast.call("survivor").expect("the call goes on")["status"], "ESTABLISHED");
    nginx.restart();
    let up = Instant::now();
    wait_for("pictures at the new server", Duration::from_secs(20), || {
        pictures(&nginx, 1).filter(|n| *n > 0)
    });
    println!("the picture was back {} ms after the server was up", up.elapsed().as_millis());
    let after = stream_time(&nginx);
    assert!(after > before, "time went from {before} s to {after} s");

    assert_eq!(sipcast.call("survivor").expect("the call goes on")["status"], "ESTABLISHED");
    assert_eq!(sipcast.post("call/terminate", &serde_json::json!({ "callId": "survivor" })).status, 200);
    drop(baresip);
    sipcast.stop();
}

/// Pictures in the `index`-th recording, if there is one.
fn pictures(nginx: &Nginx, index: usize) -> Option<usize> {
    let file = std::fs::read(nginx.recordings().get(index)?).ok().filter(|file| file.len() > 13)?;
    Some(flv::read(&file).iter().filter(|tag| matches!(tag.body, Body::Picture { .. })).count())
}

/// Time of the first packet that a player gets now, in seconds: recordings begin at zero, live streams do not.
fn stream_time(nginx: &Nginx) -> f64 {
    let output = run(Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v", "-show_entries", "packet=dts_time", "-of", "csv=p=0"])
        .args(["-read_intervals", "%+#1", "-rw_timeout", "15000000"])
        .arg(format!("{}/rtmp_survivor live=1", nginx.url())));
    let text = String::from_utf8(output).expect("a number");
    text.lines().next().expect("a packet").trim_end_matches(',').parse().expect("a number")
}
