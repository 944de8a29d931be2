//! The coded values of one channel: quantized lines, scale factors, and the sections that share a code book
//! (ISO/IEC 14496-3 §4.6.2, §4.6.3).

use crate::bit_writer::BitWriter;
use crate::codebook::{self, DIFFERENCE_MAX, ESCAPE, ZERO};
use crate::layout::{BANDS_MAX, Layout, WindowSequence};
use crate::mdct::LINES_MAX;
use crate::quantizer;

/// Bands in a row with one code book.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Section {
    /// First band, and the one behind the last.
    start: u8,
    end: u8,
    /// The first of the pair of books that holds it.
    first_book: u8,
    /// Bits in either book of the pair, as far as there is a choice: bands that need escape sequences are in their book
    /// whatever is joined, and count nothing.
    sizes: [u32; 2],
}

/// One channel of a frame.
pub(crate) struct Channel {
    values: [i16; LINES_MAX],
    scale_factors: [u8; BANDS_MAX],
    sections: [Section; BANDS_MAX],
    section_count: usize,
}

/// The scale factor of a band in which all is 0; no other band has one so low.
const UNUSED: u8 = 0;

/// Longest section whose book is raised to that of its neighbour, in lines: what is saved is a few bits.
const RAISED_LINES_MAX: usize = 48;

impl Channel {
    pub(crate) const EMPTY: Self = Self {
        values: [0; LINES_MAX],
        scale_factors: [0; BANDS_MAX],
        sections: [Section { start: 0, end: 0, first_book: ZERO, sizes: [0; 2] }; BANDS_MAX],
        section_count: 0,
    };

    /// Quantizes and finds sections. `peaks` are the greatest powers of each band.
    pub(crate) fn code(
        &mut self,
        layout: &Layout,
        lines: &[f32],
        powers: &[f32],
        peaks: &[f32],
        scale_factors: &[u8],
    ) {
        self.section_count = 0;
        for group in 0..layout.groups().len() {
            // §4.4.2.7: sections end with their group.
            let first_section = self.section_count;
            for band in group * layout.group_bands..(group + 1) * layout.group_bands {
                let section = self.code_band(layout, band, lines, powers, peaks[band], scale_factors[band]);
                self.push(layout, section, first_section);
            }
        }
    }

    fn code_band(
        &mut self,
        layout: &Layout,
        band: usize,
        lines: &[f32],
        powers: &[f32],
        peak: f32,
        scale_factor: u8,
    ) -> Section {
        let factor = quantizer::factor(scale_factor);
        let range = layout.band(band);
        let values = &mut self.values[range.clone()];
        let first_book = codebook::first_book(quantizer::magnitude(peak, factor));
        if first_book == ZERO {
            values.fill(0);
        } else {
            quantizer::quantize(&lines[range.clone()], &powers[range], factor, values);
        }
        let sizes = if first_book == ESCAPE { [0; 2] } else { codebook::sizes(first_book, values) };
        self.scale_factors[band] = if first_book == ZERO { UNUSED } else { scale_factor };
        Section { start: band as u8, end: band as u8 + 1, first_book, sizes }
    }

    /// All of `values` in one book, for tests.
    #[cfg(test)]
    pub(crate) fn in_book(layout: &Layout, values: &[i16], scale_factor: u8, book: u8) -> Self {
        let mut channel = Self::EMPTY;
        channel.values[..values.len()].copy_from_slice(values);
        channel.scale_factors[..layout.bands()].fill(scale_factor);
        let first_book = if book == ESCAPE { book } else { (book - 1) | 1 };
        let sizes = if book == first_book { [0, 1] } else { [1, 0] };
        channel.sections[0] = Section { start: 0, end: layout.bands() as u8, first_book, sizes };
        channel.section_count = 1;
        channel
    }

    /// All bands 0.
    pub(crate) fn code_silence(&mut self, layout: &Layout) {
        self.section_count = 0;
        for group in 0..layout.groups().len() {
            let start = (group * layout.group_bands) as u8;
            let end = start + layout.group_bands as u8;
            if end > start {
                self.sections[group] = Section { start, end, first_book: ZERO, sizes: [0; 2] };
                self.section_count += 1;
            }
        }
    }

