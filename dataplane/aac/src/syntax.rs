//! The syntax of a raw data block with one channel or a pair (ISO/IEC 14496-3 §4.4.2.1, §4.5.2.1).

use crate::bit_writer::BitWriter;
use crate::channel::Channel;
use crate::layout::{Layout, WindowSequence};
use crate::window::WINDOW_SHAPE;

/// Syntactic elements (`id_syn_ele`).
const SINGLE_CHANNEL: u64 = 0;
const CHANNEL_PAIR: u64 = 1;
const FILL: u64 = 6;
const END: u64 = 7;
const END_BITS: u32 = 3;

/// What a pair of channels holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pair<'a> {
    /// Left and right, or their mean and half their difference, by band.
    Bands(&'a [bool]),
    /// The mean and half the difference in all bands.
    MidSide,
}

/// One frame, coded.
pub(crate) struct Frame<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) channels: &'a [Channel],
    /// For two channels.
    pub(crate) pair: Option<Pair<'a>>,
}

/// How long a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Bits without any filling.
    pub(crate) bits: u32,
    /// Bytes of all.
    pub(crate) len: usize,
}

impl Frame<'_> {
    /// Writes the frame, filled up to `least` bits at least. What does not fit into `out` is counted all the same.
    pub(crate) fn write(&self, least: u32, out: &mut [u8]) -> Written {
        let mut out = BitWriter::new(out);
        out.put(if self.pair.is_some() { CHANNEL_PAIR } else { SINGLE_CHANNEL }, 3);
        out.put(0, 4);
        if let Some(pair) = self.pair {
            // common_window
            out.put(1, 1);
            self.write_info(&mut out);
            match pair {
                Pair::MidSide => out.put(2, 2),
                Pair::Bands(bands) if bands.contains(&true) => {
                    out.put(1, 2);
                    bands.iter().for_each(|&is_mid_side| out.put(is_mid_side.into(), 1));
                }
                Pair::Bands(_) => out.put(0, 2),
            }
        }
        for channel in self.channels {
            out.put(channel.global_gain().into(), 8);
            if self.pair.is_none() {
                self.write_info(&mut out);
            }
            channel.write_side(self.layout, &mut out);
            // pulse_data_present, tns_data_present, gain_control_data_present
            out.put(0, 3);
            channel.write_spectrum(self.layout, &mut out);
        }
        let bits = out.count() as u32 + END_BITS;
        fill(least.next_multiple_of(8).saturating_sub(bits), &mut out);
        out.put(END, END_BITS);
        Written { bits, len: out.finish() }
    }

    fn is_short(&self) -> bool {
        self.layout.sequence == WindowSequence::EightShort
    }

    /// `ics_info` (table 4.6).
    fn write_info(&self, out: &mut BitWriter) {
        let layout = self.layout;
        out.put((layout.sequence as u64) << 1 | WINDOW_SHAPE, 4);
        if self.is_short() {
            out.put(layout.group_bands as u64, 4);
            // A bit for each window after the first: it belongs to the group of the one before.
            let mut grouping = 0;
            for &windows in layout.groups() {
                grouping = grouping << windows | ((1 << (windows - 1)) - 1);
            }
            out.put(grouping, 7);
        } else {
            // predictor_data_present
            out.put((layout.group_bands as u64) << 1, 7);
        }
    }
}

/// Fill elements (§4.5.2.9.4) of `bits` in all, as near as they come: at least 7, in whole bytes beyond that.
fn fill(mut bits: u32, out: &mut BitWriter) {
    /// Greatest count of a fill element.
    const COUNT_MAX: u32 = 269;
    while bits >= 7 {
        out.put(FILL, 3);
        let count = (bits - 7) / 8;
        let count = if count < 15 {
            out.put(count.into(), 4);
            bits -= 7;
            count
        } else {
            let count = (count - 1).min(COUNT_MAX);
            out.put(15, 4);
            out.put((count - 14).into(), 8);
            bits -= 15;
            count
        };
        // The first four bits say that the rest means nothing.
        (0..count).for_each(|_| out.put(0, 8));
        bits -= 8 * count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_elements_have_the_bits_wanted() {
        for bits in 0..6_144 {
            let mut bytes = [0; 800];
            let mut writer = BitWriter::new(&mut bytes);
            fill(bits, &mut writer);
            let filled = writer.count() as u32;
            assert!(filled <= bits && bits - filled < 8, "{filled} of {bits}");
        }
    }
}
