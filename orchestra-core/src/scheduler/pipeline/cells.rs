//! The standings of all nodes, in cells of nodes that the rules about domains don't tell apart.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::domains::Domains;
use super::tree::{Standing, Tournament};
use crate::scheduler::View;
use crate::scheduler::view::slots::NodeId;
use crate::scheduler::view::topology::KeyId;

/// Not in any cell.
const NO_CELL: u32 = u32::MAX;

/// Nodes that are in the same domains.
#[derive(Debug)]
struct Cell {
    /// In the order in which they joined. Empty where one cell has all nodes: there each has its number as its place.
    members: Vec<NodeId>,
    /// By their places among the members.
    tree: Tournament,
    feasible: usize,
    /// Any node of it.
    sample: NodeId,
    /// The points of its nodes, or the reason against them all.
    verdict: Result<u32, u16>,
}

impl Cell {
    fn new(sample: NodeId) -> Self {
        Self { members: Vec::new(), tree: Tournament::default(), feasible: 0, sample, verdict: Ok(0) }
    }

    fn member(&self, place: usize) -> NodeId {
        self.members.get(place).copied().unwrap_or_else(|| NodeId::from_index(place))
    }

    /// The best node.
    fn winner(&self, view: &View) -> Option<NodeId> {
        let names = |a: usize, b: usize| view.slots().by_name(self.member(a), self.member(b));
        self.tree.winner(&names).map(|place| self.member(place))
    }
}

/// All cells.
#[derive(Debug)]
pub(super) struct Cells {
    cells: Vec<Cell>,
    /// The cell of each node, and its place there. Empty where there is one cell.
    places: Vec<(u32, u32)>,
    /// The cells of each domain, for keys that divide the nodes into cells.
    of_domain: BTreeMap<(usize, u32), Vec<u32>>,
    /// Whether keys divide the nodes.
    divided: bool,
    /// The winners of the cells, with the points of their cells.
    top: Tournament,
}

impl Cells {
    /// The cells into which `keys` divide the nodes, all of them out.
    pub(super) fn new(view: &View, keys: &[KeyId]) -> Self {
        let nodes = view.slots().len();
        let mut cells = Self {
            cells: Vec::new(),
            places: Vec::new(),
            of_domain: BTreeMap::new(),
            divided: !keys.is_empty(),
            top: Tournament::default(),
        };
        if cells.divided {
            cells.divide(view, keys);
        } else {
            let mut cell = Cell::new(NodeId::from_index(0));
            // Some room for nodes that come.
            cell.tree = Tournament::with_capacity(nodes + nodes / 8 + 64);
            cells.cells.push(cell);
        }
        cells.top = Tournament::with_capacity(cells.cells.len());
        cells
    }

    /// Makes the cells, each with its members.
    fn divide(&mut self, view: &View, keys: &[KeyId]) {
        self.places = vec![(NO_CELL, 0); view.slots().len()];
        let mut known: HashMap<SmallVec<[u32; 4]>, u32> = HashMap::new();
        // Most often there is one key.
        let mut by_domain: Vec<u32> = Vec::new();
        for id in view.ids() {
            let cell = if let [key] = keys {
                let domain = view.key(*key).of(id.index());
                // The domain of those that have none is the first.
                let at = domain.wrapping_add(1) as usize;
                if by_domain.len() <= at {
                    by_domain.resize(at + 1, NO_CELL);
                }
                if by_domain[at] == NO_CELL {
                    by_domain[at] = self.add(id, &[domain]);
                }
                by_domain[at]
            } else {
                let domains = keys.iter().map(|key| view.key(*key).of(id.index())).collect();
                *known.entry(domains).or_insert_with_key(|domains| self.add(id, domains))
            };
            let members = &mut self.cells[cell as usize].members;
            self.places[id.index()] = (cell, u32::try_from(members.len()).unwrap_or(u32::MAX));
            members.push(id);
        }
        for cell in &mut self.cells {
            cell.tree = Tournament::with_capacity(cell.members.len());
        }
    }

