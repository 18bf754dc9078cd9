//! Every node's verdict, with what each plugin says.

use std::sync::Arc;

use super::Pipeline;
use super::domains::Domains;
use super::set::{Lasts, PluginSet};
use crate::scheduler::explain::Reasons;
use crate::scheduler::{NodeReport, NodeView, PodInfo, Rejection, ScorePart, Verdict, View};

impl Pipeline {
    /// What all plugins say of every node, also of those that one of them is against already. Keeps nothing.
    pub(crate) fn report(&self, view: &mut View, pod: &PodInfo) -> Vec<NodeReport> {
        let mut reasons = Reasons::default();
        let domains = Domains::new(&self.plugins.domains, view, pod, &mut reasons);
        let view = &*view;
        view.nodes().map(|node| report(&self.plugins, view, pod, &node, &domains, &reasons)).collect()
    }
}

fn report(
    plugins: &PluginSet,
    view: &View,
    pod: &PodInfo,
    node: &NodeView<'_>,
    domains: &Domains,
    reasons: &Reasons,
) -> NodeReport {
    let mut rejections = Vec::new();
    let ask = |lasts: Lasts, rejections: &mut Vec<Rejection>| {
        for filter in plugins.filters.iter().filter(|filter| filter.lasts == lasts) {
            if let Verdict::Reject(text) = filter.plugin.check(pod, node) {
                let silent = text.is_empty();
                let text = if silent { format!("rejected by {}", filter.name).into() } else { text };
                rejections.push(Rejection { plugin: Arc::clone(&filter.name), text });
            }
        }
    };
    // In the order in which they are asked when a pod is placed, so that the first one is the one that counts.
    ask(Lasts::NodeObject, &mut rejections);
    ask(Lasts::NodeAndPods, &mut rejections);
    let (against, affinity, spread) = domains.report(view, node.id());
    for reason in against {
        let Some((plugin, text)) = reasons.get(reason) else { continue };
        rejections.push(Rejection { plugin: Arc::clone(plugin), text: text.clone() });
    }
    ask(Lasts::No, &mut rejections);
    let mut scores = Vec::new();
    if rejections.is_empty() {
        for score in plugins.scores.iter().filter(|score| score.weight > 0) {
            let points = score.plugin.score(pod, node).as_f64() * f64::from(score.weight);
            scores.push(ScorePart { plugin: Arc::clone(&score.name), weight: score.weight, points });
        }
        let rules = [
            ("InterPodAffinity", plugins.domains.affinity_weight, affinity),
            ("PodTopologySpread", plugins.domains.spread_weight, spread),
        ];
        for (name, weight, millis) in rules.into_iter().filter(|(.., millis)| *millis > 0) {
            #[allow(clippy::cast_precision_loss, reason = "points are far below 2^52")]
            let points = millis as f64 / 1000.0;
            scores.push(ScorePart { plugin: Arc::from(name), weight, points });
        }
    }
    NodeReport { node: node.name().into(), rejections, scores }
}
