//! sipcast's AAC encoder beside fdk's, which it took the place of: the same sound at the same bit rate, decoded by ffmpeg,
//! which must have nothing to say about it, and by fdk. Prints a table (`--nocapture`).

use std::f64::consts::TAU;
use std::io::Write as _;
use std::process::{Command, Stdio};

use sipcast_codec::aac::{self, AacConfig, AacEncoder, FRAME_BYTES_MAX, FRAME_SAMPLES, OpenError, PcmFormat};
use sipcast_codec::aac_decoder::AacDecoder;

use crate::support::process::{directory, run};
use crate::support::sound;

/// How far the score of speech may lie below fdk's.
const PESQ_LOSS_MAX: f64 = 0.05;

/// How far noise may lie above fdk's, in dB, for what PESQ is not made for.
const NOISE_EXCESS_MAX_DB: f64 = 1.0;

/// Silence that everything begins with, in blocks of 20 ms.
const LEAD_BLOCKS: usize = 10;

/// How far the average bit rate may lie from what was asked.
const RATE_ERROR_MAX: f64 = 0.03;

type Open = fn(&AacConfig) -> Result<Box<dyn AacEncoder>, OpenError>;

const ENCODERS: [(&str, Open); 2] = [("own", aac::open), ("fdk", aac::open_fdk)];

/// What came of one encoder.
struct Heard {
    /// As the source, at the output's rate.
    samples: Vec<i16>,
    bit_rate_bps: f64,
}

/// Encodes, and decodes with ffmpeg and fdk, which must agree.
fn hear(open: Open, config: &AacConfig, format: PcmFormat, pcm: &[i16]) -> Heard {
    let channels = usize::from(config.channels);
    let mut encoder = open(config).expect("offered");
    let mut decoder = AacDecoder::open(encoder.audio_specific_config()).expect("its own configuration");
    let (mut adts, mut by_fdk, mut bytes) = (Vec::new(), Vec::new(), 0);
    let block = format.block_samples() * format.channels;
    let silence = vec![0; block];
    for block in pcm.chunks_exact(block).chain(std::iter::repeat_n(&silence[..], 8)) {
        assert!(encoder.push(format, block));
        let mut out = [0; FRAME_BYTES_MAX];
        while let Some(len) = encoder.poll(&mut out) {
            let frame = &out[..len.expect("encodes")];
            bytes += frame.len();
            adts.extend(adts_header(config, frame.len()));
            adts.extend(frame);
            let mut pcm = [0; 2 * FRAME_SAMPLES];
            let samples = decoder.decode(frame, &mut pcm).expect("fdk decodes it");
            by_fdk.extend_from_slice(&pcm[..samples]);
        }
    }
    let samples = by_ffmpeg(&adts);
    let from = FRAME_SAMPLES * channels;
    let (signal, noise) = energies(&by_fdk[from..samples.len().min(by_fdk.len())], &samples[from..]);
    assert!(noise < 1e-4 * signal + 2.0 * samples.len() as f64, "both decoders hear the same");
    let seconds = (by_fdk.len() / channels) as f64 / f64::from(config.sample_rate_hz);
    Heard { samples, bit_rate_bps: 8.0 * bytes as f64 / seconds }
}

/// ISO/IEC 14496-3 §1.A.2.2.
fn adts_header(config: &AacConfig, frame_len: usize) -> [u8; 7] {
    let index = if config.sample_rate_hz == 48_000 { 3 } else { 4 };
    let len = frame_len + 7;
    [
        0xff,
        0xf1,
        1 << 6 | index << 2,
        config.channels << 6 | (len >> 11) as u8,
        (len >> 3) as u8,
        ((len & 7) << 5) as u8 | 0x1f,
        0xfc,
    ]
}

/// Decodes with ffmpeg; a warning fails the test.
fn by_ffmpeg(adts: &[u8]) -> Vec<i16> {
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-v", "warning", "-f", "aac", "-i", "-", "-f", "s16le", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ffmpeg");
    let mut stdin = ffmpeg.stdin.take().expect("piped");
    let adts = adts.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&adts));
    let output = ffmpeg.wait_with_output().expect("it ends");
    writer.join().expect("it writes").expect("ffmpeg reads all");
    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && warnings.is_empty(), "{warnings}");
    output.stdout.chunks_exact(2).map(|sample| i16::from_le_bytes([sample[0], sample[1]])).collect()
}

/// Energy of what was sent, and of the difference.
fn energies(sent: &[i16], heard: &[i16]) -> (f64, f64) {
    let pairs = sent.iter().zip(heard).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    pairs.fold((0.0, 0.0), |sum, (a, b)| (sum.0 + a * a, sum.1 + (a - b) * (a - b)))
}

