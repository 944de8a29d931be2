//! Which rates the encoder takes and gives, and at which rate it works between them.

/// Sampling rates of the source in Hz.
pub const SOURCE_RATES_HZ: [u32; 4] = [8_000, 16_000, 32_000, 48_000];

/// Sampling rates of the AAC in Hz.
pub const OUTPUT_RATES_HZ: [u32; 6] = [48_000, 44_100, 32_000, 24_000, 16_000, 8_000];

/// How sound of one rate becomes lines of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rates {
    /// In Hz, one of [`SOURCE_RATES_HZ`].
    pub(crate) source_hz: u32,
    /// In Hz, one of [`OUTPUT_RATES_HZ`].
    pub(crate) output_hz: u32,
    /// Output samples for each sample that is worked with: 1, 2 or 4.
    pub(crate) divisor: u32,
}

impl Rates {
    /// Samples that are worked with for so many of the output: shifted, as a division takes as long as a packet's look-up.
    #[inline(always)]
    pub(crate) const fn working(self, output_samples: usize) -> usize {
        output_samples >> self.divisor.trailing_zeros()
    }
}

impl Rates {
    /// The greatest divisor that leaves room for the interpolator's slope above the source's band. `None`: a rate is
    /// not offered.
    pub(crate) fn new(source_hz: u32, output_hz: u32) -> Option<Self> {
        let is_offered = SOURCE_RATES_HZ.contains(&source_hz) && OUTPUT_RATES_HZ.contains(&output_hz);
        let has_room = |divisor: u32| f64::from(output_hz) >= ROOM * f64::from(divisor * source_hz);
        let divisor = [4, 2].into_iter().find(|&divisor| has_room(divisor)).unwrap_or(1);
        is_offered.then_some(Self { source_hz, output_hz, divisor })
    }

    /// The rate that is worked with, in Hz.
    pub(crate) fn working_hz(self) -> f64 {
        f64::from(self.output_hz) / f64::from(self.divisor)
    }

    /// Up to where there is sound that is to be kept, in Hz.
    pub(crate) fn band_hz(self) -> f64 {
        let (source_hz, output_hz) = (f64::from(self.source_hz), f64::from(self.output_hz));
        if source_hz > output_hz { KEPT * output_hz } else { source_hz / 2.0 }
    }

    /// Lines of 1024 that hold that band.
    pub(crate) fn lines(self) -> usize {
        (self.band_hz() * 2.0 * 1024.0 / f64::from(self.output_hz)) as usize
    }
}

/// Least rate to work with over the source's: 11 025 Hz for 8000.
const ROOM: f64 = 1.375;

/// The part of a lower output rate up to which the sound of a higher source rate is kept.
const KEPT: f64 = 0.43;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telephone_sound_is_worked_with_at_a_fourth_of_the_rate() {
        let divisor = |source_hz, output_hz| Rates::new(source_hz, output_hz).map(|rates| rates.divisor);
        assert_eq!([48_000, 44_100, 24_000, 16_000].map(|out| divisor(8_000, out)), [4, 4, 2, 1].map(Some));
        assert_eq!([48_000, 44_100, 32_000].map(|out| divisor(16_000, out)), [2, 2, 1].map(Some));
        assert_eq!([48_000, 44_100, 8_000].map(|out| divisor(48_000, out)), [1; 3].map(Some));
        assert_eq!(divisor(11_025, 48_000).or(divisor(8_000, 11_025)), None);
    }

    #[test]
    fn lines_are_those_of_the_band() {
        assert_eq!(Rates::new(8_000, 48_000).map(Rates::lines), Some(170));
        assert_eq!(Rates::new(16_000, 48_000).map(Rates::lines), Some(341));
        assert_eq!(Rates::new(48_000, 48_000).map(Rates::lines), Some(1024));
        assert_eq!(Rates::new(48_000, 8_000).map(Rates::lines), Some(880));
    }
}
