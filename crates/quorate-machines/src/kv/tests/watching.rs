//! What watchers depend on: every change once, in order, from any revision that is not compacted.

use alloc::vec;
use alloc::vec::Vec;

use super::super::*;
use super::{Store, answer, b, delete, key, put, settle};

fn changes(store: &Store, from: u64) -> Result<Vec<Change>, Refused> {
    store.view().changes(Revision(from)).map(Iterator::collect)
}

fn sizes(fragments: &[Fragment]) -> Vec<(usize, bool)> {
    fragments.iter().map(|fragment| (fragment.events.len(), fragment.more)).collect()
}

/// A store with: 2 put a, 3 put a, 4 delete a, 5 put b.
fn some_history() -> Store {
    let mut store = Store::default();
    put(&mut store, "a", "1");
    put(&mut store, "a", "2");
    delete(&mut store, key("a"));
    put(&mut store, "b", "1");
    store
}

#[test]
fn a_watch_from_a_revision_sees_it_and_all_later_ones_in_order() {
    let store = some_history();
    let seen: Vec<(u64, EventKind)> =
        changes(&store, 3).expect("nothing is compacted").iter().map(|c| (c.revision.0, c.events[0].kind)).collect();
    assert_eq!(seen, [(3, EventKind::Put), (4, EventKind::Delete), (5, EventKind::Put)]);
    assert_eq!(changes(&store, 0).expect("from the first on").len(), 4);
}

#[test]
fn a_watch_from_a_revision_not_reached_sees_nothing_older() {
    let mut store = some_history();
    assert_eq!(changes(&store, 7), Ok(vec![]));
    put(&mut store, "a", "not yet"); // 6
    assert_eq!(changes(&store, 7), Ok(vec![]));
    put(&mut store, "a", "now"); // 7
    assert_eq!(changes(&store, 7).expect("nothing is compacted").len(), 1);
}

