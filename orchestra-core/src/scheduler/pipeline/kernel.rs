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

/// A number for each node, in whole blocks.
#[derive(Debug, Default)]
pub(super) struct Column {
    blocks: Vec<Block>,
    /// The number of each block that has one alone: such a block need not be read.
    alike: Vec<Option<f32>>,
}

impl Column {
    /// Room for so many blocks, new ones filled with `number`.
    pub(super) fn resize(&mut self, blocks: usize, number: f32) {
        self.blocks.resize(blocks, [number; BLOCK]);
        self.alike.resize(blocks, Some(number));
    }

    pub(super) fn clear(&mut self) {
        self.blocks.clear();
        self.alike.clear();
    }

    /// Sets the number at a place for which there is room.
    pub(super) fn set(&mut self, place: usize, number: f32) {
        let at = place / BLOCK;
        if self.alike[at] != Some(number) {
            self.place(place, number);
            self.alike[at] = alike(&self.blocks[at]);
        }
    }

    /// The same for many; [`settle`](Self::settle) must follow.
    pub(super) fn place(&mut self, place: usize, number: f32) {
        self.blocks[place / BLOCK][place % BLOCK] = number;
    }

    pub(super) fn settle(&mut self) {
        for (alike_of, block) in self.alike.iter_mut().zip(&self.blocks) {
            *alike_of = alike(block);
        }
    }
}

/// The number that the whole block has, if it is one.
fn alike(block: &Block) -> Option<f32> {
    let first = block[0].to_bits();
    let differs = block.iter().fold(0, |differs, number| differs | (number.to_bits() ^ first));
    (differs == 0).then_some(block[0])
}

/// What is known of the nodes, node by node.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// What the pods there request, as scores count: thousandths of a CPU, bytes.
    pub(super) used: [Vec<Block>; 2],
    /// One part of what the node has, as [`inverse`](crate::scheduler::view::inverse) gives it.
    pub(super) inverse: [Column; 2],
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
    /// Room for so many blocks.
    pub(super) fn resize(&mut self, blocks: usize) {
        for i in 0..2 {
            self.used[i].resize(blocks, [0.0; BLOCK]);
            self.inverse[i].resize(blocks, 0.0);
        }
    }

    /// The ranks of the nodes of block `at`. `base` has the points by all other scores, or [`OUT`].
    pub(super) fn ranks(&self, at: usize, base: &Column, wish: Wish, ranks: &mut Block) {
        self.ranks_by::<true, true, true>(at, base, wish, ranks);
    }

    /// The same with those weights alone that are said to be there: the others are 0, and add nothing.
    #[inline(always)]
    fn ranks_by<const LEAST: bool, const MOST: bool, const BALANCED: bool>(
        &self,
        at: usize,
        base: &Column,
        wish: Wish,
        ranks: &mut Block,
    ) {
        let used = [&self.used[0][at], &self.used[1][at]];
        let [cpu, memory] = &self.inverse;
        if let (Some(cpu), Some(memory), Some(base)) = (cpu.alike[at], memory.alike[at], base.alike[at]) {
            rank::<LEAST, MOST, BALANCED>(used, |_| (cpu, memory, base), wish, ranks);
        } else {
            let (cpu, memory, base) = (&cpu.blocks[at], &memory.blocks[at], &base.blocks[at]);
            rank::<LEAST, MOST, BALANCED>(used, |i| (cpu[i], memory[i], base[i]), wish, ranks);
        }
    }

    /// The highest rank in each block.
    pub(super) fn highest(&self, base: &Column, wish: Wish, highest: &mut Vec<f32>) {
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code, reason = "the compiler can't know the processor that the program will run on")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                // SAFETY: the processor has what the function was compiled for, as was just asked.
                return unsafe { self.highest_avx512(base, wish, highest) };
            }
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: as above.
                return unsafe { self.highest_avx2(base, wish, highest) };
            }
        }
        self.highest_of(base, wish, highest);
    }

    /// The same, compiled for vectors of twice the width. No operation is another one: the ranks are equal to the bit.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn highest_avx2(&self, base: &Column, wish: Wish, highest: &mut Vec<f32>) {
        self.highest_of(base, wish, highest);
    }

    /// The same for vectors of four times the width.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn highest_avx512(&self, base: &Column, wish: Wish, highest: &mut Vec<f32>) {
        self.highest_of(base, wish, highest);
    }

    #[inline(always)]
    fn highest_of(&self, base: &Column, wish: Wish, highest: &mut Vec<f32>) {
        match wish.weights.map(|weight| weight > 0.0) {
            [true, false, true] => self.highest_by::<true, false, true>(base, wish, highest),
            [true, false, false] => self.highest_by::<true, false, false>(base, wish, highest),
            [false, true, false] => self.highest_by::<false, true, false>(base, wish, highest),
            _ => self.highest_by::<true, true, true>(base, wish, highest),
        }
    }

    #[inline(always)]
    fn highest_by<const LEAST: bool, const MOST: bool, const BALANCED: bool>(
        &self,
        base: &Column,
        wish: Wish,
        highest: &mut Vec<f32>,
    ) {
        highest.clear();
        highest.resize(base.blocks.len(), OUT);
        let mut ranks = [OUT; BLOCK];
        for (at, highest) in highest.iter_mut().enumerate() {
            self.ranks_by::<LEAST, MOST, BALANCED>(at, base, wish, &mut ranks);
            *highest = max(&ranks);
        }
    }
}

