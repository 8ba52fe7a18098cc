//! Ranges: reading keys, now or at a past revision.
//!
//! The present is one scan. Without a sort, a limit stops reading values as soon as it is reached and the rest is only
//! counted. The past is the present keys and the dead ones, merged by key, and for each its history walked back to the
//! version that was there.

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::ControlFlow;

use bytes::Bytes;

use super::command::{Found, KeyValue, Range, Refused, Revision, SortOrder, SortTarget, Span};
use super::layout::{self, Bounds, CURRENT_HEAD_BYTES, Place};
use super::record::{MILESTONE_EVERY, Record};
use super::table::Table;
use super::view::View;

/// When a range is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum When {
    /// As the table is, changes of a step in the making included.
    Now,
    /// As it was when the revision was made.
    At(Revision),
}

impl<T: Table> View<T> {
    /// Reads keys.
    ///
    /// # Errors
    /// When the revision is compacted or not reached.
    pub fn range(&self, range: &Range) -> Result<Found, Refused> {
        let when = match self.when(range.revision)? {
            When::At(revision) if revision == self.meta.revision => When::Now, // nothing is in the making
            when => when,
        };
        Ok(self.range_when(range, when))
    }

    /// A key as it was at a readable revision.
    pub(crate) fn get_at(&self, key: &Bytes, at: Revision) -> Option<KeyValue> {
        let newest = self.current(key).or_else(|| self.tombstone(key))?;
        self.version_at(key, newest, at)?.key_value(key.clone())
    }

    /// Whether `revision` can be read.
    pub(crate) fn when(&self, revision: Revision) -> Result<When, Refused> {
        match revision {
            Revision(0) => Ok(When::Now),
            revision if revision > self.meta.revision => Err(Refused::FutureRevision),
            revision if self.meta.compacted.is_some_and(|compacted| revision < compacted) => Err(Refused::Compacted),
            revision => Ok(When::At(revision)),
        }
    }

    pub(crate) fn range_when(&self, range: &Range, when: When) -> Found {
        if range.count_only {
            return Found { count: self.count_when(&range.span, when), ..Found::default() };
        }
        let sorted = sorted(range);
        let limit = usize::try_from(range.limit).ok().filter(|&limit| limit > 0).unwrap_or(usize::MAX);
        // Only the stored order lets a limit end the scan.
        let enough = if sorted.is_some() { usize::MAX } else { limit };
        let mut kvs = Vec::new();
        let (mut more, mut seen) = (false, 0);
        self.visit(&range.span, when, &mut |key, record| {
            let kept = record.key_value(key.clone()).filter(|kv| passes(range, kv));
            if let Some(kv) = kept {
                if kvs.len() == enough {
                    more = true;
                    return ControlFlow::Break(());
                }
                kvs.push(kv);
            }
            seen += 1;
            ControlFlow::Continue(())
        });
        let count = if more { self.count_when(&range.span, when) } else { seen };
        if let Some((target, descending)) = sorted {
            more = kvs.len() > limit;
            sort(&mut kvs, target, descending, limit);
        }
        if range.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Found { kvs, more, count }
    }

    fn count_when(&self, span: &Span, when: When) -> u64 {
        if when == When::Now {
            return self.count(span);
        }
        let mut count = 0;
        self.visit(span, when, &mut |_, _| {
            count += 1;
            ControlFlow::Continue(())
        });
        count
    }

    /// Hands each key of `span` that was there `when` to `see`, in order, with its version.
    pub(crate) fn visit(&self, span: &Span, when: When, see: &mut impl FnMut(&Bytes, Record) -> ControlFlow<()>) {
        match (span, when) {
            (Span::Key(key), When::Now) => {
                if let Some(record) = self.current(key) {
                    // There is no second key to break off before.
                    let _ = see(key, record);
                }
            }
            (_, When::Now) => {
                let bounds = Bounds::of(layout::CURRENT, span);
                for (key, bytes) in self.table.range(&bounds.from, Some(&bounds.end)) {
                    if see(&key.slice(CURRENT_HEAD_BYTES..), Record::of(bytes)).is_break() {
                        return;
                    }
                }
            }
            (Span::Key(key), When::At(revision)) => {
                let newest = self.current(key).or_else(|| self.tombstone(key));
                if let Some(record) = newest.and_then(|newest| self.version_at(key, newest, revision)) {
                    let _ = see(key, record); // nor here
                }
            }
            (_, When::At(revision)) => self.visit_past(span, revision, see),
        }
    }

