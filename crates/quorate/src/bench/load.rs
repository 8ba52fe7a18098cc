//! Clients that ask and wait, on runtimes of one thread each.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::sleep_until;

use super::connection::{CallError, Link};
use super::plan::{PUT, Plan, RANGE, TXN, compare_and_set, get, put, revision_after};
use super::report::{Kind, Report, Tally};
use super::{BenchArgs, BenchError, Workload};
use crate::etcd::generated::etcdserverpb as pb;

/// CPU that this process used since it began.
pub(super) fn cpu_used() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), u32::try_from(used.tv_nsec).unwrap_or(0))
}

/// The part of `total` that falls to one of `parts`, so that the parts add up.
pub(super) fn share(total: u64, part: u64, parts: u64) -> u64 {
    total * (part + 1) / parts - total * part / parts
}

/// A thread's links, connected.
pub(super) async fn links(args: &BenchArgs, thread: u32) -> Result<Vec<Rc<Link>>, BenchError> {
    let mut links = Vec::new();
    for connection in (thread..args.connection_count()).step_by(args.thread_count() as usize) {
        let link = Link::new(&args.endpoints[connection as usize % args.endpoints.len()]);
        link.connection().await.map_err(BenchError::Start)?;
        links.push(Rc::new(link));
    }
    Ok(links)
}

