//! What clients and watchers wrote down.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;

/// What all keys begin with.
pub const PREFIX: &str = "chaos/";
/// The end of the range of all keys.
pub const PREFIX_END: &str = "chaos0";
/// Keys of a group.
pub const SLOTS: u32 = 2;

/// A key: a group, and a place in it. An operation touches the keys of one group only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Key {
    /// Which group.
    pub group: u32,
    /// Which of its keys.
    pub slot: u32,
}

impl Key {
    /// As the store has it.
    pub fn name(self) -> String {
        format!("{PREFIX}{:04}/{}", self.group, self.slot)
    }

    /// From what the store has.
    pub fn parse(name: &[u8]) -> Option<Self> {
        let (group, slot) = std::str::from_utf8(name).ok()?.strip_prefix(PREFIX)?.split_once('/')?;
        Some(Self { group: group.parse().ok()?, slot: slot.parse().ok()? })
    }
}

/// A value: the number of the operation that wrote it, so that none is written twice.
pub type Value = u64;

/// The keys of a group at one moment.
pub type Seen = [Option<Value>; SLOTS as usize];

/// What a client asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Ask {
    /// Write one key.
    Put(Key),
    /// Read a group.
    Get(u32),
    /// Write one key if it still holds what the client saw last, and read the group before.
    Cas(Key, Option<Value>),
    /// Write all keys of a group, and read it before.
    Swap(u32),
}

impl Ask {
    /// Which group it touches.
    pub fn group(self) -> u32 {
        match self {
            Self::Put(key) | Self::Cas(key, _) => key.group,
            Self::Get(group) | Self::Swap(group) => group,
        }
    }

    /// The keys that it writes when it takes effect.
    pub fn writes(self) -> Vec<Key> {
        match self {
            Self::Put(key) | Self::Cas(key, _) => vec![key],
            Self::Swap(group) => (0..SLOTS).map(|slot| Key { group, slot }).collect(),
            Self::Get(_) => Vec::new(),
        }
    }
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Told {
    /// It was done.
    Done {
        /// The store's revision.
        revision: i64,
        /// Whether the condition held; true where there was none.
        held: bool,
        /// What was read.
        seen: Option<Seen>,
    },
    /// Surely without effect.
    Refused(String),
    /// It may have had an effect, or may have one later.
    Unknown(String),
}

/// One request.
#[derive(Clone, Debug, Serialize)]
pub struct Operation {
    /// Its number, from 1: the value that it writes.
    pub number: Value,
    /// Who asked.
    pub client: u32,
    /// What.
    pub ask: Ask,
    /// When, in nanoseconds of the run.
    pub invoked: u64,
    /// When the answer came, or the client gave up.
    pub returned: u64,
    /// The answer.
    pub told: Told,
}

/// One change that a watcher heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// At which revision.
    pub revision: i64,
    /// Of which key.
    pub key: Key,
    /// What it holds now.
    pub value: Value,
    /// When it was heard, in nanoseconds of the run.
    pub heard: u64,
}

/// A node's whole store at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Final {
    /// Which node.
    pub endpoint: String,
    /// Its revision.
    pub revision: i64,
    /// Each key, its value and the revision of its last change.
    pub keys: Vec<(Key, Value, i64)>,
}

/// Everything that was written down.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In no particular order.
    pub operations: Vec<Operation>,
    /// What each watcher heard, in the order in which it did.
    pub watchers: Vec<Vec<Event>>,
    /// What is wrong by itself: an answer that no etcd gives.
    pub malformed: Vec<String>,
}

impl History {
    /// As lines of JSON.
    pub fn lines(&self) -> impl Iterator<Item = serde_json::Result<String>> {
        let events = self.watchers.iter().enumerate().flat_map(|(number, events)| {
            events.iter().map(move |event| serde_json::to_string(&(("watcher", number), event)))
        });
        self.operations.iter().map(serde_json::to_string).chain(events)
    }
}

impl History {
    /// When each acknowledged write was answered, in order.
    pub fn acknowledged(&self) -> Vec<u64> {
        let wrote = |operation: &&Operation| {
            matches!(operation.told, Told::Done { held: true, .. }) && !operation.ask.writes().is_empty()
        };
        let mut times: Vec<u64> = self.operations.iter().filter(wrote).map(|operation| operation.returned).collect();
        times.sort_unstable();
        times
    }
}

/// The longest time between two of `times`, which are in order, that has a part in `from..=until`.
pub fn longest_gap(times: &[u64], from: u64, until: u64) -> u64 {
    let first = times.partition_point(|&at| at <= from).saturating_sub(1);
    let last = times.partition_point(|&at| at <= until).min(times.len().saturating_sub(1));
    times.get(first..=last).map_or(0, |part| part.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0))
}

/// What clients, watchers and faults share.
pub struct Run {
    /// Where the nodes are.
    pub endpoints: Vec<String>,
    /// Where chance began.
    pub seed: u64,
    /// How many groups of keys there are.
    pub groups: u32,
    /// Which of them are nodes at present: others come and go.
    here: Vec<AtomicBool>,
    began: Instant,
    numbers: AtomicU64,
    stopped: AtomicBool,
    last_revision: AtomicI64,
    history: Mutex<History>,
}

impl Run {
    /// A run that begins now, when nodes are at the first `here_count` of `endpoints`.
    pub fn new(endpoints: &[String], here_count: usize, seed: u64, groups: u32) -> Self {
        let history = History { watchers: vec![Vec::new(); here_count + 1], ..Default::default() };
        Self {
            endpoints: endpoints.to_vec(),
            seed,
            groups,
            here: (0..endpoints.len()).map(|at| AtomicBool::new(at < here_count)).collect(),
            began: Instant::now(),
            numbers: AtomicU64::new(1),
            stopped: AtomicBool::new(false),
            last_revision: AtomicI64::new(i64::MAX),
            history: Mutex::new(history),
        }
    }

    /// Says whether a node is at endpoint `at`.
    pub fn set_here(&self, at: usize, here: bool) {
        self.here[at].store(here, Ordering::Release);
    }

    /// Whether a node is at endpoint `at`.
    pub fn is_here(&self, at: usize) -> bool {
        self.here[at].load(Ordering::Acquire)
    }

    /// The first endpoint from `at` on, and around, where a node is; `at` if there is none.
    pub fn here_from(&self, at: usize) -> usize {
        let count = self.endpoints.len();
        (at..at + count).map(|at| at % count).find(|&at| self.is_here(at)).unwrap_or(at % count)
    }

    /// Where nodes are.
    pub fn here(&self) -> impl Iterator<Item = &String> {
        self.endpoints.iter().enumerate().filter(|(at, _)| self.is_here(*at)).map(|(_, endpoint)| endpoint)
    }

    /// Nanoseconds since it began, on the monotonic clock.
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).expect("a run ends within 500 years")
    }

    /// A number that no operation had.
    pub fn number(&self) -> Value {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Tells the clients to stop.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Whether the clients are to stop.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Tells the watchers which revision is the last.
    pub fn finish(&self, last: i64) {
        self.last_revision.store(last, Ordering::Release);
    }

    /// The last revision; far away as long as it is not known.
    pub fn last_revision(&self) -> i64 {
        self.last_revision.load(Ordering::Acquire)
    }

    /// The pen.
    pub fn write(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was written down.
    pub fn take(&self) -> History {
        std::mem::take(&mut self.write())
    }
}
