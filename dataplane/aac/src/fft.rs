//! Complex FFT of 16 to 512 points: Stockham's, radix 4 with a radix 2 pass where the size wants one.
//! Takes and gives: real and imaginary parts apart, in order, so that every pass is arithmetic on whole vectors.
//! Leaves out: scaling, and the inverse.

use std::f64::consts::TAU;

use wide::f32x4;

use crate::vectors::LANES;

/// Most vectors of a transform: 512 points.
const VECTORS_MAX: usize = 512 / LANES;

/// Real and imaginary parts.
#[derive(Clone)]
pub(crate) struct Complex {
    pub(crate) re: [f32x4; VECTORS_MAX],
    pub(crate) im: [f32x4; VECTORS_MAX],
}

impl Complex {
    pub(crate) const ZERO: Self = Self { re: [f32x4::ZERO; VECTORS_MAX], im: [f32x4::ZERO; VECTORS_MAX] };
}

/// The transform of one size: its twiddle factors.
pub(crate) struct Fft {
    vectors: usize,
    /// Of the first pass, for four p at a time.
    first: Box<[[Value; 3]]>,
    /// Of the later radix 4 passes, in order.
    later: Box<[Pass]>,
    /// The size is no power of four.
    is_halved: bool,
}

/// One radix 4 pass over runs of `stride` vectors: `exp(-2 pi i k p / (4 m))` for k of 1, 2, 3 and p below m, each in
/// all places of a vector.
struct Pass {
    stride: usize,
    factors: Box<[[Value; 3]]>,
}

/// Four complex numbers: real and imaginary parts.
type Value = [f32x4; 2];

impl Fft {
    /// # Panics
    /// When `points` is no power of two within 16 to 512.
    pub(crate) fn new(points: usize) -> Self {
        assert!(points.is_power_of_two() && (16..=LANES * VECTORS_MAX).contains(&points));
        let factor = |k: usize, p: usize, len: usize| {
            let angle = -TAU * (k * p) as f64 / len as f64;
            [angle.cos() as f32, angle.sin() as f32]
        };
        // The factors at `places`, one for each place of a vector.
        let vector = |places: [usize; LANES], len| {
            [1, 2, 3].map(|k| [0, 1].map(|part| f32x4::from(places.map(|p| factor(k, p, len)[part]))))
        };
        let first =
            (0..points / 4).step_by(LANES).map(|p| vector([p, p + 1, p + 2, p + 3], points)).collect();
        let (mut len, mut stride) = (points / 4, 1);
        let mut later = Vec::new();
        while len >= 4 {
            later.push(Pass { stride, factors: (0..len / 4).map(|p| vector([p; LANES], len)).collect() });
            len /= 4;
            stride *= 4;
        }
        Self { vectors: points / LANES, first, later: later.into(), is_halved: len == 2 }
    }

    /// Transforms the first points of `data`; `scratch` is overwritten.
    pub(crate) fn transform(&self, data: &mut Complex, scratch: &mut Complex) {
        let vectors = self.vectors;
        let (mut from, mut to) = (data, scratch);
        self.run_first(from, to);
        std::mem::swap(&mut from, &mut to);
        let mut is_swapped = true;
        for pass in &self.later {
            match pass.stride {
                1 => pass.run::<1>(vectors, from, to),
                4 => pass.run::<4>(vectors, from, to),
                _ => pass.run::<16>(vectors, from, to),
            }
            std::mem::swap(&mut from, &mut to);
            is_swapped = !is_swapped;
        }
        if self.is_halved {
            halve(vectors, from, to);
            std::mem::swap(&mut from, &mut to);
            is_swapped = !is_swapped;
        }
        if is_swapped {
            // The result lies in the caller's scratch.
            to.re[..vectors].copy_from_slice(&from.re[..vectors]);
            to.im[..vectors].copy_from_slice(&from.im[..vectors]);
        }
    }