/// Runs `work` on each thread with its number, from the same moment on, and adds up what they counted.
pub(super) fn on_threads<F>(args: &BenchArgs, work: F) -> Result<Report, BenchError>
where
    F: AsyncFn(u32, &Barrier) -> Result<Tally, BenchError> + Sync,
{
    let threads = args.thread_count();
    let runtimes: Vec<_> =
        (0..threads).map(|_| Builder::new_current_thread().enable_all().build()).collect::<Result<_, _>>()?;
    let ready = Barrier::new(threads as usize + 1);
    thread::scope(|scope| {
        let (done, finished) = mpsc::channel();
        for (number, runtime) in (0..).zip(runtimes) {
            let (done, ready, work) = (done.clone(), &ready, &work);
            scope.spawn(move || {
                let outcome = LocalSet::new().block_on(&runtime, work(number, ready));
                drop(done.send(outcome)); // received below, before this scope ends
            });
        }
        drop(done);
        ready.wait();
        let (began, cpu_began) = (Instant::now(), cpu_used());
        let mut total = Tally::new();
        let mut first_error = None;
        for outcome in finished {
            match outcome {
                Ok(tally) => total.add(&tally),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        match first_error {
            Some(error) => Err(error),
            None => Ok(Report::new(args, &total, began.elapsed(), cpu_used() - cpu_began)),
        }
    })
}

/// Runs all workloads but `watch`.
pub(super) fn run(args: &BenchArgs) -> Result<Report, BenchError> {
    on_threads(args, async |thread, ready| {
        let links = links(args, thread).await;
        ready.wait(); // also when there are none: the others must not wait for ever
        Ok(clients(args, thread, links?).await)
    })
}

/// What the clients of a thread share.
struct Shared {
    tally: RefCell<Tally>,
    schedule: Schedule,
    /// The next key of `fill`.
    next_key: Cell<u64>,
}

async fn clients(args: &BenchArgs, thread: u32, links: Vec<Rc<Link>>) -> Tally {
    let (part, parts) = (u64::from(thread), u64::from(args.thread_count()));
    let total = args.count.or((args.workload == Workload::Fill).then_some(args.keys));
    let shared = Rc::new(Shared {
        tally: RefCell::new(Tally::new()),
        schedule: Schedule {
            began: Instant::now(),
            until: total.is_none().then(|| Instant::now() + Duration::from_secs_f64(args.duration_s)),
            left: Cell::new(total.map_or(u64::MAX, |total| share(total, part, parts))),
            interval: args.rate.map(|rate| Duration::from_secs_f64(parts as f64 / rate)),
            taken: Cell::new(0),
        },
        next_key: Cell::new(args.keys * part / parts),
    });
    let template = Plan::new(args, u32::MAX - thread);
    let mut tasks = Vec::new();
    for client in (thread..args.clients).step_by(parts as usize) {
        let link = links[tasks.len() % links.len()].clone();
        let plan = template.for_client(args.seed, client);
        let client = Client { args: args.clone(), shared: shared.clone(), link, plan, seen: None };
        tasks.push(tokio::task::spawn_local(client.run()));
    }
    for task in tasks {
        task.await.expect("a client counts its errors and does not panic");
    }
    shared.tally.replace(Tally::new())
}

/// When the requests of a thread are due.
struct Schedule {
    began: Instant,
    until: Option<Instant>,
    left: Cell<u64>,
    interval: Option<Duration>,
    taken: Cell<u64>,
}

impl Schedule {
    /// Waits for the next request's turn: from when its latency counts, or `None` when there is no next one.
    ///
    /// A client that was busy when its request fell due counts from then; one that slept counts from when it woke, since
    /// up to a millisecond of timer is not the server's fault.
    async fn next(&self) -> Option<Instant> {
        let left = self.left.get().checked_sub(1)?;
        self.left.set(left);
        let from = match self.interval {
            None => Instant::now(),
            Some(interval) => {
                let due = self.began + interval.mul_f64(self.taken.replace(self.taken.get() + 1) as f64);
                if due > Instant::now() {
                    if self.until.is_some_and(|until| due > until) {
                        return None;
                    }
                    sleep_until(due.into()).await;
                    Instant::now()
                } else {
                    due
                }
            }
        };
        self.until.is_none_or(|until| Instant::now() < until).then_some(from)
    }
}

struct Client {
    args: BenchArgs,
    shared: Rc<Shared>,
    link: Rc<Link>,
    plan: Plan,
    /// The key of the compare-and-set under way and its revision as last seen.
    seen: Option<(Bytes, i64)>,
}

impl Client {
    async fn run(mut self) {
        while let Some(from) = self.shared.schedule.next().await {
            let outcome = self.ask().await;
            let latency = from.elapsed();
            let mut tally = self.shared.tally.borrow_mut();
            match outcome {
                Ok(kind) => tally.took(kind, latency),
                Err(error) => tally.failed(error.kind(), 1),
            }
        }
    }

    async fn ask(&mut self) -> Result<Kind, CallError> {
        match self.args.workload {
            Workload::Put => self.put_some().await,
            Workload::Fill => {
                let key = self.plan.key(self.shared.next_key.replace(self.shared.next_key.get() + 1));
                self.put(key).await
            }
            Workload::Mixed if self.plan.happens(self.args.writes_percent) => self.put_some().await,
            Workload::Get | Workload::Mixed => {
                let request = get(self.plan.some_key(), self.args.serializable);
                self.read(request).await
            }
            Workload::Range => {
                let (key, range_end) = self.plan.some_span(self.args.range_keys);
                let serializable = self.args.serializable;
                self.read(pb::RangeRequest { key, range_end, serializable, ..Default::default() }).await
            }
            Workload::Cas => self.compare_and_set().await,
            Workload::Watch => unreachable!("`run` gives it to `watch`"),
        }
    }

    async fn put_some(&mut self) -> Result<Kind, CallError> {
        let key = self.plan.some_key();
        self.put(key).await
    }

    async fn put(&mut self, key: Bytes) -> Result<Kind, CallError> {
        let request = put(key, self.plan.some_value());
        self.link.unary::<pb::PutResponse>(PUT, &request, self.args.patience()).await.map(|_| Kind::Write)
    }

    async fn read(&self, request: pb::RangeRequest) -> Result<Kind, CallError> {
        let answer: pb::RangeResponse = self.link.unary(RANGE, &request, self.args.patience()).await?;
        // An answer that lacks what was filled in is no answer: it would be cheap for the wrong reason.
        if answer.kvs.is_empty() && !self.args.no_fill {
            return Err(CallError::Malformed("a key that was written is not there"));
        }
        Ok(Kind::Read)
    }

    /// Keeps to one key until a write of its own went through, as a client that updates a record does.
    async fn compare_and_set(&mut self) -> Result<Kind, CallError> {
        let (key, revision) = match self.seen.take() {
            Some(seen) => seen,
            None => (self.plan.some_key(), 0),
        };
        let request = compare_and_set(key.clone(), self.plan.some_value(), revision);
        let answer: pb::TxnResponse = self.link.unary(TXN, &request, self.args.patience()).await?;
        if !answer.succeeded {
            // The first try of a key only looks: nobody raced it.
            self.shared.tally.borrow_mut().races_lost += u64::from(revision != 0);
            self.seen = revision_after(&answer).map(|revision| (key, revision));
        }
        Ok(Kind::Write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_whole() {
        for (total, parts) in [(10, 3), (2, 5), (1_000_001, 64)] {
            assert_eq!((0..parts).map(|part| share(total, part, parts)).sum::<u64>(), total);
        }
    }
}
