//! Waveform substitution for codecs without concealment of their own (after ITU-T G.711 Appendix I).
//! Takes: decoded samples, lengths of losses. Gives: what may have been in between: the last pitch period again and
//! again, fading from 10 ms on to silence at 60 ms. Leaves out: which gap is a loss.
//!
//! Unlike the appendix it delays nothing: it cannot smooth the samples before a loss, so the seam is levelled inside
//! the substitute instead.

/// Concealment of one stream.
#[derive(Clone, Debug)]
pub struct Substitution {
    /// The latest samples, substitutes included, as a ring.
    history: Box<[i16]>,
    /// Where the oldest of them is.
    oldest: usize,
    /// The pitch period that is repeated.
    period: Box<[i16]>,
    period_len: usize,
    /// Samples substituted since the last good one; 0 while there is no loss.
    substituted: usize,
    /// The step at the seam, taken off over a quarter of the period.
    seam: f32,
    per_ms: usize,
}

impl Substitution {
    /// For samples of `rate_hz`, 8000 or 16000.
    pub fn new(rate_hz: u32) -> Self {
        let per_ms = rate_hz as usize / 1_000;
        Self {
            history: vec![0; HISTORY_MS * per_ms].into(),
            oldest: 0,
            period: vec![0; PERIOD_MAX_MS * per_ms].into(),
            period_len: 0,
            substituted: 0,
            seam: 0.0,
            per_ms,
        }
    }

    /// Takes decoded samples. The first ones after a loss are blended with the end of the substitute.
    pub fn take(&mut self, samples: &mut [i16]) {
        if self.substituted > 0 {
            let overlap = (OVERLAP_MS * self.per_ms).min(samples.len());
            for (index, sample) in samples[..overlap].iter_mut().enumerate() {
                let weight = (index + 1) as f32 / (overlap + 1) as f32;
                let substitute = self.next_substitute();
                *sample = (weight * f32::from(*sample) + (1.0 - weight) * substitute) as i16;
            }
            self.substituted = 0;
        }
        self.remember(samples);
    }

    /// Fills `out` with a substitute for what was lost, and says whether there was any sound left in it.
    pub fn conceal(&mut self, out: &mut [i16]) -> bool {
        if self.substituted == 0 {
            self.find_period();
        }
        let is_audible = self.gain() > 0.0;
        for sample in out.iter_mut() {
            *sample = self.next_substitute() as i16;
        }
        self.remember(out);
        is_audible
    }

    /// Samples after which nothing is heard of a substitute: 60 ms.
    pub fn samples_max(&self) -> usize {
        SILENT_MS * self.per_ms
    }

    /// Forgets the stream.
    pub fn reset(&mut self) {
        self.history.fill(0);
        self.substituted = 0;
    }

    fn next_substitute(&mut self) -> f32 {
        let gain = self.gain();
        if gain == 0.0 {
            self.substituted += 1;
            return 0.0;
        }
        let repeated = f32::from(self.period[self.substituted % self.period_len]);
        let quarter = self.period_len / 4;
        let levelled = match self.substituted {
            n if n < quarter => repeated + self.seam * (1.0 - n as f32 / quarter as f32),
            _ => repeated,
        };
        self.substituted += 1;
        gain * levelled
    }

    /// Appendix I §I.2.7: whole for 10 ms, then a fifth less every 10 ms.
    fn gain(&self) -> f32 {
        let faded = self.substituted.saturating_sub(FADE_MS * self.per_ms) as f32;
        let length = ((SILENT_MS - FADE_MS) * self.per_ms) as f32;
        (1.0 - faded / length).max(0.0)
    }

    fn remember(&mut self, samples: &[i16]) {
        let len = self.history.len();
        let samples = &samples[samples.len().saturating_sub(len)..];
        let (first, second) = samples.split_at(samples.len().min(len - self.oldest));
        self.history[self.oldest..][..first.len()].copy_from_slice(first);
        self.history[..second.len()].copy_from_slice(second);
        self.oldest += samples.len();
        if self.oldest >= len {
            self.oldest -= len;
        }
    }

