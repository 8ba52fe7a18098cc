//! The judges of histories: known good and known bad ones, and agreement with a judge that tries every order.

use quorate_check::linearizable::witness::{self, WitnessError, Witnessed};
use quorate_check::linearizable::{
    Condition, RegisterMap, RegisterOp, RegisterRet, Spec, Store, StoreOp, StoreRet, Timed, Verdict, Write, check,
    check_by_key, check_within,
};
use quorate_check::simulate::Draw;

type Op = RegisterOp<u8, u8>;
type Ret = RegisterRet<u8>;

fn write(value: u8, invoked: u64, returned: u64) -> Timed<Op, Ret> {
    Timed { op: RegisterOp::Write(0, Some(value)), ret: Some(RegisterRet::Written), invoked, returned }
}

fn lost_write(value: u8, invoked: u64) -> Timed<Op, Ret> {
    Timed { op: RegisterOp::Write(0, Some(value)), ret: None, invoked, returned: 0 }
}

fn read(value: Option<u8>, invoked: u64, returned: u64) -> Timed<Op, Ret> {
    Timed { op: RegisterOp::Read(0), ret: Some(RegisterRet::Value(value)), invoked, returned }
}

fn is_fine(calls: &[Timed<Op, Ret>]) -> bool {
    let spec = RegisterMap::new();
    let whole = check(&spec, calls).is_linearizable();
    assert_eq!(whole, check_by_key(&spec, calls).is_linearizable());
    whole
}

#[test]
fn a_read_sees_the_last_write_or_one_that_overlaps() {
    assert!(is_fine(&[write(1, 0, 1), read(Some(1), 2, 3)]));
    assert!(is_fine(&[write(1, 0, 5), read(None, 1, 2), read(Some(1), 3, 4)]));
    assert!(!is_fine(&[write(1, 0, 1), read(None, 2, 3)]), "a stale read");
    assert!(!is_fine(&[write(1, 0, 5), read(Some(1), 1, 2), read(None, 3, 4)]), "a new value, then the old one");
    assert!(!is_fine(&[write(1, 0, 1), write(2, 2, 3), read(Some(1), 4, 5)]), "a lost update");
    assert!(!is_fine(&[read(Some(9), 0, 1)]), "a value out of nowhere");
}

#[test]
fn what_is_unknown_took_effect_at_any_time_or_never() {
    assert!(is_fine(&[lost_write(1, 0), read(None, 1, 2), read(Some(1), 9, 10)]));
    assert!(is_fine(&[lost_write(1, 0), read(None, 1, 2), read(None, 9, 10)]));
    assert!(!is_fine(&[lost_write(1, 5), read(Some(1), 1, 2)]), "it was read before it was asked");
    assert!(!is_fine(&[lost_write(1, 0), read(Some(1), 1, 2), read(None, 3, 4)]), "it took effect only once");
}

#[test]
fn touching_moments_overlap() {
    assert!(is_fine(&[write(1, 0, 5), read(None, 5, 6)]));
    assert!(!is_fine(&[write(1, 0, 5), read(None, 6, 7)]));
}

#[test]
fn a_verdict_shows_how_far_it_got() {
    let calls = [write(1, 0, 1), write(2, 2, 3), read(Some(1), 4, 5), read(Some(2), 6, 7)];
    assert_eq!(check(&RegisterMap::new(), &calls), Verdict::Not { longest: vec![0, 1], stuck: 2 });
    assert_eq!(check_within(&RegisterMap::new(), &calls, 1), Verdict::Unfinished);
}

#[test]
fn two_compare_and_sets_do_not_both_win() {
    let cas = |expected, value, set, invoked, returned| Timed {
        op: RegisterOp::CompareAndSet(0, expected, value),
        ret: Some(RegisterRet::Set(set)),
        invoked,
        returned,
    };
    assert!(is_fine(&[cas(None, Some(1), true, 0, 9), cas(None, Some(2), false, 0, 9)]));
    assert!(!is_fine(&[cas(None, Some(1), true, 0, 9), cas(None, Some(2), true, 0, 9)]));
}

