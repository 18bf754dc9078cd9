//! What simulated images do: their name says it.

use std::time::Duration;

use orchestra_core::model::PodSpec;

/// What the process of an image does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// How long it takes until it answers.
    pub(crate) warm_up: Duration,
    /// It ends by itself after about this time, with this code.
    pub(crate) ends: Option<(Duration, i32)>,
    /// It never says that it is ready.
    pub(crate) never_ready: bool,
    /// It does not hear the stop signal.
    pub(crate) deaf: bool,
    /// Its registry does not have it.
    pub(crate) missing: bool,
}

impl Image {
    /// Runs until it is stopped.
    pub(crate) const GOOD: Self = Self {
        warm_up: Duration::from_millis(500),
        ends: None,
        never_ready: false,
        deaf: false,
        missing: false,
    };

    /// Runs until it is killed.
    pub(crate) const DEAF: Self = Self { deaf: true, ..Self::GOOD };

    /// What the image of this name does. After the colon: words, joined by dashes.
    pub(crate) fn parse(name: &str) -> Self {
        let mut image = Self::GOOD;
        let (_, words) = name.split_once(':').unwrap_or((name, ""));
        for word in words.split('-') {
            match word {
                "slow" => image.warm_up = Duration::from_secs(8),
                "crash" => image.ends = Some((Duration::from_secs(3), 1)),
                "done" => image.ends = Some((Duration::from_secs(2), 0)),
                "unready" => image.never_ready = true,
                "deaf" => image.deaf = true,
                "missing" => image.missing = true,
                // A version.
                _ => {}
            }
        }
        image
    }
}

/// Whether one of a pod's programs is like this.
pub(crate) fn runs_any(spec: &PodSpec, is: impl Fn(Image) -> bool) -> bool {
    spec.containers.iter().any(|container| is(Image::parse(&container.image)))
}
