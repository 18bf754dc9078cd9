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
    /// Ready pods of the desired version.
    pub new_ready: u32,
    /// Available pods of the desired version.
    pub new_available: u32,
}

impl Counts {
    /// The numbers of a view.
    #[must_use]
    pub fn of(view: &RolloutView<'_>) -> Self {
        view.old.iter().chain([&view.new]).fold(
            Self {
                updated: view.new.pods,
                new_ready: view.new.ready,
                new_available: view.new.available,
                ..Self::default()
            },
            |sum, set| Self {
                total: sum.total.saturating_add(set.pods),
                ready: sum.ready.saturating_add(set.ready),
                available: sum.available.saturating_add(set.available),
                ..sum
            },
        )
    }

    /// Pods of other versions.
    fn old(&self) -> u32 {
        self.total.saturating_sub(self.updated)
    }

    /// Whether the rollout got on from `before` to now: more new pods, of which more are ready or available, or fewer
    /// old ones.
    #[must_use]
    pub fn got_on_since(&self, before: &Self) -> bool {
        self.updated > before.updated
            || self.old() < before.old()
            || self.new_ready > before.new_ready
            || self.new_available > before.new_available
    }

    /// The best of either in all that counts as progress: what is to be surpassed. A pod that gets ready again and again
    /// because it crashes in between takes nothing on.
    #[must_use]
    pub fn best(&self, other: &Self) -> Self {
        let updated = self.updated.max(other.updated);
        Self {
            total: updated.saturating_add(self.old().min(other.old())),
            updated,
            ready: self.ready.max(other.ready),
            available: self.available.max(other.available),
            new_ready: self.new_ready.max(other.new_ready),
            new_available: self.new_available.max(other.new_available),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losing_pods_is_no_progress_but_losing_old_ones_is() {
        let before = Counts { total: 8, updated: 3, ready: 6, available: 6, new_ready: 1, new_available: 1 };
        assert!(!before.got_on_since(&before));
        let lost = Counts { ready: 5, available: 5, new_ready: 0, new_available: 0, ..before };
        assert!(!lost.got_on_since(&before));
        assert!(before.got_on_since(&lost) && !before.got_on_since(&lost.best(&before)));
        assert!(Counts { new_ready: 2, ..before }.got_on_since(&lost.best(&before)));
        assert!(Counts { total: 7, ..before }.got_on_since(&before));
        assert!(Counts { total: 9, updated: 4, ..before }.got_on_since(&before));
    }
}
