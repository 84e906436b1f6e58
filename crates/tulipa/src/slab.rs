//! A slab: values in numbered slots, found again by a key that goes stale when its value leaves.
//!
//! Timers and sources live in one each. A key is an index and the generation of the slot when the value came
//! in; taking a value out raises the generation, so an old key finds nothing instead of a stranger. The slab
//! never drops a value by itself before it is dropped as a whole.

use crate::ready::KEPT;

/// Marks the end of the free list.
const NO_SLOT: u32 = u32::MAX;

/// Where a value is, and which of the slot's successive tenants it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The slot's position.
    index: u32,
    /// The slot's generation when the value came in; never `u32::MAX`.
    generation: u32,
}

impl Key {
    /// The key as one number, for the kernel or for Python to carry. Never `u64::MAX`.
    #[inline]
    pub const fn to_bits(self) -> u64 {
        ((self.generation as u64) << 32) | self.index as u64
    }

    /// The key that [`Key::to_bits`] gave. A number it never gave makes a key that finds nothing.
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 }
    }

    /// The slot's position, unique among the values present.
    #[inline]
    pub const fn index(self) -> u32 {
        self.index
    }
}

/// One slot, free or taken.
#[derive(Debug)]
struct Slot<T> {
    /// How many values have left this slot.
    generation: u32,
    /// While free: the next free slot.
    next_free: u32,
    /// While taken: the value.
    value: Option<T>,
}

/// Values under generation-checked keys. Insertion and removal are O(1); the last slot freed is the first
/// reused.
#[derive(Debug)]
pub struct Slab<T> {
    /// Every slot ever made.
    slots: Vec<Slot<T>>,
    /// First free slot, or `NO_SLOT`.
    free: u32,
    /// Slots taken.
    len: usize,
    /// The generation of new slots: not below that of any slot given back, whose keys stay stale so.
    fresh: u32,
}

impl<T> Slab<T> {
    /// An empty slab that has not allocated yet.
    pub const fn new() -> Self {
        Self { slots: Vec::new(), free: NO_SLOT, len: 0, fresh: 0 }
    }

    /// How many values are present.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no value is present.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes a value in.
    ///
    /// # Panics
    ///
    /// With more than 2^32 - 2 values at once, which no memory of today holds.
    #[inline(always)]
    pub fn insert(&mut self, value: T) -> Key {
        self.len += 1;
        let index = self.free;
        match self.slots.get_mut(index as usize) {
            Some(slot) => {
                self.free = slot.next_free;
                slot.value = Some(value);
                Key { index, generation: slot.generation }
            }
            None => self.insert_in_new_slot(value),
        }
    }

    /// The free list was empty: one more slot.
    #[cold]
    fn insert_in_new_slot(&mut self, value: T) -> Key {
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 slots");
        assert_ne!(index, NO_SLOT, "fewer than 2^32 - 1 slots");
        self.slots.push(Slot { generation: self.fresh, next_free: NO_SLOT, value: Some(value) });
        Key { index, generation: self.fresh }
    }

