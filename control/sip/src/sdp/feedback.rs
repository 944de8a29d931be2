//! RTCP feedback attributes of video (`a=rtcp-fb`, RFC 4585 §4.2; FIR: RFC 5104 §7.1).
//! Takes: attribute values. Gives: [`VideoFeedback`] and the values we write.
//! Leaves out: the RTCP messages (dataplane).

use sipcast_contract::media::VideoFeedback;

/// What we offer for every payload type.
pub(crate) const OFFERED: [&str; 2] = ["* nack pli", "* ccm fir"];

/// Adds what one `a=rtcp-fb` value allows, if it is for `*` or for one of `payload_types`.
pub(crate) fn add(feedback: &mut VideoFeedback, value: &str, payload_types: &[u8]) {
    let mut words = value.split_ascii_whitespace();
    let applies = match words.next() {
        Some("*") => true,
        Some(number) => number.parse().is_ok_and(|number: u8| payload_types.contains(&number)),
        None => false,
    };
    if !applies {
        return;
    }
    let (kind, parameter) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    if kind.eq_ignore_ascii_case("nack") && parameter.eq_ignore_ascii_case("pli") {
        feedback.pli = true;
    }
    if kind.eq_ignore_ascii_case("ccm") && parameter.eq_ignore_ascii_case("fir") {
        feedback.fir = true;
    }
}

/// The values that answer what the peer offered.
pub(crate) fn answered(feedback: VideoFeedback) -> impl Iterator<Item = &'static str> {
    [(feedback.pli, OFFERED[0]), (feedback.fir, OFFERED[1])]
        .into_iter()
        .filter_map(|(taken, value)| taken.then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applies_by_payload_type() {
        for (value, pli, fir) in [
            ("* nack pli", true, false),
            ("97 nack pli", true, false),
            ("98 nack pli", false, false),
            ("* CCM  FIR", false, true),
            ("* ccm tmmbr", false, false),
            ("* nack", false, false),
            ("", false, false),
        ] {
            let mut feedback = VideoFeedback::default();
            add(&mut feedback, value, &[96, 97]);
            assert_eq!((feedback.pli, feedback.fir), (pli, fir), "{value}");
        }
    }
}
