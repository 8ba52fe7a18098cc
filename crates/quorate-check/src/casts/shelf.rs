//! Storage of a machine's own, as a value: what a store of tables on disk is to the key-value machine, lists that are put on a
//! shelf are to [`super::Lists`].
//!
//! | the store | the shelf |
//! |-----------|-----------|
//! | a checkpoint is begun at once and durable later | it waits among `begun` until somebody says that it was written |
//! | a copy goes into a generation beside the table | a blank one has a generation of its own |
//! | a new generation deletes all but the one that it is made beside | [`super::housed`] sees to it |
//! | the newest generation with a marker is the table | [`Shelf::newest_of`] |

use std::collections::BTreeMap;

use bytes::Bytes;

/// Lists by key.
pub(super) type ByKey = BTreeMap<u32, Vec<u32>>;

/// How many checkpoints may wait. When so many do, the next is left out, and the one after it covers both.
const BEGUN_LEN_MAX: usize = 2;

/// What was stored at one moment, and what stands beside it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Stored {
    index: u64,
    beside: Bytes,
    by_key: ByKey,
}

/// One generation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(super) struct Shelf {
    /// Its number.
    pub generation: u64,
    /// The one that it was made beside, if it was made.
    pub beside: Option<u64>,
    /// The number of the newest that there was.
    pub newest: u64,
    /// Nothing of it is there after a restart.
    pub is_deleted: bool,
    durable: Option<Stored>,
    /// Checkpoints that are not durable yet, oldest first.
    begun: Vec<Stored>,
}

impl Shelf {
    /// A blank one beside this.
    pub fn draft(&self) -> Self {
        let generation = self.newest + 1;
        Self { generation, beside: Some(self.generation), newest: generation, ..Self::default() }
    }

    /// Begins to store.
    pub fn begin(&mut self, index: u64, beside: Bytes, by_key: ByKey) {
        if self.begun.len() < BEGUN_LEN_MAX {
            self.begun.push(Stored { index, beside, by_key });
        }
    }

    /// Whether something is begun and not durable.
    pub fn is_writing(&self) -> bool {
        !self.begun.is_empty()
    }

    /// The oldest that was begun is durable from now on.
    pub fn write(&mut self) {
        self.durable = Some(self.begun.remove(0));
    }

    /// What is durable: up to which index, and what stands beside it.
    pub fn marker(&self) -> Option<(u64, Bytes)> {
        self.durable.as_ref().map(|stored| (stored.index, stored.beside.clone()))
    }

    /// What is found after a restart, if these are there: the newest that has a marker, or an empty one.
    pub fn newest_of(shelves: impl Iterator<Item = Self>) -> (Self, ByKey) {
        let (mut found, mut newest) = (Self::default(), 0);
        for shelf in shelves.filter(|shelf| !shelf.is_deleted) {
            newest = newest.max(shelf.generation);
            if shelf.durable.is_some() && shelf.generation >= found.generation {
                found = Self { generation: shelf.generation, durable: shelf.durable, ..Self::default() };
            }
        }
        let by_key = found.durable.as_ref().map(|stored| stored.by_key.clone()).unwrap_or_default();
        (Self { newest, ..found }, by_key)
    }
}
