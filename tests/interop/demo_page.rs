//! The demo in headless Chromium: call, play, watch the picture move, hang up.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::http::request;
use crate::support::process::{Process, directory};
use crate::support::webdriver::Browser;
use crate::support::{ports, wait_for};

const SOON: Duration = Duration::from_secs(30);

/// A running `sipcast demo`.
struct Demo {
    rest: std::net::SocketAddr,
    process: Process,
}

impl Demo {
    fn start() -> Self {
        let port = |count| ports::free(count).to_string();
        let rest = format!("127.0.0.1:{}", port(1));
        let rtp_port = ports::free(40);
        let directory = directory("demo");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sipcast"));
        command.current_dir(&directory).args(["demo", "--rest-listen", &rest]);
        command.args(["--sip-listen", &format!("127.0.0.1:{}", port(1))]);
        command.args(["--origin-listen", &format!("127.0.0.1:{}", port(1))]);
        command.args(["--callee-listen", &format!("127.0.0.1:{}", port(1))]);
        command.args(["--set", &format!("media.port_min={rtp_port}")]);
        command.args(["--set", &format!("media.port_max={}", rtp_port + 39)]);
        let mut process = Process::start("demo", &directory, &mut command);
        process.wait_for_output(&format!("http://{rest}/"), SOON);
        Self { rest: rest.parse().expect("an address"), process }
    }
}

#[test]
fn the_picture_moves_in_the_page_until_hangup() {
    let mut demo = Demo::start();
    let browser = Browser::open(1280, 1600);
    browser.go(&format!("http://{}/", demo.rest));
    browser.fill("rtmpStream", "page");
    let called = Instant::now();
    browser.click("callButton");
    browser.click("playButton");
    wait_for("Established", SOON, || (browser.text("callStatus") == "Established").then_some(()));
    wait_for("a first picture", SOON, || {
        browser
            .run("const v = document.getElementById('video'); return v.videoWidth > 0 && v.currentTime > 0")
            .as_bool()
            .filter(|b| *b)
    });
    println!("call to first picture: {} ms", called.elapsed().as_millis());
    wait_for("Started", SOON, || (browser.text("streamStatus") == "Started").then_some(()));
    let first = time(&browser);
    let first_picture = grab(&browser);
    assert!(first_picture.lightest > 100, "the picture is black: {first_picture:?}");
    wait_for("currentTime to advance", SOON, || (time(&browser) > first + 1.0).then_some(()));
    wait_for("decoded sound", SOON, || {
        browser
            .run("return document.getElementById('video').webkitAudioDecodedByteCount > 0")
            .as_bool()
            .filter(|b| *b)
    });
    wait_for("a changed picture", SOON, || (grab(&browser).sum != first_picture.sum).then_some(()));
    let screenshot = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo-page.png");
    browser.screenshot(&screenshot);
    println!("screenshot: {}", screenshot.display());

    browser.fill("dtmf", "42#");
    browser.click("dtmfButton");
    demo.process.wait_for_output("DTMF 42#", SOON);

    browser.click("hangupButton");
    wait_for("Finished", SOON, || (browser.text("callStatus") == "Finished").then_some(()));
    wait_for("StreamNotFound", SOON, || (browser.text("streamStatus") == "StreamNotFound").then_some(()));
    drop(browser);
    demo.process.signal("INT");
    let status = demo.process.wait_for_end(Duration::from_secs(15));
    assert!(status.success(), "{status}: {}", demo.process.output());
}

#[test]
fn the_form_remembers_everything_but_the_password() {
    let demo = Demo::start();
    let browser = Browser::open(420, 900);
    let page = format!("http://{}/", demo.rest);
    browser.go(&page);
    browser.fill("callee", "room-7");
    browser.fill("sipPassword", "never-kept");
    browser.click("callButton");
    browser.go(&page);
    assert_eq!(value(&browser, "callee"), "room-7");
    assert_ne!(value(&browser, "sipPassword"), "never-kept");
    let wide = browser.run("return document.documentElement.scrollWidth > window.innerWidth");
    assert_eq!(wide, false, "a phone must not scroll sideways");
    browser.screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo-page-phone.png"));
}

#[test]
fn http_flv_and_rtmp_play_what_the_demo_publishes() {
    let demo = Demo::start();
    wait_for("the demo's stream", SOON, || {
        let output = demo.process.output();
        let url = output.split_whitespace().find(|word| word.ends_with(".flv"))?;
        let output = Command::new("ffprobe")
            .args(["-v", "error", "-show_entries", "stream=codec_name,width", "-of", "csv=p=0", url])
            .output()
            .expect("tests/run installs ffmpeg");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (text.contains("h264,640") && text.contains("aac")).then_some(())
    });
    let output = demo.process.output();
    let url = output.split_whitespace().find(|word| word.starts_with("rtmp://")).expect("an RTMP URL");
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-i", url, "-t", "3", "-f", "null", "-"])
        .output()
        .expect("tests/run installs ffmpeg");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(request(demo.rest, "GET", "/live/nothing.flv", "").expect("an answer").status, 404);
}

fn value(browser: &Browser, id: &str) -> String {
    let value = browser.run(&format!("return document.getElementById({id:?}).value"));
    value.as_str().expect("a text").to_owned()
}

fn time(browser: &Browser) -> f64 {
    browser.run("return document.getElementById('video').currentTime").as_f64().expect("a number")
}

/// What a canvas shows of the video.
#[derive(Debug)]
struct Grab {
    lightest: i64,
    sum: i64,
}

fn grab(browser: &Browser) -> Grab {
    let numbers = browser.run(
        "const video = document.getElementById('video'), canvas = document.createElement('canvas');\
         canvas.width = 160; canvas.height = 90;\
         const context = canvas.getContext('2d'); context.drawImage(video, 0, 0, 160, 90);\
         const data = context.getImageData(0, 0, 160, 90).data; let lightest = 0, sum = 0;\
         for (let i = 0; i < data.length; i += 4) { lightest = Math.max(lightest, data[i]);\
         sum = (sum * 31 + data[i] + 256 * data[i + 1]) % 2147483647; } return [lightest, sum]",
    );
    let number = |value: &Value| value.as_i64().expect("a number");
    Grab { lightest: number(&numbers[0]), sum: number(&numbers[1]) }
}
