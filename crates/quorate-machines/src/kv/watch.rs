//! Watching: what changed, from any revision that is not compacted, in order.
//!
//! A watcher never waits to be caught up by a clock: [`View::changes`] is one scan over the changes from the watcher's
//! revision to the view's, and a hub asks it at once. (etcd scans every 100 ms, which is what makes its locks slow.)
//!
//! The rest is pure: which of the changes a watcher wants, and how an answer that is too large is cut.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use super::command::{KeyValue, Refused, Revision, Span};
use super::layout;
use super::record::Record;
use super::table::Table;
use super::view::View;

/// What happened to a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EventKind {
    /// It was written.
    Put,
    /// It was deleted.
    Delete,
}

/// One change of one key.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key after it; a deleted one has its key and its last revision only.
    pub kv: KeyValue,
    /// The key before it, if that is not compacted; filled by [`View::with_previous`].
    pub prev_kv: Option<KeyValue>,
}

impl Event {
    /// Whether the event created its key.
    #[must_use]
    pub fn is_create(&self) -> bool {
        self.kind == EventKind::Put && self.kv.version == 1
    }

    /// The bytes that the event carries, for cutting answers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        /// What tags, lengths and numbers take beside keys and values.
        const HEAD_BYTES: usize = 32;
        let of = |kv: &KeyValue| kv.key.len() + kv.value.len() + HEAD_BYTES;
        of(&self.kv) + self.prev_kv.as_ref().map_or(0, of)
    }
}

/// Which changes a watcher wants.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Wanted {
    /// Of which keys.
    pub span: Span,
    /// No puts.
    pub no_put: bool,
    /// No deletes.
    pub no_delete: bool,
    /// With what was there before.
    pub prev_kv: bool,
}

impl Wanted {
    /// All changes of `span`.
    #[must_use]
    pub fn all(span: Span) -> Self {
        Self { span, no_put: false, no_delete: false, prev_kv: false }
    }

    /// Whether the watcher wants the event.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        let filtered = match event.kind {
            EventKind::Put => self.no_put,
            EventKind::Delete => self.no_delete,
        };
        !filtered && self.span.contains(&event.kv.key)
    }

    /// What the watcher gets of the events of one revision.
    #[must_use]
    pub fn pick<T: Table>(&self, view: &View<T>, events: &[Event]) -> Vec<Event> {
        let picked = events.iter().filter(|event| self.wants(event)).cloned();
        if self.prev_kv { picked.map(|event| view.with_previous(event)).collect() } else { picked.collect() }
    }
}

/// The changes of one revision.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Change {
    /// The revision.
    pub revision: Revision,
    /// What happened, in the order it did.
    pub events: Vec<Event>,
}

/// The changes of a view, revision after revision.
#[derive(Clone, Debug)]
pub struct Changes<T> {
    view: View<T>,
    next: Revision,
    /// Read ahead, so that not every revision costs a search.
    ahead: VecDeque<Change>,
}

/// How many changed keys are read ahead; a revision that changed more is read to its end.
const AHEAD_MAX: usize = 64;

impl<T: Table> View<T> {
    /// The changes from the revision `from` on (0: from the compacted one on), up to the view's own.
    ///
    /// # Errors
    /// When `from` is compacted; [`View::compacted`] can still be asked from. A revision not reached has no changes yet.
    pub fn changes(&self, from: Revision) -> Result<Changes<T>, Refused> {
        let compacted = self.compacted();
        let next = if from == Revision(0) { compacted } else { from };
        if next < compacted {
            return Err(Refused::Compacted);
        }
        Ok(Changes { view: self.clone(), next, ahead: VecDeque::new() })
    }

    /// The event with the key as it was before; without, when it created the key or when that is compacted.
    #[must_use]
    pub fn with_previous(&self, mut event: Event) -> Event {
        let (mod_revision, version) = (event.kv.mod_revision, event.kv.version);
        // What was there at the revision before is readable only if that revision is. A first version had none before.
        let readable = self.meta.compacted.is_none_or(|compacted| mod_revision > compacted);
        if readable && !(event.kind == EventKind::Put && version == 1) {
            let before = Revision(mod_revision.0 - 1);
            event.prev_kv = self.get_at(&event.kv.key, before);
        }
        event
    }
}

impl<T: Table> Changes<T> {
    /// The revision that the next change is of, or a later one.
    #[must_use]
    pub fn next_revision(&self) -> Revision {
        self.ahead.front().map_or(self.next, |change| change.revision)
    }

    fn read_ahead(&mut self) {
        let from = layout::change_head(layout::Place { revision: self.next, index: 0 });
        let entries = self.view.table.range(&from, Some(&[layout::CHANGE + 1]));
        for (events, (at, bytes)) in entries.enumerate() {
            let (place, key) = layout::split_change(&at);
            let event = event_of(key, Record::of(bytes));
            match self.ahead.back_mut() {
                Some(change) if change.revision == place.revision => change.events.push(event),
                _ if events >= AHEAD_MAX => break,
                _ => self.ahead.push_back(Change { revision: place.revision, events: alloc::vec![event] }),
            }
        }
        self.next = Revision(self.ahead.back().map_or(self.view.meta.revision, |change| change.revision).0 + 1);
    }
}

impl<T: Table> Iterator for Changes<T> {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        if self.ahead.is_empty() && self.next <= self.view.meta.revision {
            self.read_ahead();
        }
        self.ahead.pop_front()
    }
}

fn event_of(key: Bytes, record: Record) -> Event {
    let mod_revision = record.place.revision;
    match record.key_value(key.clone()) {
        Some(kv) => Event { kind: EventKind::Put, kv, prev_kv: None },
        None => {
            let kv = KeyValue { key, mod_revision, ..KeyValue::default() };
            Event { kind: EventKind::Delete, kv, prev_kv: None }
        }
    }
}

/// The record that `record` superseded, if it is not forgotten.
pub(crate) fn tail_of<T: Table>(view: &View<T>, key: &[u8], record: &Record) -> Option<Record> {
    record.previous.and_then(|previous| view.change(previous, key))
}

/// One answer of a watch that asked for fragments: events, and whether more of the same revision follow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// The events.
    pub events: Vec<Event>,
    /// Whether this is not the last fragment.
    pub more: bool,
}

/// Cuts events into fragments of at most `bytes_max` each; a larger event stands alone.
#[must_use]
pub fn fragments(events: Vec<Event>, bytes_max: usize) -> Vec<Fragment> {
    let mut fragments: Vec<Fragment> = Vec::new();
    let mut filled = 0;
    for event in events {
        let bytes = event.bytes();
        match fragments.last_mut() {
            Some(last) if filled + bytes <= bytes_max => {
                filled += bytes;
                last.events.push(event);
            }
            last => {
                if let Some(last) = last {
                    last.more = true;
                }
                filled = bytes;
                fragments.push(Fragment { events: alloc::vec![event], more: false });
            }
        }
    }
    fragments
}

/// The revision up to which every watcher of a stream has got everything: what a progress answer may promise.
///
/// `None` when one of them is behind the view or waits for a revision that is not reached: then there is no answer, and
/// the client asks again.
pub fn progress(view: Revision, next_of_watchers: impl IntoIterator<Item = Revision>) -> Option<Revision> {
    next_of_watchers.into_iter().all(|next| next.0 == view.0 + 1).then_some(view)
}
