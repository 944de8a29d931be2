//! The load harness around the built program: what one side counts is what the other says, on a good network and a bad one,
//! with calls that come and go, and against a sipcast that runs already.

use std::future::pending;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use sipcast_perf::callee::NetworkProfile;
use sipcast_perf::load::mix::mix;
use sipcast_perf::load::options::{MediaChoice, OwnSipcast, SipcastChoice, SipcastElsewhere};
use sipcast_perf::load::{self, CpuScope, LoadOptions, Progress, Report};
use tokio::runtime::Runtime;

use super::support::sipcast::Sipcast;

fn options(calls: usize) -> LoadOptions {
    LoadOptions {
        calls: vec![calls],
        duration: Duration::from_secs(4),
        mix: mix("300k/PCMU,200k/opus,200k/G722,300k/speex/16000").expect("a mix"),
        ramp_per_second: 20.0,
        churn_per_second: 0.0,
        network: NetworkProfile::default(),
        segmentation: true,
        media: MediaChoice::default(),
        sipcast: SipcastChoice::Own(OwnSipcast {
            program: Some(PathBuf::from(env!("CARGO_BIN_EXE_sipcast"))),
            shards: 1,
            ..OwnSipcast::default()
        }),
        target: None,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        tcp: false,
    }
}

fn run(options: &LoadOptions) -> Report {
    let runtime = Runtime::new().expect("threads");
    let made = runtime.block_on(load::run(options, &mut Progress::silent(), pending()));
    let mut series = made.expect("a run");
    assert_eq!(series.broken_off, None);
    series.runs.remove(0)
}

#[test]
fn a_mix_of_calls_arrives_whole() {
    let report = run(&options(4));
    assert_eq!((report.calls_failed, report.calls_made), (0, 4), "{report:?}");
    assert!(report.packets_sent > 1_000 && report.packets_received == report.packets_sent, "{report:?}");
    assert_eq!(report.packets_not_used, 0, "{report:?}");
    assert_eq!((report.lost(), report.packets_lost_on_purpose), (0, 0), "{report:?}");
    assert_eq!(report.pictures_received, Some(report.pictures_sent), "{report:?}");
    assert!(report.audio_frames_received.is_some_and(|frames| frames > 100), "{report:?}");
    assert_eq!(report.backward_timestamps, Some(0));
    assert_eq!(report.set_up_answered.map(|times| times.count), Some(4));
    assert_eq!(report.set_up_shown.map(|times| times.count), Some(4));
    // Pictures that look alike are not matched, and a few are at the edges of the measured time.
    let timed = report.latency.map_or(0, |latency| latency.count);
    assert!(timed > 4 * 4 * 30 * 8 / 10, "{timed} pictures timed: {report:?}");
    assert!(report.sipcast_ended_cleanly && report.cpu_scope == CpuScope::Process);
}

#[test]
fn losses_of_the_network_and_calls_that_come_and_go_are_told_from_losses_of_sipcast() {
    let network = NetworkProfile {
        loss: 0.02,
        loss_burst: 2.0,
        jitter: Duration::from_millis(15),
        reorder: true,
        seed: 7,
    };
    let report = run(&LoadOptions { network, churn_per_second: 1.0, ..options(4) });
    assert_eq!(report.calls_failed, 0, "{report:?}");
    assert!(report.calls_made > 4, "{report:?}");
    assert!(report.packets_lost_on_purpose > 5, "{report:?}");
    assert!(report.packets_missing_by_sequence > 0, "{report:?}");
    // What is overtaken before a new call's first packet is in comes too late.
    assert_eq!(report.packets_received + report.packets_not_used, report.packets_sent, "{report:?}");
    assert_eq!(report.lost(), 0, "{report:?}");
    assert!(report.pictures_received.is_some_and(|pictures| (1..report.pictures_sent).contains(&pictures)));
    assert_eq!(report.backward_timestamps, Some(0), "{report:?}");
}

#[test]
fn a_sipcast_that_runs_already_is_driven_by_its_rest_and_left_running() {
    let sipcast = Sipcast::start(&[]);
    let rest = format!("http://{}", sipcast.rest);
    let elsewhere = SipcastElsewhere { rest, api_key: None };
    let report = run(&LoadOptions { sipcast: SipcastChoice::Elsewhere(elsewhere), ..options(2) });
    assert_eq!((report.calls_failed, report.lost()), (0, 0), "{report:?}");
    assert_eq!(report.packets_received, report.packets_sent, "{report:?}");
    assert!(report.cpu_scope != CpuScope::None && report.sipcast_cpu_percent.is_some(), "{report:?}");
    assert!(sipcast.statistics().pointer("/calls/ordered").is_some(), "it is still there");
    sipcast.stop();
}
