//! Addresses met lately: a server that answers its clients makes each address once, and reads none.
//!
//! Both tables are of a fixed size, and a newcomer takes the place of whoever has it. Nothing here makes, calls or
//! drops a Python object under a borrow.

use std::cell::RefCell;
use std::rc::Rc;

use socket2::SockAddr;

use super::{from_python, to_python};
use crate::ffi::{Object, Result};

/// Addresses kept for a loop: some 50 KiB once all places are taken.
const PLACES: usize = 256;

/// The cache of one loop. Python objects in it are tuples, strings and bytes, which nobody can change.
#[derive(Default)]
pub(crate) struct Cache(RefCell<Tables>);

#[derive(Default)]
struct Tables {
    /// By the kernel's form; made when first used.
    known: Vec<Option<Known>>,
    /// By the Python object: its place in `known`.
    places: Vec<usize>,
}

#[derive(Clone)]
struct Known {
    raw: Rc<SockAddr>,
    python: Object,
}

impl Cache {
    /// As `to_python`.
    #[inline]
    pub(crate) fn python(&self, raw: &SockAddr) -> Result<Object> {
        let place = place_of(raw);
        if let Some(python) = self.0.borrow().find_python(place, raw) {
            return Ok(python);
        }
        let python = to_python(raw)?;
        if !python.is_none() {
            self.keep(place, Known { raw: Rc::new(raw.clone()), python: python.clone() });
        }
        Ok(python)
    }

    /// As `from_python`; the family is that of all addresses that the object can stand for.
    #[inline]
    pub(crate) fn raw(&self, family: i32, python: &Object) -> Option<Rc<SockAddr>> {
        if let Some(raw) = self.0.borrow().find_raw(family, python) {
            return Some(raw);
        }
        let raw = Rc::new(from_python(family, python)?);
        self.keep(place_of(&raw), Known { raw: Rc::clone(&raw), python: python.clone() });
        Some(raw)
    }

    fn keep(&self, place: usize, known: Known) {
        let before = self.0.borrow_mut().keep(place, known);
        drop(before);
    }

    pub(crate) fn clear(&self) {
        let before = std::mem::take(&mut *self.0.borrow_mut());
        drop(before);
    }
}

impl Tables {
    fn find_python(&self, place: usize, raw: &SockAddr) -> Option<Object> {
        let known = self.known.get(place)?.as_ref()?;
        (*known.raw == *raw).then(|| known.python.clone())
    }

    fn find_raw(&self, family: i32, python: &Object) -> Option<Rc<SockAddr>> {
        let known = self.known.get(*self.places.get(slot_of(python))?)?.as_ref()?;
        let same = known.python.is(python.as_ptr()) && i32::from(known.raw.family()) == family;
        same.then(|| Rc::clone(&known.raw))
    }

    fn keep(&mut self, place: usize, known: Known) -> Option<Known> {
        self.known.resize(PLACES, None);
        self.places.resize(PLACES, 0);
        self.places[slot_of(&known.python)] = place;
        self.known[place].replace(known)
    }
}

/// Where an address belongs in the first table.
fn place_of(raw: &SockAddr) -> usize {
    // SAFETY: an address is readable for its length.
    let bytes = unsafe { std::slice::from_raw_parts(raw.as_ptr().cast::<u8>(), raw.len() as usize) };
    let mix = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(word)
    });
    (words.fold(0, mix) % PLACES as u64) as usize
}

/// Where an object belongs in the second.
fn slot_of(python: &Object) -> usize {
    // Objects lie 16 bytes apart at least.
    (python.as_ptr().addr() >> 4) % PLACES
}
