//! Speech-like sound, and how what arrived compares with what was sent.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{directory, run};
use super::python;

/// Sampling rate at which sounds are compared, in Hz.
pub const RATE: u32 = 16_000;

/// Length of the source in seconds: longer than any call, and no part of it is like another.
pub const SECONDS: usize = 60;

/// Syllables of changing pitch and colour with pauses between them, at [`RATE`]: voices are what these codecs are for.
pub fn speech() -> Vec<i16> {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |low: f64, high: f64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        low + (high - low) * (random >> 11) as f64 / (1u64 << 53) as f64
    };
    let rate = f64::from(RATE);
    let mut samples: Vec<f64> = Vec::new();
    let mut phase = 0.0;
    while samples.len() < SECONDS * RATE as usize {
        let length = (next(0.09, 0.35) * rate) as usize;
        let (pitch, glide) = (next(95.0, 230.0), next(-0.25, 0.25));
        let formants =
            [(next(280.0, 800.0), 1.0), (next(900.0, 2200.0), next(0.3, 0.8)), (next(2300.0, 3300.0), 0.25)];
        let loudness = next(0.35, 1.0);
        for at in 0..length {
            let part = at as f64 / length as f64;
            let frequency = pitch * (1.0 + glide * part);
            phase += frequency / rate;
            let mut value = 0.0;
            for harmonic in 1..=(3_600.0 / frequency) as u32 {
                let at_hz = frequency * f64::from(harmonic);
                let colour: f64 = formants
                    .iter()
                    .map(|(center, gain)| gain / (1.0 + ((at_hz - center) / 120.0).powi(2)))
                    .sum();
                value += (colour + 0.02) * (std::f64::consts::TAU * phase * f64::from(harmonic)).sin();
            }
            let envelope = (std::f64::consts::PI * part).sin().sqrt();
            samples.push(value * envelope * loudness);
        }
        let pause = if next(0.0, 1.0) < 0.2 { next(0.15, 0.4) } else { next(0.01, 0.06) };
        samples.extend(std::iter::repeat_n(0.0, (pause * rate) as usize));
    }
    samples.truncate(SECONDS * RATE as usize);
    let peak = samples.iter().fold(0.0f64, |peak, sample| peak.max(sample.abs()));
    samples.iter().map(|sample| (sample / peak * 16_000.0) as i16).collect()
}

/// Writes a mono WAV file at [`RATE`] and gives a copy of it at `rate_hz` with `channels`.
pub fn wav(samples: &[i16], rate_hz: u32, channels: u16) -> PathBuf {
    let directory = directory("sound");
    let (raw, file) = (directory.join("raw"), directory.join("sound.wav"));
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    std::fs::write(&raw, bytes).expect("a writable directory");
    run(Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "s16le", "-ar", &RATE.to_string(), "-ac", "1", "-i"])
        .arg(&raw)
        .args(["-ar", &rate_hz.to_string(), "-ac", &channels.to_string(), "-c:a", "pcm_s16le"])
        .arg(&file));
    file
}

/// Decodes the sound of a recording to mono at [`RATE`]. Starts with the first audio tag.
pub fn decode(recording: &Path) -> Vec<i16> {
    let pcm = run(Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(recording).args([
        "-vn",
        "-ar",
        &RATE.to_string(),
        "-ac",
        "1",
        "-f",
        "s16le",
        "-",
    ]));
    pcm.chunks_exact(2).map(|sample| i16::from_le_bytes([sample[0], sample[1]])).collect()
}

/// Where a piece of sound lies in the source.
#[derive(Clone, Copy, Debug)]
pub struct Match {
    /// Sample of the source at which the piece begins.
    pub at: usize,
    /// Normalised cross-correlation there, 1: the same but for loudness.
    pub correlation: f64,
}

/// Samples of one value of the envelope: 5 ms.
const STEP: usize = RATE as usize / 200;

/// Finds `piece` in `source`: first by loudness over all of it, then sample by sample near the best places.
pub fn find(piece: &[i16], source: &[i16]) -> Match {
    let (coarse_piece, coarse_source) = (envelope(piece), envelope(source));
    let mut places: Vec<(f64, usize)> = (0..=coarse_source.len().saturating_sub(coarse_piece.len()))
        .map(|at| (correlation(&coarse_piece, &coarse_source[at..at + coarse_piece.len()]), at * STEP))
        .collect();
    places.sort_by(|a, b| b.0.total_cmp(&a.0));
    let piece: Vec<f64> = piece.iter().map(|sample| f64::from(*sample)).collect();
    let source: Vec<f64> = source.iter().map(|sample| f64::from(*sample)).collect();
    let mut best = Match { at: 0, correlation: -1.0 };
    for (_, place) in places.into_iter().take(3) {
        for at in place.saturating_sub(2 * STEP)..=(place + 2 * STEP).min(source.len() - piece.len()) {
            let correlation = correlation(&piece, &source[at..at + piece.len()]);
            if correlation > best.correlation {
                best = Match { at, correlation };
            }
        }
    }
    best
}

fn envelope(samples: &[i16]) -> Vec<f64> {
    let loudness: Vec<f64> = samples
        .chunks_exact(STEP)
        .map(|chunk| chunk.iter().map(|sample| f64::from(*sample).abs()).sum::<f64>().sqrt())
        .collect();
    let mean = loudness.iter().sum::<f64>() / loudness.len() as f64;
    loudness.into_iter().map(|value| value - mean).collect()
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1.0)
}

/// PESQ, narrow band, of `arrived` against `sent` (ITU-T P.862.1: 1.0 bad, 4.55 the same).
pub fn pesq(sent: &[i16], arrived: &[i16]) -> f64 {
    score(sent, arrived, 8_000)
}

/// PESQ, wide band (ITU-T P.862.2: 1.0 bad, 4.64 the same).
pub fn pesq_wide(sent: &[i16], arrived: &[i16]) -> f64 {
    score(sent, arrived, 16_000)
}

fn score(sent: &[i16], arrived: &[i16], rate_hz: u32) -> f64 {
    let (sent, arrived) = (wav(sent, rate_hz, 1), wav(arrived, rate_hz, 1));
    let output = run(python::script("pesq_score.py").arg(sent).arg(arrived));
    String::from_utf8_lossy(&output).trim().parse().expect("a score")
}
