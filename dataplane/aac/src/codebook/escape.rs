//! The book with escape sequences (`ESC_HCB`, ISO/IEC 14496-3 §4.6.3.3): pairs of any magnitude, those from 16 on by a
//! sequence behind the codeword. Loud bands are all in it, so eight pairs at a time are worked out in vectors, without a
//! branch that depends on what they hold.

use super::tables::{self, LENGTH_SHIFT};
use crate::bit_writer::BitWriter;

/// Pairs that are worked out together.
const PAIRS: usize = 8;

/// The first magnitude that has a sequence.
const FIRST: i32 = 16;

/// What is written for eight pairs. Each part is an array of its own, so that it is made in vectors.
struct Block {
    /// Into [`SIGNED`].
    index: [i32; PAIRS],
    /// Signs of the values that are not 0.
    signs: [i32; PAIRS],
    /// The sequences of the first values, and of the second ones.
    sequences: [Sequences; 2],
}

/// The escape sequences of eight values, and how many bits each has.
struct Sequences {
    bits: [i32; PAIRS],
    sizes: [i32; PAIRS],
}

impl Block {
    #[inline(always)]
    fn of(pairs: &[[i16; 2]; PAIRS]) -> Self {
        let first = pairs.map(|[first, _]| i32::from(first));
        let second = pairs.map(|[_, second]| i32::from(second));
        let (mut index, mut signs) = ([0; PAIRS], [0; PAIRS]);
        for n in 0..PAIRS {
            index[n] = first[n].abs().min(FIRST) * (FIRST + 1) + second[n].abs().min(FIRST);
            // The first value's sign is one place higher where the second one has a sign as well.
            let is_first = first[n] >> 31 & 1;
            let is_both = -i32::from(second[n] != 0) & is_first;
            signs[n] = is_first + is_both + (second[n] >> 31 & 1);
        }
        Self { index, signs, sequences: [Sequences::of(&first), Sequences::of(&second)] }
    }
}

impl Sequences {
    /// As many 1 as the number is longer than 4 bits, a 0, and the number without its highest bit. With 2^n for that
    /// bit these are 2 n - 3 bits, which as a number are 2^(2 n - 3) - 2^(n + 1) + value - 2^n; a float of 24 bits holds
    /// all of it, and n is its exponent.
    #[inline(always)]
    fn of(values: &[i32; PAIRS]) -> Self {
        const TO_WHOLE: f32 = (1 << 23) as f32;
        let (mut bits, mut sizes) = ([0; PAIRS], [0; PAIRS]);
        for n in 0..PAIRS {
            let magnitude = values[n].abs();
            // All ones where there is one.
            let is_escaped = -i32::from(magnitude >= FIRST);
            let number = magnitude as f32;
            let exponent = (number.to_bits() >> 23) as i32 - 127;
            let highest = f32::from_bits(number.to_bits() & 0x7f80_0000);
            let sequence = highest * highest * 0.125 - 3.0 * highest + number;
            bits[n] = (sequence + TO_WHOLE).to_bits() as i32 & 0x7f_ffff & is_escaped;
            sizes[n] = (2 * exponent - 3) & is_escaped;
        }
        Self { bits, sizes }
    }
}

/// Bits that `values`, whole quadruples, take.
pub(super) fn size(values: &[i16]) -> u32 {
    let mut sum = 0;
    each_block(values, |pairs, count| {
        // What is beyond the end is 0, and costs nothing.
        let block = Block::of(pairs);
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
    each_block(values, |pairs, count| {
        let block = Block::of(pairs);
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

/// Hands on eight pairs after eight, and at the end how many of them there still are.
#[inline(always)]
fn each_block(values: &[i16], mut take: impl FnMut(&[[i16; 2]; PAIRS], usize)) {
    let (pairs, _) = values.as_chunks::<2>();
    let (blocks, rest) = pairs.as_chunks::<PAIRS>();
    blocks.iter().for_each(|block| take(block, PAIRS));
    if !rest.is_empty() {
        let mut block = [[0; 2]; PAIRS];
        block[..rest.len()].copy_from_slice(rest);
        take(&block, rest.len());
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
        let Sequences { bits, sizes } = Sequences::of(&[value; PAIRS]);
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
        for magnitude in FIRST..=VALUE_MAX.into() {
            let len = magnitude.ilog2();
            let ones = (1 << (len - 4)) - 1;
            let expected = (ones << (len + 1) | (magnitude - (1 << len)), 2 * len as i32 - 3);
            assert_eq!((sequence(magnitude), sequence(-magnitude)), (expected, expected), "{magnitude}");
        }
    }

    #[test]
    fn signs_stand_behind_the_codeword_first_value_first() {
        for (values, signs, count) in
            [([-1, 0], 1, 1), ([0, -1], 1, 1), ([-1, 1], 0b10, 2), ([1, -1], 0b01, 2), ([0, 0], 0, 0)]
        {
            let mut out = [0; 8];
            let mut writer = BitWriter::new(&mut out);
            write(&values, &mut writer);
            let index = usize::from(values[0] != 0) * 17 + usize::from(values[1] != 0);
            let length = tables::BOOK_11[index] >> LENGTH_SHIFT;
            assert_eq!(writer.count(), length as usize + count, "{values:?}");
            let word = u64::from(tables::BOOK_11[index] & 0xff_ffff) << count | signs;
            assert_eq!(u64::from_be_bytes(out) >> (64 - size(&values)), word, "{values:?}");
        }
    }
}
