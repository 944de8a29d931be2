//! Where the lines of one frame lie in the order in which they are coded (ISO/IEC 14496-3 §4.5.2.3.4, §4.5.2.3.5).

use crate::bands::{Bands, LONG_BANDS_MAX};
use crate::mdct::LINES_MAX;
use crate::window::SHORT_WINDOWS;

/// Most bands of a frame: eight groups of 15.
pub(crate) const BANDS_MAX: usize = 120;

/// `window_sequence`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WindowSequence {
    #[default]
    OnlyLong = 0,
    LongStart = 1,
    EightShort = 2,
    LongStop = 3,
}

/// Bands of one frame. In a group of short windows, all windows' lines of a band lie together.
pub(crate) struct Layout {
    pub(crate) sequence: WindowSequence,
    /// Bands of a group (`max_sfb`).
    pub(crate) group_bands: usize,
    /// Windows of each group; one of 1 for long windows.
    groups: [u8; SHORT_WINDOWS],
    group_count: usize,
    /// Where each band begins, and where the last one ends.
    offsets: [u16; BANDS_MAX + 1],
}

impl Layout {
    /// A long window of which `lines` lines hold sound.
    pub(crate) fn long(bands: &Bands, sequence: WindowSequence, lines: usize) -> Self {
        let group_bands = bands.long[..bands.long.len() - 1].partition_point(|&at| usize::from(at) < lines);
        let mut offsets = [0; BANDS_MAX + 1];
        offsets[..=group_bands].copy_from_slice(&bands.long[..=group_bands]);
        const { assert!(LONG_BANDS_MAX <= BANDS_MAX) }
        Self { sequence, group_bands, groups: [1, 0, 0, 0, 0, 0, 0, 0], group_count: 1, offsets }
    }

    /// Eight short windows, in groups, of which `lines` lines each hold sound.
    pub(crate) fn short(bands: &Bands, groups: &[u8], lines: usize) -> Self {
        let group_bands = bands.short[..bands.short.len() - 1].partition_point(|&at| usize::from(at) < lines);
        let mut layout = Self {
            sequence: WindowSequence::EightShort,
            group_bands,
            groups: [0; SHORT_WINDOWS],
            group_count: groups.len(),
            offsets: [0; BANDS_MAX + 1],
        };
        layout.groups[..groups.len()].copy_from_slice(groups);
        let (mut band, mut at) = (0, 0);
        for &windows in groups {
            for pair in bands.short[..=group_bands].windows(2) {
                layout.offsets[band] = at;
                at += (pair[1] - pair[0]) * u16::from(windows);
                band += 1;
            }
        }
        layout.offsets[band] = at;
        layout
    }

    pub(crate) fn groups(&self) -> &[u8] {
        &self.groups[..self.group_count]
    }

    /// Bands of all groups.
    pub(crate) fn bands(&self) -> usize {
        self.group_bands * self.group_count
    }

    /// The lines of a band.
    pub(crate) fn band(&self, band: usize) -> std::ops::Range<usize> {
        usize::from(self.offsets[band])..usize::from(self.offsets[band + 1])
    }

    /// Lines of all bands.
    pub(crate) fn lines(&self) -> usize {
        usize::from(self.offsets[self.bands()])
    }

    /// Puts the lines of short windows, `stride` apart and of `lines` lines each, into order.
    pub(crate) fn interleave(
        &self,
        bands: &Bands,
        windows: &[f32; LINES_MAX],
        (stride, lines): (usize, usize),
        out: &mut [f32; LINES_MAX],
    ) {
        let mut out = out.iter_mut();
        let mut first = 0;
        for &count in self.groups() {
            for pair in bands.short[..=self.group_bands].windows(2) {
                for window in first..first + usize::from(count) {
                    let range = usize::from(pair[0])..usize::from(pair[1]);
                    for (line, out) in range.zip(&mut out) {
                        *out = if line < lines { windows[window * stride + line] } else { 0.0 };
                    }
                }
            }
            first += usize::from(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_cover_the_lines_that_hold_sound() {
        let bands = Bands::of(48_000);
        let layout = Layout::long(&bands, WindowSequence::OnlyLong, 170);
        assert_eq!((layout.group_bands, layout.lines(), layout.band(22)), (23, 176, 160..176));
        let layout = Layout::long(&bands, WindowSequence::OnlyLong, 1024);
        assert_eq!((layout.group_bands, layout.lines()), (49, 1024));
        assert_eq!(Layout::long(&bands, WindowSequence::OnlyLong, 0).bands(), 0);
        let layout = Layout::short(&bands, &[3, 5], 21);
        assert_eq!((layout.group_bands, layout.bands(), layout.lines()), (6, 12, 8 * 28));
        assert_eq!((layout.band(0), layout.band(6)), (0..12, 84..104));
    }

    #[test]
    fn lines_of_a_group_lie_together() {
        let bands = Bands::of(48_000);
        let layout = Layout::short(&bands, &[2, 6], 21);
        let windows: [f32; LINES_MAX] = std::array::from_fn(|n| n as f32);
        let mut out = [0.0; LINES_MAX];
        layout.interleave(&bands, &windows, (32, 21), &mut out);
        assert_eq!(out[..9], [0.0, 1.0, 2.0, 3.0, 32.0, 33.0, 34.0, 35.0, 4.0]);
        assert_eq!(out[layout.band(6)][..5], [64.0, 65.0, 66.0, 67.0, 96.0]);
        assert_eq!(out[layout.band(11)][..8], [84.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
