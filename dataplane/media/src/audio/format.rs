//! What a codec decodes to, and the units that all of them share.

use sipcast_codec::aac::PcmFormat;
use sipcast_codec::{g711, g722, opus};
use sipcast_contract::media::AudioCodec;

/// Units of the broadcast's timeline in a second: samples and RTP clocks of 8, 16, 32 and 48 kHz are whole numbers of
/// them.
pub(super) const TICKS_PER_SECOND: u32 = 96_000;

/// Samples of all codecs lie on its multiples: one sample of 8 kHz.
pub(super) const TICK_GRID: u64 = TICKS_PER_SECOND as u64 / 8_000;

/// PCM as it waits for the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// Hz, one of 8000, 16000, 32000 and 48000.
    pub(super) rate_hz: u32,
    /// 1 or 2, interleaved.
    pub(super) channels: usize,
}

impl Format {
    /// Before anything came.
    pub(super) const INITIAL: Self = Self { rate_hz: g711::SAMPLE_RATE_HZ, channels: 1 };

    /// What `codec` decodes to when `channels` are wanted.
    pub(super) const fn of(codec: AudioCodec, channels: u8) -> Self {
        let rate_hz = match codec {
            AudioCodec::Pcmu | AudioCodec::Pcma => g711::SAMPLE_RATE_HZ,
            AudioCodec::G722 => g722::SAMPLE_RATE_HZ,
            // RFC 5574 §3.1: the clock's rate is the sampling rate.
            AudioCodec::SpeexNarrowband | AudioCodec::SpeexWideband | AudioCodec::SpeexUltraWideband => {
                codec.clock_rate_hz()
            }
            AudioCodec::Opus => opus::SAMPLE_RATE_HZ,
        };
        let channels = if matches!(codec, AudioCodec::Opus) && channels == 2 { 2 } else { 1 };
        Self { rate_hz, channels }
    }

    /// As the encoder names it.
    pub(super) const fn pcm(self) -> PcmFormat {
        PcmFormat { rate_hz: self.rate_hz, channels: self.channels }
    }

    /// Ticks of one sample. Divided by constants: this is asked for with each packet, and a division takes as long as
    /// thirty other instructions.
    pub(super) const fn sample_ticks(self) -> u64 {
        let ticks = match self.rate_hz {
            8_000 => TICKS_PER_SECOND / 8_000,
            16_000 => TICKS_PER_SECOND / 16_000,
            32_000 => TICKS_PER_SECOND / 32_000,
            rate_hz => TICKS_PER_SECOND / rate_hz,
        };
        ticks as u64
    }

    /// Samples a channel of `len` samples.
    pub(super) const fn frames(self, len: usize) -> usize {
        if self.channels == 2 { len / 2 } else { len }
    }

    /// Samples a channel of one block, 20 ms.
    pub(super) const fn block_samples(self) -> usize {
        self.rate_hz as usize / 50
    }
}
