//! Numbers in vectors of four, which every processor of 64 bits has.

use wide::f32x4;

/// Numbers in a vector.
pub(crate) const LANES: usize = 4;

/// The first numbers of a slice in `N` vectors.
///
/// # Panics
/// When there are fewer.
#[inline(always)]
pub(crate) fn vectors<const N: usize>(numbers: &[f32]) -> [f32x4; N] {
    let vectors = numbers.as_chunks::<LANES>().0;
    std::array::from_fn(|n| f32x4::from(vectors[n]))
}

#[inline(always)]
pub(crate) fn reversed(vector: f32x4) -> f32x4 {
    let [a, b, c, d] = vector.to_array();
    f32x4::from([d, c, b, a])
}

/// Numbers at even places and at odd ones.
#[inline(always)]
pub(crate) fn parted([first, second]: [f32x4; 2]) -> [f32x4; 2] {
    joined(first.unpack_lo(second), first.unpack_hi(second))
}

/// One number of each, in turns.
#[inline(always)]
pub(crate) fn joined(even: f32x4, odd: f32x4) -> [f32x4; 2] {
    [even.unpack_lo(odd), even.unpack_hi(odd)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_parted_is_joined_again() {
        let both: [f32x4; 2] = vectors(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        let [even, odd] = parted(both);
        assert_eq!((even.to_array(), odd.to_array()), ([0.0, 2.0, 4.0, 6.0], [1.0, 3.0, 5.0, 7.0]));
        assert_eq!(joined(even, odd), both);
        assert_eq!(reversed(odd).to_array(), [7.0, 5.0, 3.0, 1.0]);
    }
}
