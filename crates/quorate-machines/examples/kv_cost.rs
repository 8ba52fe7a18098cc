//! What the store costs: nanoseconds for each operation and bytes for each key.
//!
//! `cargo run --release -p quorate-machines --example kv_cost [keys] [only]`: with a word, only the lines that hold it. One thread, its processor time; each line is the
//! best of five rounds and the worst of them, since other work on the machine only ever makes a round slower.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use quorate_machines::kv::{
    Command, Compare, Comparison, Delete, Expiry, Kv, LeaseId, MemoryTable, Op, Operand, Put, Range, Revision,
    SortTarget, Span, Txn, Wanted, Watchers,
};
use quorate_model::Machine;

/// The system's allocator, counting what is in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// Counting is all that is added; the contract is the system allocator's.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: usize = 5;
const VALUE_BYTES: usize = 256;

fn key(index: usize) -> Bytes {
    Bytes::from(format!("/registry/pods/namespace-{:03}/pod-{index:08}", index % 100))
}

/// A walk over all indexes that visits none twice and has no order that a cache could know.
fn scattered(count: usize) -> impl Iterator<Item = usize> {
    let step = (0..).map(|more| 7_368_787 + more).find(|step| gcd(*step, count) == 1).expect("there is one");
    (0..count).map(move |index| index * step % count)
}

fn gcd(one: usize, other: usize) -> usize {
    if other == 0 { one } else { gcd(other, one % other) }
}

/// The processor time that this thread has used.
struct Clock(u64);

impl Clock {
    fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Self(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    fn nanos(&self) -> f64 {
        (Self::now().0 - self.0) as f64
    }
}

fn measure(name: &str, times: usize, mut round: impl FnMut()) {
    if std::env::args().nth(2).is_some_and(|only| !name.contains(&only)) {
        return;
    }
    let spent: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begin = Clock::now();
            round();
            begin.nanos() / times as f64
        })
        .collect();
    let best = spent.iter().copied().fold(f64::INFINITY, f64::min);
    let worst = spent.iter().copied().fold(0.0, f64::max);
    println!("{name:<58} {best:>10.0} ns   (worst round {worst:.0})");
}

