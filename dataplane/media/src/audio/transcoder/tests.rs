use sipcast_codec::aac::FRAME_SAMPLES;
use sipcast_codec::aac_decoder::AacDecoder;
use sipcast_codec::g711;
use sipcast_pool::Pool;

use super::*;

pub(in crate::audio) const CODECS: [AudioCodec; 7] = [
    AudioCodec::Pcmu,
    AudioCodec::Pcma,
    AudioCodec::G722,
    AudioCodec::SpeexNarrowband,
    AudioCodec::SpeexWideband,
    AudioCodec::SpeexUltraWideband,
    AudioCodec::Opus,
];

const START: Timestamp = Timestamp::from_millis(7_000_000);

fn ms(ms: u64) -> Timestamp {
    START + Duration::from_millis(ms)
}

/// A tone whose loudness swells, so that it fits nowhere but at its own place.
fn tone(seconds: f64) -> f64 {
    let turn = std::f64::consts::TAU * seconds;
    8_000.0 * (0.55 + 0.45 * (1.7 * turn).sin()) * (440.0 * turn).sin()
}

fn payload(codec: AudioCodec, first: u64, len: usize) -> Vec<u8> {
    let encode = match codec {
        AudioCodec::Pcmu => g711::encode_mu_law,
        _ => g711::encode_a_law,
    };
    (first..first + len as u64).map(|n| encode(tone(n as f64 / 8_000.0) as i16)).collect()
}

/// A transcoder with its frames decoded: what a viewer hears.
struct Listener {
    transcoder: Transcoder,
    arena: Arena,
    pool: Pool,
    decoder: AacDecoder,
    channels: usize,
    rate_hz: u32,
    heard: Vec<i16>,
    frames: u64,
}

impl Listener {
    fn new(options: &AacOptions) -> Self {
        let transcoder = Transcoder::new(options, START).expect("offered");
        let pool = Pool::new(8, 2048);
        Self {
            decoder: AacDecoder::open(transcoder.audio_specific_config()).expect("its own configuration"),
            arena: Arena::new(pool.clone()),
            pool,
            transcoder,
            channels: usize::from(options.channels),
            rate_hz: options.sample_rate_hz,
            heard: Vec::new(),
            frames: 0,
        }
    }

    fn drain(&mut self) {
        while let Some(frame) = self.transcoder.poll_frame(&mut self.arena) {
            assert_eq!(frame.position, self.frames * FRAME_SAMPLES as u64, "no gap, no step back");
            self.frames += 1;
            let mut pcm = [0; 2 * FRAME_SAMPLES];
            let samples = self.decoder.decode(&frame.data, &mut pcm).expect("its own frame");
            assert_eq!(samples, FRAME_SAMPLES * self.channels);
            self.heard.extend_from_slice(&pcm[..samples]);
        }
    }

    fn push(&mut self, rtp_timestamp: i64, payload: &[u8], at_ms: u64) {
        self.transcoder.push(AudioCodec::Pcmu, rtp_timestamp, payload, ms(at_ms));
        self.drain();
    }

    /// How loud the difference to `expected` is between two times, against the tone, in dB.
    fn difference_db(&self, from_s: f64, to_s: f64, expected: impl Fn(f64) -> f64) -> f64 {
        let range = (from_s * f64::from(self.rate_hz)) as usize..(to_s * f64::from(self.rate_hz)) as usize;
        let count = range.len() as f64;
        let noise: f64 = range
            .map(|n| {
                (f64::from(self.heard[n * self.channels]) - expected(n as f64 / f64::from(self.rate_hz)))
                    .powi(2)
            })
            .sum();
        let tone_power = 8_000.0_f64.powi(2) * 0.2;
        10.0 * (noise / count / tone_power + 1e-9).log10()
    }
}

