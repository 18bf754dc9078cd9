//! Why a pod was not placed: each node's reason, counted.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::Change;

/// How many different reasons an [`Explanation`] names; further ones are counted together, so that a cluster
/// whose every node has a taint of its own gives a text that can still be read.
pub const MAX_REASONS: usize = 32;

/// What a [`Filter`](super::Filter) says about one pod on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The pod may run there.
    Accept,
    /// It may not. The text goes behind a count of nodes: `insufficient cpu`, `have taint x=y:NoSchedule`.
    /// It should not name the node: equal texts are counted together.
    Reject(Cow<'static, str>),
}

impl Verdict {
    /// A rejection with a text that is made on the spot.
    pub fn reject(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Reject(text.into())
    }

    /// Whether the pod may run there.
    #[must_use]
    pub const fn is_accept(&self) -> bool {
        matches!(self, Self::Accept)
    }
}

/// Rejections without a text of their own are counted under the filter's name.
impl From<bool> for Verdict {
    fn from(accept: bool) -> Self {
        if accept { Self::Accept } else { Self::Reject(Cow::Borrowed("")) }
    }
}

/// One reason for which nodes were rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reason {
    /// The name of the filter that said no first.
    pub plugin: Arc<str>,
    /// What it said.
    pub text: Cow<'static, str>,
    /// How many nodes it said it of.
    pub nodes: usize,
}

/// Why a pod is pending. A clone shares the text with the original.
///
/// Displays as `0/5 nodes: 3 insufficient cpu, 2 have taint x=y:NoSchedule`: of each node the first filter
/// that rejected it, most frequent first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation(Arc<Why>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Why {
    nodes: usize,
    reasons: Vec<Reason>,
    note: Cow<'static, str>,
    helped_by: Change,
}

impl Explanation {
    /// A pod that stays pending for a reason that is not about single nodes; retried after any change.
    #[must_use]
    pub fn note(text: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Why { note: text.into(), helped_by: Change::ANY, ..Why::default() }))
    }

    /// The same with `note` before the counts of nodes.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<Cow<'static, str>>) -> Self {
        Arc::make_mut(&mut self.0).note = note.into();
        self
    }

    /// The same, with another idea of what can help.
    #[must_use]
    pub fn with_helped_by(mut self, changes: Change) -> Self {
        Arc::make_mut(&mut self.0).helped_by = changes;
        self
    }

    /// How many nodes there were.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.0.nodes
    }

    /// Why each of them was rejected, most frequent first; empty where the pod was not tried on nodes.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        &self.0.reasons
    }

    /// The changes after which it is worth trying again.
    #[must_use]
    pub fn helped_by(&self) -> Change {
        self.0.helped_by
    }
}

impl From<&'static str> for Explanation {
    fn from(text: &'static str) -> Self {
        Self::note(text)
    }
}

impl From<String> for Explanation {
    fn from(text: String) -> Self {
        Self::note(text)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Why { nodes, reasons, note, .. } = &*self.0;
        f.write_str(note)?;
        if reasons.is_empty() && !note.is_empty() {
            return Ok(());
        }
        let colon = if note.is_empty() { "" } else { ": " };
        if *nodes == 0 {
            return write!(f, "{colon}no nodes are registered yet");
        }
        write!(f, "{colon}0/{nodes} nodes")?;
        for (i, reason) in reasons.iter().enumerate() {
            write!(f, "{}{} {}", if i == 0 { ": " } else { ", " }, reason.nodes, reason.text)?;
        }
        Ok(())
    }
}

/// Counts rejections by reason. A node holds the number of its reason, so that a change of one node moves
/// one count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reasons {
    known: Vec<(Arc<str>, Cow<'static, str>, Change)>,
    counts: Vec<usize>,
}

impl Reasons {
    /// The number of a reason. Numbers start at 0 and are below [`MAX_REASONS`] + 1.
    pub(crate) fn intern(&mut self, plugin: &Arc<str>, text: Cow<'static, str>, helped_by: Change) -> u16 {
        let text = if text.is_empty() { Cow::Owned(format!("rejected by {plugin}")) } else { text };
        let found =
            self.known.iter().position(|(p, t, _)| t == &text && (Arc::ptr_eq(p, plugin) || p == plugin));
        let number = found.unwrap_or_else(|| self.add(plugin, text, helped_by));
        u16::try_from(number).unwrap_or(u16::MAX)
    }

