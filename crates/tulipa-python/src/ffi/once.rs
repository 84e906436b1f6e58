//! `Once`: native classes, and what is known of their instances, made when the module is imported.

use std::sync::OnceLock;

/// Made once, and never changed or freed.
pub(crate) struct Once<T>(OnceLock<T>);

// SAFETY: whoever makes one vouches for that.
unsafe impl<T> Sync for Once<T> {}

impl<T> Once<T> {
    /// # Safety
    /// Threads may share a `T`: it has nothing but classes that live for ever, objects and numbers.
    pub(crate) const unsafe fn new() -> Self {
        Self(OnceLock::new())
    }

    #[inline]
    pub(crate) fn get(&self) -> &T {
        self.0.get().expect("the module was initialised before any of its classes could be used")
    }

    /// The same, made if need be. What a second thread that imports at the same moment has made is not used.
    pub(crate) fn get_or_make<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if self.0.get().is_none() {
            let _ = self.0.set(make()?);
        }
        Ok(self.get())
    }
}
