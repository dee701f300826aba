//! A sorted list whose growth can fail without a panic, and which gives its memory back when it shrinks, so that a heap
//! that comes back to the same contents comes back to the same size.

use alloc::vec::Vec;
use core::ops::Range;

use crate::error::{Error, Resource, Result};

/// What a [`List`] is sorted by.
pub trait Keyed {
    /// The key: unique in a list.
    fn key(&self) -> u64;
}

/// A list sorted by key.
#[derive(Clone, Debug)]
pub struct List<T> {
    items: Vec<T>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

fn no_heap<T>(items: usize) -> Error {
    Error::Out(Resource::Heap { bytes: items.saturating_mul(size_of::<T>()) })
}

/// Makes room for `more` items in `items`, exactly.
///
/// # Errors
/// `Out` when the heap has no room; the list is unchanged.
pub fn reserve<T>(items: &mut Vec<T>, more: usize) -> Result<()> {
    items.try_reserve_exact(more).map_err(|_| no_heap::<T>(items.len().saturating_add(more)))
}

/// Gives back what capacity `items` does not use. Moving to a smaller buffer needs the heap for a moment; when it has no
/// room the capacity is kept, which loses nothing.
pub fn shrink<T>(items: &mut Vec<T>) {
    shrink_to(items, items.len());
}

fn shrink_to<T>(items: &mut Vec<T>, room: usize) {
    let mut smaller = Vec::new();
    if items.capacity() > room && smaller.try_reserve_exact(room).is_ok() {
        smaller.append(items);
        *items = smaller;
    }
}

/// A [`List`] has room for a multiple of this: one that grows and shrinks item by item does not move each time, and its size
/// depends on its length alone.
const STEP: usize = 8;

impl<T: Keyed> List<T> {
    /// An empty list.
    pub const fn new() -> Self {
        Self { items: Vec::new() }
    }
    /// All items, ascending.
    pub fn as_slice(&self) -> &[T] {
        &self.items
    }
    /// All items, ascending. The keys must stay as they are.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.iter_mut()
    }
    /// Makes room for `more` items; inserting that many cannot fail then.
    ///
    /// # Errors
    /// `Out` when the heap has no room.
    pub fn reserve(&mut self, more: usize) -> Result<()> {
        let needed =
            self.items.len().checked_add(more).and_then(|items| items.checked_next_multiple_of(STEP));
        let room = needed.ok_or_else(|| no_heap::<T>(more))?;
        let more = room - self.items.len();
        reserve(&mut self.items, more)
    }
    /// Gives back what capacity is not used, but for the room of `spare` more items.
    pub fn shrink_to(&mut self, spare: usize) {
        let room = (self.items.len() + spare).next_multiple_of(STEP);
        shrink_to(&mut self.items, room);
    }
    /// The last item whose key is not above `key`.
    pub fn at_or_below(&self, key: u64) -> Option<&T> {
        let above = self.items.partition_point(|item| item.key() <= key);
        self.items.get(above.checked_sub(1)?)
    }
    /// Inserts an item for which room was reserved.
    pub fn insert(&mut self, item: T) {
        debug_assert!(self.items.capacity() > self.items.len(), "reserve comes first");
        let at = self.position(item.key());
        self.items.insert(at, item);
    }
    /// Inserts those of `items`, ascending, whose keys the list does not have; room was reserved for them.
    pub fn insert_missing(&mut self, items: impl ExactSizeIterator<Item = T>) {
        let mut items = items.peekable();
        while let Some(item) = items.peek() {
            if self.position(item.key()) == self.items.len() {
                // None of them is there: the usual way, in one go.
                self.items.extend(items);
                return;
            }
            let missing = self.find(item.key()).is_none();
            items.next().into_iter().filter(|_| missing).for_each(|item| self.insert(item));
        }
    }
    /// Where the first item is whose key is not below `key`. What comes last is found without a search: memory mostly comes
    /// in the order of its addresses.
    fn position(&self, key: u64) -> usize {
        match self.items.last() {
            Some(last) if last.key() >= key => self.items.partition_point(|i| i.key() < key),
            _ => self.items.len(),
        }
    }
    #[inline(always)]
    fn find(&self, key: u64) -> Option<usize> {
        let at = self.position(key);
        self.items.get(at).is_some_and(|item| item.key() == key).then_some(at)
    }
    /// Where the item with this key is, until the list changes.
    pub fn index_of(&self, key: u64) -> Option<usize> {
        self.find(key)
    }
    /// The item at `index`, which [`Self::index_of`] has found.
    ///
    /// # Panics
    /// When the list has no such index.
    pub fn at_mut(&mut self, index: usize) -> &mut T {
        &mut self.items[index]
    }
    /// The items with a key of `keys`, ascending.
    pub fn range(&self, keys: Range<u64>) -> &[T] {
        let (first, end) = (self.position(keys.start), self.position(keys.end));
        &self.items[first..end.max(first)]
    }
    /// The items with a key of `keys`, ascending. The keys must stay as they are.
    pub fn range_mut(&mut self, keys: Range<u64>) -> &mut [T] {
        let (first, end) = (self.position(keys.start), self.position(keys.end));
        &mut self.items[first..end.max(first)]
    }
    /// Takes those items with a key of `keys` out that are `gone`, in one go.
    pub fn remove_where(&mut self, keys: Range<u64>, mut gone: impl FnMut(&T) -> bool) {
        let (first, end) = (self.position(keys.start), self.position(keys.end));
        let mut kept = first;
        for i in first..end {
            if !gone(&self.items[i]) {
                self.items.swap(kept, i);
                kept += 1;
            }
        }
        self.items.drain(kept..end.max(kept));
    }
    /// Takes the item with this key out.
    pub fn remove(&mut self, key: u64) -> Option<T> {
        self.find(key).map(|at| self.items.remove(at))
    }
    /// Gives back what capacity is not used.
    pub fn shrink(&mut self) {
        self.shrink_to(0);
    }
    /// The item with this key.
    pub fn get(&self, key: u64) -> Option<&T> {
        self.find(key).map(|at| &self.items[at])
    }
    /// The item with this key.
    pub fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        self.find(key).map(|at| &mut self.items[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Keyed for u64 {
        fn key(&self) -> u64 {
            *self
        }
    }

    #[test]
    fn more_items_than_there_are_numbers_are_refused() {
        let mut list: List<u64> = List::new();
        for more in [usize::MAX, usize::MAX - 6, usize::MAX / 16] {
            assert!(list.reserve(more).is_err(), "{more}");
            assert_eq!(list.items.capacity(), 0);
        }
    }

    #[test]
    fn a_list_is_sorted_and_returns_to_its_size() {
        let mut list = List::new();
        list.reserve(3).expect("heap");
        for k in [5, 1, 3] {
            list.insert(k);
        }
        assert_eq!(list.as_slice(), [1, 3, 5]);
        assert_eq!((list.get(3), list.get(4)), (Some(&3), None));
        assert_eq!(list.remove(3), Some(3));
        assert_eq!(list.remove(3), None);
        list.shrink();
        assert_eq!(list.items.capacity(), STEP);
        list.remove_where(0..u64::MAX, |_| true);
        list.shrink();
        assert_eq!(list.items.capacity(), 0);
    }

    #[test]
    fn what_is_there_stays_and_what_is_missing_comes_in_order() {
        let mut list = List::new();
        list.reserve(6).expect("heap");
        [10, 30].into_iter().for_each(|k| list.insert(k));
        list.insert_missing([20, 30, 40, 50].into_iter());
        assert_eq!(list.as_slice(), [10, 20, 30, 40, 50]);
        list.insert_missing([5].into_iter());
        assert_eq!(list.as_slice(), [5, 10, 20, 30, 40, 50]);
    }

    #[test]
    fn a_range_of_keys_goes_in_one_go_and_leaves_the_others_in_order() {
        let mut list = List::new();
        list.reserve(6).expect("heap");
        (1..7).map(|k| k * 10).for_each(|k| list.insert(k));
        assert_eq!(list.range_mut(20..50), [20, 30, 40]);
        assert!(list.range_mut(21..30).is_empty() && list.range_mut(70..90).is_empty());
        list.remove_where(20..60, |k| *k != 40);
        assert_eq!(list.as_slice(), [10, 40, 60]);
        list.remove_where(0..u64::MAX, |_| true);
        assert!(list.as_slice().is_empty());
    }
}
