//! Promises of [`SecureRandom`].

use std::collections::HashSet;

use portcullis_domain::ports::SecureRandom;

use super::race;

/// No two answers are the same, whichever thread asked, and the whole buffer is filled.
// ASVS 11.5.1
// MUST random-different
pub fn gives_different_bytes_each_time(random: &dyn SecureRandom) {
    let fill = || {
        let mut buffer = [0; 16];
        random.fill(&mut buffer);
        buffer
    };
    let answers: Vec<_> = race(4, |_| (0..250).map(|_| fill()).collect::<Vec<_>>()).concat();
    assert_eq!(answers.iter().collect::<HashSet<_>>().len(), answers.len());
    for at in 0..16 {
        let values: HashSet<_> = answers.iter().map(|answer| answer[at]).collect();
        assert!(values.len() > 100, "byte {at} has {} values in {} answers", values.len(), answers.len());
    }
}

/// A buffer of any length is filled to its last byte.
pub fn fills_buffers_of_any_length(random: &dyn SecureRandom) {
    for length in [0, 1, 7, 8, 9, 31, 10_000] {
        let mut ever_set = vec![0; length];
        // A byte is zero in all of them once in 2^128.
        for _ in 0..16 {
            let mut buffer = vec![0; length];
            random.fill(&mut buffer);
            ever_set.iter_mut().zip(buffer).for_each(|(ever, byte)| *ever |= byte);
        }
        assert_eq!(ever_set.iter().position(|byte| *byte == 0), None, "of {length}");
    }
}
