//! A target that takes the call's own sound gets G.711 and Speex as they came, in their place, beside others that get AAC.

mod sim;

use sim::callee::{AUDIO_SSRC, rtp_packet};
use sim::sink::Sink;
use sim::{AUDIO, World, address};
use sipcast_codec::opus::{OpusEncoder, OpusEncoderConfig};
use sipcast_codec::speex::{SpeexBand, SpeexEncoder, SpeexEncoderConfig};
use sipcast_contract::media::{AudioCodec, AudioFormat};
use sipcast_contract::{NegotiatedMedia, RtmpTarget, RtmpUrl, Secret, TargetAudio, TargetId};
use sipcast_media::pipeline::Port;

fn add_source_target(world: &mut World, id: u64) {
    let url = RtmpUrl::parse("rtmp://127.0.0.1/live").expect("valid");
    let spec = RtmpTarget::new(url, Secret::new("key".to_owned()), vec![address("127.0.0.1:1935")]);
    let spec = RtmpTarget { audio: TargetAudio::Source, ..spec };
    world.pipeline.add_target(TargetId(id), spec, world.now).expect("taken");
    world.sinks.insert(TargetId(id), Sink::new(world.seed ^ id));
}

/// `audiocodecid` of the latest `onMetaData`.
fn sound_format(sink: &Sink) -> f64 {
    sound_format_in(sink.metadata.last().expect("announced"))
}

fn sound_format_in(metadata: &[u8]) -> f64 {
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

/// A call of sound alone with these payload types, whose packets the test makes, and an AAC target.
fn call_of(seed: u64, formats: &[(u8, AudioCodec)]) -> World {
    let mut world = World::new(seed);
    world.callee.is_sending = false;
    let mut audio = sim::audio();
    let format = |&(payload_type, codec): &(u8, AudioCodec)| AudioFormat { payload_type, codec };
    audio.formats = formats.iter().map(format).collect();
    world.pipeline.set_media(
        &NegotiatedMedia { audio: Some(audio), video: None },
        world.now,
        &mut world.workspace,
    );
    world.add_target(1);
    world
}

/// Sends one packet of 20 ms and lets them pass.
fn say(world: &mut World, payload_type: u8, number: u16, rtp_timestamp: u32, payload: &[u8]) {
    let packet = rtp_packet(payload_type, false, number, rtp_timestamp, AUDIO_SSRC, payload);
    world.receive(Port::AudioRtp, address(AUDIO), &packet);
    world.run(20);
}

fn tone(rate_hz: u32, packet: u32) -> Vec<i16> {
    let len = rate_hz / 50;
    let wave = |n: u32| (std::f64::consts::TAU * 440.0 * f64::from(n) / f64::from(rate_hz)).sin();
    (packet * len..(packet + 1) * len).map(|n| (8_000.0 * wave(n)) as i16).collect()
}

#[test]
fn wideband_speex_passes_packet_for_packet_beside_aac() {
    let mut world = call_of(403, &[(97, AudioCodec::SpeexWideband)]);
    add_source_target(&mut world, 2);
    add_source_target(&mut world, 3);
    world.pipeline.set_muted(TargetId(3), true);
    world.run(500);
    let mut encoder = SpeexEncoder::new(&SpeexEncoderConfig::new(SpeexBand::Wide));
    let mut sent: Vec<Vec<u8>> = Vec::new();
    for packet in 0..150_u32 {
        let mut out = [0; 512];
        let len = encoder.encode(&tone(16_000, packet), &mut out).expect("encodes");
        // Near the wrap of sequence number and RTP time.
        let (number, time) =
            (65_500_u16.wrapping_add(packet as u16), (u32::MAX - 9_000).wrapping_add(packet * 320));
        say(&mut world, 97, number, time, &out[..len]);
        sent.push(out[..len].to_vec());
    }
    assert_eq!([1, 2, 3].map(|id| sound_format(world.sink(id))), [10.0, 11.0, 11.0]);
    let (aac, source, muted) = (world.sink(1), world.sink(2), world.sink(3));
    let bodies: Vec<&[u8]> = source.sounds.iter().map(|(_, body)| &body[1..]).collect();
    assert!(bodies.len() > 140 && bodies == sent[sent.len() - bodies.len()..], "{}", bodies.len());
    // FLV 10.1 §E.4.2.1: format 11, whose rate field is 0 and which is mono of 16 bits.
    assert!(source.sounds.iter().all(|(_, body)| body[0] == 0xb2));
    assert!(source.sounds.windows(2).all(|pair| pair[1].0 - pair[0].0 == 20), "in its place");
    assert!(muted.sounds.iter().all(|(_, body)| body[0] == 0xb2 && body == &muted.sounds[0].1));
    assert!(!sent.iter().any(|payload| payload == &muted.sounds[0].1[1..]), "a muted one hears silence");
    assert!(aac.sounds.len() > 120 && aac.sounds.windows(2).any(|pair| pair[0].1 != pair[1].1));
    assert_eq!(world.pipeline.statistics().published.source_sample_rate_hz, 16_000);
    world.finish();
}

#[test]
fn g711_becomes_opus_in_mid_call_and_its_target_gets_aac_until_it_is_back() {
    let mut world = call_of(404, &[(0, AudioCodec::Pcmu), (111, AudioCodec::Opus)]);
    add_source_target(&mut world, 2);
    world.run(500);
    let config = OpusEncoderConfig { channels: 1, ..OpusEncoderConfig::default() };
    let mut encoder = OpusEncoder::new(&config);
    let mut time = u32::MAX - 20_000;
    for packet in 0..300_u32 {
        let number = 65_400_u16.wrapping_add(packet as u16);
        if (100..200).contains(&packet) {
            let mut out = [0; 1_500];
            let len = encoder.encode(&tone(48_000, packet), &mut out).expect("encodes");
            say(&mut world, 111, number, time, &out[..len]);
            time = time.wrapping_add(960);
        } else {
            // The sink tells headers of AAC by a zero there.
            say(&mut world, 0, number, time, &[0x20 | packet as u8; 160]);
            time = time.wrapping_add(160);
        }
    }
    let source = world.sink(2);
    let formats: Vec<u8> = source.sounds.iter().map(|(_, body)| body[0]).collect();
    let runs: Vec<u8> = formats.chunk_by(|a, b| a == b).map(|run| run[0]).collect();
    assert_eq!(runs, [0x82, 0xaf, 0x82], "G.711, AAC, G.711");
    assert_eq!(source.audio_configs.len(), 1, "the AAC is announced");
    let announced: Vec<f64> = source.metadata.iter().map(|metadata| sound_format_in(metadata)).collect();
    assert_eq!(announced, [8.0, 10.0, 8.0]);
    source.assert_monotone();
    let aac = formats.iter().filter(|&&format| format == 0xaf).count();
    assert!((85..=95).contains(&aac), "{aac} AAC frames in two seconds");
    // No hole at either seam but what the AAC encoder holds back.
    let gaps = source.sounds.windows(2).map(|pair| pair[1].0 - pair[0].0).max();
    assert!(gaps.is_some_and(|gap| gap <= 120), "{gaps:?} ms");
    let other = world.sink(1);
    assert!(other.sounds.iter().all(|(_, body)| body[0] == 0xaf) && other.audio_configs.len() == 1);
    other.assert_monotone();
    assert_eq!(world.pipeline.statistics().audio.unknown_payload_type, 0);
    world.finish();
}
