//! How late an event is: from the moment its write is sent to the moment each watcher has it.
//!
//! Each watcher has a stream of its own, on connections spread over the endpoints; one writer writes keys below one prefix
//! that all watch. The value carries the time at which the write was sent, on the clock of this process, so an event needs
//! nothing else to be measured. Events that never come are counted as errors.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use pb::watch_request::RequestUnion;
use tokio::time::{sleep, sleep_until, timeout};

use super::connection::{CallError, Incoming, Link, Outgoing};
use super::load::{links, on_threads};
use super::plan::{PUT, Plan, WATCH, put};
use super::report::{Kind, Report, Tally};
use super::{BenchArgs, BenchError};
use crate::etcd::generated::etcdserverpb as pb;

/// Writes a second when no rate is given: far below what saturates anything, so that lateness is the watch's own.
const RATE_DEFAULT: f64 = 200.0;
/// How long after the last write an event may come.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);
/// How long a watch may take to be confirmed.
const CONFIRM_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of the time at the front of a value.
const STAMP_BYTES: usize = 8;
/// What all watch. It sorts after the keys of the other workloads, which are digits.
const PREFIX: &str = "watched/";
const PREFIX_END: &str = "watched0";
/// How many writes there were is known when the writer is done; until then it is this.
const NOT_YET: u64 = u64::MAX;

pub(super) fn run(args: &BenchArgs) -> Result<Report, BenchError> {
    let epoch = Instant::now();
    let written = AtomicU64::new(NOT_YET);
    on_threads(args, async |thread, ready| {
        let started = start(args, thread).await;
        ready.wait(); // also when it failed: the others must not wait for ever
        if started.is_err() && thread == 0 {
            written.store(0, Ordering::Release);
        }
        let (links, watchers) = started?;
        let heard = Rc::new(Heard { tally: RefCell::new(Tally::new()), events: Cell::new(0), epoch });
        let watcher_count = watchers.len() as u64;
        let listening: Vec<_> =
            watchers.into_iter().map(|watcher| tokio::task::spawn_local(listen(watcher, heard.clone()))).collect();
        if thread == 0 {
            written.store(write(args, &links[0], &heard).await, Ordering::Release);
        }
        let missing = settle(&written, watcher_count, &heard).await;
        for task in listening {
            task.abort();
        }
        let mut tally = heard.tally.replace(Tally::new());
        if missing > 0 {
            tally.failed("an event did not come".into(), missing);
        }
        Ok(tally)
    })
}

/// A stream and the first part of what it says.
type Watcher = (Outgoing, Incoming);

/// Connects, and starts this thread's watchers, each confirmed by the server.
async fn start(args: &BenchArgs, thread: u32) -> Result<(Vec<Rc<Link>>, Vec<Watcher>), BenchError> {
    let links = links(args, thread).await?;
    let create = pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(pb::WatchCreateRequest {
            key: Bytes::from_static(PREFIX.as_bytes()),
            range_end: Bytes::from_static(PREFIX_END.as_bytes()),
            ..Default::default()
        })),
    };
    let mut watchers = Vec::new();
    for number in (thread..args.clients).step_by(args.thread_count() as usize) {
        let link = &links[number as usize / args.thread_count() as usize % links.len()];
        let confirmed = async {
            let (outgoing, mut incoming) = link.connection().await?.stream(WATCH, &create).await?;
            match incoming.next::<pb::WatchResponse>().await? {
                Some(answer) if answer.created && !answer.canceled => Ok((outgoing, incoming)),
                _ => Err(CallError::Malformed("a watch was not confirmed")),
            }
        };
        let watcher = timeout(CONFIRM_WITHIN, confirmed).await.unwrap_or(Err(CallError::Late));
        watchers.push(watcher.map_err(BenchError::Start)?);
    }
    Ok((links, watchers))
}

/// What this thread's watchers heard.
struct Heard {
    tally: RefCell<Tally>,
    events: Cell<u64>,
    epoch: Instant,
}

async fn listen((_outgoing, mut incoming): Watcher, heard: Rc<Heard>) {
    loop {
        match incoming.next::<pb::WatchResponse>().await {
            Ok(Some(answer)) => {
                let now = heard.epoch.elapsed();
                let mut tally = heard.tally.borrow_mut();
                for event in answer.events {
                    let stamp = event.kv.as_ref().and_then(|kv| kv.value.first_chunk::<STAMP_BYTES>().copied());
                    let Some(stamp) = stamp else {
                        tally.failed("an event without its value".into(), 1);
                        continue;
                    };
                    tally.took(Kind::Event, now.saturating_sub(Duration::from_nanos(u64::from_be_bytes(stamp))));
                    heard.events.set(heard.events.get() + 1);
                }
            }
            Ok(None) => return heard.tally.borrow_mut().failed("a watch ended".into(), 1),
            Err(error) => return heard.tally.borrow_mut().failed(error.kind(), 1),
        }
    }
}

/// Writes at the rate asked for; how many writes were acknowledged.
async fn write(args: &BenchArgs, link: &Link, heard: &Heard) -> u64 {
    let mut plan = Plan::new(args, 0);
    let interval = Duration::from_secs_f64(1.0 / args.rate.unwrap_or(RATE_DEFAULT));
    let (began, mut sent, mut acknowledged) = (Instant::now(), 0_u64, 0);
    let until = began + Duration::from_secs_f64(args.duration_s);
    while args.count.map_or_else(|| Instant::now() < until, |count| sent < count) {
        sleep_until((began + interval.mul_f64(sent as f64)).into()).await;
        sent += 1;
        let key = format!("{PREFIX}{}", plan.some_number()).into();
        let filler = plan.some_value();
        let mut value = BytesMut::with_capacity(filler.len());
        value.put_u64(u64::try_from(heard.epoch.elapsed().as_nanos()).expect("a run ends within 500 years"));
        value.put_slice(&filler[STAMP_BYTES..]);
        match link.unary::<pb::PutResponse>(PUT, &put(key, value.freeze()), args.patience()).await {
            Ok(_) => acknowledged += 1,
            Err(error) => heard.tally.borrow_mut().failed(error.kind(), 1),
        }
    }
    acknowledged
}

/// Waits until all events came; how many did not.
async fn settle(written: &AtomicU64, watchers: u64, heard: &Heard) -> u64 {
    while written.load(Ordering::Acquire) == NOT_YET {
        sleep(Duration::from_millis(1)).await;
    }
    let expected = written.load(Ordering::Acquire) * watchers;
    let all = async {
        while heard.events.get() < expected {
            sleep(Duration::from_millis(1)).await;
        }
    };
    match timeout(SETTLE_WITHIN, all).await {
        Ok(()) => 0,
        Err(_) => expected - heard.events.get(),
    }
}
