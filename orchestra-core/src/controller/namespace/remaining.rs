//! What is left in a namespace, as conditions of its status: those of Kubernetes.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::client::{Client, ClientError};
use crate::model::{AnyObject, Condition, Namespace, Timestamp};

/// How many kinds or finalizers a message names; the rest is summed up.
const MAX_NAMED: usize = 16;

/// What is left in a namespace that is being emptied.
#[derive(Debug, Default)]
pub(super) struct Remaining {
    /// How many objects there are of each kind.
    kinds: BTreeMap<String, usize>,
    /// How many objects each finalizer holds.
    finalizers: BTreeMap<String, usize>,
    /// Why something could not be deleted.
    failure: Option<String>,
}

impl Remaining {
    pub(super) fn of(objects: &[AnyObject], failure: Option<&ClientError>) -> Self {
        let mut remaining = Self { failure: failure.map(ToString::to_string), ..Self::default() };
        for object in objects {
            *remaining.kinds.entry(object.info().group_kind().to_string()).or_default() += 1;
            for finalizer in &object.meta().finalizers {
                *remaining.finalizers.entry(finalizer.clone()).or_default() += 1;
            }
        }
        remaining
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    fn conditions(&self, now: Timestamp) -> [Condition; 3] {
        let condition = |type_: &str, found: Option<String>, (is, is_not): (&str, &str), none: &str| {
            let reason = if found.is_some() { is } else { is_not };
            let holds = Condition::new(type_, found.is_some(), now).reason(reason);
            holds.message(found.unwrap_or_else(|| none.to_owned()))
        };
        let content = listed(&self.kinds).map(|kinds| format!("there are {kinds} left"));
        let finalizers = listed(&self.finalizers)
            .map(|held| format!("finalizers hold objects, each until its owner removes it: {held}"));
        [
            condition(
                "NamespaceDeletionContentFailure",
                self.failure.clone(),
                ("ContentDeletionFailed", "ContentDeleted"),
                "all that is in the namespace was told to go",
            ),
            condition(
                "NamespaceContentRemaining",
                content,
                ("SomeResourcesRemain", "ContentRemoved"),
                "the namespace is empty",
            ),
            condition(
                "NamespaceFinalizersRemaining",
                finalizers,
                ("SomeFinalizersRemain", "ContentHasNoFinalizers"),
                "no finalizer holds anything in the namespace",
            ),
        ]
    }
}

/// `1 ConfigMap, 3 Pod`; `None` of nothing.
fn listed(counts: &BTreeMap<impl Display, usize>) -> Option<String> {
    let named = counts.iter().take(MAX_NAMED).map(|(name, count)| format!("{count} {name}"));
    let rest: usize = counts.values().skip(MAX_NAMED).sum();
    let rest = (rest > 0).then(|| format!("{rest} others"));
    let all: Vec<_> = named.chain(rest).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Says in the namespace's status what is left in it.
pub(super) async fn report(
    client: &Client,
    namespace: &Namespace,
    remaining: &Remaining,
) -> Result<(), ClientError> {
    let now = client.clock().now();
    let change = |namespace: &mut Namespace| {
        for condition in remaining.conditions(now) {
            condition.set_in(&mut namespace.status.conditions);
        }
    };
    match client.modify_status::<Namespace>(&namespace.metadata.name, change).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_so_many_and_sums_up_the_rest() {
        let counts = |n: usize| (0..n).map(|i| (format!("k{i:02}"), 2)).collect::<BTreeMap<_, _>>();
        assert_eq!(listed(&counts(0)), None);
        assert_eq!(listed(&counts(2)).unwrap(), "2 k00, 2 k01");
        assert!(listed(&counts(18)).unwrap().ends_with("2 k15, 4 others"));
    }
}
