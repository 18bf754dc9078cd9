//! Randomness and identity from one seeded source.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::{Rng as _, RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::model::Uid;

/// The characters of generated name suffixes: Kubernetes' set, without vowels and look-alikes.
const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A seeded source of random numbers and identities. Clones share one sequence.
///
/// The stream is ChaCha8, so one seed gives the same sequence on every machine and in every version.
#[derive(Clone)]
pub struct Rng(Arc<Mutex<ChaCha8Rng>>);

impl Rng {
    /// A source whose whole sequence follows from `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(seed))))
    }

    /// A source seeded by the operating system.
    #[must_use]
    pub fn from_os() -> Self {
        use std::hash::{BuildHasher, Hasher};
        // std's RandomState draws its keys from the operating system.
        let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
        hasher.write_u64(u64::from(std::process::id()));
        Self::seeded(hasher.finish())
    }

    /// An own sequence that follows from this one, so that two parts do not disturb each other's numbers.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::seeded(self.next())
    }

    fn with<R>(&self, f: impl FnOnce(&mut ChaCha8Rng) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The next number, over the whole range.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.with(|rng| rng.next_u64())
    }

    /// A number in `0..bound`; 0 where `bound` is 0.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.with(|rng| rng.random_range(0..bound)) }
    }

    /// Whether an event of the given probability, 0.0 to 1.0, happens.
    #[must_use]
    pub fn chance(&self, probability: f64) -> bool {
        self.with(|rng| rng.random_bool(probability.clamp(0.0, 1.0)))
    }

    /// `duration` spread by up to `fraction` (0.0 to 1.0) upwards and downwards.
    #[must_use]
    pub fn jitter(&self, duration: Duration, fraction: f64) -> Duration {
        let spread = fraction.clamp(0.0, 1.0);
        let factor = self.with(|rng| rng.random_range(1.0 - spread..=1.0 + spread));
        duration.mul_f64(factor)
    }

    /// A new identity: a random version 4 UUID.
    #[must_use]
    pub fn uid(&self) -> Uid {
        let mut bytes = [0; 16];
        self.with(|rng| rng.fill_bytes(&mut bytes));
        Uid::from(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
    }

    /// A suffix of `len` characters for a generated name.
    #[must_use]
    pub fn suffix(&self, len: usize) -> String {
        self.with(|rng| (0..len).map(|_| char::from(SUFFIX[rng.random_range(0..SUFFIX.len())])).collect())
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        let (a, b) = (Rng::seeded(7), Rng::seeded(7));
        assert_eq!(a.uid(), b.uid());
        assert_eq!(a.suffix(5), b.suffix(5));
        assert_eq!(a.fork().next(), b.fork().next());
        assert_ne!(a.next(), a.next());
        assert_eq!(a.below(0), 0);
    }
}
