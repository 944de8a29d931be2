//! A target that takes the call's own sound gets G.711 as it came, in its place, beside others that get AAC.

mod sim;

use sim::sink::Sink;
use sim::{World, address};
use sipcast_contract::{RtmpTarget, RtmpUrl, Secret, TargetAudio, TargetId};

fn add_source_target(world: &mut World, id: u64) {
    let url = RtmpUrl::parse("rtmp://127.0.0.1/live").expect("valid");
    let spec = RtmpTarget::new(url, Secret::new("key".to_owned()), vec![address("127.0.0.1:1935")]);
    let spec = RtmpTarget { audio: TargetAudio::Source, ..spec };
    world.pipeline.add_target(TargetId(id), spec, world.now).expect("taken");
    world.sinks.insert(TargetId(id), Sink::new(world.seed ^ id));
}

/// `audiocodecid` of the latest `onMetaData`.
fn sound_format(sink: &Sink) -> f64 {
    let metadata = sink.metadata.last().expect("announced");
    let name = b"audiocodecid";
    let at = metadata.windows(name.len()).position(|window| window == name).expect("named") + name.len() + 1;
    f64::from_be_bytes(metadata[at..at + 8].try_into().expect("8 bytes"))
}

#[test]
fn g711_passes_beside_aac_and_silence_is_of_the_same_codec() {
    let mut world = World::call(401);
    add_source_target(&mut world, 2);
    add_source_target(&mut world, 3);
    world.pipeline.set_muted(TargetId(3), true);
    world.run(4_000);
    assert_eq!([1, 2, 3].map(|id| sound_format(world.sink(id))), [10.0, 8.0, 8.0]);
    let (aac, source, muted) = (world.sink(1), world.sink(2), world.sink(3));
    assert!(aac.sounds.iter().all(|(_, body)| body[0] == 0xaf) && aac.audio_configs.len() == 1);
    assert!(source.sounds.len() > 100 && muted.sounds.len() > 100);
    assert!(source.sounds.iter().all(|(_, body)| body[0] == 0x82 && body.len() == 161));
    assert!(source.sounds.windows(2).all(|pair| (pair[1].0 - pair[0].0) % 20 == 0));
    assert!(source.sounds.windows(2).any(|pair| pair[0].1 != pair[1].1));
    assert!(muted.sounds.iter().all(|(_, body)| body[0] == 0x82 && body[1..] == [0xff; 160]));
    source.assert_monotone();
    let published = world.pipeline.statistics().published;
    assert_eq!((published.source_sample_rate_hz, published.audio_sample_rate_hz), (8_000, 48_000));
    // 160 octets and the tag's first one, 50 times a second.
    assert!((60_000..=66_000).contains(&published.source_bit_rate_bps), "{published:?}");
    world.finish();
}

#[test]
fn when_the_aac_target_goes_and_another_comes_sound_goes_on() {
    let mut world = World::call(402);
    add_source_target(&mut world, 2);
    world.run(2_000);
    world.pipeline.remove_target(TargetId(1), world.now);
    world.run(2_000);
    world.add_target(3);
    world.run(3_000);
    let late = world.sink(3);
    assert!(late.sounds.len() > 60);
    assert!(late.sounds.windows(2).any(|pair| pair[0].1 != pair[1].1), "decoded again");
    world.sink(2).assert_monotone();
    world.finish();
}
