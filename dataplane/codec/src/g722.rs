//! G.722 (ITU-T G.722, mode 1: 64 kbit/s), sub-band ADPCM at 16 kHz.
//! Takes: octets of RFC 3551 §4.5.2 (one octet for two samples). Gives: PCM; and the other way for tests, callees
//! and silence. Leaves out: modes 2 and 3, which RTP does not carry.
//!
//! Two bands of 8 kHz each, coded by adaptive prediction and quantisation: 6 bits the lower, 2 bits the higher one.
//! Names of blocks are those of the recommendation's §5 and §6; values are 16-bit fixed point as there.

/// Sampling rate in Hz. The RTP clock runs at 8 kHz all the same (RFC 3551 §4.5.2).
pub const SAMPLE_RATE_HZ: u32 = 16_000;

/// Samples of one octet.
pub const OCTET_SAMPLES: usize = 2;

/// One G.722 stream in receive.
#[derive(Clone, Debug)]
pub struct G722Decoder {
    low: Band,
    high: Band,
    filter: QuadratureMirrorFilter,
}

/// One G.722 stream to send.
#[derive(Clone, Debug)]
pub struct G722Encoder {
    low: Band,
    high: Band,
    filter: QuadratureMirrorFilter,
}

impl Default for G722Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for G722Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl G722Decoder {
    /// A decoder at rest.
    pub const fn new() -> Self {
        Self {
            low: Band::new(LOW_SCALE_INITIAL),
            high: Band::new(HIGH_SCALE_INITIAL),
            filter: QuadratureMirrorFilter::new(),
        }
    }

    /// Decodes one octet.
    #[inline]
    pub fn decode(&mut self, octet: u8) -> [i16; OCTET_SAMPLES] {
        let (low_code, high_code) = (usize::from(octet & 0x3f), usize::from(octet >> 6));
        // INVQBL, RECONS, LIMIT: the signal takes all 6 bits, the adaptation the upper 4 of them.
        let difference = (self.low.scale * QUANTISER_64[low_code]) >> 15;
        let low = (self.low.prediction + difference).clamp(-16_384, 16_383);
        self.low.take_low(low_code >> 2);
        let high_difference = (self.high.scale * QUANTISER_4[high_code]) >> 15;
        let high = (self.high.prediction + high_difference).clamp(-16_384, 16_383);
        self.high.take_high(high_code);
        self.filter.join(low, high)
    }
}

impl G722Encoder {
    /// An encoder at rest.
    pub const fn new() -> Self {
        Self {
            low: Band::new(LOW_SCALE_INITIAL),
            high: Band::new(HIGH_SCALE_INITIAL),
            filter: QuadratureMirrorFilter::new(),
        }
    }

    /// Encodes two samples.
    pub fn encode(&mut self, samples: [i16; OCTET_SAMPLES]) -> u8 {
        let (low, high) = self.filter.split(samples);
        // SUBTRA, QUANTL.
        let error = saturate(low - self.low.prediction);
        let magnitude = if error >= 0 { error } else { !error };
        let level = 1 + DECISION_LEVELS.iter().filter(|&&l| magnitude >= (l * self.low.scale) >> 12).count();
        // Codes run down from 61 for positive and from 63, 62, 31 for negative differences (table 8/G.722).
        let low_code = match (error < 0, level) {
            (false, level) => 62 - level,
            (true, level @ 1..=2) => 64 - level,
            (true, level) => 34 - level,
        };
        self.low.take_low(low_code >> 2);
        // SUBTRA, QUANTH.
        let error = saturate(high - self.high.prediction);
        let magnitude = if error >= 0 { error } else { !error };
        let is_large = magnitude >= (564 * self.high.scale) >> 12;
        let high_code = match (error < 0, is_large) {
            (true, false) => 1,
            (true, true) => 0,
            (false, false) => 3,
            (false, true) => 2,
        };
        self.high.take_high(high_code);
        (high_code << 6 | low_code) as u8
    }
}

