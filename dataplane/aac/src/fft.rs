//! Complex FFT of 16 to 512 points: Stockham's, radix 4 with a radix 2 pass where the size wants one.
//! Takes and gives: real and imaginary parts apart, in order, so that every pass is arithmetic on whole vectors.
//! Leaves out: scaling, and the inverse.

use std::f64::consts::TAU;

/// Most points of a transform.
pub(crate) const POINTS_MAX: usize = 512;

/// Real and imaginary parts.
#[derive(Clone)]
pub(crate) struct Complex {
    pub(crate) re: [f32; POINTS_MAX],
    pub(crate) im: [f32; POINTS_MAX],
}

impl Complex {
    pub(crate) const ZERO: Self = Self { re: [0.0; POINTS_MAX], im: [0.0; POINTS_MAX] };
}

/// The transform of one size: its twiddle factors.
pub(crate) struct Fft {
    points: usize,
    /// Of the radix 4 passes, in order.
    passes: Box<[Pass]>,
}

/// Factors of one radix 4 pass over runs of `stride`: `exp(-2 pi i k p / (4 m))` for k of 1, 2, 3 and p below m.
struct Pass {
    stride: usize,
    factors: [Box<[[f32; 2]]>; 3],
}

impl Fft {
    /// # Panics
    /// When `points` is no power of two within 16 to [`POINTS_MAX`].
    pub(crate) fn new(points: usize) -> Self {
        assert!(points.is_power_of_two() && (16..=POINTS_MAX).contains(&points));
        let mut passes = Vec::new();
        let (mut len, mut stride) = (points, 1);
        while len >= 4 {
            let factors = [1, 2, 3].map(|k| {
                (0..len / 4)
                    .map(|p| {
                        let angle = -TAU * (k * p) as f64 / len as f64;
                        [angle.cos() as f32, angle.sin() as f32]
                    })
                    .collect()
            });
            passes.push(Pass { stride, factors });
            len /= 4;
            stride *= 4;
        }
        Self { points, passes: passes.into() }
    }

    /// Transforms the first points of `data`; `scratch` is overwritten.
    pub(crate) fn transform(&self, data: &mut Complex, scratch: &mut Complex) {
        let points = self.points;
        let (mut from, mut to) = (data, scratch);
        let mut swapped = false;
        for pass in &self.passes {
            match pass.stride {
                1 => pass.first(points, from, to),
                4 => pass.run::<4>(points, from, to),
                16 => pass.run::<16>(points, from, to),
                _ => pass.run::<64>(points, from, to),
            }
            std::mem::swap(&mut from, &mut to);
            swapped = !swapped;
        }
        if points.trailing_zeros() % 2 == 1 {
            halve(points, from, to);
            std::mem::swap(&mut from, &mut to);
            swapped = !swapped;
        }
        if swapped {
            // The result lies in the caller's scratch.
            to.re[..points].copy_from_slice(&from.re[..points]);
            to.im[..points].copy_from_slice(&from.im[..points]);
        }
    }
}

impl Pass {
    /// The pass of stride 1: vectors go over p.
    fn first(&self, points: usize, from: &Complex, to: &mut Complex) {
        let m = points / 4;
        let [f1, f2, f3] = self.factors.each_ref().map(|factors| &factors[..m]);
        let re: [&[f32]; 4] = std::array::from_fn(|k| &from.re[k * m..(k + 1) * m]);
        let im: [&[f32]; 4] = std::array::from_fn(|k| &from.im[k * m..(k + 1) * m]);
        let (out_re, _) = to.re[..points].as_chunks_mut::<4>();
        let (out_im, _) = to.im[..points].as_chunks_mut::<4>();
        for (p, (out_re, out_im)) in out_re.iter_mut().zip(out_im).enumerate() {
            let [a, b, c, d] = std::array::from_fn(|k| [re[k][p], im[k][p]]);
            let [y0, y1, y2, y3] = butterfly(a, b, c, d, f1[p], f2[p], f3[p]);
            *out_re = [y0[0], y1[0], y2[0], y3[0]];
            *out_im = [y0[1], y1[1], y2[1], y3[1]];
        }
    }

