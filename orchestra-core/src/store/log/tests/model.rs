//! Random histories, against a map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Dir, content, key, map, snapshot_ended};
use crate::model::{ObjectKey, Revision};
use crate::store::{Commit, LogStore, LogStoreOptions, Precondition, Scope, Store, StoreError};

#[derive(Clone, Debug)]
enum Op {
    /// Writes several keys: a value, or a removal.
    Commit(BTreeMap<u8, Option<u32>>),
    /// Writes a key if it is at the revision that the model has, or is not.
    Guarded { key: u8, value: u32, right: bool },
    /// Closes and opens.
    Reopen,
    /// Opens a copy of the directory, as a crash leaves it.
    Crash,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let writes =
        proptest::collection::btree_map(0..6_u8, proptest::option::weighted(0.7, any::<u32>()), 0..4);
    let op = prop_oneof![
        8 => writes.prop_map(Op::Commit),
        4 => (0..6_u8, any::<u32>(), any::<bool>())
            .prop_map(|(key, value, right)| Op::Guarded { key, value, right }),
        1 => Just(Op::Reopen),
        1 => Just(Op::Crash),
    ];
    proptest::collection::vec(op, 1..60)
}

type Model = BTreeMap<String, (String, Revision)>;

struct Run {
    dir: Dir,
    store: LogStore,
    model: Model,
    last: Revision,
}

impl Run {
    fn open(dir: &Dir) -> LogStore {
        dir.open_with(LogStoreOptions::default().with_snapshots(1_000, 1.0))
    }

    fn name(key: u8) -> String {
        format!("n-{key}")
    }

    fn wrote(&mut self, revision: Revision, writes: &BTreeMap<u8, Option<u32>>) {
        assert!(revision > self.last, "{revision} comes after {}", self.last);
        self.last = revision;
        for (key, value) in writes {
            match value {
                Some(value) => self.model.insert(Self::name(*key), (value.to_string(), revision)),
                None => self.model.remove(&Self::name(*key)),
            };
        }
    }

    async fn run(&mut self, op: Op) {
        match op {
            Op::Commit(writes) => {
                let mut commit = Commit::new();
                let mut changes = false;
                for (at, value) in &writes {
                    let name = Self::name(*at);
                    changes |= value.is_some() || self.model.contains_key(&name);
                    commit = match value {
                        Some(value) => commit.put(map(&name, &value.to_string())),
                        None => commit.delete(key(&name)),
                    };
                }
                let committed = self.store.commit(commit).await.unwrap();
                if changes {
                    self.wrote(committed.revision, &writes);
                }
            }
            Op::Guarded { key: at, value, right } => {
                let name = Self::name(at);
                let held = self.model.get(&name).map(|(_, revision)| *revision);
                let condition = match (held, right) {
                    (Some(revision), true) => Precondition::Revision(key(&name), revision),
                    (None, true) | (Some(_), false) => Precondition::Absent(key(&name)),
                    (None, false) => Precondition::Revision(key(&name), Revision(1)),
                };
                let commit = Commit::new().require(condition).put(map(&name, &value.to_string()));
                match self.store.commit(commit).await {
                    Ok(committed) => {
                        assert!(right);
                        self.wrote(committed.revision, &BTreeMap::from([(at, Some(value))]));
                    }
                    Err(StoreError::Conflict { .. }) => assert!(!right),
                    Err(error) => panic!("{error}"),
                }
            }
            Op::Reopen => {
                self.store.close().await.unwrap();
                self.store = Self::open(&self.dir);
            }
            Op::Crash => {
                snapshot_ended(&self.store).await;
                let copy = self.dir.copy();
                self.store.close().await.unwrap();
                self.dir = copy;
                self.store = Self::open(&self.dir);
            }
        }
        self.check().await;
    }

    async fn check(&self) {
        let found: Model =
            content(&self.store).await.into_iter().map(|(name, value, at)| (name, (value, at))).collect();
        assert_eq!(found, self.model);
        assert_eq!(self.store.revision(&Scope::default()).await.unwrap(), self.last);
    }

    /// What the watch of all that is held makes of what it begins with is what there is.
    async fn fold(&self) {
        let held = match self.store.watch(&Scope::default(), Revision::ZERO).await {
            Ok(_) => Revision::ZERO,
            Err(StoreError::Compacted { oldest, .. }) => oldest,
            Err(error) => panic!("{error}"),
        };
        let mut watch = self.store.watch(&Scope::default(), held).await.unwrap();
        let mut at: BTreeMap<ObjectKey, Revision> = BTreeMap::new();
        let mut seen = held;
        while seen < self.last {
            let event = watch.next().await.unwrap().unwrap();
            assert!(event.revision > seen);
            seen = event.revision;
            for change in event.changes.iter() {
                match &change.object {
                    Some(object) => at.insert(change.key.clone(), object.meta().resource_version),
                    None => at.remove(&change.key),
                };
            }
        }
        for (name, (_, revision)) in &self.model {
            assert!(*revision <= held || at.get(&key(name)) == Some(revision), "{name} at {revision}");
        }
        assert!(at.keys().all(|key| self.model.contains_key(&*key.name)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_store_is_a_map_that_survives(ops in ops()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let dir = Dir::new();
            let store = Run::open(&dir);
            let mut run = Run { dir, store, model: Model::new(), last: Revision::ZERO };
            for op in ops {
                run.run(op).await;
            }
            run.fold().await;
            run.store.close().await.unwrap();
        });
    }
}
