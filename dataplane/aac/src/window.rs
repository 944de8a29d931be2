//! Windows of the filter bank (ISO/IEC 14496-3 §4.6.11.3): rising halves; the falling ones are their mirror images.
//! All windows are Kaiser-Bessel derived (`window_shape` 1): telephone sound ends at a steep edge, beyond which
//! nothing is coded, so what leaks far matters more than the width of the main lobe.

use std::f64::consts::PI;

/// `window_shape` of all frames.
pub(crate) const WINDOW_SHAPE: u64 = 1;

/// Alpha of the Kaiser-Bessel derived windows (§4.6.11.3.2).
const ALPHA_LONG: f64 = 4.0;
const ALPHA_SHORT: f64 = 6.0;

/// Short windows in a frame.
pub(crate) const SHORT_WINDOWS: usize = 8;

/// The rising half of a long window of `lines` lines.
pub(crate) fn long(lines: usize) -> Box<[f32]> {
    kaiser_bessel_derived(lines, ALPHA_LONG).iter().map(|&w| w as f32).collect()
}

/// The rising half of a short window of `lines` lines.
pub(crate) fn short(lines: usize) -> Box<[f32]> {
    kaiser_bessel_derived(lines, ALPHA_SHORT).iter().map(|&w| w as f32).collect()
}

/// The rising half of a stop window: a short slope in the middle of `lines` samples, 0 before and 1 after it.
/// Mirrored it is the falling half of a start window.
pub(crate) fn edge(lines: usize) -> Box<[f32]> {
    let slope = lines / SHORT_WINDOWS;
    let flat = (lines - slope) / 2;
    let mut window = vec![0.0; flat];
    window.extend_from_slice(&short(slope));
    window.resize(lines, 1.0);
    window.into()
}

fn kaiser_bessel_derived(lines: usize, alpha: f64) -> Vec<f64> {
    let kaiser: Vec<f64> = (0..=lines)
        .map(|n| {
            let x = 2.0 * n as f64 / lines as f64 - 1.0;
            bessel_i0(PI * alpha * (1.0 - x * x).max(0.0).sqrt())
        })
        .collect();
    let total: f64 = kaiser.iter().sum();
    let mut sum = 0.0;
    kaiser[..lines]
        .iter()
        .map(|w| {
            sum += w;
            (sum / total).sqrt()
        })
        .collect()
}

/// The modified Bessel function of the first kind and order 0.
pub(crate) fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut term, mut sum, mut k) = (1.0, 1.0, 1.0);
    while term > sum * 1e-17 {
        term *= quarter / (k * k);
        sum += term;
        k += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_that_overlap_add_up() {
        for window in [long(1024), long(256), short(128), short(32), edge(1024), edge(256)] {
            for (rising, falling) in window.iter().zip(window.iter().rev()) {
                let power = rising * rising + falling * falling;
                assert!((power - 1.0).abs() < 1e-6, "{power}");
            }
            assert!(window.is_sorted());
        }
    }

    #[test]
    fn the_edge_has_its_slope_in_the_middle() {
        let window = edge(1024);
        assert_eq!((window[447], window[576]), (0.0, 1.0));
        assert!(window[448] > 0.0 && window[560] < 1.0);
    }
}
