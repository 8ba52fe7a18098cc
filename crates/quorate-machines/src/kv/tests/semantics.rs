//! The rules that clients of etcd depend on: revisions, ranges, puts, compaction, leases, alarms.

use alloc::vec;
use alloc::vec::Vec;

use quorate_model::Machine;

use super::super::*;
use super::{
    Store, answer, b, delete, delete_op, grant, if_then, key, keys_of, put, put_leased, put_op, range, settle, txn,
    values_of,
};

fn compact_now(store: &mut Store) {
    let revision = store.view().revision();
    assert_eq!(answer(store, Command::Compact(revision)).outcome, Ok(Done::Compacted));
}

#[test]
fn a_fresh_store_is_at_revision_1_and_the_first_write_makes_2() {
    let mut store = Store::default();
    assert_eq!(store.view().revision(), Revision(1));
    assert_eq!(put(&mut store, "a", "1"), Revision(2));
}

#[test]
fn what_changes_nothing_makes_no_revision() {
    let mut store = Store::default();
    put(&mut store, "a", "1");
    assert_eq!(delete(&mut store, key("b")), 0);
    let read = if_then(vec![], vec![Op::Range(Range::of(Span::all()))]);
    assert!(read.is_read_only());
    txn(&mut store, read).expect("readable");
    txn(&mut store, if_then(vec![], vec![delete_op(key("b"))])).expect("a delete of nothing");
    grant(&mut store, 1);
    assert_eq!(answer(&mut store, Command::Compact(Revision(2))).outcome, Ok(Done::Compacted));
    assert_eq!(store.view().revision(), Revision(2));
}

#[test]
fn a_new_life_begins_at_version_1_and_its_own_revision() {
    let mut store = Store::default();
    put(&mut store, "a", "1");
    put(&mut store, "a", "2");
    let kv = store.view().get(&b("a")).expect("it was put");
    assert_eq!((kv.version, kv.create_revision, kv.mod_revision), (2, Revision(2), Revision(3)));
    delete(&mut store, key("a"));
    put(&mut store, "a", "3");
    let kv = store.view().get(&b("a")).expect("it was put");
    assert_eq!((kv.version, kv.create_revision, kv.mod_revision), (1, Revision(5), Revision(5)));
}

#[test]
fn a_put_without_a_lease_detaches_the_old_one() {
    let mut store = Store::default();
    grant(&mut store, 1);
    put_leased(&mut store, "a", 1).expect("the lease is there");
    assert_eq!(store.view().lease_keys(LeaseId(1)), [b("a")]);
    put(&mut store, "a", "");
    assert!(store.view().lease_keys(LeaseId(1)).is_empty());
}

#[test]
fn what_is_kept_must_be_there_and_must_not_be_given() {
    let mut store = Store::default();
    let keep = |value: &str, lease, ignore_value, ignore_lease| {
        Command::Put(Put { lease: LeaseId(lease), ignore_value, ignore_lease, ..Put::new(b("a"), b(value)) })
    };
    assert_eq!(answer(&mut store, keep("v", 0, true, false)).outcome, Err(Refused::ValueProvided));
    assert_eq!(answer(&mut store, keep("", 1, false, true)).outcome, Err(Refused::LeaseProvided));
    assert_eq!(answer(&mut store, keep("", 0, true, false)).outcome, Err(Refused::KeyNotFound));
    assert_eq!(answer(&mut store, keep("", 0, false, true)).outcome, Err(Refused::KeyNotFound));
    assert_eq!(answer(&mut store, keep("v", 9, false, false)).outcome, Err(Refused::LeaseNotFound));

    grant(&mut store, 1);
    assert!(answer(&mut store, keep("v", 1, false, false)).outcome.is_ok());
    assert!(answer(&mut store, keep("", 0, true, true)).outcome.is_ok());
    let kv = store.view().get(&b("a")).expect("it was put");
    assert_eq!((kv.value, kv.lease, kv.version), (b("v"), LeaseId(1), 2));
}

