//! The hub: takes each new view once, and hands what changed to the watchers of this gateway.
//!
//! | who        | when                | does                                                                        |
//! |------------|---------------------|-----------------------------------------------------------------------------|
//! | the pump   | a new view is there | reads the changes once, finds the watchers of each key, fills their queues   |
//! | a stream   | its client asks     | adds and removes watchers, after the hub took the newest view               |
//! | a stream   | its queue is empty  | reads history for those behind, a bounded piece at a time                   |
//!
//! All of it happens under one lock, and so in one order: (1) whatever a current watcher had to hear up to the hub's
//! revision is in its stream's queue; (2) a watcher that is behind becomes current only in the step in which it has read
//! up to the hub's revision. Hence no event is lost, none comes twice, and each watcher's come in order. One gateway
//! thread has one hub, so the lock is never fought for.
//!
//! A watcher that asks for the present or the past catches up at once, when it is made. etcd lets it wait for a tick of
//! 100 ms, which is what its contended locks spend their time on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use quorate_machines::kv::{Event, Revision, Span};

use super::outbox::{self, NO_WATCH_ID, Outbox, WATCHERS_MAX, Watcher, Wish, at};
use super::spans::SpanIndex;
use crate::etcd::convert;
use crate::etcd::errors::EtcdError;
use crate::etcd::generated::{etcdserverpb as pb, mvccpb};
use crate::http::metrics::Metrics;
use crate::keyspace::{Keyspace, View, Views};

/// So many changes are handed out before batches go to the queues.
const HAND_OUT_MAX: usize = 4_096;
/// So many changes are read for the watchers of a stream that are behind, before it is another's turn.
const CATCH_UP_MAX: usize = 1_000;
/// So many bytes of events are read for them at most, a whole revision aside.
const CATCH_UP_BYTES_MAX: usize = 1 << 20;

/// A watcher of a stream.
type Place = (u64, i64);

/// Who watches through one gateway.
#[derive(Debug)]
pub struct Hub {
    keyspace: Keyspace,
    metrics: Arc<Metrics>,
    board: Mutex<Board>,
}

#[derive(Debug)]
struct Board {
    /// What was handed out: every current watcher was told all of it.
    view: View,
    current: SpanIndex<Place>,
    streams: BTreeMap<u64, Outbox>,
    next_stream: u64,
    metrics: Arc<Metrics>,
}

impl Hub {
    pub(crate) fn new(keyspace: Keyspace, metrics: Arc<Metrics>) -> Self {
        let board = Board {
            view: keyspace.published(),
            current: SpanIndex::new(),
            streams: BTreeMap::new(),
            next_stream: 0,
            metrics: metrics.clone(),
        };
        Self { keyspace, metrics, board: Mutex::new(board) }
    }

    /// Hands each new view out, until the keyspace is gone.
    pub(crate) async fn pump(&self) {
        let mut views = self.keyspace.views();
        while views.changed().await.is_ok() {
            let view = views.borrow_and_update().clone();
            self.board().take(view);
        }
    }

    /// A stream with no watchers yet. From here on views are published, and the hub has one of now.
    pub(crate) async fn open(self: &Arc<Self>) -> Result<Outlet, EtcdError> {
        let views = self.keyspace.observe();
        let view = self.keyspace.peek().await?;
        let mut board = self.board();
        board.take(view);
        let stream = board.next_stream;
        board.next_stream += 1;
        board.streams.insert(stream, Outbox::default());
        self.metrics.watch_streams.add(1);
        Ok(Outlet { hub: self.clone(), stream, _views: views })
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        // A panic under the lock left at worst a watcher without an event in its batch; its stream's task is gone too.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The board after it took the newest view that there is.
    fn fresh_board(&self) -> MutexGuard<'_, Board> {
        let mut board = self.board();
        board.take(self.keyspace.published());
        board
    }
}

/// One stream's end of the hub. Its watchers go with it.
#[derive(Debug)]
pub(crate) struct Outlet {
    hub: Arc<Hub>,
    stream: u64,
    /// Keeps views coming.
    _views: Views,
}

