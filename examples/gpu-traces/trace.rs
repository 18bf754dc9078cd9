//! Reading the files of a trace.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use orchestra::model::{
    Affinity, Container, GPU, GPU_MILLI, Node, NodeAffinity, NodeSelector, NodeSelectorOperator,
    NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Quantity,
};
use orchestra::scheduler::TypicalPods;

/// The label with the model of a node's GPUs: the one that NVIDIA's feature discovery sets.
const MODEL: &str = "nvidia.com/gpu.product";
/// Nodes of the trace have no bound of pods.
const PODS: i64 = 100_000;

/// Nodes, and pods to place on them.
pub(crate) struct Trace {
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) pods: Vec<Arc<Pod>>,
}

impl Trace {
    /// Reads the trace called `name`.
    pub(crate) fn read(directory: &Path, name: &str) -> anyhow::Result<Self> {
        let nodes = Table::read(directory, "openb_node_list_gpu_node")?;
        let pods = Table::read(directory, &format!("openb_pod_list_{name}"))?;
        Ok(Self { nodes: nodes.rows(|row| node(&row))?, pods: pods.rows(|row| pod(&row))? })
    }

    /// The pods of the trace as typical ones.
    pub(crate) fn typical(&self) -> TypicalPods {
        TypicalPods::of(self.pods.iter().map(|pod| &**pod))
    }
}

fn node(row: &Row<'_>) -> anyhow::Result<Arc<Node>> {
    let node = Node::new(row.text("sn")?)
        .label(MODEL, row.text("model")?)
        .capacity("cpu", Quantity::from_milli(row.number("cpu_milli")?))
        .capacity("memory", Quantity::from_bytes(row.number("memory_mib")? << 20))
        .capacity("pods", Quantity::from_units(PODS))
        .capacity(GPU, Quantity::from_units(row.number("gpu")?));
    Ok(Arc::new(node))
}

fn pod(row: &Row<'_>) -> anyhow::Result<Arc<Pod>> {
    let (gpus, milli) = (row.number("num_gpu")?, row.number("gpu_milli")?);
    let mut container = Container::new("main", "app")
        .request("cpu", Quantity::from_milli(row.number("cpu_milli")?))
        .request("memory", Quantity::from_bytes(row.number("memory_mib")? << 20));
    match (gpus, milli) {
        (0, _) => {}
        (1, 1..1000) => container = container.request(GPU_MILLI, Quantity::from_units(milli)),
        (_, 1000) => container = container.request(GPU, Quantity::from_units(gpus)),
        _ => bail!("num_gpu {gpus}: {milli} of each: only one GPU can be shared"),
    }
    let mut spec = PodSpec::new(container);
    // Not every trace says which models a pod can use.
    let models = row.text("gpu_spec").unwrap_or_default();
    if !models.is_empty() {
        spec.affinity = Some(one_of(models.split('|').map(str::to_owned).collect()));
    }
    Ok(Arc::new(Pod::new(row.text("name")?).namespace("default").spec(spec)))
}

/// Nodes with GPUs of one of these models.
fn one_of(models: Vec<String>) -> Affinity {
    let requirement = NodeSelectorRequirement {
        key: MODEL.to_owned(),
        operator: NodeSelectorOperator::In,
        values: models,
        ..NodeSelectorRequirement::default()
    };
    let term = NodeSelectorTerm { match_expressions: vec![requirement], ..NodeSelectorTerm::default() };
    let required = Some(NodeSelector { node_selector_terms: vec![term], ..NodeSelector::default() });
    Affinity {
        node_affinity: Some(NodeAffinity { required, ..NodeAffinity::default() }),
        ..Affinity::default()
    }
}

/// A file of comma-separated values without quotes.
struct Table {
    name: String,
    text: String,
}

/// A line of it, with the names of its columns.
struct Row<'t> {
    columns: &'t [&'t str],
    cells: Vec<&'t str>,
}

impl Table {
    fn read(directory: &Path, name: &str) -> anyhow::Result<Self> {
        let (plain, packed) =
            (directory.join(format!("{name}.csv")), directory.join(format!("{name}.csv.gz")));
        if plain.exists() {
            let text = std::fs::read_to_string(&plain)
                .with_context(|| format!("cannot read {}", plain.display()))?;
            return Ok(Self { name: plain.display().to_string(), text });
        }
        ensure!(packed.exists(), "there is neither {} nor {}", plain.display(), packed.display());
        let unpacked = Command::new("gzip").arg("-dc").arg(&packed).output().context("cannot run gzip")?;
        ensure!(unpacked.status.success(), "gzip cannot unpack {}", packed.display());
        let text =
            String::from_utf8(unpacked.stdout).with_context(|| format!("{} is no text", packed.display()))?;
        Ok(Self { name: packed.display().to_string(), text })
    }

    fn rows<T>(&self, make: impl Fn(Row<'_>) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
        let mut lines = self.text.lines();
        let columns: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let row = |(number, line): (usize, &str)| {
            let row = Row { columns: &columns, cells: line.split(',').collect() };
            make(row).with_context(|| format!("{}: line {}", self.name, number + 2))
        };
        lines.enumerate().map(row).collect()
    }
}

impl<'t> Row<'t> {
    fn text(&self, column: &str) -> anyhow::Result<&'t str> {
        let at = self
            .columns
            .iter()
            .position(|c| *c == column)
            .with_context(|| format!("has no column {column}"))?;
        self.cells.get(at).copied().with_context(|| format!("has nothing in column {column}"))
    }

    fn number(&self, column: &str) -> anyhow::Result<i64> {
        let text = self.text(column)?;
        text.parse().with_context(|| format!("column {column}: `{text}` is not a whole number"))
    }
}
