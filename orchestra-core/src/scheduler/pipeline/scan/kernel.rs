//! The loops over the columns: plain arithmetic on slices, without branches, for the compiler to make vectors of.

use crate::scheduler::plugins::Allocation;
use crate::scheduler::points::nearest;
use crate::scheduler::view::fullness;

/// How many nodes are ranked together. One bit each fits into a word.
pub(super) const BLOCK: usize = 64;
/// So many are compared side by side.
const LANES: usize = 16;
/// The rank of nobody.
pub(super) const OUT: f32 = f32::NEG_INFINITY;

/// A block of one column.
pub(super) type Block = [f32; BLOCK];

/// What is known of the nodes, node by node, in whole blocks.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// What the pods there request, as scores count: thousandths of a CPU, bytes.
    pub(super) used: [Vec<Block>; 2],
    /// One part of what the node has, as [`inverse`](crate::scheduler::view::inverse) gives it.
    pub(super) inverse: [Vec<Block>; 2],
}

/// What is asked of the nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// CPU and memory that the pod adds.
    pub(super) more: [f32; 2],
    /// The weights of what the allocation scores like: least, most, balanced.
    pub(super) weights: [f32; 3],
}

impl Columns {
    /// The ranks of the nodes of block `at`. `base` has the points by all other scores, or [`OUT`].
    pub(super) fn ranks(&self, at: usize, base: &Block, wish: Wish, ranks: &mut Block) {
        self.ranks_by::<true, true, true>(at, base, wish, ranks);
    }

    /// The same with those weights alone that are said to be there: the others are 0, and add nothing.
    #[inline(always)]
    fn ranks_by<const LEAST: bool, const MOST: bool, const BALANCED: bool>(
        &self,
        at: usize,
        base: &Block,
        wish: Wish,
        ranks: &mut Block,
    ) {
        let (cpu, memory) = (&self.used[0][at], &self.used[1][at]);
        let (of_cpu, of_memory) = (&self.inverse[0][at], &self.inverse[1][at]);
        for i in 0..BLOCK {
            let cpu = fullness(cpu[i], wish.more[0], of_cpu[i]);
            let memory = fullness(memory[i], wish.more[1], of_memory[i]);
            let points = |like: Allocation| nearest(like.thousandths(cpu, memory));
            // All are whole numbers below 2^24: their sum is exact, in any order.
            let mut rank = base[i];
            if LEAST {
                rank += points(Allocation::Least) * wish.weights[0];
            }
            if MOST {
                rank += points(Allocation::Most) * wish.weights[1];
            }
            if BALANCED {
                rank += points(Allocation::Balanced) * wish.weights[2];
            }
            ranks[i] = rank;
        }
    }

    /// The highest rank in each block.
    pub(super) fn highest(&self, base: &[Block], wish: Wish, highest: &mut Vec<f32>) {
        match wish.weights.map(|weight| weight > 0.0) {
            [true, false, true] => self.highest_by::<true, false, true>(base, wish, highest),
            [true, false, false] => self.highest_by::<true, false, false>(base, wish, highest),
            [false, true, false] => self.highest_by::<false, true, false>(base, wish, highest),
            _ => self.highest_by::<true, true, true>(base, wish, highest),
        }
    }

    fn highest_by<const LEAST: bool, const MOST: bool, const BALANCED: bool>(
        &self,
        base: &[Block],
        wish: Wish,
        highest: &mut Vec<f32>,
    ) {
        highest.clear();
        let mut ranks = [OUT; BLOCK];
        highest.extend(base.iter().enumerate().map(|(at, base)| {
            self.ranks_by::<LEAST, MOST, BALANCED>(at, base, wish, &mut ranks);
            max(&ranks)
        }));
    }
}

/// The largest of some numbers.
#[inline(always)]
pub(super) fn max(numbers: &[f32]) -> f32 {
    let (chunks, rest) = numbers.as_chunks::<LANES>();
    let mut best = [OUT; LANES];
    for chunk in chunks {
        for (best, number) in best.iter_mut().zip(chunk) {
            *best = if *number > *best { *number } else { *best };
        }
    }
    best.iter().chain(rest).fold(OUT, |best, number| if *number > best { *number } else { best })
}
