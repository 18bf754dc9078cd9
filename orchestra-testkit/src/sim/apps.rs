//! What users run: Deployments of several shapes, with what belongs to them.

use orchestra_core::model::{
    ConfigMap, Container, Deployment, IntOrPercent, Pod, PodDisruptionBudget, PodSpec, Probe, RestartPolicy,
    Service,
};
use orchestra_core::rng::Rng;

/// The port that everything listens on.
const PORT: u16 = 8080;

/// A second namespace, beside the default one.
pub(crate) const OTHER: &str = "other";

/// An application, as its users think of it.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) name: String,
    pub(crate) namespace: &'static str,
    pub(crate) replicas: u32,
    /// The version that is to run.
    pub(crate) version: u32,
    /// What is wrong with it, as a word of its image's name.
    pub(crate) flaw: Option<&'static str>,
    pub(crate) paused: bool,
    shape: Shape,
}

/// What does not change over an application's life.
#[derive(Clone, Copy, Debug)]
struct Shape {
    surge: IntOrPercent,
    unavailable: IntOrPercent,
    recreate: bool,
    min_ready: u32,
    readiness: bool,
    liveness: bool,
    grace: u64,
    cpu: &'static str,
    service: bool,
    budget: bool,
    init: bool,
    config: bool,
    /// A word of its image's name: `deaf`, `slow`.
    trait_: Option<&'static str>,
    /// How long a rollout may go without progress, in seconds.
    deadline: u32,
}

fn pick<T: Copy>(rng: &Rng, of: &[T]) -> T {
    of[usize::try_from(rng.below(of.len() as u64)).unwrap_or(0)]
}

impl App {
    pub(crate) fn of(rng: &Rng, index: usize) -> Self {
        use IntOrPercent::{Int, Percent};
        let (surge, unavailable) = pick(
            rng,
            &[
                (Int(1), Int(0)),
                (Int(0), Int(1)),
                (Percent(25), Percent(25)),
                (Int(2), Int(1)),
                (Percent(100), Percent(0)),
                (Percent(10), Percent(34)),
            ],
        );
        let shape = Shape {
            surge,
            unavailable,
            recreate: rng.chance(0.15),
            min_ready: pick(rng, &[0, 0, 3, 10]),
            readiness: rng.chance(0.7),
            liveness: rng.chance(0.5),
            grace: pick(rng, &[1, 5, 10, 30]),
            cpu: pick(rng, &["250m", "500m", "1"]),
            service: rng.chance(0.8),
            budget: rng.chance(0.4),
            init: rng.chance(0.25),
            config: rng.chance(0.3),
            trait_: pick(rng, &[None, None, None, Some("deaf"), Some("slow")]),
            deadline: pick(rng, &[60, 120, 600]),
        };
        Self {
            name: format!("app-{index}"),
            namespace: if rng.chance(0.2) { OTHER } else { "default" },
            replicas: u32::try_from(1 + rng.below(6)).unwrap_or(1),
            version: 1,
            flaw: None,
            paused: false,
            shape,
        }
    }

    /// The image that this version is.
    pub(crate) fn image(&self) -> String {
        let words = [Some(format!("v{}", self.version)), self.flaw.map(str::to_owned)];
        let own = self.shape.trait_.map(str::to_owned);
        let words: Vec<String> = words.into_iter().chain([own]).flatten().collect();
        format!("{}:{}", self.name, words.join("-"))
    }

    /// Whether its pods tell when they can serve.
    pub(crate) fn has_probe(&self) -> bool {
        self.shape.readiness
    }

    pub(crate) fn deployment(&self) -> Deployment {
        let shape = &self.shape;
        let mut container = Container::new("main", self.image()).port(PORT).request("cpu", shape.cpu);
        if shape.readiness {
            container = container.readiness(Probe::tcp(PORT).period(2).timeout(1).failures(2));
        }
        if shape.liveness {
            container =
                container.liveness(Probe::tcp(PORT).period(5).timeout(2).failures(3).initial_delay(15));
        }
        if shape.config {
            container = container.env_from_config_map(format!("{}-config", self.name));
        }
        let mut spec = PodSpec::new(container).grace_period(shape.grace);
        if shape.init {
            spec = spec.init_container(Container::new("init", format!("{}-init:done", self.name)));
        }
        let deployment = Deployment::new(&self.name)
            .namespace(self.namespace)
            .selector([("app", self.name.as_str())])
            .replicas(self.replicas)
            .min_ready(shape.min_ready)
            .progress_deadline(shape.deadline)
            .revision_history(3)
            .pod(spec);
        let mut deployment = if shape.recreate {
            deployment.recreate()
        } else {
            deployment.max_surge(shape.surge).max_unavailable(shape.unavailable)
        };
        deployment.spec.paused = self.paused;
        deployment
    }

    pub(crate) fn service(&self) -> Option<Service> {
        let service = Service::new(&self.name).namespace(self.namespace);
        self.shape.service.then(|| service.selector([("app", self.name.as_str())]).port(80).target_port(PORT))
    }

    pub(crate) fn budget(&self) -> Option<PodDisruptionBudget> {
        let budget = PodDisruptionBudget::new(&self.name).namespace(self.namespace);
        self.shape.budget.then(|| budget.selector([("app", self.name.as_str())]).max_unavailable(1))
    }

    pub(crate) fn config(&self) -> Option<ConfigMap> {
        let config = ConfigMap::new(format!("{}-config", self.name)).namespace(self.namespace);
        self.shape.config.then(|| config.entry("COLOUR", "blue"))
    }
}

/// A pod without an owner: one that runs on, or one that does its work and ends.
pub(crate) fn bare_pod(rng: &Rng, index: usize) -> Pod {
    let ends = rng.chance(0.5);
    let image = if ends { "job:done" } else { "daemon:v1" };
    let policy = if ends { RestartPolicy::Never } else { RestartPolicy::Always };
    let spec = PodSpec::new(Container::new("main", image).request("cpu", "250m"))
        .restart_policy(policy)
        .grace_period(5);
    Pod::new(format!("bare-{index}")).label("kind", "bare").spec(spec)
}
