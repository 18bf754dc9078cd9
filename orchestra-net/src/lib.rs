//! Part of Orchestra.
