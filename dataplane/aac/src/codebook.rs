//! The spectral Huffman code books (ISO/IEC 14496-3 §4.6.3, annex 4.A): how long values become, and writing them.
//! Books come in pairs that hold the same values with other lengths; the eleventh stands alone and has escape sequences.

mod escape;
mod tables;

use crate::bit_writer::BitWriter;
use tables::LENGTH_SHIFT;

/// Bands in which all is 0 have this book and take no bits (`ZERO_HCB`).
pub(crate) const ZERO: u8 = 0;

/// The book with escape sequences (`ESC_HCB`).
pub(crate) const ESCAPE: u8 = 11;

/// Greatest magnitude that can be coded (§4.6.1.3).
pub(crate) const VALUE_MAX: u16 = 8191;

/// Difference between the scale factors of neighbours (§4.6.2.3).
pub(crate) const DIFFERENCE_MAX: i32 = 60;

/// The first book of the pair that holds values up to `max` in the fewest bits; [`ZERO`] and [`ESCAPE`] are no pairs.
pub(crate) const fn first_book(max: u16) -> u8 {
    match max {
        0 => ZERO,
        1 => 1,
        2 => 3,
        3..=4 => 5,
        5..=7 => 7,
        8..=12 => 9,
        _ => ESCAPE,
    }
}

/// Bits that `values`, whole quadruples, take in book `first` and in the one after it, signs and escape sequences
/// included. `first` is of [`first_book`].
pub(crate) fn sizes(first: u8, values: &[i16]) -> [u32; 2] {
    // Both lengths are added up in one word.
    let sum = match first {
        ZERO => return [0; 2],
        1 => quadruples(values).map(|q| SIZES_1_2[signed_quadruple(q)]).sum::<u32>(),
        3 => quadruples(values).map(|q| SIZES_3_4[quadruple(q)]).sum(),
        5 => pairs(values).map(|p| SIZES_5_6[signed_pair(p)]).sum(),
        7 => pairs(values).map(|p| SIZES_7_8[pair::<8>(p)]).sum(),
        9 => pairs(values).map(|p| SIZES_9_10[pair::<13>(p)]).sum(),
        _ => {
            let size = escape::size(values);
            return [size; 2];
        }
    };
    [sum & 0xffff, sum >> 16]
}

/// Writes `values`, whole quadruples, in `book`, which holds them.
pub(crate) fn write(book: u8, values: &[i16], out: &mut BitWriter) {
    match book {
        ZERO => {}
        1 => quadruples(values).for_each(|q| put(tables::BOOK_1[signed_quadruple(q)], [], out)),
        2 => quadruples(values).for_each(|q| put(tables::BOOK_2[signed_quadruple(q)], [], out)),
        3 => quadruples(values).for_each(|q| put(tables::BOOK_3[quadruple(q)], q, out)),
        4 => quadruples(values).for_each(|q| put(tables::BOOK_4[quadruple(q)], q, out)),
        5 => pairs(values).for_each(|p| put(tables::BOOK_5[signed_pair(p)], [], out)),
        6 => pairs(values).for_each(|p| put(tables::BOOK_6[signed_pair(p)], [], out)),
        7 => pairs(values).for_each(|p| put(tables::BOOK_7[pair::<8>(p)], p, out)),
        8 => pairs(values).for_each(|p| put(tables::BOOK_8[pair::<8>(p)], p, out)),
        9 => pairs(values).for_each(|p| put(tables::BOOK_9[pair::<13>(p)], p, out)),
        10 => pairs(values).for_each(|p| put(tables::BOOK_10[pair::<13>(p)], p, out)),
        _ => escape::write(values, out),
    }
}

/// Writes a difference between scale factors, within -60..=60.
pub(crate) fn write_difference(difference: i32, out: &mut BitWriter) {
    put(tables::SCALE_FACTORS[(difference + DIFFERENCE_MAX) as usize], [], out);
}

fn quadruples(values: &[i16]) -> impl Iterator<Item = [i16; 4]> {
    values.as_chunks::<4>().0.iter().copied()
}

fn pairs(values: &[i16]) -> impl Iterator<Item = [i16; 2]> {
    values.as_chunks::<2>().0.iter().copied()
}

#[inline(always)]
fn signed_quadruple([a, b, c, d]: [i16; 4]) -> usize {
    (27 * (i32::from(a) + 1) + 9 * (i32::from(b) + 1) + 3 * (i32::from(c) + 1) + i32::from(d) + 1) as usize
}

#[inline(always)]
fn quadruple(values: [i16; 4]) -> usize {
    let [a, b, c, d] = values.map(|value| usize::from(value.unsigned_abs()));
    27 * a + 9 * b + 3 * c + d
}