#[test]
fn an_empty_key_is_refused_wherever_it_stands() {
    let mut store = Store::default();
    let empty = || Span::Key(b(""));
    let commands = [
        Command::Put(Put::new(b(""), b("v"))),
        Command::Delete(Delete { span: empty(), prev_kv: false }),
        Command::Delete(Delete { span: Span::Range(b(""), b("z")), prev_kv: false }),
        Command::Txn(if_then(vec![], vec![put_op("", "")])),
        Command::Txn(if_then(vec![], vec![Op::Range(Range::of(empty()))])),
        Command::Txn(if_then(
            vec![Compare { span: empty(), result: Comparison::Equal, operand: Operand::Version(0) }],
            vec![],
        )),
    ];
    for command in commands {
        assert_eq!(answer(&mut store, command).outcome, Err(Refused::EmptyKey));
    }
}

#[test]
fn a_range_can_be_read_from_the_compacted_revision_to_the_present_one() {
    let mut store = Store::default();
    for value in ["1", "2", "3", "4"] {
        put(&mut store, "a", value);
    }
    answer(&mut store, Command::Compact(Revision(3)));
    let at = |revision| {
        let found = store.view().range(&Range { revision: Revision(revision), ..Range::of(key("a")) });
        found.map(|found| found.kvs[0].value.clone())
    };
    assert_eq!(at(2), Err(Refused::Compacted));
    assert_eq!(at(3), Ok(b("2")));
    assert_eq!(at(5), Ok(b("4")));
    assert_eq!(at(6), Err(Refused::FutureRevision));
    assert_eq!(at(0), Ok(b("4")));
}

#[test]
fn a_limit_cuts_after_filters_and_sort_and_leaves_the_count_alone() {
    let mut store = Store::default();
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "2"), ("d", "9")] {
        put(&mut store, key, value);
    }
    let all = Range { limit: 2, ..Range::of(Span::all()) };
    let found = range(&store, all.clone());
    assert_eq!((keys_of(&found.kvs), found.more, found.count), (vec!["a", "b"], true, 4));

    let found = range(&store, Range { max_create_revision: Revision(3), ..all.clone() });
    assert_eq!((keys_of(&found.kvs), found.more, found.count), (vec!["a", "b"], false, 4));

    let found = range(&store, Range { min_mod_revision: Revision(3), ..all.clone() });
    assert_eq!((keys_of(&found.kvs), found.more, found.count), (vec!["b", "c"], true, 4));

    let by_value = Range { sort_target: SortTarget::Value, ..all };
    let found = range(&store, by_value.clone());
    assert_eq!((values_of(&found.kvs), found.more, found.count), (vec!["1", "2"], true, 4));

    let found = range(&store, Range { sort_order: SortOrder::Descend, ..by_value });
    assert_eq!((values_of(&found.kvs), found.more, found.count), (vec!["9", "3"], true, 4));
}

#[test]
fn keys_only_has_no_values_and_count_only_has_no_keys() {
    let mut store = Store::default();
    put(&mut store, "a", "1");
    let found = range(&store, Range { keys_only: true, ..Range::of(Span::all()) });
    assert_eq!((keys_of(&found.kvs), values_of(&found.kvs), found.count), (vec!["a"], vec![""], 1));
    let found = range(&store, Range { count_only: true, limit: 1, ..Range::of(Span::all()) });
    assert_eq!((found.kvs.len(), found.more, found.count), (0, false, 1));
}

#[test]
fn a_range_that_ends_before_it_starts_holds_nothing() {
    let mut store = Store::default();
    put(&mut store, "b", "1");
    let found = range(&store, Range::of(Span::Range(b("c"), b("a"))));
    assert_eq!((found.kvs.len(), found.count), (0, 0));
    assert_eq!(delete(&mut store, Span::Range(b("b"), b("b"))), 0);
}

#[test]
fn compaction_keeps_the_newest_version_of_each_key_unless_it_is_a_tombstone() {
    let mut store = Store::default();
    put(&mut store, "a", "1"); // 2
    put(&mut store, "a", "2"); // 3
    put(&mut store, "b", "1"); // 4
    delete(&mut store, key("b")); // 5
    put(&mut store, "c", "1"); // 6
    put(&mut store, "a", "3"); // 7
    assert_eq!(answer(&mut store, Command::Compact(Revision(6))).outcome, Ok(Done::Compacted));
    settle(&mut store);
    let at_6 = range(&store, Range { revision: Revision(6), ..Range::of(Span::all()) });
    assert_eq!((keys_of(&at_6.kvs), values_of(&at_6.kvs)), (vec!["a", "c"], vec!["2", "1"]));
    // Left are: a and c as they are, the version of a at 3, and the changes of 6 and 7.
    let left = store.view().entries().count();
    assert_eq!(left, 2 + 3, "{:#?}", store.view().entries().collect::<Vec<_>>());
}

