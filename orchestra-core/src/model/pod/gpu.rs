//! GPUs: whole ones and shares of one.

use std::fmt;

use super::{Pod, PodSpec};
use crate::model::{FieldErrors, ObjectMeta};

/// The resource by which nodes offer GPUs and pods ask for whole ones.
pub const GPU: &str = "nvidia.com/gpu";
/// The resource by which pods ask for a share of one GPU, in thousandths: 1 to 999.
pub const GPU_MILLI: &str = "orchestra.dev/gpu-milli";
/// The annotation of a bound pod that says which of its node's GPUs it has: their numbers from 0, as `2` or `0,1`.
/// The scheduler chooses them, and they are written along with the binding.
pub const GPU_DEVICES: &str = "orchestra.dev/gpu-devices";

/// Thousandths in a whole GPU.
pub const WHOLE_GPU: u16 = 1000;

/// What a pod asks for of its node's GPUs. A pod has whole ones, or a share of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum GpuRequest {
    /// No GPU.
    #[default]
    None,
    /// So many whole GPUs.
    Whole(u16),
    /// So many thousandths of one GPU, 1 to 999.
    Share(u16),
    /// What no node can give: whole ones and a share at once, or a share of a whole GPU or more. Such pods are
    /// refused when they are applied.
    Impossible,
}

impl GpuRequest {
    /// For `whole` GPUs and `milli` thousandths of one.
    #[must_use]
    pub fn new(whole: i64, milli: i64) -> Self {
        match (whole, milli) {
            (..=0, ..=0) => Self::None,
            (1.., ..=0) => u16::try_from(whole).map_or(Self::Impossible, Self::Whole),
            (..=0, 1..1000) => u16::try_from(milli).map_or(Self::Impossible, Self::Share),
            _ => Self::Impossible,
        }
    }

    /// On how many devices it lies.
    #[must_use]
    pub const fn devices(self) -> usize {
        match self {
            Self::Whole(devices) => devices as usize,
            Self::Share(_) => 1,
            Self::None | Self::Impossible => 0,
        }
    }

    /// How much it takes of each of its devices, in thousandths.
    #[must_use]
    pub const fn of_each(self) -> u16 {
        match self {
            Self::Whole(_) => WHOLE_GPU,
            Self::Share(milli) => milli,
            Self::None | Self::Impossible => 0,
        }
    }
}

impl fmt::Display for GpuRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no GPU"),
            Self::Whole(devices) => write!(f, "{devices} GPUs"),
            Self::Share(milli) => write!(f, "{milli}/1000 of a GPU"),
            Self::Impossible => f.write_str("GPUs that no node can give"),
        }
    }
}

impl PodSpec {
    /// What the pod asks for of its node's GPUs: of each resource the sum that [`requests`](Self::requests) gives.
    #[must_use]
    pub fn gpus(&self) -> GpuRequest {
        let sums = self.requests();
        let sum = |name| sums.get(name).map_or(0, |amount| amount.value());
        GpuRequest::new(sum(GPU), sum(GPU_MILLI))
    }
}

impl Pod {
    /// The numbers of its node's GPUs that the pod has, as its annotation [`GPU_DEVICES`] says; none where that is not
    /// there or doesn't fit what the pod asks for.
    #[must_use]
    pub fn gpu_devices(&self) -> Vec<u16> {
        named_devices(&self.metadata, self.spec.gpus())
    }
}

/// The devices that an annotation names for `request`; none where it is not there or does not fit.
pub(crate) fn named_devices(meta: &ObjectMeta, request: GpuRequest) -> Vec<u16> {
    let Some(text) = meta.annotations.value(GPU_DEVICES) else { return Vec::new() };
    let numbers: Option<Vec<u16>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    let fits = |n: &Vec<u16>| n.len() == request.devices() && n.is_sorted_by(|a, b| a < b);
    numbers.filter(fits).unwrap_or_default()
}

