//! Audio payload formats in `a=rtpmap` and `a=fmtp`: Opus (RFC 7587 §6, §7), Speex (RFC 5574 §4), G.722 and G.711
//! (RFC 3551 §4.5, §6), comfort noise (RFC 3389 §4), telephone-event (RFC 4733 §2.4, §7).
//! Takes: codecs and names. Gives: the text of our lines, what the peer's lines mean, payload types.
//! Leaves out: which are offered (`options`) and in which line they stand (`offer`).

use sipcast_contract::media::AudioCodec;

use super::options::OfferOptions;

/// Payload type of comfort noise at 8 kHz (RFC 3551 §6).
pub(crate) const COMFORT_NOISE: u8 = 13;
/// What `a=fmtp` of telephone-event says: digits, `*`, `#`, A-D and flash (RFC 4733 §3.2).
pub(crate) const EVENTS: &str = "0-16";
/// Sound in one packet that we send and take (`a=ptime`, `a=maxptime`), in milliseconds.
pub(crate) const PACKET_TIME_MS: std::ops::RangeInclusive<u16> = 10..=60;
/// `a=ptime` of a peer that names none (RFC 3551 §4.2).
pub(crate) const PACKET_TIME_MS_DEFAULT: u16 = 20;

/// Our payload type for a codec: the static one where there is one, else one of the dynamic range that devices seen
/// so far use for nothing else.
pub(crate) const fn payload_type(codec: AudioCodec) -> u8 {
    match codec {
        AudioCodec::Pcmu => 0,
        AudioCodec::Pcma => 8,
        AudioCodec::G722 => 9,
        AudioCodec::Opus => 107,
        AudioCodec::SpeexWideband => 108,
        AudioCodec::SpeexUltraWideband => 109,
        AudioCodec::SpeexNarrowband => 110,
    }
}

/// Our telephone-event payload type for a clock rate: 101 at 8 kHz, which some devices take for fixed.
pub(crate) const fn event_payload_type(clock_rate_hz: u32) -> u8 {
    match clock_rate_hz {
        48_000 => 102,
        16_000 => 103,
        32_000 => 104,
        _ => 101,
    }
}

/// Encoding name, clock rate and channels. RFC 7587 §7: Opus always says 48000/2.
pub(crate) const fn rtpmap(codec: AudioCodec) -> &'static str {
    match codec {
        AudioCodec::Pcmu => "PCMU/8000",
        AudioCodec::Pcma => "PCMA/8000",
        AudioCodec::G722 => "G722/8000",
        AudioCodec::SpeexNarrowband => "speex/8000",
        AudioCodec::SpeexWideband => "speex/16000",
        AudioCodec::SpeexUltraWideband => "speex/32000",
        AudioCodec::Opus => "opus/48000/2",
    }
}

/// Format parameters that ask the peer for the best sound: Opus with error correction in band and no pauses, Speex
/// with a variable bit rate.
pub(crate) const fn parameters(codec: AudioCodec, options: &OfferOptions) -> Option<&'static str> {
    match codec {
        AudioCodec::Opus if options.opus_stereo => Some("useinbandfec=1;usedtx=0;stereo=1"),
        AudioCodec::Opus => Some("useinbandfec=1;usedtx=0"),
        AudioCodec::SpeexNarrowband | AudioCodec::SpeexWideband | AudioCodec::SpeexUltraWideband => {
            Some("vbr=on")
        }
        AudioCodec::Pcmu | AudioCodec::Pcma | AudioCodec::G722 => None,
    }
}

/// The codec that an `rtpmap` names, if it is one of ours. `name` in upper case.
pub(crate) fn codec(name: &str, clock_rate_hz: u32, channels: u32) -> Option<AudioCodec> {
    match (name, clock_rate_hz, channels) {
        ("PCMU" | "G711U", 8_000, 1) => Some(AudioCodec::Pcmu),
        ("PCMA" | "G711A", 8_000, 1) => Some(AudioCodec::Pcma),
        // RFC 3551 §4.5.2 keeps the clock at 8000 for history's sake; some devices write what they sample at.
        ("G722", 8_000 | 16_000, 1) => Some(AudioCodec::G722),
        ("SPEEX", 8_000, 1) => Some(AudioCodec::SpeexNarrowband),
        ("SPEEX", 16_000, 1) => Some(AudioCodec::SpeexWideband),
        ("SPEEX", 32_000, 1) => Some(AudioCodec::SpeexUltraWideband),
        // Without the channels it is wrong, and yet common.
        ("OPUS", 48_000, 1 | 2) => Some(AudioCodec::Opus),
        _ => None,
    }
}

/// The codec of a payload type without `rtpmap` (RFC 3551 §6).
pub(crate) const fn static_codec(payload_type: u8) -> Option<AudioCodec> {
    match payload_type {
        0 => Some(AudioCodec::Pcmu),
        8 => Some(AudioCodec::Pcma),
        9 => Some(AudioCodec::G722),
        _ => None,
    }
}

/// Packet time from the values of `a=ptime` and `a=maxptime`, within what we send.
pub(crate) fn packet_time_ms(ptime: Option<&str>, maxptime: Option<&str>) -> u16 {
    let read = |text: &str| -> Option<u16> {
        // Whole milliseconds; some devices write "20.0", some a list of which the first is meant.
        let end = text.trim().find(|c: char| !c.is_ascii_digit()).unwrap_or(text.trim().len());
        text.trim()[..end].parse().ok().filter(|ms| *ms > 0)
    };
    let wanted = ptime.and_then(read).unwrap_or(PACKET_TIME_MS_DEFAULT);
    let limit = maxptime.and_then(read).unwrap_or(u16::MAX);
    wanted.min(limit).clamp(*PACKET_TIME_MS.start(), *PACKET_TIME_MS.end())
}

#[cfg(test)]
mod tests {
    use super::super::options::AudioCodecs;
    use super::*;

    #[test]
    fn what_we_write_is_what_we_read() {
        let mut numbers = Vec::new();
        for one in AudioCodecs::ALL {
            let parts: Vec<String> = rtpmap(one).to_ascii_uppercase().split('/').map(str::to_owned).collect();
            let channels = parts.get(2).map_or(1, |channels| channels.parse().unwrap());
            assert_eq!(codec(&parts[0], parts[1].parse().unwrap(), channels), Some(one));
            numbers.push(payload_type(one));
        }
        numbers.extend([8_000, 16_000, 32_000, 48_000].map(event_payload_type));
        numbers.push(COMFORT_NOISE);
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 12, "each payload type once");
    }

    #[test]
    fn packet_times_stay_in_range() {
        for (ptime, maxptime, ms) in [
            (None, None, 20),
            (Some("30"), None, 30),
            (Some(" 20.0"), None, 20),
            (Some("40"), Some("30"), 30),
            (Some("5"), None, 10),
            (Some("200"), None, 60),
            (Some("0"), None, 20),
            (Some("99999999"), Some("x"), 20),
            (None, Some("10"), 10),
        ] {
            assert_eq!(packet_time_ms(ptime, maxptime), ms, "{ptime:?} {maxptime:?}");
        }
    }
}
