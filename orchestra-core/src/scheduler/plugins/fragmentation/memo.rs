//! Fragmentations that were worked out before: many nodes have the same room, each pod's "after" is the next one's
//! "before", and equal pods find all of theirs.

use std::collections::HashMap;

use super::room::Room;
use crate::scheduler::TypicalPods;

/// How many are kept, 64 bytes each. Beyond it all are dropped.
const MOST: usize = 1 << 16;
/// The room of nodes with more GPUs, or for pods of more resources, is not remembered.
const GPUS: usize = 8;
const RESOURCES: usize = 4;

type Key = ([i64; RESOURCES], [u16; GPUS], u8);

/// What was worked out for one set of typical pods.
#[derive(Debug, Default)]
pub(super) struct Memo {
    typical: TypicalPods,
    known: HashMap<Key, f64>,
}

impl Memo {
    pub(super) fn get(&mut self, typical: &TypicalPods, room: &Room, work_out: impl FnOnce() -> f64) -> f64 {
        let Some(key) = key(room) else { return work_out() };
        if !self.typical.is(typical) {
            (self.typical, self.known) = (typical.clone(), HashMap::new());
        }
        if self.known.len() >= MOST {
            self.known.clear();
        }
        *self.known.entry(key).or_insert_with(work_out)
    }
}

fn key(room: &Room) -> Option<Key> {
    let (mut free, mut gpus) = ([0; RESOURCES], [0; GPUS]);
    free.get_mut(..room.free.len())?.copy_from_slice(&room.free);
    gpus.get_mut(..room.gpus.len())?.copy_from_slice(&room.gpus);
    Some((free, gpus, u8::try_from(room.gpus.len()).ok()?))
}