    fn add(&mut self, sample: NodeId, domains: &[u32]) -> u32 {
        let number = u32::try_from(self.cells.len()).unwrap_or(NO_CELL);
        self.cells.push(Cell::new(sample));
        for (key, domain) in domains.iter().enumerate() {
            self.of_domain.entry((key, *domain)).or_default().push(number);
        }
        number
    }

    /// Where a node is; `None` where there is no room for it.
    #[inline]
    fn place(&self, id: NodeId) -> Option<(usize, usize)> {
        if !self.divided {
            return (id.index() < self.cells[0].tree.capacity()).then_some((0, id.index()));
        }
        let (cell, leaf) = self.places.get(id.index()).filter(|(cell, _)| *cell != NO_CELL)?;
        Some((*cell as usize, *leaf as usize))
    }

    /// Whether there is room for a node.
    pub(super) fn have_room_for(&self, id: NodeId) -> bool {
        self.place(id).is_some()
    }

    /// Sets a node's standing without playing; [`play`](Self::play) must follow.
    #[inline]
    pub(super) fn put(&mut self, id: NodeId, standing: Standing) {
        if let Some((cell, leaf)) = self.place(id) {
            self.cells[cell].tree.place(leaf, standing);
        }
    }

    /// Sets a node's standing, and plays its matches.
    pub(super) fn update(&mut self, id: NodeId, standing: Standing) {
        if let Some((cell, leaf)) = self.place(id) {
            self.cells[cell].tree.update(leaf, standing);
            self.update_top(cell);
        }
    }

    /// Plays all matches.
    pub(super) fn play(&mut self) {
        for number in 0..self.cells.len() {
            self.cells[number].tree.play();
            self.update_top(number);
        }
    }

    /// Counts a node in its cell that is feasible, or is so no more.
    pub(super) fn set_feasible(&mut self, id: NodeId, feasible: bool) {
        if let Some((cell, _)) = self.place(id) {
            let count = &mut self.cells[cell].feasible;
            *count = if feasible { *count + 1 } else { *count - 1 };
        }
    }

    /// Judges the cells of one domain; `key` counts within the keys that divide nodes into cells.
    pub(super) fn judge_domain(&mut self, view: &View, domains: &Domains, key: usize, domain: u32) {
        for cell in self.of_domain.get(&(key, domain)).cloned().unwrap_or_default() {
            self.judge(view, domains, cell as usize);
        }
    }

    /// Judges all cells.
    pub(super) fn judge_all(&mut self, view: &View, domains: &Domains) {
        for cell in 0..self.cells.len() {
            self.judge(view, domains, cell);
        }
    }

    fn judge(&mut self, view: &View, domains: &Domains, number: usize) {
        let cell = &mut self.cells[number];
        cell.verdict = domains.judge_cell(view, cell.sample);
        self.update_top(number);
    }

    fn update_top(&mut self, number: usize) {
        let cell = &self.cells[number];
        let best = cell.tree.best();
        let standing = match cell.verdict {
            Ok(points) if !best.is_out() => best.plus(points),
            _ => Standing::OUT,
        };
        self.top.update(number, standing);
    }

    /// The node on top.
    pub(super) fn winner(&self, view: &View) -> Option<NodeId> {
        let winner = |cell: usize| self.cells[cell].winner(view);
        let names = |a: usize, b: usize| match (winner(a), winner(b)) {
            (Some(a), Some(b)) => view.slots().by_name(a, b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        };
        winner(self.top.winner(&names)?)
    }

    /// A node's standing with the points of its cell; `None` where these are against it.
    pub(super) fn standing(&self, id: NodeId) -> Option<Standing> {
        let (cell, leaf) = self.place(id)?;
        let cell = &self.cells[cell];
        Some(cell.tree.standing(leaf).plus(cell.verdict.ok()?))
    }

    /// The reasons against whole cells, and how many nodes each is against that are feasible otherwise.
    pub(super) fn rejected(&self) -> Vec<(u16, usize)> {
        self.cells.iter().filter_map(|cell| Some((cell.verdict.err()?, cell.feasible))).collect()
    }
}
