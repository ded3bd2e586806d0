//! Every fuzz target on its seeds, and on so many random mutations of them: what libFuzzer does for hours, for a second each.

use devbox_fuzz::TARGETS;

/// Mutations of each target; `DEVBOX_FUZZ_ROUNDS` says otherwise. Those that make files are tried a hundredth as often.
const ROUNDS: u64 = 4000;
const SLOW: [&str; 1] = ["journal"];

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// xorshift64* (Vigna, 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).expect("small")).expect("small")
    }
}

fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    const INTERESTING: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, b'0', b'7', b'/', b'.', b'%', b'\n', b' '];
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        match random.below(7) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = INTERESTING[random.below(INTERESTING.len())],
            2 => input.insert(at, INTERESTING[random.below(INTERESTING.len())]),
            3 => drop(input.drain(at..(at + random.below(40)).min(input.len()))),
            4 => input.truncate(at),
            5 if at < input.len() => {
                let piece: Vec<u8> = input[at..(at + random.below(64)).min(input.len())].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, piece);
            }
            _ => {
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
}

#[test]
fn no_target_fails_on_mutations_of_its_seeds() {
    let seed = from_environment("DEVBOX_FUZZ_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        now.as_secs() ^ u64::from(now.subsec_nanos()) << 32
    });
    let rounds = from_environment("DEVBOX_FUZZ_ROUNDS").unwrap_or(ROUNDS);
    eprintln!("DEVBOX_FUZZ_SEED={seed}");
    for target in TARGETS {
        let mut random = Random(seed | 1);
        let seeds = (target.seeds)();
        seeds.iter().for_each(|seed| (target.run)(seed));
        let rounds = if SLOW.contains(&target.name) { rounds / 100 } else { rounds };
        for round in 0..rounds {
            let mut input = seeds[random.below(seeds.len())].clone();
            mutate(&mut input, &seeds[random.below(seeds.len())], &mut random);
            let outcome = std::panic::catch_unwind(|| (target.run)(&input));
            assert!(
                outcome.is_ok(),
                "target {} failed in round {round} of DEVBOX_FUZZ_SEED={seed} on b\"{}\"",
                target.name,
                input.escape_ascii()
            );
        }
    }
}