    fn add(&mut self, plugin: &Arc<str>, text: Cow<'static, str>, helped_by: Change) -> usize {
        if self.known.len() < MAX_REASONS {
            self.known.push((Arc::clone(plugin), text, helped_by));
        } else {
            self.known.truncate(MAX_REASONS + 1);
            let other = self.known.get(MAX_REASONS).map_or(helped_by, |(_, _, h)| *h | helped_by);
            self.known.truncate(MAX_REASONS);
            self.known.push((Arc::from(""), Cow::Borrowed("other reasons"), other));
        }
        self.counts.resize(self.known.len(), 0);
        self.known.len() - 1
    }

    /// The filter that gives a reason, and its text.
    pub(crate) fn get(&self, reason: u16) -> Option<(&Arc<str>, &Cow<'static, str>)> {
        self.known.get(usize::from(reason)).map(|(plugin, text, _)| (plugin, text))
    }

    pub(crate) fn count(&mut self, reason: u16) {
        self.counts[usize::from(reason)] += 1;
    }

    pub(crate) fn uncount(&mut self, reason: u16) {
        self.counts[usize::from(reason)] -= 1;
    }

    /// Forgets the counts, not the reasons.
    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
    }

    /// The explanation for a pod that none of `nodes` nodes can take. `more` is added to the counts.
    pub(crate) fn explain(&self, nodes: usize, more: &[(u16, usize)]) -> Explanation {
        let mut helped_by = Change::NODE;
        let mut reasons = Vec::new();
        for (number, (plugin, text, helps)) in self.known.iter().enumerate() {
            let more =
                more.iter().filter(|(reason, _)| usize::from(*reason) == number).map(|(_, nodes)| nodes);
            let count = self.counts[number] + more.sum::<usize>();
            if count > 0 {
                helped_by |= *helps;
                reasons.push(Reason { plugin: Arc::clone(plugin), text: text.clone(), nodes: count });
            }
        }
        reasons.sort_by(|a, b| b.nodes.cmp(&a.nodes).then_with(|| a.text.cmp(&b.text)));
        Explanation(Arc::new(Why { nodes, reasons, note: Cow::Borrowed(""), helped_by }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_and_bounded() {
        let mut reasons = Reasons::default();
        let (fit, taints) = (Arc::from("Fit"), Arc::from("Taints"));
        let cpu = reasons.intern(&fit, "insufficient cpu".into(), Change::FREED);
        for _ in 0..3 {
            reasons.count(cpu);
        }
        for i in 0..2 * MAX_REASONS {
            let taint = reasons.intern(&taints, format!("have taint t{i}").into(), Change::NODE);
            assert!(usize::from(taint) <= MAX_REASONS);
            reasons.count(taint);
        }
        let explanation = reasons.explain(100, &[]);
        assert_eq!(explanation.reasons().iter().map(|r| r.nodes).sum::<usize>(), 3 + 2 * MAX_REASONS);
        assert!(explanation.reasons().len() <= MAX_REASONS + 1);
        assert!(explanation.helped_by().contains(Change::FREED | Change::NODE));
        assert!(!explanation.helped_by().intersects(Change::PLACED));
    }

    #[test]
    fn the_text_counts_nodes() {
        let mut reasons = Reasons::default();
        let cpu = reasons.intern(&Arc::from("Fit"), "insufficient cpu".into(), Change::FREED);
        let taint = reasons.intern(&Arc::from("Taints"), "have taint x=y:NoSchedule".into(), Change::NODE);
        reasons.count(cpu);
        let explanation = reasons.explain(5, &[(taint, 2), (cpu, 2)]);
        assert_eq!(explanation.to_string(), "0/5 nodes: 3 insufficient cpu, 2 have taint x=y:NoSchedule");
        assert!(explanation.with_note("gang a").to_string().starts_with("gang a: 0/5 nodes: 3 ins"));
        assert_eq!(Explanation::from("is gated").to_string(), "is gated");
        assert_eq!(Reasons::default().explain(0, &[]).to_string(), "no nodes are registered yet");
    }
}