    /// A later pass: vectors go over the run of `S`.
    fn run<const S: usize>(&self, points: usize, from: &Complex, to: &mut Complex) {
        let m = points / (4 * S);
        let (re, _) = from.re[..points].as_chunks::<S>();
        let (im, _) = from.im[..points].as_chunks::<S>();
        let (out_re, _) = to.re[..points].as_chunks_mut::<S>();
        let (out_im, _) = to.im[..points].as_chunks_mut::<S>();
        let (out_re, _) = out_re.as_chunks_mut::<4>();
        let (out_im, _) = out_im.as_chunks_mut::<4>();
        for (p, (out_re, out_im)) in out_re.iter_mut().zip(out_im).enumerate().take(m) {
            let [f1, f2, f3] = self.factors.each_ref().map(|factors| factors[p]);
            let re = [0, 1, 2, 3].map(|k| &re[p + k * m]);
            let im = [0, 1, 2, 3].map(|k| &im[p + k * m]);
            for q in 0..S {
                let [a, b, c, d] = [0, 1, 2, 3].map(|k| [re[k][q], im[k][q]]);
                let y = butterfly(a, b, c, d, f1, f2, f3);
                for k in 0..4 {
                    out_re[k][q] = y[k][0];
                    out_im[k][q] = y[k][1];
                }
            }
        }
    }
}

#[inline(always)]
fn butterfly(
    a: [f32; 2],
    b: [f32; 2],
    c: [f32; 2],
    d: [f32; 2],
    f1: [f32; 2],
    f2: [f32; 2],
    f3: [f32; 2],
) -> [[f32; 2]; 4] {
    let even = [a[0] + c[0], a[1] + c[1]];
    let odd = [a[0] - c[0], a[1] - c[1]];
    let sum = [b[0] + d[0], b[1] + d[1]];
    // i (b - d)
    let turned = [d[1] - b[1], b[0] - d[0]];
    [
        [even[0] + sum[0], even[1] + sum[1]],
        times([odd[0] - turned[0], odd[1] - turned[1]], f1),
        times([even[0] - sum[0], even[1] - sum[1]], f2),
        times([odd[0] + turned[0], odd[1] + turned[1]], f3),
    ]
}

#[inline(always)]
fn times(x: [f32; 2], f: [f32; 2]) -> [f32; 2] {
    [x[0] * f[0] - x[1] * f[1], x[0] * f[1] + x[1] * f[0]]
}

/// The last pass of sizes that are no power of four.
fn halve(points: usize, from: &Complex, to: &mut Complex) {
    for (from, to) in [(&from.re, &mut to.re), (&from.im, &mut to.im)] {
        let (a, b) = from[..points].split_at(points / 2);
        let (sums, differences) = to[..points].split_at_mut(points / 2);
        for ((sum, difference), (a, b)) in sums.iter_mut().zip(differences).zip(a.iter().zip(b)) {
            *sum = a + b;
            *difference = a - b;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Random;

    #[test]
    fn every_size_is_the_discrete_fourier_transform() {
        for points in [16, 32, 64, 128, 256, 512] {
            let mut random = Random::new(points as u64);
            let mut data = Complex::ZERO;
            for n in 0..points {
                data.re[n] = random.uniform() as f32;
                data.im[n] = random.uniform() as f32;
            }
            let input = data.clone();
            Fft::new(points).transform(&mut data, &mut Complex::ZERO.clone());
            for k in 0..points {
                let (mut re, mut im) = (0.0, 0.0);
                for n in 0..points {
                    let angle = -TAU * (k * n % points) as f64 / points as f64;
                    let (x, y) = (f64::from(input.re[n]), f64::from(input.im[n]));
                    re += x * angle.cos() - y * angle.sin();
                    im += x * angle.sin() + y * angle.cos();
                }
                let error = (re - f64::from(data.re[k])).hypot(im - f64::from(data.im[k]));
                assert!(error < 1e-4, "{points} points, {k}: {error}");
            }
        }
    }
}
