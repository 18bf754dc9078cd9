//! The best of many nodes, kept while single ones change: a tournament tree.

use std::cmp::Ordering;

/// So many compete in one match. Their standings are one cache line.
const WIDTH: usize = 8;

/// A node's standing: its rank and its place among equals, larger is better. 0 is out of the race.
///
/// The upper half is the rank plus one, the lower half orders nodes of equal rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing(u64);

impl Standing {
    /// Not feasible.
    pub(crate) const OUT: Self = Self(0);

    /// `rank` saturates one below `u32::MAX`.
    #[inline]
    pub(crate) fn new(rank: u32, tie: u32) -> Self {
        Self((u64::from(rank.saturating_add(1)) << 32) | u64::from(tie))
    }

    #[inline]
    pub(crate) const fn is_out(self) -> bool {
        self.0 == 0
    }

    /// The same with `points` more, for one who is not out. Saturates like [`new`](Self::new).
    #[inline]
    pub(crate) fn plus(self, points: u32) -> Self {
        let rank = (self.0 >> 32).saturating_add(points.into()).min(u32::MAX.into());
        Self((rank << 32) | (self.0 & u64::from(u32::MAX)))
    }
}

/// One match: the standings of those who compete in it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Match([Standing; WIDTH]);

impl Match {
    #[inline]
    fn best(&self) -> Standing {
        self.0.iter().fold(Standing::OUT, |best, standing| best.max(*standing))
    }
}

/// A tree of matches: the competitors are in those of the first round, the best of each match is in one of the next
/// round, and the last round is a single match. A change of one competitor replays one match a round, as far up as
/// its outcome changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tournament {
    rounds: Vec<Vec<Match>>,
    best: Standing,
}

impl Tournament {
    /// A tree for competitors `0..count`, all of them out.
    pub(crate) fn with_capacity(count: usize) -> Self {
        let mut rounds = Vec::new();
        let mut matches = count.max(1);
        loop {
            matches = matches.div_ceil(WIDTH);
            rounds.push(vec![Match::default(); matches]);
            if matches == 1 {
                return Self { rounds, best: Standing::OUT };
            }
        }
    }

    /// How many competitors there is room for.
    pub(crate) fn capacity(&self) -> usize {
        self.rounds.first().map_or(0, |round| round.len() * WIDTH)
    }

    /// The best standing, which is [`Standing::OUT`] where all are out.
    pub(crate) fn best(&self) -> Standing {
        self.best
    }

    /// The winner, unless all are out; of several with the best standing the one that comes first by `names`.
    pub(crate) fn winner(&self, names: &impl Fn(usize, usize) -> Ordering) -> Option<usize> {
        if self.best.is_out() { None } else { self.winner_of(self.rounds.len() - 1, 0, names) }
    }

    fn winner_of(&self, round: usize, at: usize, names: &impl Fn(usize, usize) -> Ordering) -> Option<usize> {
        let competitors = self.rounds[round][at].0.iter().enumerate();
        let equals = competitors.filter(|(_, standing)| **standing == self.best);
        let equals = equals.map(|(i, _)| at * WIDTH + i);
        if round == 0 {
            equals.min_by(|a, b| names(*a, *b))
        } else {
            equals.filter_map(|at| self.winner_of(round - 1, at, names)).min_by(|a, b| names(*a, *b))
        }
    }

    /// The standing of one competitor.
    #[inline]
    pub(crate) fn standing(&self, competitor: usize) -> Standing {
        self.rounds[0][competitor / WIDTH].0[competitor % WIDTH]
    }

    /// Sets a standing without playing; [`play`](Self::play) must follow.
    #[inline]
    pub(crate) fn place(&mut self, competitor: usize, standing: Standing) {
        self.rounds[0][competitor / WIDTH].0[competitor % WIDTH] = standing;
    }

    /// Plays every match.
    pub(crate) fn play(&mut self) {
        for round in 1..self.rounds.len() {
            let (before, after) = self.rounds.split_at_mut(round);
            for (at, played) in before[round - 1].iter().enumerate() {
                after[0][at / WIDTH].0[at % WIDTH] = played.best();
            }
        }
        self.best = self.rounds.last().and_then(|round| round.first()).map_or(Standing::OUT, Match::best);
    }

    /// Sets a standing and replays its matches.
    pub(crate) fn update(&mut self, competitor: usize, standing: Standing) {
        let (mut at, mut best) = (competitor, standing);
        for round in &mut self.rounds {
            let played = &mut round[at / WIDTH];
            if std::mem::replace(&mut played.0[at % WIDTH], best) == best {
                return;
            }
            best = played.best();
            at /= WIDTH;
        }
        self.best = best;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_is_the_best_after_any_sequence_of_updates() {
        let rng = crate::rng::Rng::seeded(3);
        for count in [1_usize, 2, 3, 8, 9, 17, 64, 65, 600] {
            let mut tree = Tournament::with_capacity(count);
            let mut standings = vec![Standing::OUT; count];
            for step in 0..300 {
                let leaf = usize::try_from(rng.below(count as u64)).unwrap();
                let number = |bound| u32::try_from(rng.below(bound)).unwrap();
                standings[leaf] =
                    if rng.chance(0.3) { Standing::OUT } else { Standing::new(number(3), number(2)) };
                if step % 50 == 49 {
                    tree.place(leaf, standings[leaf]);
                    tree.play();
                } else {
                    tree.update(leaf, standings[leaf]);
                }
                let best = standings.iter().enumerate().filter(|(_, s)| !s.is_out());
                let best = best.max_by_key(|(i, s)| (**s, std::cmp::Reverse(*i))).map(|(i, _)| i);
                assert_eq!(tree.winner(&|a, b| a.cmp(&b)), best);
                assert_eq!(tree.best(), best.map_or(Standing::OUT, |best| tree.standing(best)));
            }
        }
    }

    #[test]
    fn rank_goes_before_tie_and_points_add_to_it() {
        assert!(Standing::new(2, 0) > Standing::new(1, u32::MAX));
        assert_eq!(Standing::new(2, 5).plus(3), Standing::new(5, 5));
        assert!(!Standing::new(0, 0).is_out());
        assert_eq!(Standing::new(5, 1).plus(u32::MAX), Standing::new(u32::MAX, 1));
    }
}
