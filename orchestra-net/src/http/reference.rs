//! What routes of the Gateway API refer to.

use orchestra_core::model::{BackendObjectReference, HttpBackendRef, HttpRouteRule};

/// A backend that a route names.
pub(crate) struct Reference<'r> {
    group: &'r str,
    kind: &'r str,
    namespace: &'r str,
    pub(crate) name: &'r str,
    pub(super) port: Option<u16>,
}

impl<'r> Reference<'r> {
    /// All those of a rule, its mirrors' last.
    pub(crate) fn of(rule: &'r HttpRouteRule) -> impl Iterator<Item = Self> {
        let mirrors = rule.filters.iter().filter_map(|filter| filter.request_mirror.as_ref());
        rule.backend_refs.iter().map(Self::from).chain(mirrors.map(|mirror| Self::from(&mirror.backend_ref)))
    }

    /// Why no requests can be sent there from a route of this namespace: the Gateway API's word for it, and a text for people.
    pub(crate) fn why_not(&self, namespace: &str) -> Option<(&'static str, String)> {
        let Self { group, kind, namespace: other, name, port } = self;
        if !matches!((*group, *kind), ("" | "core", "" | "Service")) {
            return Some((
                "InvalidKind",
                format!("{kind} {name} is no Service: name a Service of the core group"),
            ));
        }
        if !other.is_empty() && *other != namespace {
            let text = format!("{other}/{name} is in another namespace: make the route there");
            return Some(("RefNotPermitted", text + ", as ReferenceGrant is not followed"));
        }
        port.is_none().then(|| ("BackendNotFound", format!("needs a port of the Service {name}")))
    }
}

impl<'r> From<&'r HttpBackendRef> for Reference<'r> {
    fn from(reference: &'r HttpBackendRef) -> Self {
        let HttpBackendRef { group, kind, namespace, name, port, .. } = reference;
        Self { group, kind, namespace, name, port: *port }
    }
}

impl<'r> From<&'r BackendObjectReference> for Reference<'r> {
    fn from(reference: &'r BackendObjectReference) -> Self {
        let BackendObjectReference { group, kind, namespace, name, port, .. } = reference;
        Self { group, kind, namespace, name, port: *port }
    }
}
