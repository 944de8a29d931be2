//! Sound to test codecs with, and measures of what came back.

use std::f64::consts::TAU;

/// A generator of numbers that look random, the same from the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit.max(1)
    }
}

/// Voiced sound of gliding pitch through gliding formants, with syllables: what speech codecs are made for.
pub fn speech(rate_hz: u32, seconds: f64) -> Vec<i16> {
    let rate = f64::from(rate_hz);
    let count = (rate * seconds).round() as usize;
    let mut phase = 0.0;
    let mut formants = [[0.0; 2]; 3];
    let mut samples = Vec::with_capacity(count);
    for n in 0..count {
        let time = n as f64 / rate;
        let pitch_hz = 120.0 + 35.0 * (TAU * 0.8 * time).sin() + 10.0 * (TAU * 2.3 * time).sin();
        phase += pitch_hz / rate;
        // Harmonics within the telephone band: codecs' high-pass filters turn the phase of what lies below.
        let harmonics = (300.0 / pitch_hz) as u32 + 1..=(3_400.0 / pitch_hz) as u32;
        let source: f64 = harmonics.map(|k| (TAU * phase * f64::from(k)).sin() / f64::from(k).sqrt()).sum();
        let sway = (TAU * 1.3 * time).sin();
        let centres = [500.0 + 220.0 * sway, 1_400.0 - 350.0 * sway, 2_500.0 + 150.0 * sway];
        let mut out = 0.3 * source;
        for ((centre, memory), gain) in centres.iter().zip(&mut formants).zip([1.0, 0.6, 0.3]) {
            let radius = (-TAU / 2.0 * 90.0 / rate).exp();
            let y = (1.0 - radius) * source + 2.0 * radius * (TAU * centre / rate).cos() * memory[0]
                - radius * radius * memory[1];
            *memory = [y, memory[0]];
            out += gain * y;
        }
        let syllable = 0.55 - 0.45 * (TAU * 3.1 * time).cos();
        samples.push((4_000.0 * syllable * out).clamp(-30_000.0, 30_000.0) as i16);
    }
    samples
}

/// White noise of a level.
pub fn noise(count: usize, rms: f64) -> Vec<i16> {
    let mut random = Random::new(0x5eed);
    (0..count)
        .map(|_| {
            let sum: f64 = (0..12).map(|_| (random.next() >> 11) as f64 / (1_u64 << 53) as f64).sum();
            ((sum - 6.0) * rms) as i16
        })
        .collect()
}

pub fn energy(samples: &[i16]) -> f64 {
    samples.iter().map(|&sample| f64::from(sample).powi(2)).sum()
}

pub fn rms(samples: &[i16]) -> f64 {
    (energy(samples) / samples.len().max(1) as f64).sqrt()
}

/// Energy of the difference.
pub fn difference(one: &[i16], other: &[i16]) -> f64 {
    one.iter().zip(other).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
}

/// Normalised cross-correlation of what was heard with what was sent, at the delay in samples that makes it greatest.
pub fn correlation(sent: &[i16], heard: &[i16], delay_max: usize) -> (f64, usize) {
    let at = |delay: usize| {
        let heard = &heard[delay.min(heard.len())..];
        let len = sent.len().min(heard.len());
        let product: f64 = sent[..len].iter().zip(heard).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        product / (energy(&sent[..len]) * energy(&heard[..len])).sqrt().max(1.0)
    };
    (0..=delay_max)
        .map(|delay| (at(delay), delay))
        .fold((f64::MIN, 0), |best, next| if next.0 > best.0 { next } else { best })
}
