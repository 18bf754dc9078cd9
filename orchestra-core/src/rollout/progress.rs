//! Whether a rollout gets on.

use super::RolloutView;

/// The pods of a deployment, in the numbers that progress is measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pods of all versions.
    pub total: u32,
    /// Pods of the desired version.
    pub updated: u32,
    /// Ready pods of all versions.
    pub ready: u32,
    /// Available pods of all versions.
    pub available: u32,
}

impl Counts {
    /// The numbers of a view.
    #[must_use]
    pub fn of(view: &RolloutView<'_>) -> Self {
        view.old.iter().chain([&view.new]).fold(
            Self { updated: view.new.pods, ..Self::default() },
            |sum, set| Self {
                total: sum.total.saturating_add(set.pods),
                ready: sum.ready.saturating_add(set.ready),
                available: sum.available.saturating_add(set.available),
                ..sum
            },
        )
    }

    /// Whether the rollout got on from `before` to now: more new, ready or available pods, or fewer old ones.
    #[must_use]
    pub fn got_on_since(&self, before: &Self) -> bool {
        let old = |counts: &Self| counts.total.saturating_sub(counts.updated);
        self.updated > before.updated
            || old(self) < old(before)
            || self.ready > before.ready
            || self.available > before.available
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losing_pods_is_no_progress_but_losing_old_ones_is() {
        let before = Counts { total: 8, updated: 3, ready: 6, available: 6 };
        assert!(!before.got_on_since(&before));
        assert!(!Counts { ready: 5, available: 5, ..before }.got_on_since(&before));
        assert!(Counts { total: 7, ..before }.got_on_since(&before));
        assert!(Counts { total: 9, updated: 4, ..before }.got_on_since(&before));
    }
}
