//! What waits to be sent on one stream of watches, and who its watchers are.
//!
//! A watcher is *current*, and then hears of each change as it comes, or it is *behind*, and reads the history at the pace
//! of its client. It falls behind when it asks for the past or when its stream's queue is full, so what a slow client
//! costs is one queue, however much is written.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::task::Waker;

use prost::Message;
use quorate_machines::kv::{EventKind, Revision, Span};

use crate::etcd::convert;
use crate::etcd::generated::{etcdserverpb as pb, mvccpb};

/// So many answers may wait on a stream before its watchers fall behind.
pub(super) const QUEUE_LEN_MAX: usize = 1_024;
/// So many bytes may wait on a stream before its watchers fall behind. One answer may wait whatever its size.
pub(super) const QUEUE_BYTES_MAX: usize = 1 << 20;
/// So many watchers may share a stream.
pub(super) const WATCHERS_MAX: usize = 100_000;

/// The id that stands for no watcher, or for all.
pub(super) const NO_WATCH_ID: i64 = -1;

/// What a watcher asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// Which keys.
    pub span: Span,
    /// From which revision on; `None` is from now.
    pub start: Option<Revision>,
    /// The id to take; 0 is any.
    pub watch_id: i64,
    /// Whether events carry what was there before.
    pub prev_kv: bool,
    /// Whether puts are wanted.
    pub puts: bool,
    /// Whether deletions are wanted.
    pub deletes: bool,
    /// Whether to tell how far the store is when nothing happens.
    pub progress_notify: bool,
    /// Answers over this size are split.
    pub fragment_bytes: Option<usize>,
}

/// One watcher.
#[derive(Debug)]
pub(super) struct Watcher {
    pub wish: Wish,
    /// The first revision that it may hear of.
    pub next: Revision,
    pub current: bool,
    /// Whether it heard of something since the last notice of progress.
    pub told: bool,
    /// Events on the way to the queue, all of one look at the changes.
    pub batch: Vec<mvccpb::Event>,
}

impl Watcher {
    /// Whether this watcher has to hear of it.
    pub fn wants(&self, revision: Revision, kind: EventKind) -> bool {
        let wanted = match kind {
            EventKind::Put => self.wish.puts,
            EventKind::Delete => self.wish.deletes,
        };
        wanted && revision >= self.next
    }
}

/// One stream's watchers and what waits for it.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<(pb::WatchResponse, usize)>,
    queued_bytes: usize,
    waker: Option<Waker>,
    pub watchers: BTreeMap<i64, Watcher>,
    /// Those that are not current.
    pub behind: BTreeSet<i64>,
    next_id: i64,
    /// Whether the client asked how far the stream is while a watcher was behind.
    pub progress_asked: bool,
}

impl Outbox {
    /// An id for a new watcher; `None` when the one asked for is taken.
    pub fn choose_id(&mut self, asked: i64) -> Option<i64> {
        if asked != 0 {
            return (!self.watchers.contains_key(&asked)).then_some(asked);
        }
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Some(self.next_id - 1)
    }

    pub fn is_full(&self) -> bool {
        self.queue.len() >= QUEUE_LEN_MAX || self.queued_bytes >= QUEUE_BYTES_MAX
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Queues an answer and wakes the stream.
    pub fn push(&mut self, response: pb::WatchResponse) {
        let bytes = response.events.iter().map(event_bytes).sum();
        self.queued_bytes += bytes;
        self.queue.push_back((response, bytes));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Queues a watcher's batch as what it saw up to `revision`.
    pub fn push_batch(&mut self, watch_id: i64, revision: Revision) {
        let Some(watcher) = self.watchers.get_mut(&watch_id) else { return };
        watcher.told = true;
        let events = std::mem::take(&mut watcher.batch);
        let fragment_bytes = watcher.wish.fragment_bytes;
        let response = pb::WatchResponse { watch_id, events, ..at(revision) };
        match fragment_bytes {
            Some(bytes_max) if response.encoded_len() > bytes_max => self.push_fragments(response, bytes_max),
            _ => self.push(response),
        }
    }

    fn push_fragments(&mut self, mut response: pb::WatchResponse, bytes_max: usize) {
        let events = std::mem::take(&mut response.events);
        let empty = response.encoded_len();
        let (mut part, mut part_bytes) = (Vec::new(), empty);
        for event in events {
            let bytes = event.encoded_len() + EVENT_OVERHEAD_BYTES;
            if !part.is_empty() && part_bytes + bytes > bytes_max {
                let events = std::mem::take(&mut part);
                self.push(pb::WatchResponse { events, fragment: true, ..response.clone() });
                part_bytes = empty;
            }
            part_bytes += bytes;
            part.push(event);
        }
        self.push(pb::WatchResponse { events: part, ..response });
    }

    pub fn pop(&mut self) -> Option<pb::WatchResponse> {
        let (response, bytes) = self.queue.pop_front()?;
        self.queued_bytes -= bytes;
        Some(response)
    }

    pub fn wait(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(old) => old.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    pub fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether no watcher has anything at or before `revision` still to hear.
    pub fn is_level_with(&self, revision: Revision) -> bool {
        let begun = |watcher: &Watcher| watcher.wish.start.is_none_or(|start| start <= revision);
        self.behind.is_empty() && self.watchers.values().all(begun)
    }
}

/// The tag and the length of an event within an answer.
const EVENT_OVERHEAD_BYTES: usize = 6;
/// What an event takes beside its keys and values.
const EVENT_BYTES: usize = 64;

pub(super) fn event_bytes(event: &mvccpb::Event) -> usize {
    let bytes = |kv: &Option<mvccpb::KeyValue>| kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
    EVENT_BYTES + bytes(&event.kv) + bytes(&event.prev_kv)
}

/// An answer at `revision` that says nothing yet. The stream fills in the rest of the header.
pub(super) fn at(revision: Revision) -> pb::WatchResponse {
    let header = pb::ResponseHeader { revision: convert::wire(revision.0), ..Default::default() };
    pb::WatchResponse { header: Some(header), ..Default::default() }
}