impl Outlet {
    /// Adds a watcher, and queues the answer to that.
    pub fn create(&self, wish: Wish) {
        self.hub.fresh_board().create(self.stream, wish);
    }

    /// Queues the answer to a wish that is not one.
    pub fn refuse(&self, reason: &str) {
        let mut board = self.hub.fresh_board();
        board.refuse(self.stream, reason);
    }

    /// Removes a watcher, and queues the answer to that; says nothing when there is none.
    pub fn cancel(&self, watch_id: i64) {
        self.hub.fresh_board().cancel(self.stream, watch_id, |_| {});
    }

    /// Queues how far the stream is, as soon as all its watchers are there.
    pub fn progress(&self) {
        self.hub.fresh_board().progress(self.stream);
    }

    /// Queues for each watcher that asked for it, and heard of nothing since the last time, how far the store is.
    pub fn notify(&self) {
        self.hub.fresh_board().notify(self.stream);
    }

    /// The next answer.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<pb::WatchResponse> {
        let mut board = self.hub.board();
        if board.outbox(self.stream).is_empty() {
            board.catch_up(self.stream);
        }
        let outbox = board.outbox(self.stream);
        match outbox.pop() {
            Some(response) => Poll::Ready(response),
            None => {
                outbox.wait(cx.waker());
                if !outbox.behind.is_empty() {
                    outbox.wake(); // there is more history to read, after the others had their turn
                }
                Poll::Pending
            }
        }
    }

    /// Whether so much waits to be sent that the client's wishes have to wait too.
    pub fn is_full(&self) -> bool {
        self.hub.board().outbox(self.stream).is_full()
    }

    /// The next answer that carries events or an end.
    pub async fn next(&self) -> pb::WatchResponse {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.hub.board().close(self.stream);
        self.hub.metrics.watch_streams.add(-1);
    }
}

impl Board {
    fn outbox(&mut self, stream: u64) -> &mut Outbox {
        self.streams.get_mut(&stream).expect("an outlet's stream is open until the outlet is dropped")
    }

    /// Hands out what `view` has and the last one had not.
    fn take(&mut self, view: View) {
        let last = self.view.revision();
        if view.revision() < last {
            return;
        }
        self.view = view.clone(); // of the same revision it may be more compacted
        if view.revision() == last || self.current.is_empty() {
            return;
        }
        let Ok(changes) = view.changes(Revision(last.0 + 1)) else {
            return self.all_fall_behind(last); // compacted already: they are told when they catch up
        };
        let (mut places, mut reached, mut count) = (Vec::new(), last, 0);
        for change in changes {
            if count >= HAND_OUT_MAX {
                self.fill_queues(&mut places, reached);
                count = 0;
            }
            reached = change.revision;
            count += change.events.len();
            let Self { current, streams, .. } = self;
            for event in change.events {
                let mut heard = Heard::new(&view, event);
                current.each(&heard.key(), |place| {
                    let watcher = streams.get_mut(&place.0).and_then(|outbox| outbox.watchers.get_mut(&place.1));
                    let Some(watcher) = watcher else { return };
                    if watcher.wants(reached, heard.event.kind) {
                        if watcher.batch.is_empty() {
                            places.push(place);
                        }
                        watcher.batch.push(heard.on_the_wire(watcher.wish.prev_kv));
                    }
                });
            }
        }
        self.fill_queues(&mut places, view.revision());
    }

    /// Moves the batches of `places` to their queues. A watcher whose queue is full falls behind instead.
    fn fill_queues(&mut self, places: &mut Vec<Place>, reached: Revision) {
        for (stream, watch_id) in places.drain(..) {
            let outbox = self.streams.get_mut(&stream).expect("a current watcher's stream is open");
            if !outbox.is_full() {
                outbox.push_batch(watch_id, reached);
                continue;
            }
            let watcher = outbox.watchers.get_mut(&watch_id).expect("it has a batch");
            let first = watcher.batch[0].kv.as_ref().map_or(0, |kv| kv.mod_revision);
            watcher.batch.clear();
            watcher.next = convert::revision(first);
            watcher.current = false;
            self.current.remove(&watcher.wish.span, (stream, watch_id));
            outbox.behind.insert(watch_id);
            self.metrics.slow_watchers.add(1);
        }
    }

