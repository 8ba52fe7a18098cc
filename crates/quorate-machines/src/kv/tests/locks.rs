//! Locks and elections, driven as a gateway drives them.

use alloc::vec;

use super::super::lock::{self, Claim, Place};
use super::super::*;
use super::{Store, answer, b};

fn join(store: &mut Store, claim: &Claim) -> Place {
    joined(store, claim).0
}

fn joined(store: &mut Store, claim: &Claim) -> (Place, Option<Bytes>) {
    let answer = answer(store, Command::Txn(claim.join()));
    let Ok(Done::Txn(done)) = answer.outcome else { panic!("joining was refused: {answer:?}") };
    claim.joined(answer.revision, &done).expect("the answer is one to joining")
}

fn store_with_leases(count: i64) -> Store {
    let mut store = Store::default();
    for id in 1..=count {
        answer(&mut store, Command::LeaseGrant { id: LeaseId(id), ttl_s: 60 }).outcome.expect("a new lease");
    }
    store
}

#[test]
fn the_key_of_a_lock_is_its_name_and_the_lease_in_hex() {
    assert_eq!(Claim::lock(b"locks/one", LeaseId(0x32695410dcc0ca06)).key(), b("locks/one/32695410dcc0ca06"));
}

#[test]
fn who_joins_first_holds_and_the_others_wait_for_the_one_before_them() {
    let mut store = store_with_leases(3);
    let places = [1, 2, 3].map(|id| join(&mut store, &Claim::lock(b"l", LeaseId(id))));
    let ahead = |store: &Store, place: &Place| place.ahead(store.view()).map(|kv| kv.key);
    assert_eq!(ahead(&store, &places[0]), None);
    assert_eq!(ahead(&store, &places[1]), Some(places[0].key.clone()));
    assert_eq!(ahead(&store, &places[2]), Some(places[1].key.clone()));
    assert_eq!(lock::holder(store.view(), b"l").map(|kv| kv.key), Some(places[0].key.clone()));

    // The one in the middle gives up: who waited for it waits for the one before.
    answer(&mut store, places[1].leave());
    assert_eq!(ahead(&store, &places[2]), Some(places[0].key.clone()));
    answer(&mut store, places[0].leave());
    assert_eq!(ahead(&store, &places[2]), None);
    assert!(places[2].created > places[0].created, "the fence grows");
}

#[test]
fn joining_again_with_the_same_lease_keeps_the_place() {
    let mut store = store_with_leases(2);
    let claim = Claim::lock(b"l", LeaseId(1));
    let first = join(&mut store, &claim);
    join(&mut store, &Claim::lock(b"l", LeaseId(2)));
    assert_eq!(join(&mut store, &claim), first);
    assert_eq!(store.view().keys(), 2);
}

#[test]
fn a_place_does_not_outlive_its_lease() {
    let mut store = store_with_leases(2);
    let first = join(&mut store, &Claim::lock(b"l", LeaseId(1)));
    let second = join(&mut store, &Claim::lock(b"l", LeaseId(2)));
    assert!(first.still_stands(store.view()));
    answer(&mut store, Command::LeaseRevoke(LeaseId(1)));
    assert!(!first.still_stands(store.view()));
    assert_eq!(second.ahead(store.view()), None);
}

#[test]
fn locks_whose_names_begin_alike_do_not_wait_for_each_other() {
    let mut store = store_with_leases(2);
    join(&mut store, &Claim::lock(b"l", LeaseId(1)));
    let other = join(&mut store, &Claim::lock(b"l2", LeaseId(2)));
    assert_eq!(other.ahead(store.view()), None);
}

#[test]
fn a_leader_proclaims_and_resigns_only_from_its_own_place() {
    let mut store = store_with_leases(2);
    let claim = Claim::election(b"e", LeaseId(1), b("one"));
    let first = join(&mut store, &claim);
    let again = Claim::election(b"e", LeaseId(1), b("changed"));
    assert_eq!(joined(&mut store, &again), (first.clone(), Some(b("one"))), "the old value stands");

    let succeeded = |store: &mut Store, txn: Txn| match answer(store, Command::Txn(txn)).outcome {
        Ok(Done::Txn(done)) => done.succeeded,
        other => panic!("a txn answered {other:?}"),
    };
    assert!(succeeded(&mut store, first.proclaim(b("changed"))));
    let leader = lock::holder(store.view(), b"e").expect("there is one");
    assert_eq!((leader.value, leader.create_revision, leader.lease), (b("changed"), first.created, LeaseId(1)));

    let stale = Place::shown(b"e", first.key.clone(), Revision(first.created.0 - 1), LeaseId(1));
    assert!(!succeeded(&mut store, stale.proclaim(b("stale"))));
    assert!(!succeeded(&mut store, stale.resign()));
    assert!(succeeded(&mut store, first.resign()));
    assert_eq!(lock::holder(store.view(), b"e"), None);
    assert!(!succeeded(&mut store, first.proclaim(b("late"))));
}

#[test]
fn an_answer_to_something_else_gives_no_place() {
    let claim = Claim::lock(b"l", LeaseId(1));
    let strange = TxnDone { succeeded: false, answers: vec![OpDone::Put(None)] };
    assert_eq!(claim.joined(Revision(5), &strange), None);
    assert_eq!(claim.joined(Revision(5), &TxnDone::default()), None);
}