/// Another rate, by ffmpeg: what is compared must have gone through the same filters.
fn convert(samples: &[i16], channels: u8, rate_hz: u32, to_hz: u32, to_channels: u8) -> Vec<i16> {
    let raw = directory("aac").join("raw");
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    std::fs::write(&raw, bytes).expect("a writable directory");
    let (from, to) =
        ([rate_hz.to_string(), channels.to_string()], [to_hz.to_string(), to_channels.to_string()]);
    let pcm = run(Command::new("ffmpeg")
        .args(["-v", "error", "-f", "s16le", "-ar", &from[0], "-ac", &from[1], "-i"])
        .arg(&raw)
        .args(["-ar", &to[0], "-ac", &to[1], "-f", "s16le", "-"]));
    pcm.chunks_exact(2).map(|sample| i16::from_le_bytes([sample[0], sample[1]])).collect()
}

/// Noise in dB against the sound, mean over pieces of 20 ms that are no pause.
fn noise_db(sent: &[i16], heard: &[i16], piece: usize) -> f64 {
    let pieces = sent.chunks_exact(piece).zip(heard.chunks_exact(piece)).skip(4);
    let all: Vec<f64> = pieces
        .map(|(sent, heard)| energies(sent, heard))
        .filter(|(signal, _)| *signal > 100.0 * piece as f64)
        .map(|(signal, noise)| 10.0 * ((noise + 1.0) / signal).log10())
        .collect();
    all.iter().sum::<f64>() / all.len().max(1) as f64
}

/// A row of the table: what is encoded, and how it is judged.
struct Material {
    name: &'static str,
    format: PcmFormat,
    config: AacConfig,
    pcm: Vec<i16>,
    is_speech: bool,
}

fn compare(material: &Material) {
    let Material { name, format, config, pcm, is_speech } = material;
    // A decoder cannot make the whole of a stream's first frame, which has none before it to overlap with.
    let mut lead = vec![0; LEAD_BLOCKS * format.block_samples() * format.channels];
    lead.extend(pcm);
    let pcm = &lead;
    let is_silence = pcm.iter().all(|&sample| sample == 0);
    let inputs = format.channels as u8;
    let AacConfig { sample_rate_hz, channels, .. } = *config;
    let wide = convert(pcm, inputs, format.rate_hz, 16_000, 1);
    let narrow = convert(pcm, inputs, format.rate_hz, 8_000, 1);
    let full = convert(pcm, inputs, format.rate_hz, sample_rate_hz, channels);
    let row = ENCODERS.map(|(encoder, open)| {
        let heard = hear(open, config, *format, pcm);
        assert!(!is_silence || heard.samples.iter().all(|&sample| sample == 0), "{encoder}: silence is silent");
        let noise = noise_db(&full, &heard.samples, sample_rate_hz as usize / 50 * usize::from(channels));
        let score = |to_hz: u32, sent: &[i16], pesq: fn(&[i16], &[i16]) -> f64| {
            let heard = convert(&heard.samples, channels, sample_rate_hz, to_hz, 1);
            let len = sent.len().min(heard.len());
            pesq(&at_pesq_rate(&sent[..len], to_hz), &at_pesq_rate(&heard[..len], to_hz))
        };
        let scores = is_speech
            .then(|| [score(16_000, &wide, sound::pesq_wide), score(8_000, &narrow, sound::pesq)]);
        println!(
            "{name:28} {:5} Hz x {inputs} to {sample_rate_hz} Hz x {channels}: {encoder} {:6.1} kbit/s, noise {noise:6.1} dB{}",
            format.rate_hz,
            heard.bit_rate_bps / 1000.0,
            scores.map(|[wide, narrow]| format!(", PESQ {wide:.3} wide, {narrow:.3} narrow")).unwrap_or_default()
        );
        (heard.bit_rate_bps, noise, scores)
    });
    let [(bit_rate_bps, noise, scores), (_, fdk_noise, fdk_scores)] = row;
    let rate_error = bit_rate_bps / f64::from(config.bit_rate_bps) - 1.0;
    assert!(rate_error.abs() <= RATE_ERROR_MAX, "{name}: {bit_rate_bps} bit/s");
    if let (Some(scores), Some(fdk_scores)) = (scores, fdk_scores) {
        for (score, fdk_score) in scores.into_iter().zip(fdk_scores) {
            assert!(score >= fdk_score - PESQ_LOSS_MAX, "{name}: PESQ {score:.3}, fdk {fdk_score:.3}");
        }
    } else {
        assert!(noise <= fdk_noise + NOISE_EXCESS_MAX_DB, "{name}: {noise} dB, fdk {fdk_noise} dB");
    }
}

/// [`sound::pesq`] takes samples at [`sound::RATE`].
fn at_pesq_rate(samples: &[i16], rate_hz: u32) -> Vec<i16> {
    convert(samples, 1, rate_hz, sound::RATE, 1)
}

fn mono(rate_hz: u32) -> PcmFormat {
    PcmFormat { rate_hz, channels: 1 }
}

fn output(sample_rate_hz: u32, channels: u8, bit_rate_bps: u32) -> AacConfig {
    AacConfig { sample_rate_hz, channels, bit_rate_bps }
}

