//! Events: what happened to objects, for people to read.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::object::Rules;
use super::{Extra, FieldErrors, ObjectMeta, ObjectReference, Timestamp, TypeMeta};
use crate::object;

/// Something that happened to an object. The same again raises the count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    /// `v1`, `Event`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// What it happened to.
    pub involved_object: ObjectReference,
    /// A second object that has to do with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related: Option<ObjectReference>,
    /// Why it happened: one word in CamelCase, for programs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What happened, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Whether it needs attention.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub type_: EventType,
    /// How often it happened.
    #[serde(skip_serializing_if = "is_default")]
    pub count: u32,
    /// When it happened first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_timestamp: Option<Timestamp>,
    /// When it happened last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_timestamp: Option<Timestamp>,
    /// When it was first observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_time: Option<Timestamp>,
    /// How it went on, where it happened more than once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<EventSeries>,
    /// What was done about it or failed: one word in CamelCase.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub action: String,
    /// Which component says so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reporting_component: String,
    /// Which instance of the component says so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reporting_instance: String,
    /// The older form of the two fields above.
    #[serde(skip_serializing_if = "is_default")]
    pub source: EventSource,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(Event, "", "v1", "events", namespaced: true,
        desired: [involved_object, related, reason, message, type_, count, first_timestamp, last_timestamp,
                  event_time, series, action, reporting_component, reporting_instance, source, extra]);

/// Whether an [`Event`] needs attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventType {
    /// All is well.
    #[default]
    Normal,
    /// Something is wrong.
    Warning,
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        })
    }
}

/// How an [`Event`] went on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EventSeries {
    /// How often it happened so far.
    pub count: u32,
    /// When it was last observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_observed_time: Option<Timestamp>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Who reported an [`Event`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EventSource {
    /// The component.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub component: String,
    /// The node that it runs on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Rules for Event {
    fn validate(&self, errors: &mut FieldErrors) {
        let (own, about) = (&self.metadata.namespace, &self.involved_object.namespace);
        errors.at("involvedObject", |errors| {
            errors.at("namespace", |errors| {
                errors.require(about.is_empty() || own == about, "must be the event's own namespace");
            });
        });
    }
}
