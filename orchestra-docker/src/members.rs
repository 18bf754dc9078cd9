//! Which containers are in the sandboxes that this process has made.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The containers of each sandbox that this process has made. Nobody else puts any in, so the engine, which
/// looks through all that it has for a label, need not be asked for them.
#[derive(Debug, Default)]
pub(crate) struct Members(Mutex<BTreeMap<String, Of>>);

/// Of one sandbox: names, and the engine's ids, once the engine has said them. They are few.
type Of = Vec<(Box<str>, Option<Box<str>>)>;

fn id_of<'a>(of: &'a mut Of, name: &str) -> Option<&'a mut Option<Box<str>>> {
    of.iter_mut().find(|(known, _)| **known == *name).map(|(_, id)| id)
}

impl Members {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Of>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sandbox was created, with nothing but its own container.
    pub(crate) fn begin(&self, sandbox: &str, docker_id: &str) {
        self.all().insert(sandbox.to_owned(), vec![(sandbox.into(), Some(docker_id.into()))]);
    }

    /// A container may come into being from now on.
    pub(crate) fn comes(&self, sandbox: &str, name: &str) {
        if let Some(of) = self.all().get_mut(sandbox)
            && id_of(of, name).is_none()
        {
            of.push((name.into(), None));
        }
    }

    /// It is there.
    pub(crate) fn came(&self, sandbox: &str, name: &str, docker_id: &str) {
        if let Some(id) = self.all().get_mut(sandbox).and_then(|of| id_of(of, name)) {
            *id = Some(docker_id.into());
        }
    }

    /// All that may be there, by their ids or, while those are not known, their names; `None` where the engine has to be asked.
    pub(crate) fn of(&self, sandbox: &str) -> Option<Vec<String>> {
        Some(
            self.all()
                .get(sandbox)?
                .iter()
                .map(|(name, id)| id.as_ref().unwrap_or(name).to_string())
                .collect(),
        )
    }

    /// The engine has none of that id. Under a name one may come yet.
    pub(crate) fn is_missing(&self, sandbox: &str, docker_id: &str) {
        let mut all = self.all();
        let Some(of) = all.get_mut(sandbox) else { return };
        of.retain(|(_, id)| id.as_deref() != Some(docker_id));
        if of.is_empty() {
            all.remove(sandbox);
        }
    }

    /// None came, and none will.
    pub(crate) fn comes_not(&self, sandbox: &str, name: &str) {
        if let Some(of) = self.all().get_mut(sandbox) {
            of.retain(|(known, id)| **known != *name || id.is_some());
        }
    }

    /// Nothing of the sandbox is left.
    pub(crate) fn end(&self, sandbox: &str) {
        self.all().remove(sandbox);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_there_is_known_of_those_that_were_made_here() {
        let members = Members::default();
        members.comes("a", "a.web.0");
        assert_eq!(members.of("a"), None, "another process has made it");
        members.begin("a", "1");
        members.comes("a", "a.web.0");
        members.is_missing("a", "a.web.0");
        assert_eq!(members.of("a").unwrap(), ["1", "a.web.0"], "it may come yet");
        members.came("a", "a.web.0", "2");
        members.comes("a", "a.web.0");
        members.comes_not("a", "a.web.0");
        assert_eq!(members.of("a").unwrap(), ["1", "2"], "it is there");
        members.comes("a", "a.log.0");
        members.comes_not("a", "a.log.0");
        members.is_missing("a", "2");
        assert_eq!(members.of("a").unwrap(), ["1"]);
        members.is_missing("a", "1");
        assert_eq!(members.of("a"), None, "nothing is left");
        members.begin("b", "3");
        members.end("b");
        assert_eq!(members.of("b"), None);
    }
}
