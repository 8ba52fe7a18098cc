//! Random histories: each command and each read is given to the store and to the reference, and must come out the same.
//! A second store gets the same commands, but sweeps at other times, is restarted, and is restored from snapshots.

use alloc::vec::Vec;

use bytes::Bytes;
use quorate_model::{Machine, Wire};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::*;
use super::Store;
use super::reference::Reference;
use crate::kv::{layout, record::Record};

/// A build without optimisation takes some 10 ms a seed.
const SEEDS: u64 = if cfg!(debug_assertions) { 1000 } else { 20_000 };
const COMMANDS: usize = 120;

const KEYS: [&[u8]; 9] = [b"\0", b"a", b"a\0", b"aa", b"ab", b"b", b"b/1", b"b/2", b"\xff\xff"];

fn some_key(chance: &mut impl Rng) -> Bytes {
    Bytes::from_static(KEYS.choose(chance).expect("there are keys"))
}

fn some_span(chance: &mut impl Rng) -> Span {
    match chance.random_range(0..6) {
        0..=2 => Span::Key(some_key(chance)),
        3 => Span::Range(some_key(chance), some_key(chance)),
        4 => Span::prefix(some_key(chance)),
        _ => Span::From(some_key(chance)),
    }
}

fn some_value(chance: &mut impl Rng) -> Bytes {
    let length = chance.random_range(0..4);
    (0..length).map(|_| chance.random_range(b'x'..=b'z')).collect::<Vec<u8>>().into()
}

fn some_put(chance: &mut impl Rng) -> Put {
    let (ignore_value, ignore_lease) = (chance.random_ratio(1, 10), chance.random_ratio(1, 10));
    Put {
        key: some_key(chance),
        value: if ignore_value { Bytes::new() } else { some_value(chance) },
        lease: LeaseId(if ignore_lease || chance.random_bool(0.6) { 0 } else { chance.random_range(1..4) }),
        prev_kv: chance.random(),
        ignore_value,
        ignore_lease,
    }
}

fn some_delete(chance: &mut impl Rng) -> Delete {
    Delete { span: some_span(chance), prev_kv: chance.random() }
}

/// Mostly a revision that there is, sometimes one too early or too late.
fn some_revision(chance: &mut impl Rng, reference: &Reference) -> Revision {
    Revision(chance.random_range(0..=reference.revision() + 1))
}

fn some_range(chance: &mut impl Rng, reference: &Reference) -> Range {
    let bound = |chance: &mut _| -> Revision {
        if RngExt::random_bool(chance, 0.8) { Revision(0) } else { some_revision(chance, reference) }
    };
    Range {
        span: some_span(chance),
        revision: if chance.random() { Revision(0) } else { some_revision(chance, reference) },
        limit: if chance.random() { 0 } else { chance.random_range(1..5) },
        sort_order: *[SortOrder::None, SortOrder::Ascend, SortOrder::Descend].choose(chance).expect("three"),
        sort_target: *[SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value]
            .choose(chance)
            .expect("five"),
        keys_only: chance.random_ratio(1, 5),
        count_only: chance.random_ratio(1, 8),
        min_mod_revision: bound(chance),
        max_mod_revision: bound(chance),
        min_create_revision: bound(chance),
        max_create_revision: bound(chance),
    }
}

fn some_compare(chance: &mut impl Rng, reference: &Reference) -> Compare {
    let number = some_revision(chance, reference).0 as i64;
    Compare {
        span: some_span(chance),
        result: *[Comparison::Equal, Comparison::NotEqual, Comparison::Greater, Comparison::Less]
            .choose(chance)
            .expect("four"),
        operand: match chance.random_range(0..5) {
            0 => Operand::Version(chance.random_range(0..4)),
            1 => Operand::Create(number),
            2 => Operand::Mod(number),
            3 => Operand::Value(some_value(chance)),
            _ => Operand::Lease(chance.random_range(0..4)),
        },
    }
}

