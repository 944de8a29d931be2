//! Logarithms as fast as the rate control wants them; it needs no more than two digits.

/// The binary logarithm of a positive number within 0.004; of 0 about -127.
#[inline(always)]
pub(crate) fn log2(x: f32) -> f32 {
    let bits = x.to_bits();
    let exponent = (bits >> 23) as f32 - 127.0;
    let mantissa = f32::from_bits(bits & 0x7f_ffff | 0x3f80_0000) - 1.0;
    exponent + mantissa * (1.4249 + mantissa * (-0.5861 + mantissa * 0.1612))
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
}
