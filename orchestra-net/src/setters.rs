//! Setters of options.

/// Setters that take nothing but the value of their field: `with_name: name: Type;`.
macro_rules! setters {
    ($($setter:ident: $field:ident: $type:ty;)*) => {$(
        #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $setter(self, $field: $type) -> Self {
            Self { $field, ..self }
        }
    )*};
}

pub(crate) use setters;
