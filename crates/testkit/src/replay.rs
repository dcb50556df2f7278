use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use portcullis_domain::ports::SecureRandom;

use crate::SeededRandom;

/// Checks an invariant, which panics if an input breaks it, with every file in a folder of seeds, and then with as many
/// inputs near them. The inputs are the same in every run.
///
/// # Panics
/// If the invariant does, naming the input; and if there is no seed.
pub fn replay(folder: &str, near: usize, invariant: impl Fn(&[u8])) {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} has seeds");
    let seeds: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();

    for (file, seed) in files.iter().zip(&seeds) {
        check(&invariant, seed, &file.display().to_string());
    }
    let mutator = Mutator { seeds: &seeds, random: SeededRandom::new(1) };
    for number in 1..=near {
        check(&invariant, &mutator.input(), &format!("input {number} near the seeds of {folder}"));
    }
}

fn check(invariant: impl Fn(&[u8]), input: &[u8], name: &str) {
    let outcome = catch_unwind(AssertUnwindSafe(|| invariant(input)));
    assert!(outcome.is_ok(), "{name} breaks the invariant: b\"{}\"", input.escape_ascii());
}

/// Makes inputs of the seeds: bits flipped, pieces cut out, repeated, or replaced by those of others.
struct Mutator<'a> {
    seeds: &'a [Vec<u8>],
    random: SeededRandom,
}

impl Mutator<'_> {
    fn input(&self) -> Vec<u8> {
        let mut input = self.seed().to_vec();
        for _ in 0..=self.below(4) {
            self.change(&mut input);
        }
        input
    }

    fn change(&self, input: &mut Vec<u8>) {
        let start = self.below(input.len() + 1);
        let end = start + self.below((input.len() - start).min(LONGEST_PIECE) + 1);
        let piece = match self.below(5) {
            0 => {
                if let Some(byte) = input.get_mut(start) {
                    *byte ^= 1 << self.below(8);
                }
                return;
            }
            1 => Vec::new(),
            2 => input[start..end].repeat(2),
            3 => vec![SPECIAL[self.below(SPECIAL.len())]],
            _ => {
                let other = self.seed();
                let from = self.below(other.len() + 1);
                other[from..from + self.below(other.len() - from + 1)].to_vec()
            }
        };
        input.splice(start..end, piece);
    }

    fn seed(&self) -> &[u8] {
        &self.seeds[self.below(self.seeds.len())]
    }

    /// A number below `bound`, all about as likely.
    fn below(&self, bound: usize) -> usize {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % bound as u64).unwrap()
    }
}

const LONGEST_PIECE: usize = 16;

/// What means something to one parser or another, and what is no text.
const SPECIAL: &[u8] = b"\0\n \"#$%&'*+,-./0189:;=?@AZ[\\]_az{|}~\x7f\x80\xc3\xff";