#[test]
fn a_watch_may_start_at_the_compacted_revision_but_not_before() {
    let mut store = some_history();
    answer(&mut store, Command::Compact(Revision(4)));
    for _ in 0..2 {
        assert_eq!(changes(&store, 3), Err(Refused::Compacted));
        let from = changes(&store, 4).expect("the compacted revision itself can be watched from");
        assert_eq!(from.iter().map(|change| change.revision.0).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(from[0].events[0].kind, EventKind::Delete, "the delete at it is not lost");
        settle(&mut store);
    }
}

#[test]
fn a_delete_has_the_key_and_its_revision_only() {
    let store = some_history();
    let change = changes(&store, 4).expect("nothing is compacted").remove(0);
    let bare = KeyValue { key: b("a"), mod_revision: Revision(4), ..KeyValue::default() };
    assert_eq!(change.events, [Event { kind: EventKind::Delete, kv: bare, prev_kv: None }]);
}

#[test]
fn what_was_before_is_absent_for_creates_and_when_it_is_compacted() {
    let mut store = some_history();
    let before = |store: &Store, revision: u64| {
        let change = changes(store, revision).expect("not compacted").remove(0);
        store.view().with_previous(change.events[0].clone()).prev_kv.map(|kv| kv.value)
    };
    assert_eq!(before(&store, 2), None);
    assert_eq!(before(&store, 3), Some(b("1")));
    assert_eq!(before(&store, 4), Some(b("2")));
    assert_eq!(before(&store, 5), None);
    answer(&mut store, Command::Compact(Revision(3)));
    assert_eq!(before(&store, 3), None, "compacted");
    assert_eq!(before(&store, 4), Some(b("2")));
    settle(&mut store);
    assert_eq!(before(&store, 3), None);
    assert_eq!(before(&store, 4), Some(b("2")));
}

#[test]
fn a_new_life_of_a_key_is_a_create() {
    let mut store = some_history();
    put(&mut store, "a", "again");
    let created: Vec<bool> =
        changes(&store, 2).expect("nothing is compacted").iter().map(|c| c.events[0].is_create()).collect();
    assert_eq!(created, [true, false, false, true, true]);
}

#[test]
fn the_events_of_one_transaction_come_together_in_the_order_of_its_operations() {
    let mut store = some_history();
    let op = |key: &str| Op::Put(Put::new(b(key), b("")));
    let txn = Txn { success: vec![op("z"), op("b"), op("m")], ..Txn::default() };
    answer(&mut store, Command::Txn(txn)).outcome.expect("nothing is wrong with it");
    let change = changes(&store, 6).expect("nothing is compacted").remove(0);
    let keys: Vec<Bytes> = change.events.iter().map(|event| event.kv.key.clone()).collect();
    assert_eq!(keys, [b("z"), b("b"), b("m")]);
}

#[test]
fn a_watcher_gets_what_it_wants_of_a_change_and_no_more() {
    let store = some_history();
    let all: Vec<Event> =
        changes(&store, 0).expect("nothing is compacted").into_iter().flat_map(|change| change.events).collect();
    let picked = |wanted: &Wanted| -> Vec<u64> {
        wanted.pick(store.view(), &all).iter().map(|event| event.kv.mod_revision.0).collect()
    };
    let of_a = Wanted::all(key("a"));
    assert_eq!(picked(&of_a), [2, 3, 4]);
    assert_eq!(picked(&Wanted { no_put: true, ..of_a.clone() }), [4]);
    assert_eq!(picked(&Wanted { no_delete: true, ..of_a.clone() }), [2, 3]);
    assert_eq!(picked(&Wanted::all(Span::all())), [2, 3, 4, 5]);
    let with_previous = Wanted { prev_kv: true, ..of_a };
    let previous: Vec<bool> =
        with_previous.pick(store.view(), &all).iter().map(|event| event.prev_kv.is_some()).collect();
    assert_eq!(previous, [false, true, true]);
}

#[test]
fn an_answer_is_cut_into_fragments_that_fit_and_all_but_the_last_say_more() {
    let mut store = Store::default();
    let op = |index: usize| Op::Put(Put::new(b(&alloc::format!("key{index}")), b(&"v".repeat(10 * index))));
    let txn = Txn { success: (0..10).map(op).collect(), ..Txn::default() };
    answer(&mut store, Command::Txn(txn)).outcome.expect("nothing is wrong with it");
    let events = changes(&store, 2).expect("nothing is compacted").remove(0).events;
    let bytes_max = 250;
    let cut = watch::fragments(events.clone(), bytes_max);
    assert!(cut.iter().all(|fragment| fragment.events.iter().map(Event::bytes).sum::<usize>() <= bytes_max));
    assert!(cut.len() > 1);
    let more: Vec<bool> = sizes(&cut).into_iter().map(|(_, more)| more).collect();
    assert_eq!(more.iter().filter(|&&more| !more).count(), 1);
    assert_eq!(more.last(), Some(&false));
    let joined: Vec<Event> = cut.into_iter().flat_map(|fragment| fragment.events).collect();
    assert_eq!(joined, events);
    assert_eq!(sizes(&watch::fragments(events.clone(), usize::MAX)), [(10, false)]);
    assert_eq!(watch::fragments(events, 1).len(), 10, "an event that is too large stands alone");
    assert!(watch::fragments(vec![], 1).is_empty());
}

#[test]
fn progress_is_told_only_when_every_watcher_has_got_everything() {
    let at = |next: &[u64]| watch::progress(Revision(9), next.iter().map(|&next| Revision(next)));
    assert_eq!(at(&[]), Some(Revision(9)));
    assert_eq!(at(&[10, 10]), Some(Revision(9)));
    assert_eq!(at(&[10, 9]), None, "one is behind");
    assert_eq!(at(&[10, 15]), None, "one waits for a revision that is not reached");
}
