//! How far a rollout has come at its best: remembered in the deployment's status, which is written with each change of
//! the numbers anyway.

use serde_json::Value;

use crate::model::Extra;
use crate::rollout::Counts;

/// The field of the status that holds it.
const FIELD: &str = "orchestra.dev/progress";

/// What the status remembers of the rollout of `revision`.
pub(super) fn read(status: &Extra, revision: u64) -> Option<Counts> {
    let (of, numbers) = status.0.get(FIELD)?.as_str()?.split_once(' ')?;
    let mut numbers = numbers.split(' ').map(str::parse);
    let mut next = || numbers.next()?.ok();
    if of.parse() != Ok(revision) {
        return None;
    }
    let (total, updated, new_ready, new_available) = (next()?, next()?, next()?, next()?);
    Some(Counts { total, updated, new_ready, new_available, ..Counts::default() })
}

/// Has the status remember it; nothing where the rollout is over.
pub(super) fn write(status: &mut Extra, revision: u64, mark: Option<&Counts>) {
    let Some(mark) = mark else { return drop(status.0.remove(FIELD)) };
    let Counts { total, updated, new_ready, new_available, .. } = mark;
    let text = format!("{revision} {total} {updated} {new_ready} {new_available}");
    status.0.insert(FIELD.to_owned(), Value::String(text));
}