    /// Appendix I §I.2.3: the lag from 5 to 15 ms at which the last 20 ms resemble what was before them most.
    fn find_period(&mut self) {
        self.history.rotate_left(std::mem::take(&mut self.oldest));
        let len = self.history.len();
        let window = WINDOW_MS * self.per_ms;
        let (least, most) = (PERIOD_MIN_MS * self.per_ms, PERIOD_MAX_MS * self.per_ms);
        // Every second sample is enough at 8 kHz to choose a lag, every fourth at 16 kHz.
        let stride = self.per_ms / 4;
        let recent = &self.history[len - window..];
        let likeness = |lag: usize| {
            let before = &self.history[len - window - lag..len - lag];
            let (mut product, mut energy) = (0.0, 1.0);
            for (&now, &then) in recent.iter().step_by(stride).zip(before.iter().step_by(stride)) {
                product += f32::from(now) * f32::from(then);
                energy += f32::from(then) * f32::from(then);
            }
            product.max(0.0) / energy.sqrt()
        };
        let mut best = (f32::MIN, least);
        for lag in least..=most {
            let likeness = likeness(lag);
            if likeness > best.0 {
                best = (likeness, lag);
            }
        }
        let lag = best.1;
        self.period_len = lag;
        self.period[..lag].copy_from_slice(&self.history[len - lag..]);
        // The end of the period is blended into what came before its start, so that it joins on to itself.
        let quarter = lag / 4;
        for index in 0..quarter {
            let weight = (index + 1) as f32 / (quarter + 1) as f32;
            let end = f32::from(self.history[len - quarter + index]);
            let before = f32::from(self.history[len - lag - quarter + index]);
            self.period[lag - quarter + index] = ((1.0 - weight) * end + weight * before) as i16;
        }
        self.seam = f32::from(self.history[len - 1]) - f32::from(self.history[len - lag - 1]);
    }
}

/// What is searched and what is compared with it: longest lag, window, and a quarter period before.
const HISTORY_MS: usize = WINDOW_MS + PERIOD_MAX_MS + 5;
const WINDOW_MS: usize = 20;
const PERIOD_MIN_MS: usize = 5;
const PERIOD_MAX_MS: usize = 15;
const FADE_MS: usize = 10;
const SILENT_MS: usize = 60;
const OVERLAP_MS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal;

    /// Plays `sent` in packets of `packet_ms`, each `nth` of them lost `burst` times in a row.
    fn errors(rate_hz: u32, packet_ms: usize, nth: usize, burst: usize) -> (f64, f64) {
        let sent = signal::speech(rate_hz, 4.0);
        let mut substitution = Substitution::new(rate_hz);
        let len = rate_hz as usize / 1_000 * packet_ms;
        let (mut by_substitution, mut by_silence) = (0.0, 0.0);
        for (index, packet) in sent.chunks_exact(len).enumerate() {
            let mut heard = packet.to_vec();
            if index % nth < burst && index >= nth {
                substitution.conceal(&mut heard);
                by_silence += signal::energy(packet);
            } else {
                substitution.take(&mut heard);
            }
            by_substitution += signal::difference(&heard, packet);
        }
        (by_substitution, by_silence)
    }

    #[test]
    fn speech_is_concealed_better_than_by_silence() {
        for (rate_hz, packet_ms) in [(8_000, 10), (8_000, 20), (16_000, 10), (16_000, 20)] {
            let most = if packet_ms == 10 { 0.5 } else { 0.75 };
            let (by_substitution, by_silence) = errors(rate_hz, packet_ms, 10, 1);
            assert!(
                by_substitution < most * by_silence,
                "{rate_hz} {packet_ms}: {by_substitution} {by_silence}"
            );
            let (by_substitution, by_silence) = errors(rate_hz, packet_ms, 10, 2);
            assert!(by_substitution < by_silence, "{rate_hz} {packet_ms}: {by_substitution} {by_silence}");
        }
    }

    #[test]
    fn it_fades_to_silence_and_comes_back_without_a_click() {
        let mut substitution = Substitution::new(8_000);
        let mut sound: Vec<i16> = signal::speech(8_000, 1.0);
        substitution.take(&mut sound);
        let mut out = [0; 640];
        assert!(substitution.conceal(&mut out));
        assert!(signal::rms(&out[..80]) > 100.0);
        assert!(out[substitution.samples_max()..].iter().all(|&sample| sample == 0));
        assert!(!substitution.conceal(&mut out));
        let mut loud = [20_000; 160];
        substitution.take(&mut loud);
        assert!(loud[0] < 2_000 && loud[40] == 20_000, "{loud:?}");
    }

    #[test]
    fn extremes_are_taken() {
        let mut substitution = Substitution::new(16_000);
        let mut square: Vec<i16> =
            (0..4_000).map(|n| if n / 50 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        for len in [1, 7, 4_000] {
            substitution.take(&mut square[..len]);
            for gap in [1, 333, 5_000] {
                substitution.conceal(&mut vec![0; gap]);
            }
        }
        substitution.take(&mut []);
        substitution.conceal(&mut []);
        substitution.reset();
        assert!(!(0..3).any(|_| {
            let mut out = [1; 100];
            substitution.conceal(&mut out);
            out.iter().any(|&sample| sample != 0)
        }));
    }
}
