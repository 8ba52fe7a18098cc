//! A cluster whose nodes are of different releases, as they see it: before each node stands a proxy which rewrites the
//! release in the first words of a link, both ways, and carries all else as it is.
//!
//! What a later release says in other words, this cannot show; that is the business of the test that will come with it.

#[path = "support/cluster.rs"]
mod cluster;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use cluster::{Cluster, Node, addresses, until};
use quorate::http::ChainList;
use quorate_model::codec::put_frame;
use quorate_runtime::net::{Hello, Release, take_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// The kinds of the first frames that say who speaks.
const WHO_SPEAKS: [u8; 2] = [1, 2];
/// Far above the first frame.
const FIRST_BYTES_MAX: usize = 4096;

/// By how many releases each node is ahead of this build, as the others see it.
type Ahead = Arc<Mutex<BTreeMap<u32, u32>>>;

/// Carries one direction of a link, from its first frame on; nothing is left to say when either side is gone.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, ahead: Ahead) -> Option<()> {
    let mut buffer = BytesMut::new();
    let (kind, payload) = loop {
        if let Some(frame) = take_frame(&mut buffer, FIRST_BYTES_MAX).ok()? {
            break frame;
        }
        if from.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    };
    let mut out = Vec::new();
    let said = if WHO_SPEAKS.contains(&kind) { Hello::read(payload.clone()).ok() } else { None };
    match said {
        Some(mut hello) => {
            hello.release.minor +=
                ahead.lock().expect("nobody panics with it").get(&hello.node.0).copied().unwrap_or(0);
            put_frame(kind, &mut out, |out| hello.encode(out));
        }
        None => put_frame(kind, &mut out, |out| out.extend_from_slice(&payload)),
    }
    out.extend_from_slice(&buffer);
    to.write_all(&out).await.ok()?;
    copy(&mut from, &mut to).await.ok().map(drop)
}

/// Stands at `at` for the node at `node`, for links and for datagrams.
async fn stand(at: String, node: String, ahead: Ahead) {
    let listener = TcpListener::bind(&at).await.expect("the port is free");
    let (outer, inner) =
        (UdpSocket::bind(&at).await.expect("the port is free"), UdpSocket::bind("127.0.0.1:0").await.expect("a port"));
    let node: SocketAddr = node.parse().expect("an address");
    let datagrams = async {
        let mut datagram = [0; 2048];
        loop {
            // A node that is down is told of as an error, which is of no interest here.
            if let Ok((count, _)) = outer.recv_from(&mut datagram).await {
                let _ = inner.send_to(&datagram[..count], node).await;
            }
        }
    };
    let links = async {
        let mut carried = JoinSet::new();
        loop {
            let (dialer, _) = listener.accept().await.expect("a link");
            let ahead = Arc::clone(&ahead);
            carried.spawn(async move {
                let node = TcpStream::connect(node).await.ok()?;
                let ((from_dialer, to_dialer), (from_node, to_node)) = (dialer.into_split(), node.into_split());
                tokio::select! {
                    ended = carry(from_dialer, to_node, Arc::clone(&ahead)) => ended,
                    ended = carry(from_node, to_dialer, ahead) => ended,
                }
            });
        }
    };
    tokio::join!(datagrams, links);
}

/// Three nodes behind proxies, not started.
fn behind_proxies(name: &str) -> (Cluster, Ahead) {
    let ahead = Ahead::default();
    let mut cluster = Cluster::new(name, 3, "patience_ms = 3000");
    let mut proxies = Vec::new();
    for (node, listen) in cluster.nodes.iter_mut().zip(addresses(3)) {
        let at = node.settings.members[node.id - 1].1.clone();
        node.settings.listen = format!("listen_peer = \"{listen}\"\n");
        proxies.push(stand(at, listen, Arc::clone(&ahead)));
    }
    // On a thread of their own, since the test waits by looking again and again. It ends with the process.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(futures_util::future::join_all(proxies));
    });
    (cluster, ahead)
}

/// Waits until all three are members and this one serves.
fn is_one_of_three(node: &Node) {
    until(&format!("node {} is one of three", node.id), || {
        let page = node.page("/v1/chains")?;
        let list: ChainList = serde_json::from_str(page.split_once("\r\n\r\n")?.1).ok()?;
        let chain = list.chains.first()?;
        (chain.members.len() == 3 && chain.joiner.is_none() && chain.own.serving && chain.own.lease_ms > 0)
            .then_some(())
    });
}

#[tokio::test]
async fn a_cluster_is_upgraded_node_by_node_and_serves_meanwhile() {
    let (mut cluster, ahead) = behind_proxies("upgraded");
    for node in &mut cluster.nodes {
        node.start();
    }
    for node in &mut cluster.nodes {
        node.serves().await;
    }
    let mut wanted = Vec::new();
    for at in 0..3 {
        is_one_of_three(&cluster.nodes[at]);
        cluster.nodes[at].stop();
        let stays = &cluster.nodes[(at + 1) % 3];
        let key = format!("while-{at}-is-down");
        stays.put(&key, "1").await.expect("a put at a node that stays");
        wanted.push(key);
        ahead.lock().expect("nobody panics with it").insert(at as u32 + 1, 1);
        cluster.nodes[at].start();
        cluster.nodes[at].serves().await;
        // Now nodes of both releases are members, or all are of the later one.
        for node in &cluster.nodes {
            is_one_of_three(node);
            let key = format!("with-{at}-at-{}", node.id);
            node.put(&key, "1").await.expect("a put at any node");
            wanted.push(key);
        }
    }
    wanted.sort();
    for node in &cluster.nodes {
        assert_eq!(node.keys().await, wanted, "node {}", node.id);
        assert!(!node.said().contains("the other side is release"), "node {} refused one beside it", node.id);
    }
}

#[tokio::test]
async fn a_node_two_releases_ahead_is_refused_with_the_reason_and_the_others_go_on() {
    let (mut cluster, ahead) = behind_proxies("far");
    ahead.lock().expect("nobody panics with it").insert(3, 2);
    for node in &mut cluster.nodes {
        node.start();
    }
    let far = Release { minor: Release::OWN.minor + 2, ..Release::OWN };
    let why = format!("the other side is release {far}, this one {}", Release::OWN);
    for at in [0, 1] {
        cluster.nodes[at].says(&why);
        cluster.nodes[at].serves().await;
        cluster.nodes[at].put("key", "1").await.expect("a put at one of the two");
        assert!(cluster.nodes[at].counter("quorate_net_refused_total") > 0);
    }
    cluster.nodes[2].says(&format!("the peer refused the link: {why}"));
    assert!(cluster.nodes[2].put("key", "2").await.is_err(), "nobody listens to it");
}
