//! The floor carries every picture and the sound of calls that nobody signalled.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use sipcast_perf::callee::{PictureTail, UnsignalledCalls, VideoOptions, picture_tails};
use sipcast_perf::floor::{self, FloorOptions, PORTS_PER_CALL};
use sipcast_perf::ports;
use sipcast_perf::sink::Sink;

const CALLS: u16 = 3;
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn carries_every_picture_until_the_server_goes() {
    let sink = Sink::start((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let video = VideoOptions { width: 320, height: 180, bit_rate_bps: 300_000, ..VideoOptions::default() };
    let mut calls = UnsignalledCalls::prepare(video).await.unwrap();
    let first_port = ports::free_block(CALLS * PORTS_PER_CALL).unwrap();
    let options = FloorOptions {
        calls: CALLS,
        first_port,
        server: sink.local_addr(),
        app: "live".to_owned(),
        stream_prefix: "floor-".to_owned(),
        gather: Duration::from_millis(5),
    };
    let (ready, is_ready) = std::sync::mpsc::channel();
    let floor = std::thread::spawn(move || floor::run(&options, || ready.send(()).unwrap()));
    is_ready.recv().unwrap();
    assert_eq!(sink.publishing(), usize::from(CALLS));

    sink.note_arrivals(10_000);
    calls.note_departures(10_000);
    for call in 0..CALLS {
        let first = first_port + call * PORTS_PER_CALL;
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        calls.begin(address(first), address(first + 2)).unwrap();
    }
    wait_for(|| {
        let counts = sink.counts();
        counts.values().all(|stream| stream.pictures >= 60 && stream.audio_frames >= 40)
    })
    .await;
    let departures = calls.take_departures();
    let all_arrived = || sink.totals().pictures >= departures.len() as u64;
    wait_for(all_arrived).await;

    let tails: Vec<PictureTail> = picture_tails(video).unwrap();
    let arrivals = sink.take_arrivals();
    let arrived: HashSet<(&str, PictureTail)> = arrivals
        .pictures
        .iter()
        .map(|picture| (arrivals.streams[picture.stream as usize].as_str(), picture.tail))
        .collect();
    for departure in &departures {
        let name = format!("floor-{:05}", departure.call);
        assert!(arrived.contains(&(&name, tails[departure.picture as usize])), "{departure:?}");
    }
    assert_eq!(sink.totals().backward_timestamps, 0);

    sink.shutdown();
    let ended = tokio::task::spawn_blocking(move || floor.join().unwrap()).await.unwrap();
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("the send failed"), "{error}");
}

async fn wait_for(done: impl Fn() -> bool) {
    let until = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < until, "not in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