    fn all_fall_behind(&mut self, last: Revision) {
        for outbox in self.streams.values_mut() {
            for (watch_id, watcher) in outbox.watchers.iter_mut().filter(|(_, watcher)| watcher.current) {
                watcher.current = false;
                watcher.next = watcher.next.max(Revision(last.0 + 1));
                outbox.behind.insert(*watch_id);
                self.metrics.slow_watchers.add(1);
            }
            outbox.wake();
        }
        self.current = SpanIndex::new();
    }

    fn create(&mut self, stream: u64, wish: Wish) {
        let now = self.view.revision();
        let outbox = self.outbox(stream);
        if outbox.watchers.len() >= WATCHERS_MAX {
            return self.refuse(stream, EtcdError::TooManyRequests.code_and_text().1);
        }
        let Some(watch_id) = outbox.choose_id(wish.watch_id) else {
            return self.refuse(stream, "mvcc: duplicate watch ID provided on the WatchStream");
        };
        let next = wish.start.unwrap_or(Revision(now.0 + 1));
        let current = next > now;
        let span = wish.span.clone();
        let watcher = Watcher { wish, next, current, told: false, batch: Vec::new() };
        outbox.watchers.insert(watch_id, watcher);
        outbox.push(pb::WatchResponse { watch_id, created: true, ..at(now) });
        self.metrics.watchers.add(1);
        if current {
            self.current.insert(&span, (stream, watch_id));
        } else {
            self.outbox(stream).behind.insert(watch_id);
            self.metrics.slow_watchers.add(1);
        }
    }

    fn refuse(&mut self, stream: u64, reason: &str) {
        let answer = pb::WatchResponse {
            watch_id: NO_WATCH_ID,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..at(self.view.revision())
        };
        self.outbox(stream).push(answer);
    }

    fn cancel(&mut self, stream: u64, watch_id: i64, say: impl FnOnce(&mut pb::WatchResponse)) {
        let now = self.view.revision();
        let outbox = self.outbox(stream);
        let Some(watcher) = outbox.watchers.remove(&watch_id) else { return };
        let was_behind = outbox.behind.remove(&watch_id);
        let mut answer = pb::WatchResponse { watch_id, canceled: true, ..at(now) };
        say(&mut answer);
        outbox.push(answer);
        self.current.remove(&watcher.wish.span, (stream, watch_id));
        self.metrics.watchers.add(-1);
        self.metrics.slow_watchers.add(-i64::from(was_behind));
    }

    fn close(&mut self, stream: u64) {
        let Some(outbox) = self.streams.remove(&stream) else { return };
        for (watch_id, watcher) in &outbox.watchers {
            self.current.remove(&watcher.wish.span, (stream, *watch_id));
        }
        self.metrics.watchers.add(-convert::wire(outbox.watchers.len() as u64));
        self.metrics.slow_watchers.add(-convert::wire(outbox.behind.len() as u64));
    }

    fn progress(&mut self, stream: u64) {
        let now = self.view.revision();
        let outbox = self.outbox(stream);
        if outbox.watchers.is_empty() {
            return;
        }
        if outbox.is_level_with(now) {
            outbox.push(pb::WatchResponse { watch_id: NO_WATCH_ID, ..at(now) });
        } else {
            outbox.progress_asked = !outbox.behind.is_empty();
        }
    }

    fn notify(&mut self, stream: u64) {
        let now = self.view.revision();
        let outbox = self.outbox(stream);
        let mut quiet = Vec::new();
        for (watch_id, watcher) in outbox.watchers.iter_mut().filter(|(_, watcher)| watcher.wish.progress_notify) {
            let told = std::mem::take(&mut watcher.told);
            if !told && watcher.current && watcher.wish.start.is_none_or(|start| start <= now) {
                quiet.push(*watch_id);
            }
        }
        for watch_id in quiet {
            if !outbox.is_full() {
                outbox.push(pb::WatchResponse { watch_id, ..at(now) });
            }
        }
    }