#[test]
fn a_revision_is_compacted_once_and_only_after_it_was_made() {
    let mut store = Store::default();
    put(&mut store, "a", "1");
    put(&mut store, "a", "2");
    let mut compact = |revision| answer(&mut store, Command::Compact(Revision(revision))).outcome;
    assert_eq!(compact(4), Err(Refused::FutureRevision));
    assert_eq!(compact(3), Ok(Done::Compacted));
    assert_eq!(compact(3), Err(Refused::Compacted));
    assert_eq!(compact(2), Err(Refused::Compacted));
}

#[test]
fn a_store_that_was_emptied_and_compacted_at_its_present_revision_holds_no_values() {
    let mut store = Store::default();
    for index in 0..200 {
        put(&mut store, &alloc::format!("key{index}"), &"v".repeat(100));
    }
    delete(&mut store, Span::all());
    compact_now(&mut store);
    settle(&mut store);
    assert!(store.view().bytes_in_use() < 200 * 100, "{} bytes", store.view().bytes_in_use());
    put(&mut store, "one", "");
    compact_now(&mut store);
    settle(&mut store);
    assert_eq!(store.view().entries().count(), 2, "the key and its change");
}

#[test]
fn later_commands_sweep_what_compaction_forgot() {
    let mut store = Store::default();
    for value in 0..100 {
        put(&mut store, "a", &alloc::format!("{value}"));
    }
    compact_now(&mut store);
    for _ in 0..20 {
        assert_eq!(delete(&mut store, key("none")), 0);
    }
    assert!(!store.view().is_sweeping());
    assert_eq!(store.view().entries().count(), 2, "the key and its last change");
}

#[test]
fn revoking_a_lease_deletes_its_keys_in_their_order_at_one_revision() {
    let mut store = Store::default();
    grant(&mut store, 1);
    for key in ["c", "a", "b"] {
        put_leased(&mut store, key, 1).expect("the lease is there");
    }
    put(&mut store, "other", "");
    let revoked = answer(&mut store, Command::LeaseRevoke(LeaseId(1)));
    assert_eq!(revoked, Answer { revision: Revision(6), outcome: Ok(Done::LeaseRevoked) });
    let change = store.view().changes(Revision(6)).expect("not compacted").next().expect("there was one");
    let keys: Vec<_> = change.events.iter().map(|event| event.kv.key.clone()).collect();
    assert_eq!(keys, [b("a"), b("b"), b("c")]);
    assert_eq!(store.view().keys(), 1);
    assert_eq!(answer(&mut store, Command::LeaseRevoke(LeaseId(1))).outcome, Err(Refused::LeaseNotFound));
}

#[test]
fn revoking_a_lease_without_keys_makes_no_revision() {
    let mut store = Store::default();
    grant(&mut store, 1);
    assert_eq!(answer(&mut store, Command::LeaseRevoke(LeaseId(1))).revision, Revision(1));
    assert!(store.view().leases().is_empty());
}

#[test]
fn a_lease_is_granted_once() {
    let mut store = Store::default();
    grant(&mut store, 1);
    let again = answer(&mut store, Command::LeaseGrant { id: LeaseId(1), ttl_s: 5 });
    assert_eq!(again.outcome, Err(Refused::LeaseExists));
    assert_eq!(store.view().lease(LeaseId(1)), Some(10));
    assert_eq!(store.view().lease(LeaseId(2)), None);
}

#[test]
fn a_term_has_a_floor_and_a_ceiling() {
    let floor_s = lease::floor_s(core::time::Duration::from_secs(1));
    assert_eq!(floor_s, 2);
    assert_eq!(lease::term_s(1, floor_s), Ok(2));
    assert_eq!(lease::term_s(-5, floor_s), Ok(2));
    assert_eq!(lease::term_s(60, floor_s), Ok(60));
    assert_eq!(lease::term_s(9_000_000_000, floor_s), Ok(9_000_000_000));
    assert_eq!(lease::term_s(9_000_000_001, floor_s), Err(lease::TermError::TooLong));
}

