//! Runs every input of the corpus through its target, and seeded mutations of each: what libFuzzer found once stays found.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use sipcast_fuzz::TARGETS;

/// Mutations of each input; their seeds are 0 and up, so that a failure can be run again.
const ROUNDS: u64 = 40;

#[test]
fn every_input_of_the_corpus_passes_as_it_is_and_mutated() {
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut inputs: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("an entry").path())
            .collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for path in &inputs {
            let input = fs::read(path).expect("readable");
            run(*target, &input, &format!("{} as it is", path.display()));
            for len in 0..input.len().min(64) {
                run(*target, &input[..len], &format!("{} cut at {len}", path.display()));
            }
            for round in 0..ROUNDS {
                let what = format!("{} mutated, round {round}", path.display());
                run(*target, &mutated(&input, round), &what);
            }
        }
    }
}

fn run(target: fn(&[u8]), input: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        panic!("{what}: {}", input.escape_ascii());
    }
}

/// A few bytes changed, taken out, put in, or repeated.
fn mutated(input: &[u8], round: u64) -> Vec<u8> {
    let mut state = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |bound: usize| {
        // xorshift64: the same everywhere.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound.max(1) as u64) as usize
    };
    let mut bytes = input.to_vec();
    for _ in 0..=next(8) {
        let at = next(bytes.len());
        match next(5) {
            0 | 1 if !bytes.is_empty() => bytes[at] = next(256) as u8,
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 => {
                let end = (at + next(64)).min(bytes.len());
                let part = bytes[at.min(end)..end].to_vec();
                bytes.splice(at.min(end)..at.min(end), part);
            }
            _ => bytes.insert(at.min(bytes.len()), [0, 0x7f, 0x80, 0xff][next(4)]),
        }
    }
    bytes
}