#[test]
fn sound_is_heard_at_its_place_at_every_rate_and_channel_count() {
    for sample_rate_hz in AacOptions::SAMPLE_RATES_HZ {
        for (channels, codec) in [(1, AudioCodec::Pcmu), (2, AudioCodec::Pcma)] {
            let mut listener = Listener::new(&AacOptions { sample_rate_hz, channels, bit_rate_bps: 64_000 });
            for packet in 0..100 {
                let payload = payload(codec, packet * 160, 160);
                // RTP time crosses 2^32 on the way.
                let rtp_timestamp = (1_i64 << 32) - 5_000 + packet as i64 * 160;
                listener.transcoder.push(codec, rtp_timestamp, &payload, ms(packet * 20));
                listener.drain();
            }
            // At 8 kHz the encoder holds back two frames of 128 ms.
            let difference = listener.difference_db(0.1, 1.6, tone);
            assert!(difference < -20.0, "{sample_rate_hz} Hz, {channels} channels: {difference} dB");
            assert_eq!(listener.transcoder.silence_samples(), 0);
        }
    }
}

#[test]
fn packets_of_any_length_are_the_same_sound() {
    for sizes in [vec![80], vec![240], vec![480], vec![1], vec![37, 161, 800, 3], vec![1_400]] {
        let mut listener = Listener::new(&AacOptions::default());
        let (mut first, mut index) = (0, 0);
        while first < 16_000 {
            let len = sizes[index % sizes.len()];
            listener.push(first as i64, &payload(AudioCodec::Pcmu, first, len), first / 8);
            first += len as u64;
            index += 1;
        }
        let difference = listener.difference_db(0.1, 1.7, tone);
        assert!(difference < -20.0, "{sizes:?}: {difference} dB");
    }
}

#[test]
fn a_lost_packet_is_silence_and_the_rest_stays_in_place() {
    let mut listener = Listener::new(&AacOptions::default());
    for packet in (0..100).filter(|packet| !(40..50).contains(packet)) {
        listener.push(packet as i64 * 160, &payload(AudioCodec::Pcmu, packet * 160, 160), packet * 20);
    }
    assert_eq!(listener.transcoder.silence_samples(), 10 * 960);
    assert!(listener.difference_db(0.1, 0.77, tone) < -20.0);
    assert!(listener.difference_db(0.84, 0.96, |_| 0.0) < -40.0);
    assert!(listener.difference_db(1.03, 1.8, tone) < -20.0);
}

#[test]
fn overlap_is_dropped() {
    let mut listener = Listener::new(&AacOptions::default());
    for packet in 0..100 {
        let first = packet * 160;
        listener.push(first as i64, &payload(AudioCodec::Pcmu, first, 240), packet * 20);
        listener.push(first as i64, &payload(AudioCodec::Pcmu, first, 160), packet * 20);
    }
    assert!(listener.difference_db(0.1, 1.8, tone) < -20.0);
}

#[test]
fn a_pause_of_the_sender_is_filled_while_it_lasts() {
    let mut listener = Listener::new(&AacOptions::default());
    let mut now_ms = 0;
    let mut packets = (0..50).chain(150..200).peekable();
    while now_ms < 4_000 {
        while let Some(packet) = packets.next_if(|packet| packet * 20 <= now_ms) {
            listener.push(packet as i64 * 160, &payload(AudioCodec::Pcmu, packet * 160, 160), packet * 20);
        }
        if listener.transcoder.next_timeout().is_some_and(|at| at <= ms(now_ms)) {
            listener.transcoder.handle_timeout(ms(now_ms));
            listener.drain();
            // Encoder, resampler and block are 80 ms at the most.
            let behind_ms = now_ms as i64 - listener.heard.len() as i64 / 48;
            assert!((100..240).contains(&behind_ms), "{behind_ms} ms at {now_ms} ms");
        }
        now_ms += 5;
    }
    assert!(listener.difference_db(0.1, 0.97, tone) < -20.0);
    assert!(listener.difference_db(1.05, 2.95, |_| 0.0) < -40.0);
    assert!(listener.difference_db(3.05, 3.8, tone) < -20.0);
    assert_eq!(listener.transcoder.silence_samples(), 48_000 * 2);
}