/// The text of the annotation [`GPU_DEVICES`].
pub(crate) fn devices_text(devices: &[u16]) -> String {
    devices.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

/// Checks what `spec` asks for of GPUs.
pub(super) fn validate_gpus(spec: &PodSpec, errors: &mut FieldErrors) {
    let asks = |name| spec.containers.iter().chain(&spec.init_containers).any(|c| has(c, name));
    if !asks(GPU_MILLI) {
        return;
    }
    let sum = spec.requests().get(GPU_MILLI).map_or(0, |amount| amount.value());
    errors.at("containers", |errors| {
        if asks(GPU) {
            errors.push(format!("a pod can ask for whole GPUs ({GPU}) or for a share of one ({GPU_MILLI}), not for both"));
        }
        if sum >= i64::from(WHOLE_GPU) {
            errors.push(format!(
                "ask for {sum} of {GPU_MILLI} in all: a pod's share is 1 to 999 thousandths of one GPU; ask for whole \
                 ones by {GPU}"
            ));
        }
    });
}

fn has(container: &super::Container, name: &str) -> bool {
    let resources = &container.resources;
    [&resources.requests, &resources.limits].iter().any(|list| list.get(name).is_some_and(|q| !q.is_zero()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Container;

    fn wrong(spec: &PodSpec) -> String {
        let mut errors = FieldErrors::default();
        validate_gpus(spec, &mut errors);
        errors.into_result().map_or_else(|errors| errors.to_string(), |()| String::new())
    }

    fn sharing(milli: &str) -> PodSpec {
        PodSpec::new(Container::new("main", "app").request(GPU_MILLI, milli))
    }

    #[test]
    fn shares_add_up_over_containers_as_kubernetes_adds() {
        let mut spec = sharing("300");
        spec.containers.push(Container::new("second", "app").request(GPU_MILLI, "200"));
        assert_eq!(spec.gpus(), GpuRequest::Share(500));
        // Init containers run one after the other, before the others.
        spec.init_containers.push(Container::new("first", "app").request(GPU_MILLI, "700"));
        spec.init_containers.push(Container::new("then", "app").request(GPU_MILLI, "600"));
        assert_eq!(spec.gpus(), GpuRequest::Share(700));
        assert_eq!(wrong(&spec), "");
        spec.init_containers[0].resources.requests.insert(GPU_MILLI.into(), "999".parse().unwrap());
        assert_eq!(wrong(&spec), "");
    }

    #[test]
    fn what_no_device_can_give_is_refused() {
        assert_eq!(wrong(&sharing("999")), "");
        assert_eq!(wrong(&sharing("0")), "");
        let whole = wrong(&sharing("1000"));
        assert!(whole.contains("1 to 999 thousandths of one GPU"), "{whole}");
        assert_eq!(sharing("1000").gpus(), GpuRequest::Impossible);
        let mut sum = sharing("600");
        sum.containers.push(Container::new("second", "app").request(GPU_MILLI, "600"));
        assert!(wrong(&sum).contains("ask for 1200 of orchestra.dev/gpu-milli in all"), "{}", wrong(&sum));
        let mut both = sharing("500");
        both.containers.push(Container::new("second", "app").request(GPU, "1"));
        assert!(wrong(&both).contains("not for both"), "{}", wrong(&both));
        assert_eq!(both.gpus(), GpuRequest::Impossible);
    }

    #[test]
    fn the_annotation_counts_where_it_fits_the_request() {
        let devices = |text: &str, request| {
            let mut meta = ObjectMeta::named("p");
            meta.annotations = [(GPU_DEVICES, text)].into();
            named_devices(&meta, request)
        };
        assert_eq!(devices("0,3", GpuRequest::Whole(2)), [0, 3]);
        assert_eq!(devices(&devices_text(&[7]), GpuRequest::Share(5)), [7]);
        for text in ["3,0", "0,0", "0", "0,1,2", "a,b", ""] {
            assert!(devices(text, GpuRequest::Whole(2)).is_empty(), "{text}");
        }
    }
}