/// CPU and memory of a block of nodes.
#[derive(Debug)]
pub(super) struct Amounts {
    pub(super) allocatable: [Block; 2],
    /// As scores count.
    pub(super) used: [Block; 2],
}

impl Default for Amounts {
    fn default() -> Self {
        Self { allocatable: [[0.0; BLOCK]; 2], used: [[0.0; BLOCK]; 2] }
    }
}

impl Amounts {
    /// The ranks of the nodes by how full they would be.
    pub(super) fn ranks(&self, wish: Wish, ranks: &mut Block) {
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code, reason = "the compiler can't know the processor that the program will run on")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                // SAFETY: the processor has what the function was compiled for, as was just asked.
                return unsafe { self.ranks_avx512(wish, ranks) };
            }
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: as above.
                return unsafe { self.ranks_avx2(wish, ranks) };
            }
        }
        self.ranks_of(wish, ranks);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn ranks_avx2(&self, wish: Wish, ranks: &mut Block) {
        self.ranks_of(wish, ranks);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn ranks_avx512(&self, wish: Wish, ranks: &mut Block) {
        self.ranks_of(wish, ranks);
    }

    #[inline(always)]
    fn ranks_of(&self, wish: Wish, ranks: &mut Block) {
        let ([cpu, memory], [used_cpu, used_memory]) = (&self.allocatable, &self.used);
        let fixed = |i: usize| (1.0 / cpu[i], 1.0 / memory[i], 0.0);
        match wish.weights.map(|weight| weight > 0.0) {
            [true, false, true] => rank::<true, false, true>([used_cpu, used_memory], fixed, wish, ranks),
            _ => rank::<true, true, true>([used_cpu, used_memory], fixed, wish, ranks),
        }
    }
}

/// Ranks a block. `fixed` tells for each place the inverses of CPU and memory, and the points by all other scores.
#[inline(always)]
fn rank<const LEAST: bool, const MOST: bool, const BALANCED: bool>(
    [cpu, memory]: [&Block; 2],
    fixed: impl Fn(usize) -> (f32, f32, f32),
    wish: Wish,
    ranks: &mut Block,
) {
    for i in 0..BLOCK {
        let (of_cpu, of_memory, base) = fixed(i);
        let cpu = fullness(cpu[i], wish.more[0], of_cpu);
        let memory = fullness(memory[i], wish.more[1], of_memory);
        let mut rank = base;
        // All are whole numbers below 2^24: their sum is exact, in any order.
        if LEAST {
            rank += nearest(Allocation::Least.thousandths(cpu, memory)) * wish.weights[0];
        }
        if MOST {
            rank += nearest(Allocation::Most.thousandths(cpu, memory)) * wish.weights[1];
        }
        if BALANCED {
            rank += nearest(Allocation::Balanced.thousandths(cpu, memory)) * wish.weights[2];
        }
        ranks[i] = rank;
    }
}

/// The largest number of a block.
#[inline(always)]
fn max(block: &Block) -> f32 {
    let mut best = [OUT; LANES];
    for from in (0..BLOCK).step_by(LANES) {
        for lane in 0..LANES {
            let number = block[from + lane];
            best[lane] = if number > best[lane] { number } else { best[lane] };
        }
    }
    largest(&best)
}

/// The largest of some numbers.
pub(super) fn largest(numbers: &[f32]) -> f32 {
    let mut best = OUT;
    for number in numbers {
        best = if *number > best { *number } else { best };
    }
    best
}
