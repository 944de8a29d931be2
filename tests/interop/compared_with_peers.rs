//! `perf compare` carries the same calls through ffmpeg and sipcast and finds every picture again.

use std::path::PathBuf;
use std::time::Duration;

use sipcast_perf::compare::{self, CompareOptions, System};
use tokio::runtime::Runtime;

const SECONDS: u64 = 2;
/// The callee's.
const PICTURES_PER_SECOND: u64 = 30;

#[test]
fn every_system_gets_the_same_pictures_and_they_are_found_at_the_sink() {
    let options = CompareOptions {
        systems: vec![System::Sipcast, System::Ffmpeg],
        calls: vec![1],
        peer_calls_max: 1,
        duration: Duration::from_secs(SECONDS),
        repeat: 1,
        bit_rate_bps: 1_000_000,
        sipcast: Some(PathBuf::from(env!("CARGO_BIN_EXE_sipcast"))),
        server: None,
        may_install: false,
    };
    let mut steps = Vec::new();
    let compared = Runtime::new().expect("threads").block_on(compare::run(
        &options,
        |step| steps.push(step.to_owned()),
        std::future::pending(),
    ));
    let comparison = compared.unwrap_or_else(|error| panic!("{error:#}: {steps:?}"));
    let systems: Vec<System> = comparison.measurements.iter().map(|measured| measured.system).collect();
    assert_eq!(systems, [System::Sipcast, System::Ffmpeg]);
    for measured in &comparison.measurements {
        let pictures = measured.pictures.expect("the sink saw them");
        // A loaded machine may stretch the time; it cannot shorten it.
        assert!(pictures.sent >= SECONDS * PICTURES_PER_SECOND - 2, "{measured:?}");
        assert_eq!((pictures.sent - pictures.arrived, measured.packets_dropped), (0, 0), "{measured:?}");
        assert!(pictures.latency_p50_ms > 0.0 && measured.cpu_percent_per_call > 0.0, "{measured:?}");
    }
    assert!(comparison.table().contains("ffmpeg at its best : sipcast at 1 calls"), "{}", comparison.table());
}
