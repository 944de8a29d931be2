//! The book with escape sequences (`ESC_HCB`, ISO/IEC 14496-3 §4.6.3.3): pairs of any magnitude, those from 16 on by a
//! sequence behind the codeword. Loud bands are all in it, so four pairs at a time are worked out in vectors, without a
//! branch that depends on what they hold.

use wide::{f32x4, i16x8, i32x4};

use super::tables::{self, LENGTH_SHIFT};
use crate::bit_writer::BitWriter;

/// Pairs that are worked out together, and their values.
const PAIRS: usize = 4;
const VALUES: usize = 2 * PAIRS;

/// The first magnitude that has a sequence.
const FIRST: i16 = 16;

/// What is written for four pairs.
struct Block {
    /// Into [`SIGNED`].
    index: [i32; PAIRS],
    /// Signs of the values that are not 0.
    signs: [i32; PAIRS],
    /// The sequences of the first values, and of the second ones.
    sequences: [Sequences; 2],
}

/// The escape sequences of four values, and how many bits each has.
struct Sequences {
    bits: [i32; PAIRS],
    sizes: [i32; PAIRS],
}

impl Block {
    #[inline(always)]
    fn of(values: [i16; VALUES]) -> Self {
        /// Sums of a pair's values, each times something.
        #[inline(always)]
        fn sums(values: i16x8, first: i16, second: i16) -> i32x4 {
            values.dot(i16x8::new([first, second, first, second, first, second, first, second]))
        }
        let values = i16x8::new(values);
        let magnitudes = values.max(-values);
        let known = magnitudes.min(i16x8::splat(FIRST));
        // All ones, as a number -1.
        let (negative, zero) = (values >> 15_i32, values.simd_eq(i16x8::ZERO));
        // The first value's sign is one place higher where the second one has a sign as well.
        let is_both = sums(negative, -1, 0) & !sums(zero, 0, 1);
        Self {
            index: sums(known, FIRST + 1, 1).to_array(),
            signs: (sums(negative, -1, -1) + is_both).to_array(),
            sequences: [Sequences::of(sums(magnitudes, 1, 0)), Sequences::of(sums(magnitudes, 0, 1))],
        }
    }
}

impl Sequences {
    /// As many 1 as the number is longer than 4 bits, a 0, and the number without its highest bit. With 2^n for that
    /// bit these are 2 n - 3 bits, which as a number are 2^(2 n - 3) - 2^(n + 1) + value - 2^n; a float of 24 bits holds
    /// all of it, and n is its exponent.
    #[inline(always)]
    fn of(magnitudes: i32x4) -> Self {
        const TO_WHOLE: f32 = (1 << 23) as f32;
        let is_escaped = magnitudes.simd_gt(i32x4::splat(i32::from(FIRST) - 1));
        let numbers = f32x4::from_i32x4(magnitudes);
        let parts = i32x4::new(numbers.to_array().map(|number| number.to_bits() as i32));
        let highest = parts & i32x4::splat(0x7f80_0000);
        let highest = f32x4::new(highest.to_array().map(|bits| f32::from_bits(bits as u32)));
        let sequences = highest * (highest * 0.125 - 3.0) + numbers + TO_WHOLE;
        let bits = i32x4::new(sequences.to_array().map(|sequence| sequence.to_bits() as i32));
        // Twice the exponent, which has 127 added to it.
        let doubled: i32x4 = parts >> 22_i32;
        let sizes = (doubled & i32x4::splat(!1)) - i32x4::splat(2 * 127 + 3);
        Self {
            bits: (bits & i32x4::splat(0x7f_ffff) & is_escaped).to_array(),
            sizes: (sizes & is_escaped).to_array(),
        }
    }
}

/// Bits that `values`, whole quadruples, take.
pub(super) fn size(values: &[i16]) -> u32 {
    let mut sum = 0;
    each_block(values, |values, count| {
        // What is beyond the end is 0, and costs nothing.
        let block = Block::of(values);
        for n in 0..count {
            sum += (SIGNED[block.index[n] as usize % ENTRIES] >> LENGTH_SHIFT) as i32;
        }
        for n in 0..PAIRS {
            sum += block.sequences[0].sizes[n] + block.sequences[1].sizes[n];
        }
    });
    sum as u32
}

