//! When a field isn't written.

/// Whether `value` is what its absence from a manifest means, so that it need not be written.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
