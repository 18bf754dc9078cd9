//! Objects and their parts. Data, and the rules that belong to it.

mod field;
mod labels;
mod meta;
pub(crate) mod object;
mod time;

pub use field::{FieldError, FieldErrors};
pub use labels::Labels;
pub use meta::{Extra, ObjectMeta, OwnerReference, Revision, TypeMeta, Uid};
pub use object::{AnyObject, AnyObjectExt, GroupKind, KindInfo, Object, ObjectKey, Resource};
pub use time::Timestamp;
