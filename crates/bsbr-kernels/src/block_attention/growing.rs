//! Lists of a cache, which grow to many times their size.

use std::ops::{Deref, DerefMut};

/// A list with little spare room, of which a copy has some too, so the next tokens of neither move
/// all numbers.
#[derive(Debug)]
pub(super) struct Growing<T>(Vec<T>);

impl<T> Growing<T> {
    /// Reserves room for `more` numbers.
    pub(super) fn make_room(&mut self, more: usize) {
        if self.0.capacity() - self.0.len() < more {
            self.0.reserve_exact(more.max(self.0.len() / 16));
        }
    }

    /// Adds numbers.
    pub(super) fn add(&mut self, more: impl ExactSizeIterator<Item = T>) {
        self.make_room(more.len());
        self.0.extend(more);
    }
}

impl<T: Copy> Clone for Growing<T> {
    fn clone(&self) -> Self {
        let mut copy = Vec::with_capacity(self.0.len() + self.0.len() / 16);
        copy.extend_from_slice(&self.0);
        Self(copy)
    }
}

impl<T> Default for Growing<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> From<Vec<T>> for Growing<T> {
    fn from(list: Vec<T>) -> Self {
        Self(list)
    }
}

impl<T> Deref for Growing<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T> DerefMut for Growing<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_list_nor_its_copy_moves_for_a_few_more() {
        let mut list = Growing::from(vec![1; 1000]);
        list.add([2; 10].into_iter());
        let mut copy = list.clone();
        for list in [&mut list, &mut copy] {
            let before = list.as_ptr();
            list.add([3; 50].into_iter());
            assert_eq!((list.as_ptr(), list.len()), (before, 1060));
        }
    }
}