#[test]
fn without_any_packet_there_is_silence_from_the_start() {
    let options = AacOptions { sample_rate_hz: 44_100, ..AacOptions::default() };
    let mut listener = Listener::new(&options);
    for now_ms in (0..2_000).step_by(20) {
        listener.transcoder.handle_timeout(ms(now_ms));
        listener.drain();
    }
    assert!(listener.frames > 75, "{}", listener.frames);
    assert!(listener.heard.iter().all(|&sample| sample == 0));
}

#[test]
fn silence_comes_before_any_codec_that_was_made_ready() {
    for codec in CODECS {
        for first_packet_ms in [500, 3_000] {
            let mut listener = Listener::new(&AacOptions::default());
            listener.transcoder.prepare(codec);
            for at in (0..first_packet_ms).step_by(20) {
                listener.transcoder.handle_timeout(ms(at));
                listener.drain();
            }
            let before = listener.frames;
            assert!(before > 0, "{codec:?}: silence");
            let packet = crate::audio::silent_payload(codec);
            for number in 0..50 {
                let at = ms(first_packet_ms + number * 20);
                let ticks = number * u64::from(codec.clock_rate_hz()) / 50;
                listener.transcoder.push(codec, ticks as i64, &packet, at);
                listener.drain();
            }
            // A second of 48 kHz in frames of 1024.
            assert!(listener.frames >= before + 30, "{codec:?}: {} after {before}", listener.frames);
        }
    }
}

#[test]
fn a_restart_continues_by_arrival() {
    let mut listener = Listener::new(&AacOptions::default());
    for packet in 0..50 {
        listener.push(packet as i64 * 160, &payload(AudioCodec::Pcmu, packet * 160, 160), packet * 20);
    }
    listener.transcoder.restart();
    for packet in 60..100 {
        let rtp_timestamp = 3_000_000_000 + packet as i64 * 160;
        listener.push(rtp_timestamp, &payload(AudioCodec::Pcmu, packet * 160, 160), packet * 20);
    }
    assert_eq!(
        listener.transcoder.presentation(3_000_000_000 + 61 * 160),
        Some(Duration::from_millis(1_220))
    );
    assert!(listener.difference_db(1.25, 1.8, tone) < -20.0);
}

#[test]
fn an_hour_is_an_hour_at_every_rate() {
    for sample_rate_hz in AacOptions::SAMPLE_RATES_HZ {
        let options = AacOptions { sample_rate_hz, channels: 1, bit_rate_bps: 64_000 };
        let mut transcoder = Transcoder::new(&options, START).expect("offered");
        let mut arena = Arena::new(Pool::new(2, 2048));
        let quiet = [0xff; 160];
        let mut last = None;
        for packet in 0..3_600 * 50_u64 {
            transcoder.push(AudioCodec::Pcmu, packet as i64 * 160, &quiet, ms(packet * 20));
            while let Some(frame) = transcoder.poll_frame(&mut arena) {
                last = Some(frame.position);
            }
        }
        let end = last.expect("an hour of frames") + FRAME_SAMPLES as u64;
        // The encoder's 1600 samples, up to a frame of rounding and half a block of the resampler are inside.
        let inside = 3_600 * u64::from(sample_rate_hz) - end;
        assert!(inside <= 1_600 + 1_024 + 480, "{sample_rate_hz} Hz: {inside}");
        assert_eq!(transcoder.silence_samples(), 0);
    }
}

#[test]
fn a_driver_that_slept_for_hours_is_not_punished() {
    let mut transcoder = Transcoder::new(&AacOptions::default(), START).expect("offered");
    let mut arena = Arena::new(Pool::new(2, 2048));
    transcoder.push(AudioCodec::Pcmu, 0, &[0x20; 240], ms(0));
    while transcoder.poll_frame(&mut arena).is_some() {}
    transcoder.handle_timeout(ms(7_200_000));
    let mut frames = 0;
    let mut last = 0;
    while let Some(frame) = transcoder.poll_frame(&mut arena) {
        assert!(frame.position >= last);
        last = frame.position;
        frames += 1;
    }
    assert!(frames < 1_000, "{frames}");
    assert!((last / 48).abs_diff(7_200_000 - 100) < 100, "{}", last / 48);
}

