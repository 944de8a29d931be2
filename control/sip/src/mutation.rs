//! Seeded damage to inputs for tests: every cut, then random edits. A failure names its round, which replays it.

/// Calls `check` with `input` cut at every length, then with `rounds` random mutations of it.
pub(crate) fn for_each(input: &[u8], rounds: u64, check: impl Fn(&[u8])) {
    for len in 0..=input.len() {
        check(&input[..len]);
    }
    for round in 0..rounds {
        let mut state = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |bound: usize| {
            // xorshift64: quick and the same everywhere.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % bound.max(1) as u64).expect("the bound was a usize")
        };
        let mut bytes = input.to_vec();
        for _ in 0..=next(6) {
            let at = next(bytes.len());
            match next(5) {
                0 if !bytes.is_empty() => bytes[at] = u8::try_from(next(256)).expect("below 256"),
                1 if !bytes.is_empty() => {
                    bytes.remove(at);
                }
                2 => bytes.insert(at, b"\r\n\"\\=,;:<>@ /0-9a\0\xff"[next(19)]),
                3 => bytes.truncate(at.max(1)),
                _ => {
                    let to = at + next(bytes.len() - at.min(bytes.len()));
                    let part = bytes[at.min(bytes.len())..to.min(bytes.len())].to_vec();
                    let into = next(bytes.len());
                    bytes.splice(into..into, part);
                }
            }
        }
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&bytes))).is_err() {
            panic!("round {round}: {}", bytes.escape_ascii());
        }
    }
}
