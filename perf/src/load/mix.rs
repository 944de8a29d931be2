//! Several kinds of calls in one run: `500k/PCMU,1M/opus*2`.
//! Takes: the text. Gives: profiles, and which call gets which.
//! Leaves out: what a profile makes of a call (`callee`).

use std::fmt;

use crate::callee::{AudioCodec, CallProfile, VideoOptions};

use super::options::bit_rate;

/// Kinds of calls in one mix.
const PARTS_MAX: usize = 16;
/// Calls of one kind for each round of the mix.
const WEIGHT_MAX: u32 = 100;
/// What the callee can encode.
const BIT_RATES_BPS: std::ops::RangeInclusive<u32> = 50_000..=20_000_000;

/// One kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MixPart {
    /// Video bits a second.
    pub bit_rate_bps: u32,
    /// The sound; `None`: the first G.711 that sipcast offers.
    pub codec: Option<AudioCodec>,
    /// Calls of this kind for each round of the mix.
    pub weight: u32,
}

/// The kinds of calls of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    parts: Vec<MixPart>,
    /// The kinds of one round, in the order that calls get them.
    round: Vec<usize>,
}

impl Mix {
    /// Calls of one kind, with the first G.711 that sipcast offers.
    pub fn of_bit_rate(bit_rate_bps: u32) -> Self {
        Self::of(vec![MixPart { bit_rate_bps, codec: None, weight: 1 }])
    }

    fn of(parts: Vec<MixPart>) -> Self {
        let total: i64 = parts.iter().map(|part| i64::from(part.weight)).sum();
        // Smooth weighted round robin: whoever is owed most is next, so that few calls have the mix too.
        let mut owed = vec![0_i64; parts.len()];
        let mut round = Vec::new();
        for _ in 0..total {
            owed.iter_mut().zip(&parts).for_each(|(owed, part)| *owed += i64::from(part.weight));
            let most = owed.iter().copied().max().unwrap_or_default();
            let next = owed.iter().position(|owed| *owed == most).unwrap_or_default();
            owed[next] -= total;
            round.push(next);
        }
        Self { parts, round }
    }

    /// The profiles, in the order of the text.
    pub fn profiles(&self) -> Vec<CallProfile> {
        let profile = |part: &MixPart| CallProfile {
            video: VideoOptions { bit_rate_bps: part.bit_rate_bps, ..VideoOptions::default() },
            audio: part.codec,
        };
        self.parts.iter().map(profile).collect()
    }

    /// The number of the profile that call number `call` gets.
    pub fn profile_of(&self, call: usize) -> usize {
        self.round[call % self.round.len()]
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, part) in self.parts.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{}k", part.bit_rate_bps / 1_000)?;
            if let Some(codec) = part.codec {
                write!(f, "/{}", codec.name())?;
            }
            if part.weight > 1 {
                write!(f, "*{}", part.weight)?;
            }
        }
        Ok(())
    }
}

/// Reads `RATE[/CODEC][*WEIGHT],…`.
///
/// # Errors
/// Names the part and what it may be.
pub fn mix(text: &str) -> Result<Mix, String> {
    let parts: Vec<MixPart> = text
        .split(',')
        .map(|text| part(text.trim()).map_err(|problem| format!("{text:?}: {problem}")))
        .collect::<Result<_, _>>()?;
    if parts.len() > PARTS_MAX {
        return Err(format!("at most {PARTS_MAX} kinds of calls"));
    }
    Ok(Mix::of(parts))
}

fn part(text: &str) -> Result<MixPart, String> {
    let (text, weight) = match text.split_once('*') {
        Some((text, weight)) => (text, weight.parse().unwrap_or(0)),
        None => (text, 1),
    };
    if !(1..=WEIGHT_MAX).contains(&weight) {
        return Err(format!("the weight behind * must be from 1 to {WEIGHT_MAX}"));
    }
    // A codec's name may have a slash of its own: speex/16000.
    let (rate, codec) = match text.split_once('/') {
        Some((rate, codec)) => (rate, Some(codec)),
        None => (text, None),
    };
    let bit_rate_bps = bit_rate(rate)?;
    if !BIT_RATES_BPS.contains(&bit_rate_bps) {
        return Err("the bit rate must be from 50k to 20M".to_owned());
    }
    let codec = match codec {
        None => None,
        Some(name) => Some(AudioCodec::parse(name).ok_or_else(|| {
            let names = AudioCodec::ALL.map(AudioCodec::name).join(", ");
            format!("the codec must be one of {names}")
        })?),
    };
    Ok(MixPart { bit_rate_bps, codec, weight })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_codecs_and_weights_are_read() {
        let mixed = mix("500k/PCMU, 1M/opus*2,2M/speex/16000,300k").unwrap();
        let part = |bit_rate_bps, codec, weight| MixPart { bit_rate_bps, codec, weight };
        let expected = [
            part(500_000, Some(AudioCodec::Pcmu), 1),
            part(1_000_000, Some(AudioCodec::Opus), 2),
            part(2_000_000, Some(AudioCodec::SpeexWideband), 1),
            part(300_000, None, 1),
        ];
        assert_eq!(mixed.parts, expected);
        assert_eq!(mixed.to_string(), "500k/PCMU,1000k/opus*2,2000k/speex/16000,300k");
        assert_eq!(mix(&mixed.to_string()).unwrap(), mixed);
    }

    #[test]
    fn every_round_has_the_weights_and_heavy_parts_are_spread() {
        let mixed = mix("1M*3,2M").unwrap();
        let order: Vec<usize> = (0..8).map(|call| mixed.profile_of(call)).collect();
        assert_eq!(order, [0, 0, 1, 0, 0, 0, 1, 0]);
        assert_eq!(mixed.profiles()[1].video.bit_rate_bps, 2_000_000);
    }

    #[test]
    fn nonsense_is_named_with_its_part() {
        for (text, problem) in [
            ("", "such as 1000k"),
            ("1M,", "such as 1000k"),
            ("1M/mp3", "PCMU, PCMA, G722, opus"),
            ("1M*0", "from 1 to 100"),
            ("1M*x", "from 1 to 100"),
            ("10k", "from 50k to 20M"),
            ("9999M", "too large"),
        ] {
            let error = mix(text).unwrap_err();
            assert!(error.contains(problem), "{text:?}: {error}");
        }
        assert!(mix(&["1M"; 17].join(",")).is_err());
    }
}