fn some_txn(chance: &mut impl Rng, reference: &Reference, depth: usize) -> Txn {
    let compares = chance.random_range(0..3);
    let compare = (0..compares).map(|_| some_compare(chance, reference)).collect();
    let mut ops = || -> Vec<Op> {
        let count = chance.random_range(0..4);
        (0..count)
            .map(|_| match chance.random_range(0..8) {
                0..=2 => Op::Range(some_range(chance, reference)),
                3..=4 => Op::Put(some_put(chance)),
                5 => Op::Delete(some_delete(chance)),
                _ if depth > 0 => Op::Txn(some_txn(&mut *chance, reference, depth - 1)),
                _ => Op::Put(some_put(chance)),
            })
            .collect()
    };
    let (success, failure) = (ops(), ops());
    Txn { compare, success, failure }
}

fn some_command(chance: &mut ChaCha8Rng, reference: &Reference) -> Command {
    let alarm = Alarm {
        member: chance.random_range(1..3),
        kind: if chance.random_ratio(1, 4) { AlarmKind::Corrupt } else { AlarmKind::NoSpace },
    };
    match chance.random_range(0..100) {
        0..45 => Command::Put(some_put(chance)),
        45..58 => Command::Delete(some_delete(chance)),
        58..78 => Command::Txn(some_txn(chance, reference, 2)),
        78..84 => Command::Compact(some_revision(chance, reference)),
        84..91 => Command::LeaseGrant { id: LeaseId(chance.random_range(1..4)), ttl_s: chance.random_range(1..100) },
        91..95 => Command::LeaseRevoke(LeaseId(chance.random_range(1..4))),
        95 => Command::AlarmRaise(alarm),
        _ => Command::AlarmLower(alarm),
    }
}

/// The bytes in use, counted anew: each version once, wherever it stands.
fn counted(view: &View<MemoryTable>) -> u64 {
    let mut bytes = 0;
    for (at, value) in view.entries() {
        let shared = match at[0] {
            layout::DEAD => true,
            layout::CHANGE => {
                let (place, key) = layout::split_change(&at);
                view.current(&key).is_some_and(|current| current.place == place)
            }
            _ => false,
        };
        bytes += at.len() as u64 + if shared { 0 } else { value.len() as u64 };
    }
    bytes
}

fn compare_all(store: &Store, reference: &Reference, chance: &mut ChaCha8Rng, at: &str) {
    let view = store.view();
    assert_eq!(view.revision().0, reference.revision(), "{at}");
    assert_eq!(view.keys(), reference.now().len() as u64, "{at}");
    assert_eq!(view.bytes_in_use(), counted(view), "bytes, {at}");
    let leases: Vec<(LeaseId, i64)> = reference.leases.iter().map(|(id, ttl)| (LeaseId(*id), *ttl)).collect();
    assert_eq!((view.leases(), view.lease_count()), (leases, reference.leases.len() as u64), "{at}");
    for id in 1..4 {
        assert_eq!(view.lease_keys(LeaseId(id)), reference.lease_keys(id), "{at}");
    }
    let mut alarms: Vec<Alarm> = reference.alarms.iter().copied().collect();
    alarms.sort_by_key(|alarm| (alarm.kind, alarm.member));
    assert_eq!(view.alarms(), alarms, "{at}");
    for _ in 0..4 {
        let range = some_range(chance, reference);
        assert_eq!(view.range(&range), reference.range(&range), "{range:?}, {at}");
    }
    let from = some_revision(chance, reference);
    let changes = view.changes(from).map(|changes| {
        let filled = changes.map(|change| Change {
            revision: change.revision,
            events: change.events.into_iter().map(|event| view.with_previous(event)).collect(),
        });
        filled.collect::<Vec<Change>>()
    });
    assert_eq!(changes, reference.changes(from.0), "changes from {from:?}, {at}");
}

/// Every version that the table holds can be decoded, and every key's history is a chain in falling order.
fn check_table(view: &View<MemoryTable>, at: &str) {
    for (key, value) in view.entries() {
        if matches!(key[0], layout::CURRENT | layout::DEAD | layout::CHANGE) {
            let record = Record::decode(value).expect("a record");
            assert!(record.previous.is_none_or(|previous| previous < record.place), "{at}");
        }
    }
}