#[test]
fn without_space_only_what_frees_it_passes() {
    let mut store = Store::default();
    put(&mut store, "a", "1");
    put(&mut store, "a", "2");
    grant(&mut store, 1);
    let alarm = Alarm { member: 7, kind: AlarmKind::NoSpace };
    assert_eq!(answer(&mut store, Command::AlarmRaise(alarm)).outcome, Ok(Done::Alarms(vec![alarm])));
    let growing = Txn { failure: vec![put_op("b", "")], ..Txn::default() };
    for refused in
        [Command::Put(Put::new(b("b"), b(""))), Command::Txn(growing), Command::LeaseGrant { id: LeaseId(2), ttl_s: 5 }]
    {
        assert_eq!(answer(&mut store, refused).outcome, Err(Refused::NoSpace));
    }
    let shrinking = if_then(vec![], vec![delete_op(key("a")), Op::Range(Range::of(Span::all()))]);
    for passes in [
        Command::Txn(shrinking),
        Command::Delete(Delete { span: Span::all(), prev_kv: false }),
        Command::LeaseRevoke(LeaseId(1)),
        Command::Compact(Revision(3)),
        Command::AlarmLower(alarm),
        Command::Put(Put::new(b("b"), b(""))),
    ] {
        assert!(answer(&mut store, passes.clone()).outcome.is_ok(), "{passes:?}");
    }
}

#[test]
fn a_corrupt_store_takes_nothing_but_alarms() {
    let mut store = Store::default();
    let alarm = Alarm { member: 7, kind: AlarmKind::Corrupt };
    answer(&mut store, Command::AlarmRaise(alarm));
    for refused in [
        Command::Put(Put::new(b("b"), b(""))),
        Command::Delete(Delete { span: Span::all(), prev_kv: false }),
        Command::Compact(Revision(1)),
        Command::LeaseGrant { id: LeaseId(2), ttl_s: 5 },
    ] {
        assert_eq!(answer(&mut store, refused).outcome, Err(Refused::Corrupt));
    }
    assert_eq!(answer(&mut store, Command::AlarmLower(alarm)).outcome, Ok(Done::Alarms(vec![alarm])));
    assert_eq!(answer(&mut store, Command::AlarmLower(alarm)).outcome, Ok(Done::Alarms(vec![])));
    put(&mut store, "b", "");
}

#[test]
fn the_quota_refuses_nothing_until_its_alarm_is_in_the_log() {
    let mut store = Store::new(MemoryTable::new(), 200);
    assert!(!store.is_over_quota());
    let large = Command::Put(Put::new(b("a"), b(&"v".repeat(300))));
    assert!(store.view().exceeds(store.quota_bytes(), &large));
    assert!(!store.view().exceeds(0, &large), "0 is no quota");
    let removal = Command::Delete(Delete { span: Span::all(), prev_kv: false });
    assert!(answer(&mut store, large).outcome.is_ok());
    assert!(store.is_over_quota());
    assert!(!store.view().exceeds(store.quota_bytes(), &removal));
    put(&mut store, "b", "");
}

#[test]
fn a_view_stays_as_it_was() {
    let mut store = Store::default();
    put(&mut store, "a", "1");
    let view = store.view().clone();
    put(&mut store, "a", "2");
    delete(&mut store, Span::all());
    answer(&mut store, Command::Compact(Revision(4)));
    settle(&mut store);
    assert_eq!(view.get(&b("a")).expect("it was there").value, b("1"));
    assert_eq!((view.revision(), view.keys(), view.compacted()), (Revision(2), 1, Revision(0)));
}

