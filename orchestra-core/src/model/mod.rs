//! Objects and their parts. Data, and the rules that belong to it.

mod absent;
mod condition;
mod field;
mod int_or_percent;
mod labels;
mod meta;
pub mod names;
mod node_selector;
pub(crate) mod object;
mod object_reference;
mod quantity;
mod selector;
mod selector_text;
mod time;

pub use condition::{Condition, ConditionStatus};
pub use field::{FieldError, FieldErrors};
pub use int_or_percent::IntOrPercent;
pub use labels::Labels;
pub use meta::{Extra, ObjectMeta, OwnerReference, Revision, TypeMeta, Uid};
pub use node_selector::{NodeSelector, NodeSelectorOperator, NodeSelectorRequirement, NodeSelectorTerm};
pub use object::{AnyObject, AnyObjectExt, GroupKind, KindInfo, Object, ObjectKey, Resource};
pub use object_reference::ObjectReference;
pub use quantity::{Quantity, ResourceList};
pub use selector::{LabelOperator, LabelRequirement, LabelSelector};
pub use time::Timestamp;
