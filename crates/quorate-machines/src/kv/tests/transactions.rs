//! The rules of transactions: one revision, conditions of before, all or nothing.

use alloc::vec;
use alloc::vec::Vec;

use super::super::*;
use super::{Store, answer, b, delete_op, if_then, key, put, put_op, range, settle, txn, values_of};

#[test]
fn operations_of_a_transaction_see_earlier_ones_and_share_one_revision() {
    let mut store = Store::default();
    put(&mut store, "a", "old");
    let read = || Op::Range(Range::of(Span::all()));
    let done = txn(&mut store, if_then(vec![], vec![read(), put_op("a", "new"), read(), put_op("b", ""), read()]))
        .expect("nothing is wrong with it");
    let seen: Vec<Vec<&str>> = done
        .answers
        .iter()
        .filter_map(|answer| match answer {
            OpDone::Range(found) => Some(values_of(&found.kvs)),
            _ => None,
        })
        .collect();
    assert_eq!(seen, [vec!["old"], vec!["new"], vec!["new", ""]]);
    assert_eq!(store.view().revision(), Revision(3));
    let found = range(&store, Range::of(Span::all()));
    assert!(found.kvs.iter().all(|kv| kv.mod_revision == Revision(3)));
}

#[test]
fn a_transaction_reads_the_past_even_at_the_revision_it_began_at() {
    let mut store = Store::default();
    put(&mut store, "a", "old");
    let past = Op::Range(Range { revision: Revision(2), ..Range::of(key("a")) });
    let done = txn(&mut store, if_then(vec![], vec![put_op("a", "new"), past])).expect("nothing is wrong with it");
    let OpDone::Range(found) = &done.answers[1] else { panic!("a range answers with what it found") };
    assert_eq!(values_of(&found.kvs), ["old"]);
}

#[test]
fn inner_conditions_are_asked_of_the_store_as_it_was_before_the_transaction() {
    let mut store = Store::default();
    let missing = Compare { span: key("a"), result: Comparison::Equal, operand: Operand::Create(0) };
    let inner = Txn { compare: vec![missing], success: vec![put_op("b", "then")], failure: vec![put_op("b", "else")] };
    let done = txn(&mut store, if_then(vec![], vec![put_op("a", ""), Op::Txn(inner)])).expect("nothing is wrong");
    assert_eq!(done.answers[1], OpDone::Txn(TxnDone { succeeded: true, answers: vec![OpDone::Put(None)] }));
    assert_eq!(store.view().get(&b("b")).expect("it was put").value, b("then"));
}

#[test]
fn a_missing_key_compares_as_zero_but_never_by_value() {
    let mut store = Store::default();
    let compare = |result, operand| Compare { span: key("none"), result, operand };
    let mut holds = |compare| txn(&mut store, if_then(vec![compare], vec![])).expect("readable").succeeded;
    for operand in [Operand::Version(0), Operand::Create(0), Operand::Mod(0), Operand::Lease(0)] {
        assert!(holds(compare(Comparison::Equal, operand.clone())));
        assert!(!holds(compare(Comparison::NotEqual, operand)));
    }
    for result in [Comparison::Equal, Comparison::NotEqual, Comparison::Less, Comparison::Greater] {
        assert!(!holds(compare(result, Operand::Value(b("")))), "{result:?}");
    }
}

#[test]
fn a_condition_on_a_range_must_hold_for_every_key_of_it() {
    let mut store = Store::default();
    put(&mut store, "a/1", "x");
    put(&mut store, "a/2", "x");
    let same = || Compare { span: Span::prefix(b("a/")), result: Comparison::Equal, operand: Operand::Value(b("x")) };
    assert!(txn(&mut store, if_then(vec![same()], vec![])).expect("readable").succeeded);
    put(&mut store, "a/3", "y");
    assert!(!txn(&mut store, if_then(vec![same()], vec![])).expect("readable").succeeded);
}

#[test]
fn a_transaction_is_refused_whole_and_leaves_the_store_exactly_as_it_was() {
    let mut store = Store::default();
    for value in ["1", "2", "3"] {
        put(&mut store, "a", value);
    }
    answer(&mut store, Command::Compact(Revision(3)));
    settle(&mut store);
    let before = store.clone();
    let compacted = Op::Range(Range { revision: Revision(2), ..Range::of(key("a")) });
    let future = Op::Range(Range { revision: Revision(5), ..Range::of(key("a")) });
    let no_lease = Op::Put(Put { lease: LeaseId(9), ..Put::new(b("c"), b("")) });
    for (bad, refused) in
        [(compacted, Refused::Compacted), (future, Refused::FutureRevision), (no_lease, Refused::LeaseNotFound)]
    {
        let nested = Op::Txn(if_then(vec![], vec![bad.clone()]));
        for bad in [bad, nested] {
            let ops = vec![put_op("b", "1"), delete_op(key("a")), bad.clone()];
            assert_eq!(txn(&mut store, if_then(vec![], ops.clone())), Err(refused));
            assert_eq!(store, before);
            // The branch that is not taken may hold anything.
            let other = Txn { compare: vec![], success: vec![], failure: ops };
            assert!(txn(&mut store, other).is_ok());
            assert_eq!(store, before);
        }
    }
}

