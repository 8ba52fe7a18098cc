//! Locks and elections, by the services.

mod support;

use std::time::{Duration, Instant};

use quorate::etcd::generated::etcdserverpb as pb;
use quorate::etcd::generated::v3electionpb::election_client::ElectionClient;
use quorate::etcd::generated::v3electionpb::{CampaignRequest, LeaderRequest, ProclaimRequest, ResignRequest};
use quorate::etcd::generated::v3lockpb::lock_client::LockClient;
use quorate::etcd::generated::v3lockpb::{LockRequest, UnlockRequest};
use support::{Server, soon, start};

async fn grant(server: &Server) -> i64 {
    let request = pb::LeaseGrantRequest { ttl: 600, id: 0 };
    soon(server.lease().lease_grant(request)).await.expect("a lease").into_inner().id
}

fn ask(lease: i64) -> LockRequest {
    LockRequest { name: "l".into(), lease }
}

/// etcd's watchers catch up once in 100 ms, so there 60 hand-overs take 6 s, whatever the machine. Here they take what
/// the work takes.
#[tokio::test]
async fn a_contended_lock_is_handed_over_without_waiting_for_a_tick() {
    const TURNS: u32 = 30;
    let server = start().await;
    let begun = Instant::now();
    let contend = async || {
        let mut lock = LockClient::new(server.channel.clone());
        let lease = grant(&server).await;
        for _ in 0..TURNS {
            let key = soon(lock.lock(ask(lease))).await.expect("the lock").into_inner().key;
            soon(lock.unlock(UnlockRequest { key })).await.expect("given back");
        }
    };
    tokio::join!(contend(), contend());
    assert!(begun.elapsed() < 2 * TURNS * Duration::from_millis(100), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_same_lease_has_the_lock_already() {
    let server = start().await;
    let mut lock = LockClient::new(server.channel.clone());
    let lease = grant(&server).await;
    let first = soon(lock.lock(ask(lease))).await.expect("the lock").into_inner().key;
    let again = soon(lock.lock(ask(lease))).await.expect("the lock").into_inner().key;
    assert_eq!(first, again);
    assert_eq!(first, format!("l/{lease:x}"));
}

#[tokio::test]
async fn who_waits_with_a_lease_that_ends_is_told() {
    let server = start().await;
    let mut lock = LockClient::new(server.channel.clone());
    let (first, second) = (grant(&server).await, grant(&server).await);
    soon(lock.lock(ask(first))).await.expect("the lock");
    let mut other = LockClient::new(server.channel.clone());
    let waiting = tokio::spawn(async move { other.lock(ask(second)).await });
    until_there(&server, second).await;
    soon(server.lease().lease_revoke(pb::LeaseRevokeRequest { id: second })).await.expect("revoked");
    let refused = soon(waiting).await.expect("no panic").expect_err("its lease is gone");
    assert_eq!((refused.code(), refused.message()), (tonic::Code::Unknown, "mutex: session is expired"));
}

#[tokio::test]
async fn who_goes_away_while_waiting_leaves_its_place() {
    let server = start().await;
    let mut lock = LockClient::new(server.channel.clone());
    let (first, second) = (grant(&server).await, grant(&server).await);
    let key = soon(lock.lock(ask(first))).await.expect("the lock").into_inner().key;
    let mut other = LockClient::new(server.channel.clone());
    let waiting = tokio::spawn(async move { other.lock(ask(second)).await });
    until_there(&server, second).await;
    waiting.abort();
    let mut watching = server.watch().await;
    watching.create(support::of_key(&format!("l/{second:x}"), 1)).await;
    watching.created().await;
    let mut deleted = false;
    while !deleted {
        let answer = watching.next().await;
        deleted = answer.events.iter().any(|event| event.r#type == 1);
    }
    soon(lock.unlock(UnlockRequest { key })).await.expect("given back");
}

/// Waits until the lock's key of `lease` is there.
async fn until_there(server: &Server, lease: i64) {
    let mut watching = server.watch().await;
    watching.create(support::of_key(&format!("l/{lease:x}"), 1)).await;
    watching.created().await;
    while watching.next().await.events.is_empty() {}
}

#[tokio::test]
async fn an_election_has_one_leader_after_the_other_and_observers_see_each() {
    let server = start().await;
    let mut election = ElectionClient::new(server.channel.clone());
    let leader = || LeaderRequest { name: "e".into() };
    let nobody = soon(election.leader(leader())).await.expect_err("nobody leads");
    assert_eq!((nobody.code(), nobody.message()), (tonic::Code::Unknown, "election: no leader"));
    let nothing = soon(election.resign(ResignRequest { leader: None })).await.expect_err("nobody to resign");
    assert_eq!(nothing.message(), "\"leader\" field must be provided");

    let mut observed = soon(election.observe(leader())).await.expect("a stream").into_inner();
    let mut seen = async || {
        let answer = soon(observed.message()).await.expect("no error").expect("no end");
        String::from_utf8(answer.kv.expect("a leader").value.to_vec()).expect("text")
    };
    let campaign = |lease, value: &'static str| CampaignRequest { name: "e".into(), lease, value: value.into() };
    let (first, second) = (grant(&server).await, grant(&server).await);
    let won = soon(election.campaign(campaign(first, "one"))).await.expect("the lead").into_inner();
    assert_eq!(seen().await, "one");
    let mut other = ElectionClient::new(server.channel.clone());
    let waiting = tokio::spawn(async move { other.campaign(campaign(second, "two")).await });
    let proclaim = ProclaimRequest { leader: won.leader.clone(), value: "more".into() };
    soon(election.proclaim(proclaim.clone())).await.expect("proclaimed");
    assert_eq!(seen().await, "more");
    soon(election.resign(ResignRequest { leader: won.leader })).await.expect("resigned");
    soon(waiting).await.expect("no panic").expect("the lead");
    assert_eq!(seen().await, "two");
    let late = soon(election.proclaim(proclaim)).await.expect_err("no longer the leader");
    assert_eq!(late.message(), "election: not leader");
}