fn main() {
    let keys: usize = std::env::args().nth(1).map_or(100_000, |keys| keys.parse().expect("a number of keys"));
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    let names: Vec<Bytes> = (0..keys).map(key).collect();
    let puts: Vec<Command> = names.iter().map(|name| Command::Put(Put::new(name.clone(), value.clone()))).collect();
    println!("{keys} keys of {} B, values of {VALUE_BYTES} B", names[0].len());

    let before = IN_USE.load(Ordering::Relaxed);
    let mut store: Kv<MemoryTable> = Kv::default();
    let begin = Clock::now();
    for index in scattered(keys) {
        store.apply(0, &puts[index]);
    }
    println!("{:<58} {:>10.0} ns", "put of a new key", begin.nanos() / keys as f64);
    let in_use = IN_USE.load(Ordering::Relaxed) - before;
    println!("memory: {} B a key, of which {} B are key and value", in_use / keys, names[0].len() + VALUE_BYTES);
    store.apply(0, &Command::Compact(store.view().revision()));
    while store.sweep(1000) {}
    store.apply(0, &puts[0]);
    store.apply(0, &Command::Compact(store.view().revision()));
    while store.sweep(1000) {}
    let in_use = IN_USE.load(Ordering::Relaxed) - before;
    println!("memory when compacted: {} B a key; bytes in use: {} a key", in_use / keys, {
        store.view().bytes_in_use() as usize / keys
    });

    measure("put over an existing key, compacted before", keys, || {
        for index in scattered(keys) {
            store.apply(0, &puts[index]);
        }
    });
    let mut kept = store.view().clone();
    measure("  the same, a view taken every 64 commands", keys, || {
        for (turn, index) in scattered(keys).enumerate() {
            store.apply(0, &puts[index]);
            if turn % 64 == 0 {
                kept = store.view().clone();
            }
        }
    });
    measure("  the same, a view taken every command", keys, || {
        for index in scattered(keys) {
            store.apply(0, &puts[index]);
            kept = store.view().clone();
        }
    });
    drop(black_box(kept));
    measure("put over one hot key", keys, || {
        for _ in 0..keys {
            store.apply(0, &puts[0]);
        }
    });
    let txns: Vec<Command> = names
        .iter()
        .map(|name| {
            let compare =
                Compare { span: Span::Key(name.clone()), result: Comparison::Greater, operand: Operand::Mod(1) };
            let put = Op::Put(Put::new(name.clone(), value.clone()));
            let get = Op::Range(Range::of(Span::Key(name.clone())));
            Command::Txn(Txn { compare: vec![compare], success: vec![put], failure: vec![get] })
        })
        .collect();
    measure("txn: if mod then put else get", keys, || {
        for index in scattered(keys) {
            store.apply(0, &txns[index]);
        }
    });

    let view = store.view().clone();
    measure("get", keys, || {
        for index in scattered(keys) {
            black_box(view.get(&names[index]));
        }
    });
    let ranges: Vec<Range> = names.iter().map(|name| Range::of(Span::Key(name.clone()))).collect();
    measure("range of one key", keys, || {
        for index in scattered(keys) {
            black_box(view.range(&ranges[index]).expect("the present is readable"));
        }
    });
    let past = Revision(view.revision().0 - 2 * keys as u64);
    measure("range of one key, as it was two rounds ago", keys, || {
        for index in scattered(keys) {
            black_box(view.range(&Range { revision: past, ..ranges[index].clone() }).expect("readable"));
        }
    });
    let hot = Range { revision: Revision(view.revision().0 - keys as u64 * 4), ..ranges[0].clone() };
    measure("range of the hot key, amid its versions", 1000, || {
        for _ in 0..1000 {
            black_box(view.range(&hot).expect("readable"));
        }
    });
    let all = Range::of(Span::prefix(Bytes::from_static(b"/registry/")));
    let page = Range { limit: 500, ..all.clone() };
    measure("range of all, a key", keys, || {
        black_box(view.range(&all).expect("readable"));
    });
    measure("range with limit 500 and count, whole call", 1, || {
        black_box(view.range(&page).expect("readable"));
    });
    measure("count of all by prefix, whole call", 1, || {
        black_box(view.range(&Range { count_only: true, ..all.clone() }).expect("readable"));
    });
    measure("first by creation of all, whole call", 1, || {
        let first = Range { limit: 1, sort_target: SortTarget::Create, ..all.clone() };
        black_box(view.range(&first).expect("readable"));
    });

    let from = Revision(view.revision().0 - keys as u64);
    measure("watch catch-up, an event", keys, || {
        black_box(view.changes(from).expect("not compacted").map(|change| change.events.len()).sum::<usize>());
    });
    measure("watch catch-up with the previous value, an event", keys, || {
        let wanted = Wanted { prev_kv: true, ..Wanted::all(Span::all()) };
        for change in view.changes(from).expect("not compacted") {
            black_box(wanted.pick(&view, &change.events));
        }
    });
    let mut watchers = Watchers::default();
    for (index, name) in names.iter().enumerate().take(10_000) {
        watchers.insert(index as u64, Span::Key(name.clone()));
        watchers.insert((keys + index) as u64, Span::prefix(name.clone()));
    }
    measure("watchers of a key, of 10,000 keys and 10,000 ranges", keys, || {
        for name in &names {
            watchers.each_of(name, |watcher| {
                black_box(watcher);
            });
        }
    });
    measure("hash over all versions, a change of them", view.revision().0 as usize, || {
        black_box(view.hash(Revision(0)).expect("readable"));
    });
    drop(view);

    let begin = Clock::now();
    let changes = store.view().revision().0;
    store.apply(0, &Command::Compact(store.view().revision()));
    println!("{:<58} {:>10} ns", "compact, the command", begin.nanos());
    let begin = Clock::now();
    while store.sweep(64) {}
    println!("{:<58} {:>10.0} ns", "  its sweep, a change", begin.nanos() / changes as f64);
    let begin = Clock::now();
    store.apply(0, &Command::Delete(Delete { span: Span::all(), prev_kv: false }));
    println!("{:<58} {:>10.0} ns", "delete of all, a key", begin.nanos() / keys as f64);

    let leases = 100_000_i64;
    let at = |seconds: u64| quorate_model::Instant(seconds * 1_000_000_000);
    let mut expiry = Expiry::began((1..=leases).map(|id| (LeaseId(id), 60)), at(0));
    measure("lease renewal, of 100,000", leases as usize, || {
        for id in scattered(leases as usize) {
            black_box(expiry.renewed(LeaseId(id as i64 + 1), at(10)));
        }
    });
    let begin = Clock::now();
    let mut ended = 0;
    while expiry.next().is_some_and(|next| next <= at(200)) && ended < leases as usize {
        ended += expiry.due(at(200), 1000).len();
    }
    println!("{:<58} {:>10.0} ns", "lease end, of 100,000", begin.nanos() / leases as f64);
}
