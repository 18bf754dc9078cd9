//! Questions to the schedulers of a running cluster: why, and what if. They are answered between two decisions, on the
//! view that the decisions are made on, so that nothing is copied and the answer is what would really be decided.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::engine::Caches;
use crate::model::Pod;
use crate::scheduler::{
    Decider, Decision, Diagnosis, Explanation, Forecast, NodeReport, Outcome, Pending, PodInfo, PodQueue,
    Rebalance, RebalancePlan, Scheduler, View, WhatIf, WhatIfError, explain, schedule,
};
use crate::store::StoreError;

/// How many questions wait at most; whoever asks more waits before asking.
const MAX_QUESTIONS: usize = 16;

/// Why the schedulers gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// They have ended, with their control plane.
    #[error("the schedulers have ended; ask a cluster that is not being stopped")]
    Ended,
    /// What is stored could not be read, so that the answer would be about an older cluster.
    #[error("the schedulers can't catch up with the store")]
    Store(#[from] StoreError),
    /// The pod asks for a scheduler that the cluster has not.
    #[error(
        "there is no scheduler called {name:?}: set the pod's schedulerName to one that the cluster was built with"
    )]
    NoScheduler {
        /// The name that the pod asks for.
        name: String,
    },
    /// Something is supposed of what is not there.
    #[error(transparent)]
    WhatIf(#[from] WhatIfError),
}

/// What questions are about.
pub(super) struct Desk<'a> {
    pub(super) view: &'a mut View,
    pub(super) queues: &'a mut BTreeMap<String, (Box<dyn Scheduler>, PodQueue)>,
}

pub(super) type Question = Box<dyn FnOnce(&mut Desk<'_>) + Send>;

/// Asks the schedulers of a cluster. Clones ask the same ones.
///
/// Each answer takes into account all that was stored before the question. While one is worked out no pod is placed:
/// milliseconds for a few pods on thousands of nodes, as long as the decisions themselves would take for many.
#[derive(Clone)]
pub struct SchedulingDesk {
    questions: mpsc::Sender<Question>,
    caches: Caches,
}

impl fmt::Debug for SchedulingDesk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulingDesk").finish_non_exhaustive()
    }
}

impl SchedulingDesk {
    pub(super) fn new(caches: &Caches) -> (Self, mpsc::Receiver<Question>) {
        let (questions, asked) = mpsc::channel(MAX_QUESTIONS);
        (Self { questions, caches: caches.clone() }, asked)
    }

    async fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Desk<'_>) -> R + Send + 'static,
    ) -> Result<R, AskError> {
        self.caches.barrier().await?;
        let (answer, answered) = oneshot::channel();
        // Whoever asked may have gone meanwhile.
        let question: Question = Box::new(move |desk| drop(answer.send(question(desk))));
        self.questions.send(question).await.map_err(|_ended| AskError::Ended)?;
        answered.await.map_err(|_ended| AskError::Ended)
    }

    /// What the scheduler that `pod` asks for makes of every node for it, and what would help where it waits.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn explain(&self, pod: &Arc<Pod>) -> Result<Diagnosis, AskError> {
        let (name, pod) = (pod.spec.scheduler_name.clone(), Arc::clone(pod));
        let diagnosis = self.ask(move |desk| desk.explain_on_view(&pod)).await?;
        diagnosis.ok_or(AskError::NoScheduler { name })
    }

    /// What would happen. The pods that wait in the cluster are tried too. By the cluster's schedulers, or by `scheduler`
    /// in place of all of them.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn what_if(
        &self,
        what_if: WhatIf,
        scheduler: Option<Box<dyn Scheduler>>,
    ) -> Result<Forecast, AskError> {
        let forecast = self.ask(move |desk| {
            let what_if = what_if.pending(desk.pending());
            let Desk { view, queues } = desk;
            match scheduler {
                Some(mut scheduler) => what_if.run(&mut *scheduler, view),
                None => {
                    what_if.decided_by(&mut ByName(queues), view, |_, _| ()).map(|(forecast, ())| forecast)
                }
            }
        });
        Ok(forecast.await??)
    }

    /// Which pods could be moved, for what `rebalance` is after. Nothing is moved.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn rebalance(&self, rebalance: Rebalance) -> Result<RebalancePlan, AskError> {
        self.ask(move |desk| rebalance.plan_by(&mut ByName(desk.queues), desk.view)).await
    }
}

impl Desk<'_> {
    fn explain_on_view(&mut self, pod: &Arc<Pod>) -> Option<Diagnosis> {
        ByName(self.queues).explain(self.view, pod)
    }

    /// The pods that wait to be placed, and not for others to leave.
    fn pending(&self) -> Vec<Pending> {
        self.queues.values().flat_map(|(_, queue)| queue.pending()).collect()
    }
}

/// The schedulers of the cluster: each pod is decided about by the one that it asks for.
struct ByName<'a>(&'a mut BTreeMap<String, (Box<dyn Scheduler>, PodQueue)>);

impl Decider for ByName<'_> {
    fn schedule(&mut self, view: &mut View, units: Vec<Pending>) -> Vec<Decision> {
        let mut by_name: BTreeMap<String, Vec<Pending>> = BTreeMap::new();
        for unit in units {
            by_name.entry(unit.scheduler().to_owned()).or_default().push(unit);
        }
        let mut decisions = Vec::new();
        for (name, units) in by_name {
            match self.0.get_mut(&name) {
                Some((scheduler, _)) => decisions.extend(schedule(&mut **scheduler, view, units)),
                None => {
                    let why = Explanation::note(format!("there is no scheduler called {name:?}"));
                    let pods = units.into_iter().flat_map(Pending::into_pods);
                    decisions.extend(pods.map(|pod| Decision {
                        pod,
                        gang: None,
                        outcome: Outcome::Pending(why.clone()),
                    }));
                }
            }
        }
        decisions
    }

    fn explain(&mut self, view: &mut View, pod: &Arc<Pod>) -> Option<Diagnosis> {
        let (scheduler, _) = self.0.get_mut(&pod.spec.scheduler_name)?;
        Some(explain(&mut **scheduler, view, pod))
    }

    fn report(&mut self, view: &mut View, pod: &PodInfo) -> Vec<NodeReport> {
        let scheduler = self.0.get_mut(&pod.spec().scheduler_name);
        scheduler.map(|(scheduler, _)| scheduler.explain(view, pod)).unwrap_or_default()
    }
}