#[inline(always)]
fn signed_pair([a, b]: [i16; 2]) -> usize {
    (9 * (i32::from(a) + 4) + i32::from(b) + 4) as usize
}

#[inline(always)]
fn pair<const MODULUS: usize>([a, b]: [i16; 2]) -> usize {
    MODULUS * usize::from(a.unsigned_abs()) + usize::from(b.unsigned_abs())
}

/// Writes an entry of a book and the signs of the `values` that are not 0.
#[inline(always)]
fn put<const N: usize>(entry: u32, values: [i16; N], out: &mut BitWriter) {
    let (mut bits, mut count) = (entry & ((1 << LENGTH_SHIFT) - 1), entry >> LENGTH_SHIFT);
    for value in values {
        let is_signed = u32::from(value != 0);
        bits = bits << is_signed | u32::from(value < 0);
        count += is_signed;
    }
    out.put(bits.into(), count);
}

static SIZES_1_2: [u32; 81] = pair_sizes(&tables::BOOK_1, &tables::BOOK_2, 0);
static SIZES_3_4: [u32; 81] = pair_sizes(&tables::BOOK_3, &tables::BOOK_4, 3);
static SIZES_5_6: [u32; 81] = pair_sizes(&tables::BOOK_5, &tables::BOOK_6, 0);
static SIZES_7_8: [u32; 64] = pair_sizes(&tables::BOOK_7, &tables::BOOK_8, 8);
static SIZES_9_10: [u32; 169] = pair_sizes(&tables::BOOK_9, &tables::BOOK_10, 13);

/// Lengths in two books, the second's above the first's, with signs of the digits that are not 0 where the index is a
/// number of base `modulus`; 0: signs are in the words.
const fn pair_sizes<const N: usize>(first: &[u32; N], second: &[u32; N], modulus: usize) -> [u32; N] {
    let mut sizes = [0; N];
    let mut index = 0;
    while index < N {
        let (mut signs, mut rest) = (0, index);
        while modulus > 0 && rest > 0 {
            signs += (rest % modulus != 0) as u32;
            rest /= modulus;
        }
        sizes[index] =
            ((first[index] >> LENGTH_SHIFT) + signs) | ((second[index] >> LENGTH_SHIFT) + signs) << 16;
        index += 1;
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOKS: [(u8, &[u32]); 12] = [
        (1, &tables::BOOK_1),
        (2, &tables::BOOK_2),
        (3, &tables::BOOK_3),
        (4, &tables::BOOK_4),
        (5, &tables::BOOK_5),
        (6, &tables::BOOK_6),
        (7, &tables::BOOK_7),
        (8, &tables::BOOK_8),
        (9, &tables::BOOK_9),
        (10, &tables::BOOK_10),
        (11, &tables::BOOK_11),
        (0, &tables::SCALE_FACTORS),
    ];

    #[test]
    fn every_book_is_a_complete_prefix_code() {
        for (book, entries) in BOOKS {
            let lengths = entries.iter().map(|entry| entry >> LENGTH_SHIFT);
            // Kraft: a code without prefixes that leaves nothing unused.
            assert_eq!(lengths.map(|length| 1_u64 << (32 - length)).sum::<u64>(), 1 << 32, "book {book}");
            let mut starts: Vec<u64> = entries
                .iter()
                .map(|entry| u64::from(entry & 0xff_ffff) << (32 - (entry >> LENGTH_SHIFT)))
                .collect();
            starts.sort_unstable();
            let distinct = starts.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(distinct && starts[0] == 0, "book {book}");
        }
    }

    /// Bits that `values` take in `book`, which holds them.
    fn size(book: u8, values: &[i16]) -> u32 {
        match book {
            ZERO => 0,
            ESCAPE => sizes(ESCAPE, values)[0],
            _ => sizes((book - 1) | 1, values)[usize::from(book.is_multiple_of(2))],
        }
    }

    #[test]
    fn sizes_are_what_is_written() {
        for book in 1..=ESCAPE {
            let max = [1, 1, 2, 2, 4, 4, 7, 7, 12, 12, VALUE_MAX as i16][usize::from(book) - 1];
            for seed in 0..2_000_i32 {
                let values: Vec<i16> = (0..8)
                    .map(|n| {
                        let value = (seed * 7_919 + n * 104_729 + seed * n * 31) % (i32::from(max) + 1);
                        let value = if n % 3 == seed % 3 { value } else { value % 17 };
                        if (seed + n) % 2 == 0 { value as i16 } else { -value as i16 }
                    })
                    .collect();
                let mut out = [0; 64];
                let mut writer = BitWriter::new(&mut out);
                write(book, &values, &mut writer);
                assert_eq!(writer.count(), size(book, &values) as usize, "book {book}: {values:?}");
            }
        }
    }
}