/// Writes `values`, whole quadruples.
pub(super) fn write(values: &[i16], out: &mut BitWriter) {
    each_block(values, |values, count| {
        let block = Block::of(values);
        for n in 0..count {
            let entry = SIGNED[block.index[n] as usize % ENTRIES];
            let mut bits = u64::from(entry & WORD | block.signs[n] as u32);
            let mut count = entry >> LENGTH_SHIFT;
            for sequences in &block.sequences {
                bits = bits << sequences.sizes[n] | sequences.bits[n] as u64;
                count += sequences.sizes[n] as u32;
            }
            out.put(bits, count);
        }
    });
}

/// Hands on four pairs after four, and how many of them there are: at the end it may be two.
#[inline(always)]
fn each_block(values: &[i16], mut take: impl FnMut([i16; VALUES], usize)) {
    let (blocks, rest) = values.as_chunks::<VALUES>();
    blocks.iter().for_each(|block| take(*block, PAIRS));
    if let [a, b, c, d, ..] = *rest {
        take([a, b, c, d, 0, 0, 0, 0], PAIRS / 2);
    }
}

/// Of the book's entries, 17 times 17, and some more: a power of two, so that an index needs no comparison.
const ENTRIES: usize = 512;

/// The entries of the book with room for the signs behind the codeword, which are counted in its length.
static SIGNED: [u32; ENTRIES] = {
    let mut entries = [0; ENTRIES];
    let mut index = 0;
    while index < tables::BOOK_11.len() {
        let signs = (index / 17 != 0) as u32 + (index % 17 != 0) as u32;
        let (length, word) = (tables::BOOK_11[index] >> LENGTH_SHIFT, tables::BOOK_11[index] & WORD);
        entries[index] = (length + signs) << LENGTH_SHIFT | word << signs;
        index += 1;
    }
    entries
};

/// Where the codeword stands in an entry.
const WORD: u32 = (1 << LENGTH_SHIFT) - 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codebook::VALUE_MAX;

    /// The sequence of one value.
    fn sequence(value: i32) -> (i32, i32) {
        let Sequences { bits, sizes } = Sequences::of(i32x4::splat(value.abs()));
        (bits[0], sizes[0])
    }

    #[test]
    fn escape_sequences_are_those_of_the_standard() {
        for (value, bits, size) in
            [(0, 0, 0), (-15, 0, 0), (16, 0, 5), (-31, 0b0_1111, 5), (32, 0b10_00000, 7)]
        {
            assert_eq!(sequence(value), (bits, size), "{value}");
        }
    }

    #[test]
    fn every_magnitude_has_its_sequence() {
        for magnitude in i32::from(FIRST)..=VALUE_MAX.into() {
            let len = magnitude.ilog2();
            let ones = (1 << (len - 4)) - 1;
            let expected = (ones << (len + 1) | (magnitude - (1 << len)), 2 * len as i32 - 3);
            assert_eq!(sequence(magnitude), expected, "{magnitude}");
        }
    }

    #[test]
    fn signs_stand_behind_the_codeword_first_value_first() {
        for (values, signs, count) in
            [([-1, 0], 1, 1), ([0, -1], 1, 1), ([-1, 1], 0b10, 2), ([1, -1], 0b01, 2), ([0, 0], 0, 0)]
        {
            let mut out = [0; 8];
            let mut writer = BitWriter::new(&mut out);
            // A pair of 0 follows.
            let quadruple = [values[0], values[1], 0, 0];
            write(&quadruple, &mut writer);
            let index = usize::from(values[0] != 0) * 17 + usize::from(values[1] != 0);
            let [length, length_behind] = [index, 0].map(|at| tables::BOOK_11[at] >> LENGTH_SHIFT);
            let total = length + count + length_behind;
            assert_eq!((writer.count() as u32, size(&quadruple)), (total, total), "{values:?}");
            let word = u64::from(tables::BOOK_11[index] & WORD) << count | signs;
            let words = word << length_behind | u64::from(tables::BOOK_11[0] & WORD);
            assert_eq!(u64::from_be_bytes(out) >> (64 - total), words, "{values:?}");
        }
    }
}
