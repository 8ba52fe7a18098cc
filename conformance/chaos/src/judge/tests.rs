use super::*;

const A: Key = Key { group: 0, slot: 0 };
const B: Key = Key { group: 0, slot: 1 };

fn done(revision: i64, seen: Option<[Option<Value>; 2]>) -> Told {
    Told::Done { revision, held: true, seen }
}

fn operation(number: Value, ask: Ask, invoked: u64, returned: u64, told: Told) -> Operation {
    Operation { number, client: 0, ask, invoked, returned, told }
}

fn event(revision: i64, key: Key, value: Value, heard: u64) -> Event {
    Event { revision, key, value, heard }
}

/// A put, a swap whose client never heard of it, a read, a lost race, and a put that never arrived.
fn good() -> (History, Vec<Final>) {
    let lost = Told::Done { revision: 12, held: false, seen: Some([Some(2), Some(2)]) };
    let operations = vec![
        operation(1, Ask::Put(A), 0, 10, done(11, None)),
        operation(2, Ask::Swap(0), 20, 30, Told::Unknown("late".into())),
        operation(3, Ask::Get(0), 40, 50, done(12, Some([Some(2), Some(2)]))),
        operation(4, Ask::Cas(A, Some(1)), 60, 70, lost),
        operation(5, Ask::Put(B), 80, 90, Told::Unknown("late".into())),
    ];
    let heard = vec![event(11, A, 1, 12), event(12, A, 2, 35), event(12, B, 2, 35)];
    let history = History { operations, watchers: vec![heard.clone(), heard], malformed: Vec::new() };
    let state = Final { endpoint: "one".into(), revision: 12, keys: vec![(A, 2, 12), (B, 2, 12)] };
    (history, vec![state.clone(), state])
}

/// The checks that fail when `spoil` has changed the good history.
fn failed(spoil: impl FnOnce(&mut History, &mut Vec<Final>)) -> Vec<usize> {
    let (mut history, mut finals) = good();
    spoil(&mut history, &mut finals);
    judge(&history, &finals, 10).failed.into_iter().collect()
}

#[test]
fn a_good_history_is_accepted() {
    assert_eq!(failed(|_, _| {}), Vec::<usize>::new());
}

#[test]
fn an_acknowledged_write_that_no_store_has_is_found() {
    let failed = failed(|history, _| {
        history.operations.push(operation(6, Ask::Put(A), 95, 99, done(13, None)));
    });
    assert!(failed.contains(&4), "{failed:?}");
}

#[test]
fn a_write_that_took_effect_twice_is_found() {
    let failed = failed(|history, finals| {
        for watcher in &mut history.watchers {
            watcher.push(event(13, A, 1, 100));
        }
        for state in finals {
            (state.revision, state.keys[0]) = (13, (A, 1, 13));
        }
    });
    assert!(failed.contains(&3), "{failed:?}");
}

#[test]
fn half_a_transaction_is_found() {
    let failed = failed(|history, finals| {
        for watcher in &mut history.watchers {
            watcher.pop();
        }
        for state in finals {
            state.keys.pop();
        }
    });
    assert_eq!(failed, [3]);
}

#[test]
fn an_event_that_one_watcher_missed_is_found() {
    let failed = failed(|history, _| history.watchers[1] = history.watchers[1].split_off(1));
    assert_eq!(failed, [1, 2]);
}

#[test]
fn an_event_heard_twice_is_found() {
    let failed = failed(|history, _| history.watchers[0].insert(1, event(11, A, 1, 13)));
    assert_eq!(failed, [1]);
}

#[test]
fn events_out_of_order_are_found() {
    let failed = failed(|history, _| history.watchers[0].rotate_left(1));
    assert_eq!(failed, [1]);
}

#[test]
fn a_refused_write_that_took_effect_is_found() {
    let failed = failed(|history, _| history.operations[1].told = Told::Refused("busy".into()));
    assert!(failed.contains(&5), "{failed:?}");
}

#[test]
fn a_stale_read_is_found_by_both_judges() {
    let failed = failed(|history, _| history.operations[2].told = done(11, Some([Some(1), None])));
    assert_eq!(failed, [7, 8]);
}

#[test]
fn a_stale_read_with_a_revision_that_lies_is_found() {
    let failed = failed(|history, _| history.operations[2].told = done(12, Some([Some(1), None])));
    assert_eq!(failed, [7, 8]);
}

#[test]
fn a_node_that_differs_at_the_end_is_found() {
    let failed = failed(|_, finals| finals[1].keys[0] = (A, 1, 11));
    assert_eq!(failed, [6]);
}
