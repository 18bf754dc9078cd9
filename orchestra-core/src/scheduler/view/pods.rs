//! The pods that are on nodes, or were given to one.

use std::collections::HashMap;
use std::sync::Arc;

use super::class::PodClass;
use super::slots::NodeId;
use crate::model::{Pod, Uid};

/// One pod on a node.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) pod: Arc<Pod>,
    pub(crate) class: Arc<PodClass>,
    pub(crate) node: NodeId,
    /// Where the pod's number is in its node's list.
    pub(crate) place: usize,
    /// Whether the pod was given to the node by a decision that nobody has confirmed yet.
    pub(crate) assumed: bool,
}

/// All pods on nodes, by number and by identity.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    records: Vec<Option<Record>>,
    free: Vec<u32>,
    numbers: HashMap<Uid, u32>,
}

impl Pods {
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    pub(crate) fn find(&self, uid: &Uid) -> Option<u32> {
        self.numbers.get(uid).copied()
    }

    /// The record with a number that [`find`](Self::find) or a node's list gave.
    pub(crate) fn get(&self, number: u32) -> &Record {
        self.records[number as usize].as_ref().expect("numbers in use have a record")
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> &mut Record {
        self.records[number as usize].as_mut().expect("numbers in use have a record")
    }

    pub(crate) fn insert(&mut self, record: Record) -> u32 {
        let uid = record.pod.metadata.uid.clone();
        let number = if let Some(number) = self.free.pop() {
            self.records[number as usize] = Some(record);
            number
        } else {
            self.records.push(Some(record));
            u32::try_from(self.records.len() - 1).unwrap_or(u32::MAX)
        };
        self.numbers.insert(uid, number);
        number
    }

    pub(crate) fn remove(&mut self, number: u32) -> Record {
        let record = self.records[number as usize].take().expect("numbers in use have a record");
        self.numbers.remove(&record.pod.metadata.uid);
        self.free.push(number);
        record
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().flatten()
    }
}
