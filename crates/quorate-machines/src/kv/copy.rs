//! A copy: pages of one store, pasted into a blank one on another node.
//!
//! A page is some entries of the table in order; the first also has the counters. It begins after the last key of the page
//! before. What comes is foreign until it is checked: each entry must be one that a store could hold, and in the end the
//! counters must fit what came.

use alloc::vec::Vec;

use bytes::Bytes;
use quorate_model::{DecodeError, Wire};

use super::layout;
use super::snapshot::check_entry;
use super::table::Table;
use super::view::{Meta, View};
use super::{Chunk, Kv};

/// The counters, if it is the first page, and some entries.
type Page = (Option<Bytes>, Vec<(Bytes, Bytes)>);

impl<T: Table> View<T> {
    /// The page after the key `at`, and the key after which the next begins.
    pub(super) fn page(&self, at: &[u8], bytes_max: usize) -> (Bytes, Option<Bytes>) {
        let is_first = at.is_empty();
        let Chunk { entries, last } = self.chunk((!is_first).then_some(at), bytes_max);
        let next = entries.last().filter(|_| !last).map(|(key, _)| key.clone());
        let page: Page = (is_first.then(|| self.head()), entries);
        (page.to_bytes(), next)
    }
}

impl<T: Table> Kv<T> {
    pub(super) fn take_page(&mut self, page: Bytes) -> Result<(), DecodeError> {
        let (head, entries) = Page::from_bytes(page)?;
        if let Some(head) = head {
            self.pasting = Some(Meta::from_bytes(head)?);
        }
        for (key, value) in entries {
            check_entry(&key, &value)?;
            self.view.meta.keys += u64::from(key.first() == Some(&layout::CURRENT));
            self.view.table.insert(key, value);
        }
        Ok(())
    }

    pub(super) fn took_all(&mut self) -> Result<(), DecodeError> {
        let meta = self.pasting.take().ok_or(DecodeError::Malformed("copy: it has no counters"))?;
        if meta.keys != self.view.meta.keys {
            return Err(DecodeError::Malformed("copy: its entries do not fit its counters"));
        }
        self.view.meta = meta;
        Ok(())
    }
}
