//! Leases on a chain of real processes that are killed: none ends before its time, and none lives for ever.
//!
//! A term counts from the client's wish and a watcher hears of its end after it, so whatever stands still in between can
//! only make a lease look longer. Lower bounds are exact therefore; the upper one is patience. Needs processes and ports.

#[path = "support/cluster.rs"]
mod cluster;

use std::cell::Cell;
use std::time::{Duration, Instant};

use cluster::{Cluster, Node, PATIENCE};
use quorate::etcd::generated::etcdserverpb as pb;
use quorate::etcd::generated::mvccpb::{Event, event};
use tokio::time::{interval, timeout};
use tonic::{Code, Status, Streaming};

const LEASE: i64 = 77;
/// A term in seconds; much longer than a renewal takes on a busy machine.
const TERM_S: i64 = 4;
const TERM: Duration = Duration::from_secs(TERM_S as u64);

/// Makes [`LEASE`] through a node and binds `keys` to it. When it was asked for.
async fn grant(node: &Node, term_s: i64, keys: &[&str]) -> Instant {
    let asked = Instant::now();
    let request = pb::LeaseGrantRequest { ttl: term_s, id: LEASE };
    let granted = node.lease().lease_grant(request).await.expect("a lease").into_inner();
    assert_eq!(granted.ttl, term_s);
    for key in keys {
        let request = pb::PutRequest { key: key.as_bytes().to_vec().into(), lease: LEASE, ..Default::default() };
        node.kv().await.put(request).await.expect("a put");
    }
    asked
}

/// Renews [`LEASE`]; the term it has from now, 0 when there is no such lease.
async fn renew(node: &Node) -> Result<i64, Status> {
    let wishes = tokio_stream::once(pb::LeaseKeepAliveRequest { id: LEASE });
    let mut answers = node.lease().lease_keep_alive(wishes).await?.into_inner();
    let answer = answers.message().await?;
    Ok(answer.ok_or_else(|| Status::unavailable("the stream ended"))?.ttl)
}

async fn time(node: &Node) -> pb::LeaseTimeToLiveResponse {
    let request = pb::LeaseTimeToLiveRequest { id: LEASE, keys: true };
    node.lease().lease_time_to_live(request).await.expect("an answer").into_inner()
}

async fn leases(node: &Node) -> Vec<i64> {
    let request = pb::LeaseLeasesRequest {};
    let answer = node.lease().lease_leases(request).await.expect("an answer").into_inner();
    answer.leases.iter().map(|lease| lease.id).collect()
}

/// What a watcher hears next, as `-key` or `+key` with the revision, and when.
async fn heard(watching: &mut Streaming<pb::WatchResponse>) -> (Vec<(String, i64)>, Instant) {
    let answer = timeout(PATIENCE, watching.message()).await.expect("something happens");
    let answer = answer.expect("no error").expect("no end");
    let told = |event: Event| {
        let sign = if event.r#type() == event::EventType::Delete { '-' } else { '+' };
        let kv = event.kv.expect("a key");
        (format!("{sign}{}", String::from_utf8_lossy(&kv.key)), kv.mod_revision)
    };
    (answer.events.into_iter().map(told).collect(), Instant::now())
}

/// [`LEASE`] ends with `keys`, at one revision, once, and not before `earliest`; then all nodes agree that it is gone.
async fn ends_once(cluster: &Cluster, watching: &mut Streaming<pb::WatchResponse>, keys: &[&str], earliest: Instant) {
    let (events, at) = heard(watching).await;
    let revision = events.first().expect("events").1;
    let expected: Vec<_> = keys.iter().map(|key| (format!("-{key}"), revision)).collect();
    assert_eq!(events, expected);
    assert!(at >= earliest, "it ended {:?} too early", earliest - at);
    let fence = cluster.nodes[0].put("fence", "").await.expect("a put");
    assert_eq!(heard(watching).await.0, [("+fence".to_owned(), fence)], "nothing else happened");
    assert_eq!(fence, revision + 1, "it ended once");
    for node in &cluster.nodes {
        assert_eq!(node.keys().await, ["fence"], "node {}", node.id);
        assert_eq!(leases(node).await, [0; 0], "node {}", node.id);
        assert_eq!(time(node).await.ttl, -1, "node {}", node.id);
        assert_eq!(renew(node).await.expect("an answer"), 0, "node {}", node.id);
    }
}

