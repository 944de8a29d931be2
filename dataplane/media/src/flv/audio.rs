//! FLV audio tag bodies with AAC, G.711 and Speex (Annex E.4.2), and AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1).

/// `SoundFormat` of the sounds that are published (E.4.2.1); its value is also `audiocodecid` of `onMetaData`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SoundFormat {
    /// G.711 A-law, 8 kHz, mono.
    ALaw = 7,
    /// G.711 mu-law, 8 kHz, mono.
    MuLaw = 8,
    /// AAC.
    #[default]
    Aac = 10,
    /// Speex wideband: 16 kHz, mono.
    Speex = 11,
}

impl SoundFormat {
    /// The byte before the sound of a format that has no packet type. SoundRate 0, SoundSize 1 (16 bit) and SoundType 0
    /// (mono) as E.4.2.1 wants for Speex; the rate of G.711 is known by its format.
    pub const fn header(self) -> [u8; 1] {
        [(self as u8) << 4 | 0b0010]
    }
}

/// Before a raw AAC frame: AAC, 44 kHz, 16 bit, stereo (fixed for AAC, whatever it holds), packet type 1.
pub const RAW_HEADER: [u8; 2] = [0xaf, 1];

/// Before an AudioSpecificConfig: the same with packet type 0.
pub const SEQUENCE_HEADER: [u8; 2] = [0xaf, 0];

/// AudioSpecificConfig of AAC-LC in frames of 1024 samples. `None` when the sampling rate in Hz has no index or
/// the channels are none of 1..=7.
pub fn audio_specific_config(sample_rate_hz: u32, channels: u8) -> Option<[u8; 2]> {
    let index = SAMPLE_RATES_HZ.iter().position(|&rate| rate == sample_rate_hz)? as u8;
    if !(1..=7).contains(&channels) {
        return None;
    }
    // 5 bits object type, 4 bits rate index, 4 bits channels, then frame length, core coder, extension: all 0.
    Some([AAC_LC << 3 | index >> 1, index << 7 | channels << 3])
}

/// Sampling rate in Hz and channels that an AudioSpecificConfig of AAC-LC names; `None` for other objects, rates by
/// value and channel layouts of their own.
pub fn parse_audio_specific_config(config: &[u8]) -> Option<(u32, u8)> {
    let &[first, second, ..] = config else { return None };
    let rate = *SAMPLE_RATES_HZ.get(usize::from((first & 0b111) << 1 | second >> 7))?;
    let channels = second >> 3 & 0b1111;
    (first >> 3 == AAC_LC && (1..=7).contains(&channels)).then_some((rate, channels))
}

/// Appends the tag body that carries an AudioSpecificConfig.
pub fn write_sequence_header(out: &mut Vec<u8>, config: &[u8]) {
    out.extend_from_slice(&SEQUENCE_HEADER);
    out.extend_from_slice(config);
}

/// Whether a tag body carries an AudioSpecificConfig.
pub fn is_sequence_header(body: &[u8]) -> bool {
    matches!(body, [format, 0, ..] if format >> 4 == 10)
}

const AAC_LC: u8 = 2;
/// ISO/IEC 14496-3 table 1.18.
const SAMPLE_RATES_HZ: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_configurations() {
        assert_eq!(audio_specific_config(44_100, 2), Some([0x12, 0x10]));
        assert_eq!(audio_specific_config(48_000, 1), Some([0x11, 0x88]));
        assert_eq!(audio_specific_config(8_000, 1), Some([0x15, 0x88]));
        assert_eq!(audio_specific_config(44_000, 1), None);
        assert_eq!(audio_specific_config(48_000, 0), None);
        for (rate, channels) in [(44_100, 2), (48_000, 1), (8_000, 1)] {
            let config = audio_specific_config(rate, channels).expect("known");
            assert_eq!(parse_audio_specific_config(&config), Some((rate, channels)));
        }
        assert_eq!(parse_audio_specific_config(&[0x12]), None);
        assert_eq!(parse_audio_specific_config(&[0x2a, 0x10]), None, "HE-AAC");
    }

    #[test]
    fn headers_name_their_format() {
        assert_eq!(
            [SoundFormat::ALaw, SoundFormat::MuLaw, SoundFormat::Speex].map(|f| f.header()[0]),
            [0x72, 0x82, 0xb2]
        );
        assert!(
            ![SoundFormat::ALaw, SoundFormat::MuLaw, SoundFormat::Speex]
                .iter()
                .any(|format| is_sequence_header(&format.header()))
        );
    }

    #[test]
    fn sequence_headers_are_told_apart() {
        let mut body = Vec::new();
        write_sequence_header(&mut body, &[0x12, 0x10]);
        assert_eq!(body, [0xaf, 0, 0x12, 0x10]);
        assert!(is_sequence_header(&body));
        assert!(!is_sequence_header(&RAW_HEADER));
        assert!(!is_sequence_header(&[0x2f, 0]) && !is_sequence_header(&[]));
    }
}
