//! When to use short windows (ISO/IEC 14496-3 §4.6.11.3.2): where sound sets in so suddenly that the noise of a long
//! window would be heard before it.

use crate::layout::WindowSequence;
use crate::window::SHORT_WINDOWS;

/// How many times the energy before it a part must have to be an attack.
const ATTACK: f32 = 12.0;

/// Least energy of an attack, of 128 samples: differences of 90 from one to the next.
const ATTACK_ENERGY_MIN: f32 = 1e6;

/// How much of the energies so far stays in their mean with each part.
const KEPT: f32 = 0.7;

/// Looks for attacks, one frame ahead.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlockSwitching {
    /// Mean energy before the latest part, and the latest part's.
    mean: f32,
    latest: f32,
    sequence: WindowSequence,
    /// Part of the frame at hand in which an attack lies.
    attack: Option<u8>,
}

/// How a frame is windowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Switched {
    pub(crate) sequence: WindowSequence,
    /// Short window in which the sound sets in, if it does.
    pub(crate) attack: Option<u8>,
}

impl BlockSwitching {
    /// Decides about a frame. `next` are the energies of the eight parts in the middle of the frame after it; `None`:
    /// nothing is known, and no attack there.
    pub(crate) fn next(&mut self, next: Option<[f32; SHORT_WINDOWS]>) -> Switched {
        let comes = next.and_then(|energies| self.find_attack(energies));
        let attack = std::mem::replace(&mut self.attack, comes);
        let comes = comes.is_some();
        self.sequence = match self.sequence {
            _ if attack.is_some() => WindowSequence::EightShort,
            // A stop window cannot be a start window too.
            WindowSequence::EightShort if comes => WindowSequence::EightShort,
            WindowSequence::EightShort => WindowSequence::LongStop,
            _ if comes => WindowSequence::LongStart,
            _ => WindowSequence::OnlyLong,
        };
        Switched { sequence: self.sequence, attack }
    }

    fn find_attack(&mut self, energies: [f32; SHORT_WINDOWS]) -> Option<u8> {
        let mut attack = None;
        for (part, energy) in energies.into_iter().enumerate() {
            self.mean = KEPT * self.mean + (1.0 - KEPT) * self.latest;
            self.latest = energy;
            if attack.is_none() && energy > ATTACK * self.mean && energy > ATTACK_ENERGY_MIN {
                attack = Some(part as u8);
            }
        }
        attack
    }
}

/// Adds the energies of `energies.len()` parts of equal length: those of differences between neighbours, which rise with
/// frequency. `samples` begins one before the first part.
pub(crate) fn add_energies(samples: &[f32], weight: f32, energies: &mut [f32; SHORT_WINDOWS]) {
    let part = (samples.len() - 1) / SHORT_WINDOWS;
    for (n, energy) in energies.iter_mut().enumerate() {
        let (samples, before) = (&samples[1 + n * part..][..part], &samples[n * part..][..part]);
        let mut lanes = [0.0; 4];
        for (samples, before) in samples.as_chunks::<4>().0.iter().zip(before.as_chunks::<4>().0) {
            for lane in 0..4 {
                let difference = samples[lane] - before[lane];
                lanes[lane] += difference * difference;
            }
        }
        *energy += weight * lanes.iter().sum::<f32>();
    }
}

/// Groups of short windows: those before the attack, those that hold it, those after it.
pub(crate) fn groups(attack: Option<u8>) -> &'static [u8] {
    match attack {
        Some(0) => &[2, 6],
        Some(1) => &[1, 2, 5],
        Some(2) => &[2, 2, 4],
        Some(3) => &[3, 2, 3],
        Some(4) => &[4, 2, 2],
        Some(5) => &[5, 2, 1],
        Some(6) => &[6, 2],
        Some(_) => &[7, 1],
        None => &[8],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use WindowSequence::{EightShort, LongStart, LongStop, OnlyLong};

    const QUIET: [f32; 8] = [1e5; 8];
    const LOUD: [f32; 8] = [1e5, 1e5, 1e5, 1e8, 1e8, 1e7, 1e7, 1e7];

    #[test]
    fn an_attack_is_met_by_a_start_window_and_short_ones() {
        let mut switching = BlockSwitching::default();
        let sequences = [QUIET, LOUD, QUIET, QUIET, QUIET].map(|energies| switching.next(Some(energies)));
        assert_eq!(
            sequences.map(|switched| switched.sequence),
            [OnlyLong, LongStart, EightShort, LongStop, OnlyLong]
        );
        assert_eq!(sequences.map(|switched| switched.attack), [None, None, Some(3), None, None]);
    }

    #[test]
    fn between_two_attacks_windows_stay_short() {
        let mut switching = BlockSwitching::default();
        let energies = [QUIET, LOUD, QUIET, LOUD, QUIET, QUIET].map(Some);
        let sequences = energies.map(|energies| switching.next(energies).sequence);
        assert_eq!(sequences, [OnlyLong, LongStart, EightShort, EightShort, EightShort, LongStop]);
    }

    #[test]
    fn sound_that_swells_or_is_faint_is_no_attack() {
        let mut switching = BlockSwitching::default();
        for frame in 0..20 {
            let energies = std::array::from_fn(|part| 1e6 * 1.3_f32.powi(frame * 8 + part as i32));
            assert_eq!(switching.next(Some(energies)).sequence, OnlyLong, "frame {frame}");
        }
        let mut switching = BlockSwitching::default();
        assert_eq!(switching.next(Some(LOUD.map(|energy| energy / 1e3))).sequence, OnlyLong);
        assert_eq!(switching.next(None).sequence, OnlyLong);
    }

    #[test]
    fn every_grouping_has_eight_windows() {
        for attack in (0..8).map(Some).chain([None]) {
            assert_eq!(groups(attack).iter().sum::<u8>(), 8);
        }
    }

    #[test]
    fn energies_are_those_of_differences() {
        let mut samples = [5.0; 257];
        samples[40] = 7.0;
        let mut energies = [0.0; 8];
        add_energies(&samples, 2.0, &mut energies);
        assert_eq!(energies, [0.0, 16.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