#[test]
fn silence_between_sounds_leaves_no_seam() {
    // Long enough for the encoder to stand still, then the tone comes back in its place.
    let mut listener = Listener::new(&AacOptions::default());
    for packet in 0..100 {
        let first = packet * 160;
        let quiet = (30..70).contains(&packet);
        let payload = if quiet { vec![0xff; 160] } else { payload(AudioCodec::Pcmu, first, 160) };
        listener.push(first as i64, &payload, packet * 20);
    }
    assert!(listener.difference_db(0.1, 0.57, tone) < -20.0);
    assert!(listener.difference_db(0.63, 1.37, |_| 0.0) < -40.0);
    assert!(listener.difference_db(1.43, 1.8, tone) < -20.0);
}

#[test]
fn the_silent_frame_is_silence() {
    for channels in [1, 2] {
        let options = AacOptions { channels, ..AacOptions::default() };
        let transcoder = Transcoder::new(&options, START).expect("offered");
        let mut decoder =
            AacDecoder::open(transcoder.audio_specific_config()).expect("its own configuration");
        for _ in 0..3 {
            let mut pcm = [1; 2 * FRAME_SAMPLES];
            let samples = decoder.decode(transcoder.silent_frame(), &mut pcm).expect("its own frame");
            assert!(pcm[..samples].iter().all(|&sample| sample == 0));
        }
    }
}

#[test]
fn an_exhausted_arena_loses_frames_and_nothing_else() {
    let pool = Pool::new(1, 2048);
    let mut arena = Arena::new(pool.clone());
    let mut transcoder = Transcoder::new(&AacOptions::default(), START).expect("offered");
    let held = pool.claim().expect("free");
    let mut feed = |packets: std::ops::Range<u64>| {
        let mut frames = Vec::new();
        for packet in packets {
            let payload = payload(AudioCodec::Pcmu, packet * 160, 160);
            transcoder.push(AudioCodec::Pcmu, packet as i64 * 160, &payload, ms(packet * 20));
            frames
                .extend(std::iter::from_fn(|| transcoder.poll_frame(&mut arena)).map(|frame| frame.position));
        }
        (frames, transcoder.refused())
    };
    let (frames, lost) = feed(0..10);
    assert!(frames.is_empty() && lost > 0);
    drop(held);
    let (frames, _) = feed(10..20);
    assert_eq!(frames[0], lost * FRAME_SAMPLES as u64);
}

#[test]
fn input_that_is_not_drained_is_bounded() {
    let mut transcoder = Transcoder::new(&AacOptions::default(), START).expect("offered");
    for packet in 0..1_000 {
        transcoder.push(AudioCodec::Pcmu, packet * 160, &[0x20; 160], ms(packet as u64 * 20));
    }
    assert!(transcoder.refused() > 700);
}

#[test]
fn all_leases_come_home() {
    let mut listener = Listener::new(&AacOptions::default());
    for packet in 0..50 {
        listener.push(packet * 160, &[0x20; 160], packet as u64 * 20);
    }
    let Listener { arena, pool, .. } = listener;
    drop(arena);
    assert_eq!(pool.held(), 0);
}

#[test]
fn what_is_not_offered_is_refused() {
    for (sample_rate_hz, channels, bit_rate_bps) in
        [(11_025, 1, 64_000), (96_000, 1, 64_000), (48_000, 3, 64_000), (48_000, 1, 0)]
    {
        let options = AacOptions { sample_rate_hz, channels, bit_rate_bps };
        assert!(Transcoder::new(&options, START).is_err(), "{options:?}");
    }
}