#[tokio::test]
async fn a_lease_outlives_its_head_and_then_has_its_full_term() {
    let mut cluster = Cluster::started("outlives", 3, "").await;
    grant(&cluster.nodes[2], TERM_S, &["a", "b"]).await;
    let mut watching = cluster.nodes[1].watch().await;
    // Nobody can renew it until there is another head, so the time before does not count.
    let killed = Instant::now();
    cluster.nodes[0].kill();
    cluster.nodes[0].start();
    cluster.nodes[0].serves().await;
    ends_once(&cluster, &mut watching, &["a", "b"], killed + TERM).await;
}

#[tokio::test]
async fn a_lease_that_is_renewed_after_its_head_came_back_stays() {
    let mut cluster = Cluster::started("renewed", 3, "").await;
    grant(&cluster.nodes[1], TERM_S, &["a"]).await;
    let mut watching = cluster.nodes[1].watch().await;
    let mut renewed = Instant::now();
    for _ in 0..3 {
        cluster.nodes[0].kill();
        cluster.nodes[0].start();
        cluster.nodes[0].serves().await;
        renewed = Instant::now();
        assert_eq!(renew(&cluster.nodes[2]).await.expect("an answer"), TERM_S);
    }
    ends_once(&cluster, &mut watching, &["a"], renewed + TERM).await;
}

#[tokio::test]
async fn a_lease_that_is_renewed_through_another_node_alone_stays() {
    let cluster = Cluster::started("another", 3, "").await;
    let mut renewed = grant(&cluster.nodes[1], TERM_S, &["a"]).await;
    let mut watching = cluster.nodes[1].watch().await;
    let until = renewed + 3 * TERM;
    let mut pace = interval(TERM / 4);
    while renewed < until {
        pace.tick().await;
        renewed = Instant::now();
        assert_eq!(renew(&cluster.nodes[2]).await.expect("an answer"), TERM_S);
        assert_eq!(cluster.nodes[0].keys().await, ["a"]);
    }
    ends_once(&cluster, &mut watching, &["a"], renewed + TERM).await;
}

#[tokio::test]
async fn a_lease_whose_only_way_of_renewal_died_ends_once() {
    let mut cluster = Cluster::started("died", 3, "").await;
    grant(&cluster.nodes[1], TERM_S, &["a", "b", "c"]).await;
    let mut watching = cluster.nodes[2].watch().await;
    let renewed = Instant::now();
    assert_eq!(renew(&cluster.nodes[1]).await.expect("an answer"), TERM_S);
    cluster.nodes[1].kill();
    cluster.nodes[1].start();
    cluster.nodes[1].serves().await;
    ends_once(&cluster, &mut watching, &["a", "b", "c"], renewed + TERM).await;
}

#[tokio::test]
async fn a_lease_that_is_revoked_while_it_is_renewed_elsewhere_is_gone() {
    let cluster = Cluster::started("revoked", 3, "").await;
    grant(&cluster.nodes[0], 60, &["a", "b"]).await;
    let mut watching = cluster.nodes[0].watch().await;
    let renewed = Cell::new(0);
    let renewals = async {
        while renew(&cluster.nodes[2]).await.expect("an answer") != 0 {
            renewed.set(renewed.get() + 1);
        }
    };
    let revoked = async {
        while renewed.get() < 3 {
            assert_eq!(time(&cluster.nodes[1]).await.keys.len(), 2);
        }
        let request = pb::LeaseRevokeRequest { id: LEASE };
        cluster.nodes[1].lease().lease_revoke(request).await.expect("revoked");
    };
    timeout(PATIENCE, async { tokio::join!(renewals, revoked) }).await.expect("it ends");
    ends_once(&cluster, &mut watching, &["a", "b"], Instant::now() - PATIENCE).await;
    let again = cluster.nodes[2].lease().lease_revoke(pb::LeaseRevokeRequest { id: LEASE }).await;
    assert_eq!(again.expect_err("it is gone").code(), Code::NotFound);
}

#[tokio::test]
async fn every_node_says_the_same_of_a_lease() {
    const LONG_S: i64 = 600;
    let cluster = Cluster::started("same", 3, "").await;
    let mut asked = grant(&cluster.nodes[1], LONG_S, &["a", "b"]).await;
    for renewing in &cluster.nodes {
        for node in &cluster.nodes {
            let said = time(node).await;
            let elapsed_s = i64::try_from(asked.elapsed().as_secs()).expect("a short time") + 1;
            assert!((LONG_S - elapsed_s..=LONG_S).contains(&said.ttl), "node {}: {said:?}", node.id);
            assert_eq!((said.id, said.granted_ttl), (LEASE, LONG_S), "node {}", node.id);
            assert_eq!(said.keys, ["a", "b"], "node {}", node.id);
            assert_eq!(leases(node).await, [LEASE], "node {}", node.id);
        }
        asked = Instant::now();
        assert_eq!(renew(renewing).await.expect("an answer"), LONG_S);
    }
}
