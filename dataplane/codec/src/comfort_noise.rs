//! Comfort noise (RFC 3389; ITU-T G.711 Appendix II): what stands for a pause of the sender.
//! Takes: comfort noise payloads. Gives: noise of their level and spectrum. Leaves out: when it is wanted.
//!
//! ```text
//! payload: 0 | level (7) in -dBov, then one octet for each reflection coefficient
//! ```

/// Noise of one stream.
#[derive(Clone, Debug)]
pub struct ComfortNoise {
    reflection: [f32; ORDER_MAX],
    order: usize,
    /// Delayed backward values of the lattice.
    memory: [f32; ORDER_MAX],
    /// Of the excitation, so that the output has the level asked for.
    gain: f32,
    random: u32,
}

impl Default for ComfortNoise {
    fn default() -> Self {
        Self {
            reflection: [0.0; ORDER_MAX],
            order: 0,
            memory: [0.0; ORDER_MAX],
            gain: 0.0,
            random: 0x2545_f491,
        }
    }
}

impl ComfortNoise {
    /// Takes a payload; an empty one means silence. Coefficients beyond the twelfth are left out, which RFC 3389
    /// §3.3 allows.
    pub fn update(&mut self, payload: &[u8]) {
        let Some((&level, coefficients)) = payload.split_first() else {
            *self = Self { random: self.random, ..Self::default() };
            return;
        };
        self.order = coefficients.len().min(ORDER_MAX);
        let mut residual = 1.0;
        for (reflection, &octet) in self.reflection.iter_mut().zip(coefficients) {
            // RFC 3389 §3.2. Nearer to 1 the filter would ring rather than rush.
            *reflection =
                (258.0 * (f32::from(octet) - 127.0) / 32_768.0).clamp(-REFLECTION_MAX, REFLECTION_MAX);
            residual *= 1.0 - *reflection * *reflection;
        }
        self.memory[self.order..].fill(0.0);
        // RFC 3389 §3.1: dBov is relative to the overload point, a square wave of full scale.
        let rms = 32_768.0 * 10_f32.powf(-f32::from(level & 0x7f) / 20.0);
        self.gain = rms * residual.sqrt();
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [i16]) {
        for sample in out {
            let mut forward = self.gain * self.white();
            // All-pole lattice: each stage takes its backward value of the sample before.
            for stage in (0..self.order).rev() {
                forward -= self.reflection[stage] * self.memory[stage];
                if stage + 1 < self.order {
                    self.memory[stage + 1] = self.memory[stage] + self.reflection[stage] * forward;
                }
            }
            if self.order > 0 {
                self.memory[0] = forward;
            }
            *sample = forward.round() as i16;
        }
    }

    /// Whether it would fill with anything but zeros.
    pub fn is_audible(&self) -> bool {
        self.gain >= 0.2
    }

    /// White noise of variance 1: a sum of four uniform values, near enough to Gaussian to the ear.
    fn white(&mut self) -> f32 {
        let sum: f32 = (0..4)
            .map(|_| {
                self.random ^= self.random << 13;
                self.random ^= self.random >> 17;
                self.random ^= self.random << 5;
                self.random as f32 / u32::MAX as f32 - 0.5
            })
            .sum();
        // A uniform value of width 1 has the variance 1/12.
        sum * 3_f32.sqrt()
    }
}

/// Coefficients that are used.
const ORDER_MAX: usize = 12;
const REFLECTION_MAX: f32 = 0.98;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal;

    #[test]
    fn the_level_is_the_one_asked_for_whatever_the_spectrum() {
        for coefficients in [vec![], vec![30], vec![220, 60], vec![20, 200, 90, 140, 127, 127, 100, 150]] {
            for level in [30, 40, 55] {
                let mut noise = ComfortNoise::default();
                noise.update(&[&[level][..], &coefficients].concat());
                let mut out = vec![0; 80_000];
                noise.fill(&mut out);
                let heard_db = 20.0 * (signal::rms(&out) / 32_768.0).log10();
                assert!(
                    (heard_db + f64::from(level)).abs() < 1.0,
                    "{coefficients:?}: {heard_db} for {level}"
                );
            }
        }
    }

    #[test]
    fn the_spectrum_follows_the_coefficients() {
        let tilt = |first: u8| {
            let mut noise = ComfortNoise::default();
            noise.update(&[40, first]);
            let mut out = vec![0; 80_000];
            noise.fill(&mut out);
            out.windows(2).map(|pair| f64::from(pair[0]) * f64::from(pair[1])).sum::<f64>()
                / signal::energy(&out)
        };
        // A(z) = 1 + k z^-1: a negative coefficient makes neighbours alike, hence low frequencies loud.
        assert!(tilt(30) > 0.6 && tilt(224) < -0.6 && tilt(127).abs() < 0.05);
    }

    #[test]
    fn any_payload_is_taken() {
        let mut random = signal::Random::new(5);
        let mut noise = ComfortNoise::default();
        let mut out = [0; 160];
        for _ in 0..2_000 {
            let payload: Vec<u8> = (0..random.below(40)).map(|_| random.next() as u8).collect();
            noise.update(&payload);
            noise.fill(&mut out);
        }
        noise.update(&[0, 255, 0, 255]);
        noise.fill(&mut out);
        noise.update(&[]);
        noise.fill(&mut out);
        assert!(!noise.is_audible() && out.iter().all(|&sample| sample == 0));
    }
}