    /// The first pass, whose runs are single numbers: vectors go over p, and are turned round to lie in order.
    fn run_first(&self, from: &Complex, to: &mut Complex) {
        let vectors = self.vectors;
        let out = to.re[..vectors].as_chunks_mut::<4>().0.iter_mut();
        let out = out.zip(to.im[..vectors].as_chunks_mut::<4>().0);
        for ((inputs, factors), (out_re, out_im)) in from.quarters(vectors).zip(&self.first).zip(out) {
            let results = butterfly(inputs, factors);
            *out_re = f32x4::transpose(results.map(|[re, _]| re));
            *out_im = f32x4::transpose(results.map(|[_, im]| im));
        }
    }
}

impl Complex {
    /// What a radix 4 pass joins: from each quarter the vectors at one place.
    fn quarters(&self, vectors: usize) -> impl Iterator<Item = [Value; 4]> {
        let quarter = |k: usize| {
            let range = k * vectors / 4..(k + 1) * vectors / 4;
            self.re[range.clone()].iter().zip(&self.im[range])
        };
        let halves = quarter(0).zip(quarter(1)).zip(quarter(2).zip(quarter(3)));
        halves.map(|((a, b), (c, d))| [a, b, c, d].map(|(re, im)| [*re, *im]))
    }
}

impl Pass {
    /// A later pass: vectors go over the run of `S` of them.
    fn run<const S: usize>(&self, vectors: usize, from: &Complex, to: &mut Complex) {
        let mut inputs = from.quarters(vectors);
        let out_re = to.re[..vectors].as_chunks_mut::<S>().0.as_chunks_mut::<4>().0;
        let out_im = to.im[..vectors].as_chunks_mut::<S>().0.as_chunks_mut::<4>().0;
        for (factors, (out_re, out_im)) in self.factors.iter().zip(out_re.iter_mut().zip(out_im)) {
            for (q, inputs) in inputs.by_ref().take(S).enumerate() {
                let results = butterfly(inputs, factors);
                for k in 0..4 {
                    [out_re[k][q], out_im[k][q]] = results[k];
                }
            }
        }
    }
}

#[inline(always)]
fn butterfly([a, b, c, d]: [Value; 4], [f1, f2, f3]: &[Value; 3]) -> [Value; 4] {
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
fn times(x: Value, f: &Value) -> Value {
    [x[0] * f[0] - x[1] * f[1], x[0] * f[1] + x[1] * f[0]]
}

/// The last pass of sizes that are no power of four.
fn halve(vectors: usize, from: &Complex, to: &mut Complex) {
    for (from, to) in [(&from.re, &mut to.re), (&from.im, &mut to.im)] {
        let (a, b) = from[..vectors].split_at(vectors / 2);
        let (sums, differences) = to[..vectors].split_at_mut(vectors / 2);
        for ((sum, difference), (a, b)) in sums.iter_mut().zip(differences).zip(a.iter().zip(b)) {
            *sum = *a + *b;
            *difference = *a - *b;
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
            for vector in 0..points / LANES {
                data.re[vector] = f32x4::from([(); LANES].map(|()| random.uniform() as f32));
                data.im[vector] = f32x4::from([(); LANES].map(|()| random.uniform() as f32));
            }
            let at = |values: &[f32x4], n: usize| f64::from(values[n / LANES].to_array()[n % LANES]);
            let input = data.clone();
            Fft::new(points).transform(&mut data, &mut Complex::ZERO.clone());
            for k in 0..points {
                let (mut re, mut im) = (0.0, 0.0);
                for n in 0..points {
                    let angle = -TAU * (k * n % points) as f64 / points as f64;
                    let (x, y) = (at(&input.re, n), at(&input.im, n));
                    re += x * angle.cos() - y * angle.sin();
                    im += x * angle.sin() + y * angle.cos();
                }
                let error = (re - at(&data.re, k)).hypot(im - at(&data.im, k));
                assert!(error < 1e-4, "{points} points, {k}: {error}");
            }
        }
    }
}
