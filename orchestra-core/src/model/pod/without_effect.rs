//! What a pod may ask for and gets from no runtime.

use super::{Container, PodSpec, TerminationMessagePolicy, Volume};
use crate::model::FieldErrors;
use crate::model::manifest_error::WITHOUT_EFFECT;

/// The file for a termination message where the container does not name one.
const MESSAGE_PATH: &str = "/dev/termination-log";

/// Says which fields of a pod's spec, or of a template's, nothing acts on. What one runtime does and another does not is
/// told by an event, when the pod is started.
pub(crate) fn pod_without_effect(spec: &PodSpec, fields: &mut FieldErrors) {
    fields.each("initContainers", &spec.init_containers, container);
    fields.each("containers", &spec.containers, container);
    fields.each("volumes", &spec.volumes, volume);
    nothing(fields, "subdomain", !spec.subdomain.is_empty());
}

fn container(fields: &mut FieldErrors, container: &Container) {
    fields.at("resources", |fields| {
        fields.at("limits", |fields| {
            nothing(
                fields,
                "ephemeral-storage",
                container.resources.limits.contains_key("ephemeral-storage"),
            );
        });
    });
    nothing(fields, "stdinOnce", container.stdin_once);
    let path = container.termination_message_path.as_str();
    nothing(fields, "terminationMessagePath", !path.is_empty() && path != MESSAGE_PATH);
    let policy = container.termination_message_policy;
    nothing(fields, "terminationMessagePolicy", policy != TerminationMessagePolicy::File);
}

fn volume(fields: &mut FieldErrors, volume: &Volume) {
    let Some(dir) = &volume.empty_dir else { return };
    fields.at("emptyDir", |fields| {
        let in_memory = dir.is_in_memory();
        nothing(fields, "medium", !dir.medium.is_empty() && !in_memory);
        nothing(fields, "sizeLimit", dir.size_limit.is_some() && !in_memory);
    });
}

fn nothing(fields: &mut FieldErrors, field: &str, is_set: bool) {
    if is_set {
        fields.at(field, |fields| fields.push(WITHOUT_EFFECT));
    }
}
