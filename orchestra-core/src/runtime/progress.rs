//! How far a pull has come.

/// How much of an image has come, of what is known to come: of its layers, the total grows as they are begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes in all, as far as is known.
    pub total: u64,
}

/// Is told how far a pull has come. It is called on the way, so it must not block.
pub type OnPull<'a> = &'a (dyn Fn(PullProgress) + Send + Sync);