/// Predictor and quantiser scale of one band (§3.4 to §3.6).
#[derive(Clone, Debug)]
struct Band {
    /// `s`: what the predictor expects next.
    prediction: i32,
    /// `nb`: logarithmic scale, 0 to 18432 or 22528.
    log_scale: i32,
    /// `det`: linear scale.
    scale: i32,
    /// `sz`: the zeros' part of the prediction.
    zeros_prediction: i32,
    /// `a1`, `a2`.
    poles: [i32; 2],
    /// `b1` to `b6`.
    zeros: [i32; 6],
    /// `r1`: the latest reconstructed signal.
    reconstructed: i32,
    /// `p1`, `p2`: partly reconstructed signals.
    partial: [i32; 2],
    /// `d1` to `d6`: quantised differences.
    differences: [i32; 6],
}

impl Band {
    const fn new(scale: i32) -> Self {
        Self {
            prediction: 0,
            log_scale: 0,
            scale,
            zeros_prediction: 0,
            poles: [0; 2],
            zeros: [0; 6],
            reconstructed: 0,
            partial: [0; 2],
            differences: [0; 6],
        }
    }

    /// Adapts the lower band to the upper 4 bits of its code.
    #[inline]
    fn take_low(&mut self, code: usize) {
        // INVQAL, LOGSCL, SCALEL.
        let difference = (self.scale * QUANTISER_16[code]) >> 15;
        let log_scale = ((self.log_scale * 127) >> 7) + LOW_LOG_STEP[code];
        self.log_scale = log_scale.clamp(0, 18_432);
        self.scale = linear(self.log_scale, 8);
        self.predict(difference);
    }

    /// Adapts the higher band to its 2 bits.
    #[inline]
    fn take_high(&mut self, code: usize) {
        // INVQAH, LOGSCH, SCALEH.
        let difference = (self.scale * QUANTISER_4[code]) >> 15;
        let log_scale = ((self.log_scale * 127) >> 7) + HIGH_LOG_STEP[code];
        self.log_scale = log_scale.clamp(0, 22_528);
        self.scale = linear(self.log_scale, 10);
        self.predict(difference);
    }

    /// RECONS to PREDIC: adapts the predictor and predicts the next value.
    #[inline]
    fn predict(&mut self, difference: i32) {
        let reconstructed = saturate(self.prediction + difference);
        let partial = saturate(difference + self.zeros_prediction);
        let [pole1, pole2] = self.poles;
        let is_same = |before: i32| (before < 0) == (partial < 0);

        // UPPOL2.
        let weighted = saturate(pole1 << 2);
        let weighted = if is_same(self.partial[0]) { -weighted } else { weighted }.min(32_767);
        let step = if is_same(self.partial[1]) { 128 } else { -128 };
        let new2 = (step + (weighted >> 7) + ((pole2 * 32_512) >> 15)).clamp(-12_288, 12_288);
        // UPPOL1.
        let step = if is_same(self.partial[0]) { 192 } else { -192 };
        let limit = saturate(15_360 - new2);
        let new1 = saturate(step + ((pole1 * 32_640) >> 15)).clamp(-limit, limit);

        // UPZERO, FILTEZ with the differences moved on by one (DELAYA).
        let step = if difference == 0 { 0 } else { 128 };
        let mut sum = 0;
        let mut moved = difference;
        for (zero, held) in self.zeros.iter_mut().zip(&mut self.differences) {
            let step = if (*held < 0) == (difference < 0) { step } else { -step };
            *zero = saturate(step + ((*zero * 32_640) >> 15));
            std::mem::swap(held, &mut moved);
            sum += (*zero * saturate(*held << 1)) >> 15;
        }
        self.zeros_prediction = saturate(sum);

        // FILTEP, PREDIC.
        let poles_prediction = saturate(
            ((new1 * saturate(reconstructed << 1)) >> 15)
                + ((new2 * saturate(self.reconstructed << 1)) >> 15),
        );
        self.prediction = saturate(poles_prediction + self.zeros_prediction);
        self.poles = [new1, new2];
        self.partial = [partial, self.partial[0]];
        self.reconstructed = reconstructed;
    }
}

/// The filter that splits and joins the bands (§3.1, §4.4).
#[derive(Clone, Debug)]
struct QuadratureMirrorFilter {
    /// Values in pairs, the latest last.
    values: [i32; 24],
}

impl QuadratureMirrorFilter {
    const fn new() -> Self {
        Self { values: [0; 24] }
    }

    #[inline]
    fn join(&mut self, low: i32, high: i32) -> [i16; 2] {
        let (odd, even) = self.run(low + high, low - high);
        [saturate(even >> 11) as i16, saturate(odd >> 11) as i16]
    }

