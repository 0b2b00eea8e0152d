//! All ends of pipes there are, and where those were that are gone.

use super::NodeId;
use super::pipe::{End, EndId};
use std::ops::Index;

/// Ends are numbered from 1 in the order in which they are made, and found by their number.
#[derive(Default)]
pub(super) struct Ends {
    ends: Vec<Option<Box<End>>>,
    /// The node of every end there ever was.
    homes: Vec<u32>,
}

impl Ends {
    /// How many there ever were.
    pub(super) const fn made(&self) -> u64 {
        self.homes.len() as u64
    }

    pub(super) fn add(&mut self, end: End) -> EndId {
        self.homes.push(end.node().0 as u32);
        self.ends.push(Some(Box::new(end)));
        EndId(self.made())
    }

    pub(super) fn get(&self, id: &EndId) -> Option<&End> {
        self.ends.get(place(id))?.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: &EndId) -> Option<&mut End> {
        self.ends.get_mut(place(id))?.as_deref_mut()
    }

    pub(super) fn contains(&self, id: &EndId) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn remove(&mut self, id: &EndId) -> Option<End> {
        self.ends.get_mut(place(id))?.take().map(|end| *end)
    }

    /// The node of an end, also of one that is gone.
    pub(super) fn home(&self, id: &EndId) -> Option<NodeId> {
        self.homes.get(place(id)).map(|node| NodeId(*node as usize))
    }
}

impl Index<&EndId> for Ends {
    type Output = End;

    fn index(&self, id: &EndId) -> &End {
        self.get(id).expect("it is there")
    }
}

const fn place(id: &EndId) -> usize {
    (id.0 as usize).wrapping_sub(1)
}