    /// Appends a section and joins it with those before it, from `first` on, as long as that saves bits.
    fn push(&mut self, layout: &Layout, mut section: Section, first: usize) {
        if section.first_book == ESCAPE
            && let Some(last) = self.sections[first..self.section_count].last_mut()
            && last.first_book == ESCAPE
        {
            // What lies before was not worth raising to this book, and is not now: that hangs on its own length alone.
            last.end = section.end;
            return;
        }
        while self.section_count > first
            && let Some(joined) = self.join(layout, self.sections[self.section_count - 1], section)
        {
            section = joined;
            self.section_count -= 1;
        }
        self.sections[self.section_count] = section;
        self.section_count += 1;
    }

    /// Both in one, unless that is dearer.
    fn join(&self, layout: &Layout, before: Section, after: Section) -> Option<Section> {
        let first_book = before.first_book.max(after.first_book);
        let (mut sizes, mut scale_factors) = ([0; 2], 0);
        for section in [before, after] {
            let of_section = if section.first_book == first_book {
                section.sizes
            } else {
                let lines = section.lines(layout);
                if lines.len() > RAISED_LINES_MAX {
                    return None;
                }
                if section.first_book == ZERO {
                    // A scale factor for each band, that of the band before.
                    scale_factors += u32::from(section.end - section.start);
                }
                codebook::sizes(first_book, &self.values[lines])
            };
            sizes = [sizes[0] + of_section[0], sizes[1] + of_section[1]];
        }
        let joined = Section { start: before.start, end: after.end, first_book, sizes };
        let apart = before.least() + after.least() + header_bits(layout);
        (joined.least() + scale_factors <= apart).then_some(joined)
    }

    /// Of the bands that have one. Those that hold nothing but 0 and have a book all the same have that of the band
    /// before, which is the cheapest.
    fn coded_scale_factors(&self) -> impl Iterator<Item = u8> {
        let coded = self.sections[..self.section_count].iter().filter(|section| section.first_book != ZERO);
        let mut last = self.global_gain();
        coded.flat_map(|section| &self.scale_factors[section.bands()]).map(move |&scale_factor| {
            if scale_factor != UNUSED {
                debug_assert!(scale_factor.abs_diff(last) <= DIFFERENCE_MAX as u8);
                last = scale_factor;
            }
            last
        })
    }

    /// `global_gain` (§4.4.2.7): the first scale factor that there is.
    pub(crate) fn global_gain(&self) -> u8 {
        let coded = self.sections[..self.section_count].iter().filter(|section| section.first_book != ZERO);
        let mut scale_factors = coded.flat_map(|section| &self.scale_factors[section.bands()]);
        *scale_factors.find(|&&scale_factor| scale_factor != UNUSED).unwrap_or(&UNUSED)
    }

    /// `section_data` and `scale_factor_data` (§4.4.2.7).
    pub(crate) fn write_side(&self, layout: &Layout, out: &mut BitWriter) {
        let (bits, escape) = (length_bits(layout), (1 << length_bits(layout)) - 1);
        for section in &self.sections[..self.section_count] {
            out.put(section.book().into(), 4);
            let mut length = u32::from(section.end - section.start);
            while length >= escape {
                out.put(escape.into(), bits);
                length -= escape;
            }
            out.put(length.into(), bits);
        }
        let mut last = i32::from(self.global_gain());
        for scale_factor in self.coded_scale_factors() {
            codebook::write_difference(i32::from(scale_factor) - last, out);
            last = scale_factor.into();
        }
    }

    /// `spectral_data` (§4.4.2.7).
    pub(crate) fn write_spectrum(&self, layout: &Layout, out: &mut BitWriter) {
        for section in &self.sections[..self.section_count] {
            codebook::write(section.book(), &self.values[section.lines(layout)], out);
        }
    }
}

impl Section {
    fn bands(&self) -> std::ops::Range<usize> {
        self.start.into()..self.end.into()
    }

    fn lines(&self, layout: &Layout) -> std::ops::Range<usize> {
        layout.band(self.start.into()).start..layout.band(usize::from(self.end) - 1).end
    }

    fn least(&self) -> u32 {
        self.sizes[0].min(self.sizes[1])
    }

    fn book(&self) -> u8 {
        self.first_book + u8::from(self.sizes[1] < self.sizes[0])
    }
}

fn length_bits(layout: &Layout) -> u32 {
    if layout.sequence == WindowSequence::EightShort { 3 } else { 5 }
}

fn header_bits(layout: &Layout) -> u32 {
    4 + length_bits(layout)
}