#[test]
fn hashes_tell_stores_apart_and_do_not_tell_how_far_a_sweep_is() {
    let history = |last: &str| {
        let mut store = Store::default();
        for value in ["1", "2", last] {
            put(&mut store, "a", value);
        }
        answer(&mut store, Command::Compact(Revision(3)));
        store
    };
    let hash = |store: &Store, revision| store.view().hash(Revision(revision));
    let (one, mut same, other) = (history("3"), history("3"), history("4"));
    settle(&mut same);
    assert_eq!(hash(&one, 0), hash(&same, 0));
    assert_eq!(hash(&one, 4), hash(&one, 0));
    assert_eq!(one.view().digest(), same.view().digest());
    assert_ne!(hash(&one, 0), hash(&other, 0));
    assert_ne!(one.view().digest(), other.view().digest());
    assert_eq!(hash(&one, 3), hash(&other, 3), "they differ only later");
    assert_ne!(hash(&one, 3), hash(&one, 4));
    assert_eq!(hash(&one, 2), Err(Refused::Compacted));
    assert_eq!(hash(&one, 5), Err(Refused::FutureRevision));
}

#[test]
fn a_command_touches_the_queries_whose_keys_it_may_change() {
    let query = |span| Query(vec![span]);
    let touches = |command: &Command, query: &Query| <Store as Machine>::touches(command, query);
    let command = Command::Put(Put::new(b("a"), b("")));
    assert!(touches(&command, &query(key("a"))));
    assert!(touches(&command, &query(Span::all())));
    assert!(!touches(&command, &query(key("b"))));
    assert!(touches(&command, &Query::default()), "a lease may hold the key");

    let nested = Command::Txn(if_then(vec![], vec![Op::Txn(if_then(vec![], vec![delete_op(Span::prefix(b("x")))]))]));
    assert!(touches(&nested, &query(key("x1"))));
    assert!(!touches(&nested, &query(key("y"))));

    let grant = Command::LeaseGrant { id: LeaseId(1), ttl_s: 5 };
    assert!(!touches(&grant, &query(key("a"))));
    assert!(touches(&grant, &Query::default()));
    assert!(touches(&Command::LeaseRevoke(LeaseId(1)), &query(key("a"))));
}

/// Keeps what a checkpoint gave it, as a table on a disk does.
#[derive(Clone, Debug, Default)]
struct Kept {
    table: MemoryTable,
    at_checkpoint: Option<(u64, Bytes, MemoryTable)>,
}

impl Table for Kept {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.table.get(key)
    }

    fn range(&self, from: &[u8], end: Option<&[u8]>) -> impl DoubleEndedIterator<Item = (Bytes, Bytes)> {
        self.table.range(from, end)
    }

    fn insert(&mut self, key: Bytes, value: Bytes) {
        self.table.insert(key, value);
    }

    fn remove(&mut self, key: &[u8]) {
        self.table.remove(key);
    }

    fn blank(&self) -> Self {
        Self::default()
    }

    fn recovered(&self) -> Option<(u64, Bytes)> {
        self.at_checkpoint.as_ref().map(|(index, beside, _)| (*index, beside.clone()))
    }

    fn checkpoint(&mut self, index: u64, beside: Bytes) {
        self.at_checkpoint = Some((index, beside, self.table.clone()));
    }
}

#[test]
fn a_checkpointed_table_carries_everything_through_a_restart() {
    let mut store: Kv<Kept> = Kv::new(Kept::default(), 0);
    let commands = [
        Command::LeaseGrant { id: LeaseId(3), ttl_s: 9 },
        Command::Put(Put { lease: LeaseId(3), ..Put::new(b("a"), b("1")) }),
        Command::Put(Put::new(b("b"), b("1"))),
        Command::Delete(Delete { span: key("b"), prev_kv: false }),
        Command::Compact(Revision(3)),
        Command::AlarmRaise(Alarm { member: 1, kind: AlarmKind::NoSpace }),
    ];
    for (index, command) in commands.iter().enumerate() {
        store.apply(index as u64, command);
    }
    store.checkpoint(6, b("beside"));
    let before = (store.view().meta, store.view().entries().collect::<Vec<_>>());
    store.apply(7, &Command::Delete(Delete { span: Span::all(), prev_kv: false }));

    let mut kept = store.table().clone();
    kept.table = kept.at_checkpoint.clone().expect("it was taken").2;
    let restarted: Kv<Kept> = Kv::new(kept, 0);
    assert_eq!(restarted.recovered(), Some((6, b("beside"))));
    assert_eq!((restarted.view().meta, restarted.view().entries().collect::<Vec<_>>()), before);
}