    /// Reads a bounded piece of history for the watchers of a stream that are behind.
    fn catch_up(&mut self, stream: u64) {
        if self.outbox(stream).behind.is_empty() {
            return;
        }
        let view = self.view.clone();
        let now = view.revision();
        self.cancel_compacted(stream, view.compacted());

        let outbox = self.outbox(stream);
        let mut behind: SpanIndex<i64> = SpanIndex::new();
        let mut from = Revision(now.0 + 1);
        for watch_id in &outbox.behind {
            let watcher = &outbox.watchers[watch_id];
            from = from.min(watcher.next);
            behind.insert(&watcher.wish.span, *watch_id);
        }
        let mut touched = Vec::new();
        let mut reached = now;
        let (mut count, mut bytes) = (0, 0);
        let changes = view.changes(from).expect("those who ask for what is compacted were cancelled above");
        for change in changes {
            if count >= CATCH_UP_MAX || bytes >= CATCH_UP_BYTES_MAX {
                reached = Revision(change.revision.0 - 1);
                break;
            }
            count += change.events.len();
            for event in change.events {
                let mut heard = Heard::new(&view, event);
                behind.each(&heard.key(), |watch_id| {
                    let Some(watcher) = outbox.watchers.get_mut(&watch_id) else { return };
                    if watcher.wants(change.revision, heard.event.kind) {
                        let event = heard.on_the_wire(watcher.wish.prev_kv);
                        bytes += outbox::event_bytes(&event);
                        if watcher.batch.is_empty() {
                            touched.push(watch_id);
                        }
                        watcher.batch.push(event);
                    }
                });
            }
        }
        for watch_id in touched {
            outbox.push_batch(watch_id, reached);
        }
        let mut level = Vec::new();
        for watch_id in &outbox.behind {
            let watcher = outbox.watchers.get_mut(watch_id).expect("who is behind is a watcher");
            watcher.next = watcher.next.max(Revision(reached.0 + 1));
            if reached == now {
                watcher.current = true;
                level.push((*watch_id, watcher.wish.span.clone()));
            }
        }
        for (watch_id, span) in level {
            self.outbox(stream).behind.remove(&watch_id);
            self.current.insert(&span, (stream, watch_id));
            self.metrics.slow_watchers.add(-1);
        }
        self.answer_progress(stream);
    }

    fn cancel_compacted(&mut self, stream: u64, compacted: Revision) {
        let outbox = self.outbox(stream);
        let lost: Vec<i64> =
            outbox.behind.iter().copied().filter(|watch_id| outbox.watchers[watch_id].next < compacted).collect();
        for watch_id in lost {
            self.cancel(stream, watch_id, |answer| answer.compact_revision = convert::wire(compacted.0));
        }
    }

    fn answer_progress(&mut self, stream: u64) {
        let outbox = self.outbox(stream);
        if outbox.progress_asked && outbox.behind.is_empty() {
            outbox.progress_asked = false;
            self.progress(stream);
        }
    }
}

/// One event, put into the wire's words at most once for those who want what was there before, and once for the others.
struct Heard<'a> {
    view: &'a View,
    event: Event,
    plain: Option<mvccpb::Event>,
    with_previous: Option<mvccpb::Event>,
}

impl<'a> Heard<'a> {
    fn new(view: &'a View, event: Event) -> Self {
        Self { view, event, plain: None, with_previous: None }
    }

    fn key(&self) -> Bytes {
        self.event.kv.key.clone()
    }

    fn on_the_wire(&mut self, with_previous: bool) -> mvccpb::Event {
        let Self { view, event, .. } = self;
        if with_previous {
            let made = || convert::event(view.with_previous(event.clone()));
            self.with_previous.get_or_insert_with(made).clone()
        } else {
            self.plain.get_or_insert_with(|| convert::event(event.clone())).clone()
        }
    }
}

/// All keys that a watch request names, or why it names none.
pub(crate) fn watched(key: Bytes, range_end: Bytes) -> Result<Span, &'static str> {
    let key = if key.is_empty() { Bytes::from_static(b"\0") } else { key };
    match &range_end[..] {
        b"" => Ok(Span::Key(key)),
        b"\0" => Ok(Span::From(key)),
        end if end <= &key[..] => Err("mvcc: watcher range is empty"),
        _ => Ok(Span::Range(key, range_end)),
    }
}
