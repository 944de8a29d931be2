//! Session descriptions (RFC 8866, RFC 3264, RFC 4568): any bytes as answer to our offer, and as the peer's offer.

use sipcast_sip::sdp::{Negotiation, OfferOptions};
use sipcast_sip::{LocalMedia, MediaSecurity};

use crate::input::Input;

const SECURITIES: [MediaSecurity; 3] =
    [MediaSecurity::Off, MediaSecurity::Opportunistic, MediaSecurity::Mandatory];

/// The first byte says how we are set up; the rest is one description, or several in turn with a zero byte between.
pub fn descriptions(data: &[u8]) {
    let mut input = Input::new(data);
    let head = input.byte();
    let security = SECURITIES[usize::from(head) % SECURITIES.len()];
    let mut negotiation = Negotiation::new(local(), OfferOptions::default()).protected(security, random);
    let mut we_offer = head & 0x80 == 0;
    let bodies = input.piece(usize::MAX);
    for body in bodies.split(|&byte| byte == 0).take(8) {
        if we_offer {
            negotiation.offer().expect("there are ports to offer");
            if let Ok(agreement) = negotiation.handle_answer(body) {
                assert!(agreement.description.len() <= 4 * body.len() + 16, "the shown text has a bound");
                is_protected_as_ordered(security, &agreement.media);
            }
            negotiation.handle_offer_refused();
        } else if let Ok((answer, agreement)) = negotiation.answer(body) {
            is_protected_as_ordered(security, &agreement.media);
            let lines = |text: &[u8]| {
                text.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"m=")).count()
            };
            assert!(lines(answer.as_bytes()) <= lines(body) + 1, "an answer adds no media (RFC 3264 6)");
            // Our answer is a description that another one of us can read as an offer.
            let mut other = Negotiation::new(local(), OfferOptions::default()).protected(security, random);
            let _ = other.answer(answer.as_bytes());
        }
        we_offer = !we_offer;
    }
}

fn is_protected_as_ordered(security: MediaSecurity, media: &sipcast_contract::NegotiatedMedia) {
    if security == MediaSecurity::Mandatory {
        assert!(media.audio.as_ref().is_none_or(|audio| audio.transport.srtp.is_some()), "plain audio");
        assert!(media.video.as_ref().is_none_or(|video| video.transport.srtp.is_some()), "plain video");
    }
}

pub(crate) fn local() -> LocalMedia {
    LocalMedia { address: [192, 0, 2, 9].into(), audio_port: Some(40_000), video_port: Some(40_002) }
}

pub(crate) fn random(bytes: &mut [u8]) -> bool {
    bytes.fill(0x5a);
    true
}
