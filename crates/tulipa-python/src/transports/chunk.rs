//! What a write queue is made of.

use pyo3::ffi;

use crate::ffi::Object;

/// A chunk of the write queue: always exactly a `bytes` object, which nobody can change meanwhile.
pub(crate) struct Chunk(pub(crate) Object);

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        let object = self.0.as_ptr();
        // SAFETY: exactly a bytes object: its buffer lives and stays as long as it does.
        unsafe {
            std::slice::from_raw_parts(
                ffi::PyBytes_AsString(object).cast(),
                ffi::PyBytes_Size(object).cast_unsigned(),
            )
        }
    }
}

/// Chunks that have left a queue, let go of when nothing is borrowed any more. One of them, the usual, is kept without
/// allocating for it.
#[derive(Default)]
pub(crate) struct Released {
    first: Option<Chunk>,
    others: Vec<Chunk>,
}

impl Released {
    #[inline]
    pub(crate) fn push(&mut self, chunk: Chunk) {
        if self.first.is_none() {
            self.first = Some(chunk);
        } else {
            self.others.push(chunk);
        }
    }
}
