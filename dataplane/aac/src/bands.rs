//! Scale factor bands (ISO/IEC 14496-3 tables 4.129 to 4.147): where each begins, and where the last one ends.

/// Bands of one sampling rate.
pub(crate) struct Bands {
    /// Of long windows.
    pub(crate) long: &'static [u16],
    /// Of short windows.
    pub(crate) short: &'static [u16],
}

/// Most scale factor bands of a long window.
pub(crate) const LONG_BANDS_MAX: usize = 51;

impl Bands {
    /// The bands of an output rate.
    pub(crate) fn of(sample_rate_hz: u32) -> Self {
        let (long, short): (&[u16], &[u16]) = match sample_rate_hz {
            44_100.. => (&LONG_48, &SHORT_48),
            32_000.. => (&LONG_32, &SHORT_48),
            22_050.. => (&LONG_24, &SHORT_24),
            11_025.. => (&LONG_16, &SHORT_16),
            _ => (&LONG_8, &SHORT_8),
        };
        Self { long, short }
    }
}

/// 44.1 and 48 kHz.
static LONG_48: [u16; 50] = [
    0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 48, 56, 64, 72, 80, 88, 96, 108, 120, 132, 144, 160, 176, 196,
    216, 240, 264, 292, 320, 352, 384, 416, 448, 480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800, 832,
    864, 896, 928, 1024,
];

/// 32 kHz: as at 48 kHz up to line 928.
static LONG_32: [u16; 52] = [
    0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 48, 56, 64, 72, 80, 88, 96, 108, 120, 132, 144, 160, 176, 196,
    216, 240, 264, 292, 320, 352, 384, 416, 448, 480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800, 832,
    864, 896, 928, 960, 992, 1024,
];

/// 22.05 and 24 kHz.
static LONG_24: [u16; 48] = [
    0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 52, 60, 68, 76, 84, 92, 100, 108, 116, 124, 136, 148, 160,
    172, 188, 204, 220, 240, 260, 284, 308, 336, 364, 396, 432, 468, 508, 552, 600, 652, 704, 768, 832, 896,
    960, 1024,
];

/// 11.025, 12 and 16 kHz.
static LONG_16: [u16; 44] = [
    0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 100, 112, 124, 136, 148, 160, 172, 184, 196, 212, 228, 244,
    260, 280, 300, 320, 344, 368, 396, 424, 456, 492, 532, 572, 616, 664, 716, 772, 832, 896, 960, 1024,
];

/// 8 kHz.
static LONG_8: [u16; 41] = [
    0, 12, 24, 36, 48, 60, 72, 84, 96, 108, 120, 132, 144, 156, 172, 188, 204, 220, 236, 252, 268, 288, 308,
    328, 348, 372, 396, 420, 448, 476, 508, 544, 580, 620, 664, 712, 764, 820, 880, 944, 1024,
];

/// 32, 44.1 and 48 kHz.
static SHORT_48: [u16; 15] = [0, 4, 8, 12, 16, 20, 28, 36, 44, 56, 68, 80, 96, 112, 128];

/// 22.05 and 24 kHz.
static SHORT_24: [u16; 16] = [0, 4, 8, 12, 16, 20, 24, 28, 36, 44, 52, 64, 76, 92, 108, 128];

/// 11.025, 12 and 16 kHz.
static SHORT_16: [u16; 16] = [0, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 60, 72, 88, 108, 128];

/// 8 kHz.
static SHORT_8: [u16; 16] = [0, 4, 8, 12, 16, 20, 24, 28, 36, 44, 52, 60, 72, 88, 108, 128];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rates::OUTPUT_RATES_HZ;

    #[test]
    fn bands_cover_every_line_in_whole_quadruples() {
        for rate_hz in OUTPUT_RATES_HZ {
            let bands = Bands::of(rate_hz);
            for (offsets, end) in [(bands.long, 1024), (bands.short, 128)] {
                assert_eq!((offsets[0], offsets.last()), (0, Some(&end)));
                assert!(offsets.windows(2).all(|pair| pair[0] < pair[1] && (pair[1] - pair[0]) % 4 == 0));
            }
            assert!(bands.long.len() <= LONG_BANDS_MAX + 1);
        }
    }
}