#[test]
fn a_transaction_over_two_keys_is_one_moment() {
    let spec = Store::<u8, u8>::new();
    let both = |value| StoreOp {
        conditions: vec![Condition { key: 0, holds: None }],
        then: vec![Write { key: 0, value: Some(value) }, Write { key: 1, value: Some(value) }],
        otherwise: vec![],
        looks: vec![],
    };
    let held = |held| Some(StoreRet { held, seen: vec![] });
    let saw = |a, b| Some(StoreRet { held: true, seen: vec![a, b] });
    let at = |op, ret, invoked, returned| Timed { op, ret, invoked, returned };
    let look = || StoreOp::get([0, 1]);
    let fine = [at(both(1), held(true), 0, 9), at(both(2), held(false), 0, 9), at(look(), saw(Some(1), Some(1)), 3, 4)];
    assert!(check(&spec, &fine).is_linearizable());
    let torn = [at(both(1), held(true), 0, 9), at(look(), saw(Some(1), None), 3, 4)];
    assert!(!check(&spec, &torn).is_linearizable(), "half of a transaction was seen");
    let twice = [at(both(1), held(true), 0, 9), at(both(2), held(true), 0, 9)];
    assert!(!check(&spec, &twice).is_linearizable(), "both found the key empty");
}

/// Tries every order of every set that holds all known operations.
fn brute<S: Spec>(spec: &S, calls: &[Timed<S::Op, S::Ret>]) -> bool {
    fn place<S: Spec>(spec: &S, calls: &[Timed<S::Op, S::Ret>], state: &S::State, placed: u32) -> bool {
        let left = |at: usize| placed & (1 << at) == 0;
        if (0..calls.len()).all(|at| !left(at) || calls[at].ret.is_none()) {
            return true;
        }
        (0..calls.len()).any(|at| {
            let blocked = (0..calls.len())
                .any(|other| left(other) && calls[other].ret.is_some() && calls[other].returned < calls[at].invoked);
            left(at)
                && !blocked
                && spec
                    .step(state, &calls[at].op, calls[at].ret.as_ref())
                    .is_some_and(|after| place(spec, calls, &after, placed | 1 << at))
        })
    }
    place(spec, calls, &spec.initial(), 0)
}

#[test]
fn the_search_agrees_with_trying_every_order() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..20_000 {
        let mut draw = Draw::seeded(seed, 0);
        let calls: Vec<_> = (0..1 + draw.below(7)).map(|_| random_call(&mut draw)).collect();
        let expected = brute(&RegisterMap::new(), &calls);
        assert_eq!(is_fine(&calls), expected, "seed {seed}: {calls:?}");
        if expected { good += 1 } else { bad += 1 }
    }
    assert!(good > 3_000 && bad > 3_000, "{good} good, {bad} bad");
}

fn random_call(draw: &mut Draw) -> Timed<Op, Ret> {
    let invoked = draw.below(12);
    let returned = invoked + draw.below(6);
    let key = draw.below(2) as u8;
    let value = |draw: &mut Draw| (draw.below(3) > 0).then(|| draw.below(2) as u8);
    let (op, ret) = match draw.below(3) {
        0 => (RegisterOp::Read(key), RegisterRet::Value(value(draw))),
        1 => (RegisterOp::Write(key, value(draw)), RegisterRet::Written),
        _ => (RegisterOp::CompareAndSet(key, value(draw), value(draw)), RegisterRet::Set(draw.below(2) == 0)),
    };
    Timed { op, ret: (draw.below(5) > 0).then_some(ret), invoked, returned }
}

