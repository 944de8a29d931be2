//! RTCP feedback attributes of video (`a=rtcp-fb`, RFC 4585 §4.2; FIR: RFC 5104 §7.1).
//! Takes: attribute values. Gives: [`VideoFeedback`] and the values we write.
//! Leaves out: the RTCP messages (dataplane).

use sipcast_contract::media::VideoFeedback;

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
    let kind = words.next().unwrap_or("");
    if kind.eq_ignore_ascii_case("nack") {
        match words.next() {
            None => feedback.nack = true,
            Some(parameter) => feedback.pli |= parameter.eq_ignore_ascii_case("pli"),
        }
    } else if kind.eq_ignore_ascii_case("ccm") {
        // RFC 5104 §7.1 has one command a line; Polycom writes `ccm fir tmmbr`.
        for command in words {
            feedback.fir |= command.eq_ignore_ascii_case("fir");
            feedback.tmmbr |= command.eq_ignore_ascii_case("tmmbr");
        }
    }
}

/// The values that write `feedback`.
pub(crate) fn values(feedback: VideoFeedback) -> impl Iterator<Item = &'static str> {
    [
        (feedback.nack, "* nack"),
        (feedback.pli, "* nack pli"),
        (feedback.fir, "* ccm fir"),
        (feedback.tmmbr, "* ccm tmmbr"),
    ]
    .into_iter()
    .filter_map(|(taken, value)| taken.then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applies_by_payload_type() {
        let none = VideoFeedback::default();
        for (value, expected) in [
            ("* nack pli", VideoFeedback { pli: true, ..none }),
            ("97 nack pli", VideoFeedback { pli: true, ..none }),
            ("98 nack pli", none),
            ("* CCM  FIR", VideoFeedback { fir: true, ..none }),
            ("* ccm fir tmmbr smaxpr=120", VideoFeedback { fir: true, tmmbr: true, ..none }),
            ("96 ccm tmmbr", VideoFeedback { tmmbr: true, ..none }),
            ("* nack", VideoFeedback { nack: true, ..none }),
            ("* nack rpsi", none),
            ("* trr-int 100", none),
            ("", none),
        ] {
            let mut feedback = none;
            add(&mut feedback, value, &[96, 97]);
            assert_eq!(feedback, expected, "{value}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let all = VideoFeedback { pli: true, fir: true, nack: true, tmmbr: true };
        let mut feedback = VideoFeedback::default();
        values(all).for_each(|value| add(&mut feedback, value, &[]));
        assert_eq!(feedback, all);
        assert_eq!(values(VideoFeedback::default()).count(), 0);
    }
}