    fn split(&mut self, [first, second]: [i16; 2]) -> (i32, i32) {
        let (odd, even) = self.run(first.into(), second.into());
        ((even + odd) >> 14, (even - odd) >> 14)
    }

    #[inline]
    fn run(&mut self, first: i32, second: i32) -> (i32, i32) {
        self.values.copy_within(2.., 0);
        self.values[22] = first;
        self.values[23] = second;
        let (mut odd, mut even) = (0, 0);
        for (index, pair) in self.values.chunks_exact(2).enumerate() {
            odd += pair[0] * FILTER[index];
            even += pair[1] * FILTER[11 - index];
        }
        (odd, even)
    }
}

/// Linear scale of a logarithmic one (SCALEL, SCALEH).
#[inline]
fn linear(log_scale: i32, shift: i32) -> i32 {
    let mantissa = INVERSE_LOG[(log_scale >> 6 & 31) as usize];
    let shift = shift - (log_scale >> 11);
    let scale = if shift < 0 { mantissa << -shift } else { mantissa >> shift };
    scale << 2
}

#[inline]
fn saturate(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

/// `det` at rest (§6.2.1.3, §6.2.2.3).
const LOW_SCALE_INITIAL: i32 = 32;
const HIGH_SCALE_INITIAL: i32 = 8;

/// Coefficients of one half of the filter (table 11/G.722).
const FILTER: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

/// Decision levels of the lower band's quantiser (table 14/G.722, `Q6`).
const DECISION_LEVELS: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219,
    1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];

/// Steps of the logarithmic scale for each 4-bit code (`WL` by `RL42`).
const LOW_LOG_STEP: [i32; 16] =
    [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
/// The same for each 2-bit code of the higher band (`WH` by `RH2`).
const HIGH_LOG_STEP: [i32; 4] = [798, -214, 798, -214];

/// 2048 * 2^(n / 32) (`ILB`).
const INVERSE_LOG: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896,
    2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

/// Quantised differences of 2, 4 and 6 bits (`QM2`, `QM4`, `QM6`).
const QUANTISER_4: [i32; 4] = [-7408, -1616, 7408, 1616];
const QUANTISER_16: [i32; 16] =
    [0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0];
const QUANTISER_64: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360,
    -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688,
    -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856,
    7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136,
    -432, -136,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal;

    fn round_trip(sent: &[i16]) -> Vec<i16> {
        let (mut encoder, mut decoder) = (G722Encoder::new(), G722Decoder::new());
        sent.chunks_exact(2).flat_map(|pair| decoder.decode(encoder.encode([pair[0], pair[1]]))).collect()
    }

    #[test]
    fn speech_comes_back_late_by_the_filters() {
        let sent = signal::speech(16_000, 2.0);
        let heard = round_trip(&sent);
        let (correlation, delay) = signal::correlation(&sent, &heard, 100);
        assert!(correlation > 0.995, "{correlation}");
        // Two filters of 24 taps: 22 samples.
        assert_eq!(delay, 22);
    }

    #[test]
    fn tones_of_both_bands_come_back_with_little_noise() {
        for tone_hz in [300.0, 1_000.0, 3_000.0, 5_000.0, 6_500.0] {
            let step = std::f64::consts::TAU * tone_hz / 16_000.0;
            let sent: Vec<i16> =
                (0..16_000).map(|n| (8_000.0 * (step * f64::from(n)).sin()) as i16).collect();
            let heard = round_trip(&sent);
            let error = signal::difference(&sent[4_000..15_000], &heard[4_022..15_022]);
            let signal = signal::energy(&sent[4_000..15_000]);
            let snr_db = 10.0 * (signal / error).log10();
            assert!(snr_db > if tone_hz < 4_000.0 { 25.0 } else { 12.0 }, "{tone_hz} Hz: {snr_db} dB");
        }
    }

    #[test]
    fn silence_is_nearly_silent_and_any_octet_is_taken() {
        let heard = round_trip(&[0; 3_200]);
        assert!(heard.iter().all(|sample| sample.abs() < 16));
        let mut random = signal::Random::new(3);
        let mut decoder = G722Decoder::new();
        for _ in 0..200_000 {
            decoder.decode(random.next() as u8);
        }
        for octet in [0x00, 0xff, 0x3f, 0xc0] {
            for _ in 0..20_000 {
                decoder.decode(octet);
            }
        }
    }
}