/// A history that one store gave: `overlap` operations at a time, each at a moment between question and answer.
fn honest_history(
    count: usize,
    overlap: u64,
    keys: u64,
    seed: u64,
) -> Vec<Witnessed<RegisterOp<u32, u64>, RegisterRet<u64>>> {
    let mut draw = Draw::seeded(seed, 0);
    let mut state = std::collections::BTreeMap::new();
    let mut revision = 1;
    let mut calls = Vec::with_capacity(count);
    for at in 0..count as u64 {
        let moment = at * 10;
        let (invoked, returned) = (moment.saturating_sub(draw.below(overlap * 10)), moment + draw.below(overlap * 10));
        let key = draw.below(keys) as u32;
        let (op, ret, wrote) = if draw.per_mille(500) {
            revision += 1;
            state.insert(key, at + 1);
            (RegisterOp::Write(key, Some(at + 1)), RegisterRet::Written, true)
        } else {
            (RegisterOp::Read(key), RegisterRet::Value(state.get(&key).copied()), false)
        };
        calls.push(Witnessed { timed: Timed { op, ret: Some(ret), invoked, returned }, revision, wrote });
    }
    calls
}

#[test]
fn ten_thousands_of_operations_are_judged_in_seconds() {
    let history = honest_history(50_000, 8, 10, 1);
    let calls: Vec<_> = history.iter().map(|call| call.timed.clone()).collect();
    let begun = std::time::Instant::now();
    assert!(check_by_key(&RegisterMap::new(), &calls).is_linearizable());
    println!("50,000 operations by key: {:?}", begun.elapsed());
    let begun = std::time::Instant::now();
    assert!(check(&RegisterMap::new(), &calls[..2_000]).is_linearizable());
    println!("2,000 operations as a whole: {:?}", begun.elapsed());
    let mut bad = calls;
    let stale = bad.iter().rposition(|call| matches!(call.ret, Some(RegisterRet::Value(Some(_))))).expect("a read");
    bad[stale].ret = Some(RegisterRet::Value(Some(1)));
    assert!(!check_by_key(&RegisterMap::new(), &bad).is_linearizable());
}

#[test]
fn a_witness_that_tells_the_truth_is_believed_and_one_that_lies_is_not() {
    let history = honest_history(2_000, 8, 10, 2);
    let spec = RegisterMap::new();
    let verdict = |calls: &[Witnessed<_, _>]| witness::check(&spec, 1, calls);
    assert_eq!(verdict(&history), Ok(()));
    let position = |wrote| history.iter().rposition(|call| call.wrote == wrote).expect("there are both");

    let mut stale = history.clone();
    stale[position(false)].timed.ret = Some(RegisterRet::Value(Some(1)));
    assert!(matches!(verdict(&stale), Err(WitnessError::Answer { .. })));

    let mut missing = history.clone();
    missing.retain(|call| call.revision != 700);
    assert_eq!(verdict(&missing), Err(WitnessError::Missing { revision: 700 }));

    let mut twice = history.clone();
    let again = twice[position(true)].clone();
    twice.push(again);
    assert!(matches!(verdict(&twice), Err(WitnessError::Twice { .. })));

    let mut late = history.clone();
    let first = late.iter().position(|call| call.wrote).expect("there are writes");
    (late[first].timed.invoked, late[first].timed.returned) = (10_000_000, 10_000_001);
    assert!(matches!(verdict(&late), Err(WitnessError::Order { later, .. }) if later == first));
}

#[test]
fn the_witness_check_never_passes_what_the_search_refuses() {
    let mut refused = 0;
    for seed in 0..3_000 {
        let mut draw = Draw::seeded(seed, 7);
        let mut history = honest_history(12, 3, 2, seed);
        for _ in 0..draw.below(3) {
            let at = draw.below(12) as usize;
            match draw.below(3) {
                0 => history[at].timed.invoked += draw.below(40),
                1 => history[at].timed.returned = history[at].timed.returned.saturating_sub(draw.below(40)),
                _ => history[at].timed.ret = Some(RegisterRet::Value(Some(draw.below(12)))),
            }
            history[at].timed.returned = history[at].timed.returned.max(history[at].timed.invoked);
        }
        let calls: Vec<_> = history.iter().map(|call| call.timed.clone()).collect();
        let searched = check(&RegisterMap::new(), &calls).is_linearizable();
        let believed = witness::check(&RegisterMap::new(), 1, &history).is_ok();
        assert!(searched || !believed, "seed {seed}: the witness lied and was believed");
        refused += usize::from(!searched);
    }
    assert!(refused > 500, "{refused}");
}
