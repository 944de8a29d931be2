//! Bits into bytes, the first one highest (ISO/IEC 14496-3 §4.4, `bslbf` and `uimsbf`).

/// Writes to the front of a buffer.
pub(crate) struct BitWriter<'a> {
    out: &'a mut [u8],
    /// Bytes that are written out.
    len: usize,
    /// The lowest `waiting` bits are not yet: fewer than 32.
    bits: u64,
    waiting: u32,
}

impl<'a> BitWriter<'a> {
    /// What does not fit into `out` is dropped; the caller knows the length beforehand.
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0, bits: 0, waiting: 0 }
    }

    /// Writes the lowest `count` bits of `value`, at most 32; those above must be 0.
    #[inline(always)]
    pub(crate) fn put(&mut self, value: u32, count: u32) {
        debug_assert!(count <= 32 && u64::from(value) >> count == 0);
        self.bits = self.bits << count | u64::from(value);
        self.waiting += count;
        if self.waiting >= 32 {
            self.waiting -= 32;
            let word = (self.bits >> self.waiting) as u32;
            if let Some(out) = self.out.get_mut(self.len..self.len + 4) {
                out.copy_from_slice(&word.to_be_bytes());
            }
            self.len += 4;
        }
    }

    /// Bits written so far.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.len * 8 + self.waiting as usize
    }

    /// Fills the last byte up with 0 and says how many bytes there are.
    pub(crate) fn finish(mut self) -> usize {
        let bytes = self.waiting.div_ceil(8) as usize;
        let word = (self.bits << (64 - self.waiting.max(1))).to_be_bytes();
        if self.waiting > 0
            && let Some(out) = self.out.get_mut(self.len..self.len + bytes)
        {
            out.copy_from_slice(&word[..bytes]);
        }
        self.len += bytes;
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_follow_one_another_highest_first() {
        let mut out = [0xff; 16];
        let mut writer = BitWriter::new(&mut out);
        for (value, count) in [(0b101, 3), (0, 0), (0xdead_beef, 32), (1, 1), (0x1234, 16), (0b11, 2)] {
            writer.put(value, count);
        }
        assert_eq!(writer.count(), 54);
        assert_eq!(writer.finish(), 7);
        let expected = 0b101_u64 << 51 | 0xdead_beef << 19 | 1 << 18 | 0x1234 << 2 | 0b11;
        assert_eq!(out[..7], (expected << 10).to_be_bytes()[..7]);
        assert_eq!(out[7], 0xff);
    }

    #[test]
    fn what_has_no_room_is_dropped() {
        let mut out = [0; 3];
        let mut writer = BitWriter::new(&mut out);
        writer.put(0x0102_0304, 32);
        writer.put(0x05, 8);
        assert_eq!(writer.finish(), 5);
        assert_eq!(BitWriter::new(&mut out).finish(), 0);
    }
}
