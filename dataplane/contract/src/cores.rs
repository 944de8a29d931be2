//! Which core each shard runs on.

use std::fmt;
use std::str::FromStr;

/// The setting `media.cores`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ShardCores {
    /// One core for each shard when there are as many shards as cores that the process may use; else the system chooses.
    /// With fewer shards a fixed choice would be that of every other process of this kind, too.
    #[default]
    Auto,
    /// The system chooses, and may change its mind.
    Any,
    /// Shard `n` runs on the `n`th of these, numbered as in `/proc/cpuinfo`. Not empty.
    These(Vec<u16>),
}

/// The text is none that `media.cores` may have: a core is no number below [`CORE_MAX`] or named twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCores;

/// The kernel's sets of cores hold so many (`CPU_SETSIZE`).
pub const CORE_MAX: u16 = 1024;

impl ShardCores {
    /// The core of each of `shards`, of those that are `allowed`; `None`: the system chooses.
    pub fn assign(&self, shards: u16, allowed: &[u16]) -> Vec<Option<u16>> {
        let chosen = match self {
            Self::Auto if allowed.len() == usize::from(shards) => allowed,
            Self::Auto | Self::Any => &[],
            Self::These(cores) => cores,
        };
        (0..usize::from(shards)).map(|shard| chosen.get(shard).copied()).collect()
    }
}

impl FromStr for ShardCores {
    type Err = NoCores;

    fn from_str(text: &str) -> Result<Self, NoCores> {
        match text.trim() {
            "auto" => return Ok(Self::Auto),
            "any" => return Ok(Self::Any),
            _ => {}
        }
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let core = |text: &str| text.trim().parse().ok().filter(|core| *core < CORE_MAX).ok_or(NoCores);
            let (first, last): (u16, u16) = (core(first)?, core(last)?);
            // A core named again would have two shards; so there are never more than there are numbers.
            if last < first || cores.iter().any(|core| (first..=last).contains(core)) {
                return Err(NoCores);
            }
            cores.extend(first..=last);
        }
        Ok(Self::These(cores))
    }
}

impl fmt::Display for ShardCores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Any => f.write_str("any"),
            Self::These(cores) => {
                let list: Vec<String> = cores.iter().map(u16::to_string).collect();
                f.write_str(&list.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_are_read() {
        let parse = |text: &str| text.parse::<ShardCores>();
        assert_eq!(parse("0, 2-4,9"), Ok(ShardCores::These(vec![0, 2, 3, 4, 9])));
        assert_eq!(parse(" any "), Ok(ShardCores::Any));
        for wrong in ["", "all", "1,", "4-2", "-1", "1024", "0-99999", "1,0-2"] {
            assert_eq!(parse(wrong), Err(NoCores), "{wrong}");
        }
        for text in ["auto", "any", "0,2,3"] {
            assert_eq!(parse(text).map(|cores| cores.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn shards_have_cores_of_their_own_when_each_has_one() {
        assert_eq!(ShardCores::Auto.assign(2, &[4, 6]), [Some(4), Some(6)]);
        assert_eq!(ShardCores::Auto.assign(1, &[4, 6]), [None]);
        assert_eq!(ShardCores::Any.assign(2, &[4, 6]), [None, None]);
        assert_eq!(ShardCores::These(vec![7, 1]).assign(2, &[4, 6]), [Some(7), Some(1)]);
    }
}
