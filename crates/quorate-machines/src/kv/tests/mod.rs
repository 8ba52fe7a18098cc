//! Tests of the store: each rule that clients of etcd depend on as a sentence, and random histories against a reference.

mod locks;
mod random;
mod reference;
mod semantics;
mod transactions;
mod watching;

use alloc::vec::Vec;

use bytes::Bytes;
use quorate_model::Machine;

use super::*;

type Store = Kv<MemoryTable>;

fn b(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn answer(store: &mut Store, command: Command) -> Answer {
    match store.apply(0, &command) {
        Reply::Done(answer) => answer,
        Reply::View(_) => panic!("a command is answered with what it did"),
    }
}

fn put(store: &mut Store, key: &str, value: &str) -> Revision {
    let answer = answer(store, Command::Put(Put::new(b(key), b(value))));
    assert_eq!(answer.outcome, Ok(Done::Put(None)));
    answer.revision
}

fn put_leased(store: &mut Store, key: &str, lease: i64) -> Result<Done, Refused> {
    answer(store, Command::Put(Put { lease: LeaseId(lease), ..Put::new(b(key), b("")) })).outcome
}

fn delete(store: &mut Store, span: Span) -> u64 {
    match answer(store, Command::Delete(Delete { span, prev_kv: false })).outcome {
        Ok(Done::Delete(count, _)) => count,
        other => panic!("a delete answered {other:?}"),
    }
}

fn key(text: &str) -> Span {
    Span::Key(b(text))
}

fn keys_of(kvs: &[KeyValue]) -> Vec<&str> {
    kvs.iter().map(|kv| core::str::from_utf8(&kv.key).expect("tests write text")).collect()
}

fn values_of(kvs: &[KeyValue]) -> Vec<&str> {
    kvs.iter().map(|kv| core::str::from_utf8(&kv.value).expect("tests write text")).collect()
}

/// Sweeps all that compaction forgot.
fn settle(store: &mut Store) {
    while store.sweep(64) {}
}

fn range(store: &Store, range: Range) -> Found {
    store.view().range(&range).expect("readable")
}

fn txn(store: &mut Store, txn: Txn) -> Result<TxnDone, Refused> {
    answer(store, Command::Txn(txn)).outcome.map(|done| match done {
        Done::Txn(done) => done,
        other => panic!("a txn answered {other:?}"),
    })
}

fn if_then(compare: Vec<Compare>, success: Vec<Op>) -> Txn {
    Txn { compare, success, failure: Vec::new() }
}

fn put_op(key: &str, value: &str) -> Op {
    Op::Put(Put::new(b(key), b(value)))
}

fn delete_op(span: Span) -> Op {
    Op::Delete(Delete { span, prev_kv: false })
}

fn grant(store: &mut Store, id: i64) {
    assert_eq!(answer(store, Command::LeaseGrant { id: LeaseId(id), ttl_s: 10 }).outcome, Ok(Done::LeaseGranted(10)));
}
