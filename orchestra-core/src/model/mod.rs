//! Objects and their parts. Data, and the rules that belong to it.

mod absent;
mod autoscaler;
mod autoscaler_behavior;
mod autoscaler_metric;
mod autoscaler_rules;
mod autoscaler_status;
mod blame;
mod bytes;
mod condition;
mod config_map;
mod decode;
mod deployment;
mod deployment_build;
mod disruption_budget;
mod document;
mod endpoint_slice;
mod event;
mod field;
mod http_route;
mod ingress;
mod int_or_percent;
#[doc(hidden)]
pub mod json;
mod kinds;
mod labels;
mod lease;
mod locate;
mod manifest;
mod manifest_error;
mod meta;
mod meta_rules;
pub mod names;
mod namespace;
mod node;
mod node_rules;
mod node_selector;
#[cfg(test)]
mod node_tests;
pub(crate) mod object;
mod object_reference;
pub(crate) mod pod;
mod pod_group;
mod priority_class;
mod quantity;
mod replica_set;
mod route_rules;
mod scheme;
mod secret;
mod selector;
pub(crate) mod selector_rules;
#[cfg(test)]
mod selector_tests;
mod selector_text;
mod service;
mod service_build;
mod service_rules;
mod strict;
mod taint;
mod template;
#[cfg(test)]
mod tests;
mod time;
mod unmodelled;
mod unstructured;
mod volume;
mod workload_rules;

pub use crate::object;
pub use autoscaler::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec,
    HorizontalPodAutoscalerStatus,
};
pub use autoscaler_behavior::{
    AutoscalerBehavior, ScalingPolicy, ScalingPolicyType, ScalingRules, SelectPolicy,
};
pub use autoscaler_metric::{
    ContainerResourceMetricSource, ExternalMetricSource, MetricIdentifier, MetricSourceType, MetricSpec,
    MetricTarget, MetricTargetType, ObjectMetricSource, PodsMetricSource, ResourceMetricSource,
};
pub use autoscaler_status::{
    ContainerResourceMetricStatus, ExternalMetricStatus, MetricStatus, MetricValueStatus, ObjectMetricStatus,
    PodsMetricStatus, ResourceMetricStatus,
};
pub use bytes::ByteString;
pub use condition::{Condition, ConditionStatus};
pub use config_map::ConfigMap;
pub use deployment::{
    Deployment, DeploymentSpec, DeploymentStatus, DeploymentStrategy, RollingUpdate, StrategyType,
};
pub use disruption_budget::{
    PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus, UnhealthyPodEvictionPolicy,
};
pub use endpoint_slice::{AddressType, Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
pub use event::{Event, EventSeries, EventSource, EventType};
pub use field::{FieldError, FieldErrors};
pub use http_route::{
    BackendObjectReference, Fraction, HTTPRoute, HttpBackendRef, HttpHeaderFilter, HttpPathMatch,
    HttpPathModifier, HttpPathModifierType, HttpRequestMirrorFilter, HttpRequestRedirectFilter,
    HttpRouteFilter, HttpRouteFilterType, HttpRouteMatch, HttpRouteRule, HttpRouteSpec, HttpRouteStatus,
    HttpRouteTimeouts, HttpUrlRewriteFilter, HttpValueMatch, ParentReference, PathMatchType,
    RouteParentStatus, ValueMatchType,
};
pub use ingress::{
    HttpIngressPath, HttpIngressRuleValue, Ingress, IngressBackend, IngressPathType, IngressRule,
    IngressServiceBackend, IngressSpec, IngressStatus, IngressTls, ServiceBackendPort,
};
pub use int_or_percent::IntOrPercent;
pub use labels::Labels;
pub use lease::{Lease, LeaseSpec};
pub use manifest::{MAX_MANIFEST_BYTES, Manifest, parse_manifests};
pub use manifest_error::{ManifestError, ManifestProblem, Warning};
pub use meta::{Extra, ObjectMeta, OwnerReference, Revision, TypeMeta, Uid};
pub use meta_rules::{MAX_ANNOTATIONS_BYTES, validate_meta};
pub use namespace::{Namespace, NamespacePhase, NamespaceSpec, NamespaceStatus};
pub use node::{ContainerImage, Node, NodeAddress, NodeAddressType, NodeSpec, NodeStatus, NodeSystemInfo};
pub(crate) use node::{HOSTNAME, ZONE};
pub use node_selector::{NodeSelector, NodeSelectorOperator, NodeSelectorRequirement, NodeSelectorTerm};
pub use object::{AnyObject, AnyObjectExt, GroupKind, KindInfo, Object, ObjectKey, Resource, Rules};
pub use object_reference::ObjectReference;
pub use pod::*;
pub use pod_group::{
    BasicSchedulingPolicy, GangSchedulingPolicy, PodGroup, PodGroupSchedulingConstraints,
    PodGroupSchedulingPolicy, PodGroupSpec, PodSchedulingGroup, TopologyConstraint,
};
pub use priority_class::{PreemptionPolicy, PriorityClass};
pub use quantity::{Quantity, ResourceList};
pub use replica_set::{ReplicaSet, ReplicaSetSpec, ReplicaSetStatus};
pub use scheme::{Decoded, Scheme};
pub use secret::Secret;
pub use selector::{LabelOperator, LabelRequirement, LabelSelector};
pub use service::{
    ClientIpConfig, LoadBalancerIngress, LoadBalancerStatus, Service, ServicePort, ServiceSpec,
    ServiceStatus, ServiceType, SessionAffinity, SessionAffinityConfig, TrafficPolicy,
};
pub(crate) use taint::note_when_added;
pub use taint::{Taint, TaintEffect, Toleration, TolerationOperator};
pub use template::PodTemplateSpec;
pub use time::Timestamp;
pub use unstructured::Unstructured;
pub use volume::{
    AccessMode, ClaimPhase, CsiVolume, LOCAL_PROVISIONER, LocalVolume, PersistentVolume,
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus, PersistentVolumeSpec,
    PersistentVolumeStatus, ReclaimPolicy, StorageClass, TopologySelectorLabelRequirement,
    TopologySelectorTerm, VolumeBindingMode, VolumeMode, VolumeNodeAffinity, VolumePhase, VolumeResources,
};