    /// Takes the value out; `None` if it left before.
    #[inline]
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        self.len -= 1;
        slot.generation += 1;
        // A slot that has used up its generations is retired, so that a key never comes back to life. That
        // costs one slot in four thousand million removals.
        if slot.generation != u32::MAX {
            slot.next_free = self.free;
            self.free = key.index;
        }
        Some(value)
    }

    /// The value under `key`, if it is still the same one.
    #[inline]
    pub fn lookup(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    /// The value under `key`, to change it.
    #[inline]
    pub fn lookup_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation { slot.value.as_mut() } else { None }
    }

    /// The value now in slot `index`, whoever it is, and its key.
    pub fn at(&self, index: u32) -> Option<(Key, &T)> {
        let slot = self.slots.get(index as usize)?;
        Some((Key { index, generation: slot.generation }, slot.value.as_ref()?))
    }

    /// The value now in slot `index`, whoever it is.
    #[inline]
    pub fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index as usize)?.value.as_mut()
    }

    /// Takes out the value now in slot `index`, whoever it is.
    #[inline]
    pub fn remove_at(&mut self, index: u32) -> Option<T> {
        let generation = self.slots.get(index as usize)?.generation;
        self.remove(Key { index, generation })
    }

    /// The values present, in no promised order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    /// Gives back the memory of a burst that is over, once the last value has left; two comparisons where there is
    /// nothing to give.
    #[inline]
    pub fn settle(&mut self) {
        if self.len == 0 && self.slots.capacity() > KEPT {
            self.give_back();
        }
    }

    /// Forgets the slots of an empty slab, unless one of them is retired and so has to be remembered.
    #[cold]
    fn give_back(&mut self) {
        let fresh = self.slots.iter().map(|slot| slot.generation).max().unwrap_or(self.fresh);
        if fresh != u32::MAX {
            *self = Self { fresh, ..Self::new() };
        }
    }

    /// Takes out every value, in the order of slots; all keys go stale.
    pub fn take_all(&mut self) -> Vec<T> {
        let values = self.drain().collect();
        self.settle();
        values
    }

    /// The same one by one, and no memory is given back.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        let count = u32::try_from(self.slots.len()).expect("fewer than 2^32 slots");
        (0..count).filter_map(|index| self.remove_at(index))
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_a_key_goes_stale_when_its_value_leaves() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(first.index(), second.index());
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.lookup(first), None);
        assert_eq!(slab.lookup_mut(first), None);
        assert_eq!(slab.lookup(second), Some(&"second"));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn pure_keys_survive_being_a_number() {
        let mut slab = Slab::new();
        let gone = slab.insert(0);
        slab.remove(gone);
        let key = slab.insert(7);
        assert_eq!(slab.lookup(Key::from_bits(key.to_bits())), Some(&7));
        assert_eq!(slab.lookup(Key::from_bits(u64::MAX)), None);
    }

    #[test]
    fn pure_a_slot_whose_generations_are_used_up_is_retired() {
        let mut slab = Slab::new();
        slab.insert(1);
        slab.slots[0].generation = u32::MAX - 1;
        let last = Key { index: 0, generation: u32::MAX - 1 };
        assert_eq!(slab.remove(last), Some(1));
        assert_eq!(slab.insert(2).index(), 1);
    }

    #[test]
    fn pure_a_burst_gives_its_memory_back_and_its_keys_stay_stale() {
        let mut slab = Slab::new();
        let burst: Vec<_> = (0..=KEPT).map(|n| slab.insert(n)).collect();
        assert!(burst.iter().skip(1).all(|key| slab.remove(*key).is_some()));
        slab.settle();
        assert_eq!(slab.lookup(burst[0]), Some(&0), "nothing is given back while a value is left");
        slab.remove(burst[0]);
        slab.settle();
        assert_eq!(slab.slots.capacity(), 0);

        let again: Vec<_> = (0..=KEPT).map(|n| slab.insert(n)).collect();
        assert!(burst.iter().all(|key| slab.lookup(*key).is_none()));
        assert_eq!(slab.take_all().len(), again.len());
        assert_eq!(slab.slots.capacity(), 0);
    }

    #[test]
    fn pure_a_retired_slot_is_not_forgotten() {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..=KEPT).map(|n| slab.insert(n)).collect();
        slab.slots[0].generation = u32::MAX - 1;
        slab.remove(Key { index: 0, generation: u32::MAX - 1 });
        assert!(keys.iter().skip(1).all(|key| slab.remove(*key).is_some()));
        slab.settle();
        assert_eq!(slab.insert(0).index(), KEPT as u32);
    }

    #[test]
    fn pure_taking_all_leaves_only_stale_keys() {
        let mut slab = Slab::default();
        let keys: Vec<_> = (0..5).map(|n| slab.insert(n)).collect();
        slab.remove(keys[2]);
        assert_eq!(slab.take_all(), [0, 1, 3, 4]);
        assert!(slab.is_empty());
        assert!(keys.iter().all(|key| slab.lookup(*key).is_none()));
    }
}
