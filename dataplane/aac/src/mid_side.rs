//! Which bands of a pair are coded as mean and half difference (ISO/IEC 14496-3 §4.6.8.1).

use crate::allocation::Demand;
use crate::layout::{BANDS_MAX, Layout};
use crate::mdct::LINES_MAX;
use crate::quantizer;

/// For each band: mean and half difference instead of left and right.
pub(crate) type MidSide = [bool; BANDS_MAX];

/// Chooses for each band, and changes its lines and what is known of them.
///
/// With L = M + S and R = M - S, noise of M and S adds up in both. Half of it for each, the bits are
/// log2(4 M^2 S^2 / n^2) / 2 a line against log2(L^2 R^2 / n^2) / 2.
pub(crate) fn choose(
    layout: &Layout,
    channels: &mut [[f32; LINES_MAX]; 2],
    powers: &mut [[f32; LINES_MAX]; 2],
    demands: &mut [Demand; 2],
    mid_side: &mut MidSide,
) {
    let [left, right] = channels;
    for (band, is_mid_side) in mid_side.iter_mut().enumerate().take(layout.bands()) {
        let range = layout.band(band);
        let (left, right) = (&mut left[range.clone()], &mut right[range.clone()]);
        let [mut l, mut r, mut m, mut s] = [0.0; 4];
        for (&left, &right) in left.iter().zip(right.iter()) {
            l += left * left;
            r += right * right;
            m += (left + right) * (left + right);
            s += (left - right) * (left - right);
        }
        // M^2 is m / 4.
        *is_mid_side = f64::from(m) * f64::from(s) <= 4.0 * f64::from(l) * f64::from(r);
        if !*is_mid_side {
            continue;
        }
        for (left, right) in left.iter_mut().zip(right.iter_mut()) {
            (*left, *right) = ((*left + *right) * 0.5, (*left - *right) * 0.5);
        }
        let masker = demands[0].masker(band).min(demands[1].masker(band)) - 0.5;
        for ((lines, powers), demand) in [left, right].into_iter().zip(&mut *powers).zip(&mut *demands) {
            let powers = &mut powers[range.clone()];
            quantizer::powers(lines, powers);
            demand.change(band, lines, powers, masker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bands::Bands;
    use crate::layout::WindowSequence;

    fn choice(left: impl Fn(usize) -> f32, right: impl Fn(usize) -> f32) -> (MidSide, [[f32; LINES_MAX]; 2]) {
        let layout = Layout::long(&Bands::of(48_000), WindowSequence::OnlyLong, 170);
        let mut channels = [std::array::from_fn(left), std::array::from_fn(right)];
        let mut powers = [[0.0; LINES_MAX]; 2];
        let mut demands = [Demand::EMPTY; 2];
        for ((lines, powers), demand) in channels.iter().zip(&mut powers).zip(&mut demands) {
            quantizer::powers(lines, powers);
            demand.analyse(&layout, lines, powers);
        }
        let mut mid_side = [false; BANDS_MAX];
        choose(&layout, &mut channels, &mut powers, &mut demands, &mut mid_side);
        (mid_side, channels)
    }

    #[test]
    fn channels_that_are_alike_become_their_mean() {
        let line = |n: usize| (n as f32 * 1.7).sin() * 1e4;
        let (mid_side, [mid, side]) = choice(line, line);
        assert!(mid_side[..23].iter().all(|&chosen| chosen));
        assert_eq!((mid[5], side[5]), (line(5), 0.0));
    }

    #[test]
    fn sound_of_one_side_stays_there() {
        let line = |n: usize| (n as f32 * 1.7).sin() * 1e4;
        let (mid_side, [left, _]) = choice(line, |n| line(n + 9) * 0.01);
        assert!(!mid_side[..23].iter().any(|&chosen| chosen));
        assert_eq!(left[5], line(5));
    }
}
