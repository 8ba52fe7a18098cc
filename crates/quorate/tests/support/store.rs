//! A store of one node in memory, behind the same [`Keyspace`] handle that a chain has: a thread that owns a `Kv` and
//! answers what gateways ask, in the order in which they ask it. Its leases end by the same `Expiry` as a chain's.

use std::thread;
use std::time::Duration;

use quorate::keyspace::{Ask, Keyspace, KeyspaceEnd, Kv, LeaseTime, Status, View};
use quorate_machines::kv::{Answer, Command, Done, Expiry, Reply, Revision};
use quorate_model::Machine;
use quorate_runtime::store::StoreOptions;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How many questions may wait.
const ASKS_MAX: usize = 4_096;

/// Starts a store of the member `head`; it ends when its last handle is dropped. A head of 0 is a store that says that
/// nobody leads it.
pub fn start(head: u64, patience: Duration) -> Keyspace {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = StoreOptions::default();
    let table = quorate_runtime::store::Store::open(folder.path(), &options).and_then(|store| store.table("kv"));
    let kv = Kv::new(table.expect("an empty folder is a store"), 0);
    let (keyspace, end) = Keyspace::new(kv.view().clone(), ASKS_MAX, patience);
    let KeyspaceEnd { asked, revisions, views, .. } = end;
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(Store { kv, revisions, views, index: 0, head }.run(asked));
        drop(folder);
    });
    keyspace
}

struct Store {
    kv: Kv,
    revisions: watch::Sender<Revision>,
    views: watch::Sender<View>,
    index: u64,
    head: u64,
}

impl Store {
    async fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
        let started = Instant::now();
        let now = || quorate_model::Instant(u64::try_from(started.elapsed().as_nanos()).expect("500 years fit"));
        let mut expiry = Expiry::default();
        let mut batch = Vec::new();
        loop {
            let due = expiry.next().map_or(IDLE, |at| at.since(now()));
            match tokio::time::timeout(due, asked.recv_many(&mut batch, ASKS_MAX)).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(_) => {
                    for lease in expiry.due(now(), ASKS_MAX) {
                        self.apply(&Command::LeaseRevoke(lease), &mut expiry, now());
                    }
                }
            }
            let mut answers = Vec::new();
            for ask in batch.drain(..) {
                match ask {
                    Ask::Propose(command, answer) => {
                        answers.push((answer, self.apply(&command, &mut expiry, now())));
                    }
                    Ask::Read(_, answer) => {
                        let _ = answer.send(Ok(self.kv.view().clone()));
                    }
                    Ask::KeepAlive(lease, answer) => {
                        let _ = answer.send(Ok(expiry.renewed(lease, now())));
                    }
                    Ask::Remaining(lease, answer) => {
                        let time = self.kv.view().lease(lease).zip(expiry.remaining(lease, now()));
                        let time = time.map(|(granted_s, left)| LeaseTime {
                            granted_s,
                            remaining_s: i64::try_from(left.as_secs()).expect("terms are bounded"),
                        });
                        let _ = answer.send(Ok(time));
                    }
                    Ask::Peek(answer) => {
                        let _ = answer.send(Ok(self.kv.view().clone()));
                    }
                    // It stands alone: nobody decides on its members.
                    Ask::Observe | Ask::Tick | Ask::System(..) | Ask::Cluster(_) | Ask::Reaches(..) => {}
                    Ask::Status(answer) => {
                        let _ = answer.send(Status {
                            head: self.head,
                            configuration: 1,
                            log_index: self.index,
                            applied_index: self.index,
                            serving: true,
                        });
                    }
                }
            }
            // What is seen outside is seen by watchers first.
            self.revisions.send_replace(self.kv.view().revision());
            self.views.send_replace(self.kv.view().clone());
            for (answer, done) in answers {
                let _ = answer.send(Ok(done));
            }
        }
    }

    fn apply(&mut self, command: &Command, expiry: &mut Expiry, now: quorate_model::Instant) -> Answer {
        self.index += 1;
        let Reply::Done(answer) = self.kv.apply(self.index, command) else { unreachable!("a command is done") };
        match (&answer.outcome, command) {
            (Ok(Done::LeaseGranted(ttl_s)), Command::LeaseGrant { id, .. }) => expiry.granted(*id, *ttl_s, now),
            (Ok(_), Command::LeaseRevoke(id)) => expiry.revoked(*id),
            _ => {}
        }
        answer
    }
}

/// How long to wait when no lease will end.
const IDLE: Duration = Duration::from_secs(3600);
