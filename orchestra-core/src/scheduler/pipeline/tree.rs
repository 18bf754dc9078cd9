//! The best of many nodes, kept while single ones change: a tournament tree.

use std::cmp::Ordering;

/// A node's standing: its rank and its place among equals, larger is better. 0 is out of the race.
///
/// The upper half is the rank plus one, the lower half orders nodes of equal rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing(u64);

impl Standing {
    /// Not feasible.
    pub(crate) const OUT: Self = Self(0);

    /// `rank` saturates one below `u32::MAX`.
    pub(crate) fn new(rank: u32, tie: u32) -> Self {
        Self((u64::from(rank.saturating_add(1)) << 32) | u64::from(tie))
    }

    pub(crate) const fn is_out(self) -> bool {
        self.0 == 0
    }

    /// The same with `points` more, for one who is not out. Saturates like [`new`](Self::new).
    pub(crate) fn plus(self, points: u32) -> Self {
        let rank = (self.0 >> 32).saturating_add(points.into()).min(u32::MAX.into());
        Self((rank << 32) | (self.0 & u64::from(u32::MAX)))
    }
}

/// One competitor: its standing and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) standing: Standing,
    pub(crate) node: u32,
}

const NOBODY: Entry = Entry { standing: Standing::OUT, node: u32::MAX };

/// A binary tree with the competitors as leaves and the better of two children in each inner place: the
/// winner is at the top, and a change of one competitor replays one path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tournament {
    /// A power of two, or 0. The leaf of competitor `i` is at `leaves + i`, the top at 1.
    leaves: usize,
    places: Vec<Entry>,
}

impl Tournament {
    /// A tree for competitors `0..count`, all of them out.
    pub(crate) fn with_capacity(count: usize) -> Self {
        let leaves = count.max(1).next_power_of_two();
        Self { leaves, places: vec![NOBODY; 2 * leaves] }
    }

    /// How many competitors there is room for.
    pub(crate) fn capacity(&self) -> usize {
        self.leaves
    }

    /// The winner, unless all are out. `equals` decides between equal standings.
    pub(crate) fn winner(&self) -> Option<Entry> {
        self.places.get(1).copied().filter(|e| !e.standing.is_out())
    }

    /// The standing of one competitor.
    pub(crate) fn standing(&self, leaf: usize) -> Standing {
        self.places[self.leaves + leaf].standing
    }

    /// Sets a leaf without playing; [`play`](Self::play) must follow.
    pub(crate) fn place(&mut self, leaf: usize, entry: Entry) {
        self.places[self.leaves + leaf] = entry;
    }

    /// Plays every match.
    pub(crate) fn play(&mut self, names: &impl Fn(u32, u32) -> Ordering) {
        for at in (1..self.leaves).rev() {
            self.places[at] = better(self.places[2 * at], self.places[2 * at + 1], names);
        }
    }

    /// Sets a leaf and replays its path.
    pub(crate) fn update(&mut self, leaf: usize, entry: Entry, names: &impl Fn(u32, u32) -> Ordering) {
        let mut at = self.leaves + leaf;
        self.places[at] = entry;
        while at > 1 {
            at /= 2;
            let winner = better(self.places[2 * at], self.places[2 * at + 1], names);
            if self.places[at] == winner && winner.node != entry.node {
                return;
            }
            self.places[at] = winner;
        }
    }
}

/// The better of two; of two equal standings the one whose name comes first.
pub(crate) fn better(a: Entry, b: Entry, names: &impl Fn(u32, u32) -> Ordering) -> Entry {
    match a.standing.cmp(&b.standing) {
        Ordering::Greater => a,
        Ordering::Less => b,
        Ordering::Equal if a.standing.is_out() || names(a.node, b.node).is_le() => a,
        Ordering::Equal => b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_is_the_best_after_any_sequence_of_updates() {
        let rng = crate::rng::Rng::seeded(3);
        let names = |a: u32, b: u32| a.cmp(&b);
        for count in [1_usize, 2, 3, 17, 64] {
            let mut tree = Tournament::with_capacity(count);
            let mut standings = vec![Standing::OUT; count];
            for _ in 0..300 {
                let leaf = usize::try_from(rng.below(count as u64)).unwrap();
                let number = |bound| u32::try_from(rng.below(bound)).unwrap();
                standings[leaf] =
                    if rng.chance(0.3) { Standing::OUT } else { Standing::new(number(3), number(2)) };
                let node = u32::try_from(leaf).unwrap();
                tree.update(leaf, Entry { standing: standings[leaf], node }, &names);
                let best = standings.iter().enumerate().filter(|(_, s)| !s.is_out());
                let best = best.max_by_key(|(i, s)| (**s, std::cmp::Reverse(*i))).map(|(i, _)| i);
                assert_eq!(tree.winner().map(|e| e.node as usize), best);
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
