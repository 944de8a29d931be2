//! A table of things with small stable indices, used again when free.

use sipcast_pool::prefetch;

/// Slots for `T`.
pub struct Table<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Table<T> {
    /// Puts `value` into a free slot.
    pub fn insert(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(value);
                slot
            }
            None => {
                self.slots.push(Some(value));
                (self.slots.len() - 1) as u32
            }
        }
    }

    /// The slot that the next insert will use.
    pub fn next_slot(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.slots.len() as u32)
    }

    /// What is in `slot`.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Has the first `bytes` of what is in `slot` fetched into the core's cache.
    pub fn prefetch(&self, slot: u32, bytes: usize) {
        if let Some(value) = self.slots.get(slot as usize) {
            prefetch(value, bytes);
        }
    }

    /// Empties `slot`.
    pub fn remove(&mut self, slot: u32) -> Option<T> {
        let value = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        Some(value)
    }

    /// How many slots are used.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Every used slot.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(slot, value)| Some((slot as u32, value.as_mut()?)))
    }

    /// The indices that may be used.
    pub fn indices(&self) -> std::ops::Range<u32> {
        0..self.slots.len() as u32
    }
}