#[test]
fn a_transaction_changes_each_key_at_most_once() {
    let nested = |success, failure| Op::Txn(Txn { compare: vec![], success, failure });
    let all = || delete_op(Span::all());
    let refused = [
        vec![put_op("a", "1"), put_op("a", "2")],
        vec![put_op("a", "1"), delete_op(key("a"))],
        vec![all(), put_op("a", "1")],
        vec![put_op("a", "1"), nested(vec![put_op("a", "2")], vec![])],
        vec![put_op("a", "1"), nested(vec![], vec![put_op("a", "2")])],
        vec![nested(vec![put_op("a", "1")], vec![]), nested(vec![], vec![put_op("a", "2")])],
        vec![nested(vec![all()], vec![]), put_op("a", "2")],
        vec![nested(vec![put_op("a", "1")], vec![]), nested(vec![all()], vec![])],
        vec![nested(vec![put_op("a", "1"), put_op("a", "2")], vec![])],
    ];
    for ops in refused {
        let txn = if_then(vec![], ops);
        assert_eq!(check::txn(&txn, check::OPS_MAX), Err(Refused::DuplicateKey), "{txn:?}");
        let other = Txn { failure: txn.success, ..Txn::default() };
        assert_eq!(check::txn(&other, check::OPS_MAX), Err(Refused::DuplicateKey), "{other:?}");
    }
    let allowed = [
        vec![nested(vec![put_op("a", "1")], vec![put_op("a", "2")])],
        vec![nested(vec![put_op("a", "1")], vec![all()])],
        vec![delete_op(Span::Range(b("a"), b("c"))), put_op("c", "1"), put_op("0", "1")],
        vec![all(), all(), delete_op(key("a"))],
    ];
    for ops in allowed {
        let txn = if_then(vec![], ops);
        assert_eq!(check::txn(&txn, check::OPS_MAX), Ok(()), "{txn:?}");
    }
}

#[test]
fn a_transaction_has_at_most_128_operations_and_inner_ones_have_the_rest() {
    let puts = |count: usize, prefix: &str| -> Vec<Op> {
        (0..count).map(|index| put_op(&alloc::format!("{prefix}{index}"), "")).collect()
    };
    let checked = |txn: &Txn| check::txn(txn, check::OPS_MAX);
    assert_eq!(checked(&if_then(vec![], puts(128, "a"))), Ok(()));
    assert_eq!(checked(&if_then(vec![], puts(129, "a"))), Err(Refused::TooManyOps));
    assert_eq!(checked(&Txn { failure: puts(129, "a"), ..Txn::default() }), Err(Refused::TooManyOps));
    let compare = Compare { span: key("a"), result: Comparison::Equal, operand: Operand::Version(0) };
    assert_eq!(checked(&if_then(vec![compare; 129], vec![])), Err(Refused::TooManyOps));

    let with_inner = |own: usize, inner: usize| {
        let mut ops = puts(own - 1, "a");
        ops.push(Op::Txn(if_then(vec![], puts(inner, "b"))));
        if_then(vec![], ops)
    };
    assert_eq!(checked(&with_inner(28, 100)), Ok(()));
    assert_eq!(checked(&with_inner(28, 101)), Err(Refused::TooManyOps));
}

#[test]
fn a_read_only_transaction_on_a_view_leaves_it_alone() {
    let mut store = Store::default();
    put(&mut store, "a", "1");
    let view = store.view().clone();
    let done = view.txn_read(&if_then(vec![], vec![put_op("a", "2"), Op::Range(Range::of(key("a")))]));
    let done = done.expect("readable");
    let OpDone::Range(found) = &done.answers[1] else { panic!("a range answers with what it found") };
    assert_eq!(values_of(&found.kvs), ["2"]);
    assert_eq!(view, *store.view());
}

#[test]
fn a_transaction_stands_no_deeper_in_others_than_the_codec_reads() {
    let nested = |depth: usize| (1..depth).fold(Txn::default(), |inner, _| if_then(vec![], vec![Op::Txn(inner)]));
    assert_eq!(check::txn(&nested(128), usize::MAX), Ok(()));
    assert_eq!(check::txn(&nested(129), usize::MAX), Err(Refused::TooManyOps));
    let command = Command::Txn(nested(128));
    assert_eq!(Command::from_bytes(command.to_bytes()), Ok(command));
}
