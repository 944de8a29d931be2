//! What a call is like: its pictures and its sound. Calls of several kinds can be answered by one callee.
//! Takes: the user part that was called. Gives: the profile.
//! Leaves out: how a mix of profiles is asked for (`load`).

use super::audio::AudioCodec;
use super::encoder::VideoOptions;

/// One kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CallProfile {
    /// The picture.
    pub video: VideoOptions,
    /// The codec of the sound, if it is offered; else, and when `None`, the first G.711 of the offer.
    pub audio: Option<AudioCodec>,
}

/// The profile that a user part names: `p2-anything` is number 2; another form, or a number there is no profile for,
/// is number 0.
pub(super) fn number(called: &str, profiles: usize) -> usize {
    let number = called.strip_prefix('p').and_then(|rest| rest.split_once('-')?.0.parse().ok());
    number.filter(|number| *number < profiles).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_part_names_its_profile() {
        for (called, expected) in
            [("p0-load-1", 0), ("p2-load-1", 2), ("p3-load-1", 0), ("park", 0), ("p-1", 0), ("8801", 0)]
        {
            assert_eq!(number(called, 3), expected, "{called}");
        }
    }
}
