//! The power-law quantizer (ISO/IEC 14496-3 §4.6.1): `|x| = |q|^(4/3) 2^((sf - 100) / 4)`, here from lines to values.

use std::sync::LazyLock;

use wide::f32x4;

use crate::codebook::VALUE_MAX;
use crate::vectors::LANES;

/// Scale factors are numbers of 8 bits.
pub(crate) const SCALE_FACTORS: usize = 256;

/// The scale factor at which a value of 1 is a line of 1 (`SF_OFFSET`).
pub(crate) const UNITY: f32 = 100.0;

/// Added before a value is cut to a whole number: less than a half, as small magnitudes are the likelier ones.
const ROUNDING: f32 = 0.4054;

/// The powers of 3/4 of the lines' magnitudes.
pub(crate) fn powers(lines: &[f32], out: &mut [f32]) {
    for (out, line) in out.iter_mut().zip(lines) {
        let root = line.abs().sqrt();
        *out = root * root.sqrt();
    }
}

/// What powers are multiplied by for a scale factor: `2^(-3/16 (sf - 100))`.
pub(crate) fn factor(scale_factor: u8) -> f32 {
    static FACTORS: LazyLock<[f32; SCALE_FACTORS]> =
        LazyLock::new(|| std::array::from_fn(|n| (-0.1875 * (n as f64 - f64::from(UNITY))).exp2() as f32));
    FACTORS[usize::from(scale_factor)]
}

/// The magnitude of one value.
pub(crate) fn magnitude(power: f32, factor: f32) -> u16 {
    let [magnitude, ..] = rounded(f32x4::splat(power * factor));
    magnitude as u16
}

/// Quantizes lines, whole quadruples, whose `powers` are known.
#[inline(always)]
pub(crate) fn quantize(lines: &[f32], powers: &[f32], factor: f32, out: &mut [i16]) {
    let factor = f32x4::splat(factor);
    let lines = lines.as_chunks::<LANES>().0;
    let powers = powers.as_chunks::<LANES>().0;
    for ((out, lines), powers) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(lines).zip(powers) {
        let magnitudes = rounded(f32x4::from(*powers) * factor);
        for lane in 0..LANES {
            // All ones where the line is negative.
            let sign = (lines[lane].to_bits() as i32) >> 31;
            out[lane] = ((magnitudes[lane] as i32 ^ sign) - sign) as i16;
        }
    }
}

/// Cut to whole numbers after adding [`ROUNDING`]. As 2^23 is added, the mantissa holds the number; so vectors need no
/// conversion that looks for numbers beyond the range.
#[inline(always)]
fn rounded(values: f32x4) -> [u32; LANES] {
    const SHIFT: f32 = (1 << 23) as f32;
    let shifted = values.fast_min(f32x4::splat(VALUE_MAX.into())) + (ROUNDING - 0.5) + SHIFT;
    shifted.to_array().map(|value| value.to_bits() & 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_lines_within_a_step() {
        let mut out = [0; 4];
        for scale_factor in [100_u8, 120, 160] {
            let step = (0.25 * (f32::from(scale_factor) - UNITY)).exp2();
            for line in [0.0, 0.3, 1.0, 77.0, 5_000.0, 100_000.0] {
                let lines = [line * step, -line * step, 0.0, line * step];
                let mut powers_of_lines = [0.0; 4];
                powers(&lines, &mut powers_of_lines);
                quantize(&lines, &powers_of_lines, factor(scale_factor), &mut out);
                assert_eq!((out[1], out[2], out[3]), (-out[0], 0, out[0]));
                assert_eq!(magnitude(powers_of_lines[0], factor(scale_factor)), out[0] as u16);
                let back = f32::from(out[0]).powf(4.0 / 3.0);
                let width = 4.0 / 3.0 * f32::from(out[0]).cbrt().max(1.0);
                assert!((back - line).abs() <= 0.6 * width, "{line} came back as {back}");
            }
        }
    }

    #[test]
    fn what_is_too_great_is_the_greatest_value() {
        assert_eq!(magnitude(1e30, 1.0), VALUE_MAX);
        assert_eq!(magnitude(0.0, 1.0), 0);
        assert_eq!(magnitude(0.59, 1.0), 0);
        assert_eq!(magnitude(0.6, 1.0), 1);
    }
}