fn run(seed: u64) {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let mut reference = Reference::new();
    let mut store = Store::default();
    let mut other = Store::default();
    for step in 0..COMMANDS {
        let at = alloc::format!("seed {seed}, step {step}");
        let command = some_command(&mut chance, &reference);
        let command = Command::from_bytes(command.to_bytes()).expect("what was encoded is decoded");
        let before = store.view().clone();
        let answer = super::answer(&mut store, command.clone());
        assert_eq!(answer, reference.apply(&command), "{command:?}, {at}");
        assert_eq!(Answer::from_bytes(answer.to_bytes()).as_ref(), Ok(&answer), "{at}");
        if answer.outcome.is_err() {
            assert_eq!(store.view().digest(), before.digest(), "a refused command was counted, {at}");
        }

        assert_eq!(super::answer(&mut other, command), answer, "the other replica, {at}");
        match chance.random_range(0..12) {
            0 => {
                other.sweep(chance.random_range(1..50));
            }
            1 => {
                let bytes = other.view().to_bytes();
                other.restore(View::from_bytes(bytes).expect("what was encoded is decoded"));
            }
            2 => {
                let view = other.snapshot();
                let mut restore = Restore::new(MemoryTable::new(), view.head()).expect("a head");
                let mut after: Option<Bytes> = None;
                loop {
                    let chunk = view.chunk(after.as_deref(), 100);
                    let last = chunk.last;
                    after = chunk.entries.last().map(|(key, _)| key.clone()).or(after);
                    restore.take(chunk).expect("entries of a store");
                    if last {
                        break;
                    }
                }
                other.restore(restore.finish().expect("all chunks came"));
            }
            3 => other = copied(&other),
            _ => {}
        }
        assert_eq!(other.view().digest(), store.view().digest(), "{at}");
        if step % 4 == 0 {
            compare_all(&store, &reference, &mut chance, &at);
            compare_all(&other, &reference, &mut chance, &at);
            let revision = some_revision(&mut chance, &reference);
            assert_eq!(store.view().hash(revision), other.view().hash(revision), "{at}");
        }
    }
    check_table(store.view(), &alloc::format!("seed {seed}"));
}

/// What a node that joins makes of the pages of a store.
fn copied(store: &Store) -> Store {
    let (snapshot, mut copy) = (store.snapshot(), store.blank());
    let mut at = Bytes::new();
    loop {
        let (page, next) = Store::page(&snapshot, &at, 100);
        copy.paste(page).expect("a page of a store");
        let Some(next) = next else { break };
        assert!(next > at, "places grow");
        at = next;
    }
    copy.pasted().expect("all pages came");
    copy
}

#[test]
fn a_copy_that_lacks_a_page_is_refused() {
    let mut store = Store::default();
    for name in ["a", "b", "c"] {
        super::put(&mut store, name, "1");
    }
    let snapshot = store.snapshot();
    let (first, next) = Store::page(&snapshot, &[], 1);
    let (second, _) = Store::page(&snapshot, &next.expect("there is more"), 1 << 20);
    let mut copy = store.blank();
    copy.paste(first.clone()).expect("a page");
    assert!(copy.pasted().is_err(), "the rest is missing");
    let mut copy = store.blank();
    copy.paste(second).expect("a page");
    assert!(copy.pasted().is_err(), "the counters are missing");
    assert!(store.blank().paste(first.slice(..first.len() - 1)).is_err(), "a torn page");
}

#[test]
fn a_random_history_comes_out_as_in_a_store_that_keeps_every_revision_whole() {
    (0..SEEDS).for_each(run);
}

/// The store under one hot key: the milestones are what is tested.
#[test]
fn every_revision_of_a_key_that_was_written_a_thousand_times_can_be_read() {
    let mut store = Store::default();
    for round in 0..1000_u64 {
        if round % 97 == 96 {
            super::delete(&mut store, super::key("hot"));
        } else {
            super::put(&mut store, "hot", &alloc::format!("{round}"));
        }
    }
    super::answer(&mut store, Command::Compact(Revision(300)));
    super::settle(&mut store);
    for revision in 300..=1001 {
        let range = Range { revision: Revision(revision), ..Range::of(super::key("hot")) };
        let found = store.view().range(&range).expect("readable");
        let round = revision - 2;
        if round % 97 == 96 {
            assert!(found.kvs.is_empty(), "revision {revision}");
        } else {
            assert_eq!(super::values_of(&found.kvs), [alloc::format!("{round}")], "revision {revision}");
        }
    }
}
