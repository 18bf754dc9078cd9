//! Nodes in order of what clearing them costs, kept while single nodes change.

use std::cmp::Ordering;

use super::cost::Cost;

/// No node.
const NOBODY: u32 = u32::MAX;

/// A tournament: of each two neighbours the cheaper goes on. What changes one cost plays again as many matches as there are
/// rounds; the costs lie side by side, each once.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// By the nodes' numbers; their count is a power of two, or 0.
    costs: Vec<Option<Cost>>,
    /// Who wins each match: the final is the first, and the match `i` is between the winners of `2 * i` and `2 * i + 1`.
    winners: Vec<u32>,
}

impl Order {
    /// The order of nodes that cost so much each. Equal costs are decided by `names`, which orders two nodes.
    pub(super) fn new(costs: Vec<Option<Cost>>, names: &impl Fn(usize, usize) -> Ordering) -> Self {
        let mut order = Self { costs, winners: Vec::new() };
        order.play_all(names);
        order
    }

    fn play_all(&mut self, names: &impl Fn(usize, usize) -> Ordering) {
        let places = self.costs.len().next_power_of_two();
        self.costs.resize(places, None);
        self.winners.clear();
        self.winners.resize(places, NOBODY);
        for of in (1..places).rev() {
            self.winners[of] = self.play(of, names);
        }
    }

    /// Who comes out of a match, or of a node's own place behind all matches.
    #[inline]
    fn winner(&self, of: usize) -> u32 {
        match of.checked_sub(self.winners.len()) {
            None => self.winners[of],
            Some(node) if self.costs[node].is_some() => u32::try_from(node).unwrap_or(NOBODY),
            Some(_) => NOBODY,
        }
    }

    #[inline]
    fn play(&self, of: usize, names: &impl Fn(usize, usize) -> Ordering) -> u32 {
        let (one, other) = (self.winner(2 * of), self.winner(2 * of + 1));
        if one == NOBODY || other == NOBODY {
            return one.min(other);
        }
        let (a, b) = (one as usize, other as usize);
        match self.costs[a].cmp(&self.costs[b]).then_with(|| names(a, b)) {
            Ordering::Greater => other,
            _ => one,
        }
    }

    /// The cheapest node, and what it costs.
    pub(super) fn first(&self) -> Option<(usize, Cost)> {
        let node = match self.winners.len() {
            0 => return None,
            1 => self.winner(1),
            _ => self.winners[1],
        };
        self.costs.get(node as usize).copied().flatten().map(|cost| (node as usize, cost))
    }

    /// Sets what a node costs; `None` where it can't be cleared.
    pub(super) fn set(&mut self, node: usize, cost: Option<Cost>, names: &impl Fn(usize, usize) -> Ordering) {
        if node >= self.costs.len() {
            self.costs.resize(node + 1, None);
            self.costs[node] = cost;
            self.play_all(names);
            return;
        }
        self.costs[node] = cost;
        let mut of = (self.winners.len() + node) / 2;
        while of > 0 {
            let winner = self.play(of, names);
            let before = std::mem::replace(&mut self.winners[of], winner);
            if winner == before && winner as usize != node {
                return;
            }
            of /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cost::Loss;
    use super::*;
    use crate::model::Timestamp;
    use crate::rng::Rng;

    #[test]
    fn the_first_is_the_cheapest_after_every_change() {
        let (rng, mut order) = (Rng::seeded(1), Order::default());
        // Later nodes have the names that sort first.
        let names = |a: usize, b: usize| b.cmp(&a);
        let mut plain: Vec<Option<Cost>> = Vec::new();
        assert_eq!(order.first(), None);
        for _ in 0..2000 {
            let node = usize::try_from(rng.below(40)).unwrap();
            let priority = i32::try_from(rng.below(5)).unwrap();
            let loss = Loss { goes: false, priority, started: Timestamp::EPOCH };
            let cost = rng.chance(0.7).then(|| Cost::of([loss].into_iter()));
            if rng.chance(0.02) {
                order = Order::new(plain.clone(), &names);
            }
            order.set(node, cost, &names);
            plain.resize(plain.len().max(node + 1), None);
            plain[node] = cost;
            let known = plain.iter().enumerate().filter_map(|(node, cost)| Some((node, (*cost)?)));
            let cheapest = known.min_by(|(a, x), (b, y)| x.cmp(y).then_with(|| names(*a, *b)));
            assert_eq!(order.first(), cheapest);
        }
    }
}