    fn visit_past(&self, span: &Span, at: Revision, see: &mut impl FnMut(&Bytes, Record) -> ControlFlow<()>) {
        let live = Bounds::of(layout::CURRENT, span);
        let dead = Bounds::of(layout::DEAD, span);
        let mut live = self.table.range(&live.from, Some(&live.end)).peekable();
        let mut dead = self.table.range(&dead.from, Some(&dead.end)).peekable();
        loop {
            let next = match (live.peek(), dead.peek()) {
                (Some((a, _)), Some((b, _))) if a[CURRENT_HEAD_BYTES..] < b[CURRENT_HEAD_BYTES..] => live.next(),
                (Some(_), None) => live.next(),
                _ => dead.next(),
            };
            let Some((key, bytes)) = next else { return };
            let key = key.slice(CURRENT_HEAD_BYTES..);
            if let Some(record) = self.version_at(&key, Record::of(bytes), at)
                && see(&key, record).is_break()
            {
                return;
            }
        }
    }

    /// The version of a key at a readable revision, given its newest record; `None` when the key was not there.
    fn version_at(&self, key: &[u8], newest: Record, at: Revision) -> Option<Record> {
        let mut record = newest;
        let mut steps = 0;
        while record.place.revision > at {
            let mut previous = record.previous?;
            steps += 1;
            if steps == MILESTONE_EVERY
                && let Some(milestone) = self.first_milestone(key, at)
            {
                previous = previous.min(milestone);
            }
            // 1. `record` is of a revision after a readable one, so what it superseded is not forgotten; and a milestone
            //    after a readable revision stands for a record that is not forgotten either.
            record = self.change(previous, key).expect("what was superseded after a readable revision is kept");
        }
        record.version.is_some().then_some(record)
    }

    /// The first milestone of a key after a revision.
    fn first_milestone(&self, key: &[u8], after: Revision) -> Option<Place> {
        let from = layout::milestone(key, Revision(after.0 + 1));
        let end = layout::after_prefix(&from[..from.len() - 8]).expect("the first byte is not the last there is");
        let (at, index) = self.table.range(&from, Some(&end)).next()?;
        let revision = at[at.len() - 8..].try_into().expect("a milestone's key ends in eight bytes");
        let index = (*index).try_into().expect("a milestone holds four bytes");
        Some(Place { revision: Revision(u64::from_be_bytes(revision)), index: u32::from_be_bytes(index) })
    }
}

/// What to sort by, and whether the largest comes first; `None` when the stored order is the one asked for.
fn sorted(range: &Range) -> Option<(SortTarget, bool)> {
    match (range.sort_target, range.sort_order) {
        (SortTarget::Key, SortOrder::None | SortOrder::Ascend) => None,
        (target, order) => Some((target, order == SortOrder::Descend)),
    }
}

fn passes(range: &Range, kv: &KeyValue) -> bool {
    let within = |revision: Revision, min: Revision, max: Revision| {
        (min.0 == 0 || revision >= min) && (max.0 == 0 || revision <= max)
    };
    within(kv.mod_revision, range.min_mod_revision, range.max_mod_revision)
        && within(kv.create_revision, range.min_create_revision, range.max_create_revision)
}

/// Sorts the first `limit`; equals stand in the order of keys.
fn sort(kvs: &mut Vec<KeyValue>, target: SortTarget, descending: bool, limit: usize) {
    let order = |a: &KeyValue, b: &KeyValue| {
        let order = match target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        };
        let order: Ordering = if descending { order.reverse() } else { order };
        order.then_with(|| a.key.cmp(&b.key))
    };
    if limit < kvs.len() {
        kvs.select_nth_unstable_by(limit, order);
        kvs.truncate(limit);
    }
    kvs.sort_unstable_by(order);
}
