//! The whole path on a good network: every NAL unit arrives bit-exact and in order, uncopied, on one timeline.

mod sim;

use sim::World;
use sim::callee::{PPS, SPS_640X360};
use sipcast_contract::TargetState;
use sipcast_media::pipeline::Event;

fn whole_path(seed: u64, packetization_mode: u8, sets_marker: bool) {
    let mut world = World::call(seed);
    world.callee.packetization_mode = packetization_mode;
    world.callee.sets_marker = sets_marker;
    world.run(10_000);
    assert_eq!(world.state(1), TargetState::Publishing);

    let sink = world.sink(1);
    assert_eq!(sink.assert_exact(&world.callee.pictures), 0);
    sink.assert_monotone();
    let under_way = world.callee.pictures.len() - sink.pictures.len();
    assert!(under_way <= 3, "{under_way} pictures are missing");
    assert!(sink.pictures[0].is_key);
    assert_eq!(sink.avc_configs.len(), 1);
    assert!(contains(&sink.avc_configs[0], SPS_640X360) && contains(&sink.avc_configs[0], PPS));
    // 48 kHz in frames of 1024: 46.9 a second, from the first picture on.
    assert!((440..=470).contains(&sink.sounds.len()), "{} AAC frames", sink.sounds.len());

    // Every payload byte went out of the slot that it was received into; headers rebuilt from fragments did not.
    let payload: u64 = sink.pictures.iter().flat_map(|p| &p.nal_units).map(|unit| unit.len() as u64).sum();
    let units = sink.pictures.iter().map(|p| p.nal_units.len() as u64).sum::<u64>();
    assert!((payload - units..=payload).contains(&sink.received_slot_bytes));

    let statistics = world.pipeline.statistics();
    assert_eq!((statistics.width, statistics.height), (640, 360));
    assert_eq!(statistics.access_units, world.sink(1).pictures.len() as u64);
    assert_eq!(
        (statistics.video.lost, statistics.video.malformed, statistics.access_units_dropped),
        (0, 0, 0)
    );
    assert!(statistics.video.sender_reports >= 9 && statistics.audio.sender_reports >= 9);
    assert!(statistics.skew_ms.is_some_and(|skew| skew.abs() <= 40), "{:?}", statistics.skew_ms);
    assert!(statistics.idr_pictures >= 4, "asked for every 2 s");
    assert!(world.events.contains(&Event::MediaStarted));
    assert!(world.events.contains(&Event::PictureSize { width: 640, height: 360 }));
    world.finish();
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn fragments_and_aggregates() {
    whole_path(1, 1, true);
}

#[test]
fn single_nal_units() {
    whole_path(2, 0, true);
}

#[test]
fn a_sender_that_never_sets_the_marker() {
    whole_path(3, 1, false);
}
