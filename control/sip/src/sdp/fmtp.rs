//! Format parameters (`a=fmtp`) of H.264 (RFC 6184 §8) and their base64 parameter sets.
//! Takes: the text after the payload type. Gives: packetization mode, profile, parameter sets.
//! Leaves out: writing (`offer`) and the meaning of parameter sets (the dataplane reads them).

use bytes::Bytes;

/// Parameter sets taken from one `sprop-parameter-sets`; further ones are ignored.
pub const PARAMETER_SETS_MAX: usize = 32;
/// Bytes of one parameter set; a longer one is ignored.
pub const PARAMETER_SET_BYTES_MAX: usize = 4 * 1024;

/// `profile-level-id` (RFC 6184 §8.1): profile_idc, constraint flags, level_idc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProfileLevelId(pub [u8; 3]);

/// What an H.264 `a=fmtp` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct H264Parameters {
    /// `packetization-mode`; `None`: not named, which means 0. Values past 2 are as if not named.
    pub packetization_mode: Option<u8>,
    /// `None` if missing or malformed: peers get this wrong, and what they send names its profile itself.
    pub profile_level_id: Option<ProfileLevelId>,
    /// NAL units of `sprop-parameter-sets`; those that cannot be read are left out.
    pub parameter_sets: Vec<Bytes>,
}

impl H264Parameters {
    /// Reads the parameters; what is malformed counts as missing.
    pub fn parse(text: &str) -> Self {
        let mut parameters = Self::default();
        for (name, value) in pairs(text) {
            if name.eq_ignore_ascii_case("packetization-mode") {
                parameters.packetization_mode = value.parse().ok().filter(|mode| *mode <= 2);
            } else if name.eq_ignore_ascii_case("profile-level-id") {
                parameters.profile_level_id = profile_level_id(value);
            } else if name.eq_ignore_ascii_case("sprop-parameter-sets") {
                parameters.parameter_sets = parameter_sets(value);
            }
        }
        parameters
    }
}

/// `name=value` pairs at semicolons, and at spaces, which some devices put instead; spaces around `=` and empty
/// parts are forgiven, values may hold `=` (base64 padding).
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(';').flat_map(|part| {
        let mut rest = part;
        std::iter::from_fn(move || {
            let (name, after) = rest.split_once('=')?;
            let after = after.trim_start();
            let end = after.find(|c: char| c.is_ascii_whitespace()).unwrap_or(after.len());
            rest = &after[end..];
            Some((name.trim(), after[..end].trim_matches('"')))
        })
    })
}

fn profile_level_id(text: &str) -> Option<ProfileLevelId> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    if text.len() != 6 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let [_, a, b, c] = u32::from_str_radix(text, 16).ok()?.to_be_bytes();
    Some(ProfileLevelId([a, b, c]))
}

fn parameter_sets(text: &str) -> Vec<Bytes> {
    text.split(',')
        .filter_map(|part| decode_base64(part.trim()))
        .filter(|nal_unit| {
            // A NAL unit without forbidden_zero_bit that is an SPS, PPS or SPS extension (H.264 §7.4.1).
            nal_unit
                .first()
                .is_some_and(|header| header & 0x80 == 0 && matches!(header & 0x1f, 7 | 8 | 13 | 15))
        })
        .take(PARAMETER_SETS_MAX)
        .map(Bytes::from)
        .collect()
}

/// base64 (RFC 4648 §4, §5) as peers write it: either alphabet, padding or none. `None` for anything else.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    if text.len() / 4 * 3 > PARAMETER_SET_BYTES_MAX {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let mut bits = 0_u32;
    let mut bit_count = 0;
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            out.push((bits >> bit_count & 0xff) as u8);
        }
    }
    // One character alone carries no whole byte: the text was cut.
    (text.len() % 4 != 1).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_devices_write() {
        let parameters = H264Parameters::parse(
            "profile-level-id=42801F; packetization-mode = 1;max-fs=3600;;level-asymmetry-allowed=1;\
             sprop-parameter-sets=Z0KAH5WoFAFuQA==,aM48gA==",
        );
        assert_eq!(parameters.packetization_mode, Some(1));
        assert_eq!(parameters.profile_level_id, Some(ProfileLevelId([0x42, 0x80, 0x1f])));
        let sets: Vec<_> = parameters.parameter_sets.iter().map(|set| set[0] & 0x1f).collect();
        assert_eq!(sets, [7, 8]);
        assert_eq!(&parameters.parameter_sets[1][..], [0x68, 0xce, 0x3c, 0x80]);
    }

    #[test]
    fn malformed_values_count_as_missing() {
        for (text, mode, sets) in [
            ("profile-level-id=42e0", None, 0),
            ("profile-level-id=zzzzzz;packetization-mode=9", None, 0),
            ("packetization-mode=;=;;", None, 0),
            ("sprop-parameter-sets=####,aM48gA", None, 1),
            ("sprop-parameter-sets=,,A,AAAA", None, 0),
            ("sprop-parameter-sets=\"aM48gA==\"", None, 1),
            ("PACKETIZATION-MODE=1 sprop-parameter-sets=aM48gA==  max-fs=1", Some(1), 1),
            ("profile-level-id", None, 0),
            ("packetization-mode=0", Some(0), 0),
            ("", None, 0),
        ] {
            let parameters = H264Parameters::parse(text);
            assert_eq!(parameters.profile_level_id, None, "{text}");
            assert_eq!(parameters.packetization_mode, mode, "{text}");
            assert_eq!(parameters.parameter_sets.len(), sets, "{text}");
        }
        let many = format!("sprop-parameter-sets={}", "aM48gA==,".repeat(1000));
        assert_eq!(H264Parameters::parse(&many).parameter_sets.len(), PARAMETER_SETS_MAX);
    }
}
