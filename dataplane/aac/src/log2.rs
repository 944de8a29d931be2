//! Logarithms and powers of two as fast as the rate control wants them; it needs no more than two digits.

use std::f32::consts::LN_2;

/// The binary logarithm of a positive number within 0.004; of 0 about -127.
#[inline(always)]
pub(crate) fn log2(x: f32) -> f32 {
    let bits = x.to_bits();
    // Signed, as vectors of that turn into floats at once.
    let exponent = (bits >> 23) as i32 as f32 - 127.0;
    let mantissa = f32::from_bits(bits & 0x7f_ffff | 0x3f80_0000) - 1.0;
    exponent + mantissa * (1.4249 + mantissa * (-0.5861 + mantissa * 0.1612))
}

/// 2 to the power of `x` within 0.001 of it; of what is below -126 and above 126 about that of those.
#[inline(always)]
pub(crate) fn exp2(x: f32) -> f32 {
    // Added to a number, it leaves the nearest whole one in the lowest bits.
    const TO_WHOLE: f32 = (3 << 22) as f32;
    let x = if x < -126.0 { -126.0 } else { x };
    let x = if x > 126.0 { 126.0 } else { x };
    let whole = x + TO_WHOLE;
    let rest = x - (whole - TO_WHOLE);
    let power = 1.0 + rest * (LN_2 + rest * (0.24023 + rest * 0.0555));
    f32::from_bits(power.to_bits().wrapping_add(whole.to_bits() << 23))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_near() {
        for n in 1..4_000 {
            let x = (n as f32 * 0.01 - 20.0).exp2();
            assert!((log2(x) - x.log2()).abs() < 0.004, "{x}: {} {}", log2(x), x.log2());
        }
        assert!(log2(0.0) < -120.0);
    }

    #[test]
    fn powers_are_near() {
        for n in -1_260..1_260 {
            let x = n as f32 * 0.1;
            assert!((exp2(x) / x.exp2() - 1.0).abs() < 0.0009, "{x}: {} {}", exp2(x), x.exp2());
        }
        assert_eq!((exp2(-1e9), exp2(1e9)), (exp2(-126.0), exp2(126.0)));
    }
}