/// A voice of espeak-ng, at a rate.
fn voice(voice: &str, rate_hz: u32) -> Vec<i16> {
    let file = directory("voice").join("voice.wav");
    run(Command::new("espeak-ng").args(["-v", voice, "-s", "150", "-w"]).arg(&file).arg(TEXT));
    let pcm = run(Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(&file).args([
        "-ar",
        &rate_hz.to_string(),
        "-ac",
        "1",
        "-f",
        "s16le",
        "-",
    ]));
    pcm.chunks_exact(2).map(|sample| i16::from_le_bytes([sample[0], sample[1]])).collect()
}

const TEXT: &str = "The quick brown fox jumps over the lazy dog while seven wise judges watched from the bench. \
    Please hold the line, your call is important to us. She sells sea shells by the sea shore. \
    Press one for sales, two for support.";

#[test]
fn speech_is_no_worse_than_by_fdk() {
    for (name, voice_name) in [("a man's voice", "en"), ("a woman's voice", "en+f3")] {
        for (rate_hz, sample_rate_hz, channels) in
            [(8_000, 48_000, 1), (16_000, 48_000, 1), (8_000, 44_100, 1), (8_000, 48_000, 2)]
        {
            compare(&Material {
                name,
                format: mono(rate_hz),
                config: output(sample_rate_hz, channels, 64_000),
                pcm: voice(voice_name, rate_hz),
                is_speech: true,
            });
        }
    }
    let speech = &sound::speech()[..20 * sound::RATE as usize];
    for rate_hz in [8_000, 16_000] {
        compare(&Material {
            name: "syllables",
            format: mono(rate_hz),
            config: output(48_000, 1, 64_000),
            pcm: convert(speech, 1, sound::RATE, rate_hz, 1),
            is_speech: true,
        });
    }
}

/// Chords that are struck every half second and die away, a little different on both sides.
fn music(format: PcmFormat) -> Vec<i16> {
    let rate = f64::from(format.rate_hz);
    let sample = |n: usize, channel: usize| {
        let time = n as f64 / rate;
        let (stroke, since) = ((time * 2.0) as usize, time % 0.5);
        let root = 220.0 * 2_f64.powf([0.0, 5.0, 7.0, 3.0][stroke % 4] / 12.0);
        let notes = [1.0, 1.25, 1.5, 2.0].map(|ratio: f64| {
            let partials = (1..8).map(|k| {
                let hz = root * ratio * f64::from(k);
                let dies = (-since * 3.0 * f64::from(k)).exp();
                if hz < 0.45 * rate {
                    dies * (TAU * hz * time + channel as f64 * 0.3).sin() / f64::from(k)
                } else {
                    0.0
                }
            });
            partials.sum::<f64>()
        });
        (3_000.0 * (since * 200.0).min(1.0) * notes.iter().sum::<f64>()) as i16
    };
    (0..10 * format.rate_hz as usize).flat_map(|n| (0..format.channels).map(move |c| sample(n, c))).collect()
}

/// DTMF digits of 80 ms with pauses of 80 ms (ITU-T Q.23).
fn digits() -> Vec<i16> {
    let sample = |n: usize| {
        let (digit, at) = (n / 640, n % 1_280);
        let low = [697.0, 770.0, 852.0, 941.0][digit / 2 % 4];
        let high = [1_209.0, 1_336.0, 1_477.0, 1_633.0][digit / 2 / 4 % 4];
        let turn = TAU * n as f64 / 8_000.0;
        if at < 640 { (7_000.0 * ((low * turn).sin() + (high * turn).sin())) as i16 } else { 0 }
    };
    (0..80_000).map(sample).collect()
}

/// Ten seconds of noise up to seven eighths of the band, where no resampler cuts anything off.
fn noise(rate_hz: u32, level: f64) -> Vec<i16> {
    let mut state = 1_u32;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 23) - 1.0
    };
    let lower_hz = rate_hz / 8 * 7;
    let samples: Vec<i16> = (0..10 * lower_hz).map(|_| (level * (next() + next() + next())) as i16).collect();
    convert(&samples, 1, lower_hz, rate_hz, 1)
}

#[test]
fn music_tones_and_noise_are_no_noisier_than_by_fdk() {
    let stereo = PcmFormat { rate_hz: 48_000, channels: 2 };
    for (name, format, config, pcm) in [
        ("music on hold", mono(8_000), output(48_000, 1, 64_000), music(mono(8_000))),
        ("music on hold", mono(16_000), output(48_000, 1, 64_000), music(mono(16_000))),
        ("music", stereo, output(48_000, 2, 128_000), music(stereo)),
        ("DTMF digits", mono(8_000), output(48_000, 1, 64_000), digits()),
        ("noise", mono(8_000), output(48_000, 1, 64_000), noise(8_000, 4_000.0)),
        ("faint noise", mono(8_000), output(44_100, 1, 64_000), noise(8_000, 40.0)),
        ("noise", mono(16_000), output(48_000, 1, 64_000), noise(16_000, 4_000.0)),
        ("silence", mono(8_000), output(48_000, 1, 64_000), vec![0; 80_000]),
        ("silence", stereo, output(48_000, 2, 128_000), vec![0; 960_000]),
    ] {
        compare(&Material { name, format, config, pcm, is_speech: false });
    }
}
