//! What others send to the port of a member, and errors of its socket: counted, never answered, never the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate::membership::{Membership, Standing};
use quorate_model::{Instant, NodeId, Wire};
use quorate_protocols::gossip::Message;
use quorate_runtime::datagram::{DATAGRAM_BYTES_MAX, Key, KeyRing, Refusal, Seal};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::cluster::PATIENCE;
use crate::{Plan, comes_true, holds, stands};

/// What a cluster without keys seals with, which is no secret.
const PUBLIC: [u8; 32] = [0; 32];

/// Sealed by `from` for member 1.
fn sealed(cluster: &str, from: u32, to: u32, key: [u8; 32], payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    let mut seal = Seal::new(NodeId(from), 1, KeyRing::new(cluster, &Key::new(key)), 1);
    seal.seal(NodeId(to), payload, &mut datagram).expect("it fits");
    datagram
}

fn ping() -> Vec<u8> {
    Message::Ping { asked: Instant(7), news: Vec::new() }.to_bytes().to_vec()
}

fn refused(member: &Membership, refusal: Refusal) -> u64 {
    member.datagrams().refused(&refusal)
}

#[tokio::test]
async fn what_no_member_sent_is_counted_by_its_reason_and_never_answered() {
    let plan = Plan::new(1);
    let member = plan.start(1).await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
    let own = sealed("members", 9, 1, PUBLIC, &ping());
    let mut forged = sealed("members", 9, 1, PUBLIC, &ping());
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let mut later = own.clone();
    later[2] = 9;
    let wrong = [
        (Refusal::OtherCluster, sealed("others", 9, 1, PUBLIC, &ping())),
        (Refusal::UnknownKey, sealed("members", 9, 1, [8; 32], &ping())),
        (Refusal::OtherReceiver { to: NodeId(2) }, sealed("members", 9, 2, PUBLIC, &ping())),
        (Refusal::OwnName, sealed("members", 1, 1, PUBLIC, &ping())),
        (Refusal::Version { found: 9 }, later),
        (Refusal::Forged, forged),
        (Refusal::NotOurs, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        (Refusal::NotOurs, vec![0x51; DATAGRAM_BYTES_MAX + 100]),
        (Refusal::NotOurs, Vec::new()),
        (Refusal::Malformed, sealed("members", 8, 1, PUBLIC, &[200, 1, 2, 3])),
        // What only the own node may ask has no bytes, so nobody else can say it.
        (Refusal::Malformed, sealed("members", 7, 1, PUBLIC, &[8])),
    ];
    for (refusal, datagram) in wrong {
        let before = refused(&member, refusal);
        stranger.send_to(&datagram, plan.peer(1)).await.expect("it is sent");
        comes_true(&format!("{refusal:?} is counted"), || refused(&member, refusal) == before + 1).await;
    }
    assert_eq!(member.datagrams().received.load(Ordering::Relaxed), 0);
    assert_eq!(member.datagrams().sent.load(Ordering::Relaxed), 0, "nothing is answered to what is refused");
    // The first time it is a ping and answered; each further time it was heard before.
    for _ in 0..4 {
        stranger.send_to(&own, plan.peer(1)).await.expect("it is sent");
    }
    comes_true("copies are refused", || refused(&member, Refusal::Replayed) == 3).await;
    assert_eq!(member.datagrams().received.load(Ordering::Relaxed), 1);
    let mut answer = [0; 2 * DATAGRAM_BYTES_MAX];
    let received = timeout(PATIENCE, stranger.recv_from(&mut answer)).await.expect("a ping is answered");
    let (length, from) = received.expect("the socket is fine");
    assert_eq!(from, plan.peer(1));
    let mut seal = Seal::new(NodeId(9), 2, KeyRing::new("members", &Key::new(PUBLIC)), 1);
    let opened = seal.open(&mut answer[..length]).expect("it is from member 1");
    let message = Message::from_bytes(bytes::Bytes::copy_from_slice(opened.payload)).expect("it is a message");
    assert!(matches!(message, Message::Ack { target: NodeId(1), asked: Instant(7), .. }), "{message:?}");
    let sent = member.datagrams().sent.load(Ordering::Relaxed);
    assert!(sent <= 2, "an answer, and a comparison with whom nothing is known of; copies are not answered: {sent}");
    let mut page = String::new();
    member.put_metrics(&mut page);
    for line in [
        "quorate_gossip_refused_total{reason=\"replayed\"} 3",
        "quorate_gossip_refused_total{reason=\"not_ours\"} 3",
        "quorate_gossip_refused_total{reason=\"malformed\"} 2",
        "quorate_gossip_members{standing=\"alive\"} 1",
        "quorate_gossip_received_total 1",
    ] {
        assert!(page.lines().any(|found| found == line), "no {line} in {page}");
    }
}

/// The kernel sends nothing to a whole network unless it is asked to in particular, so each datagram for member 2 is an error.
#[tokio::test]
async fn an_error_of_the_socket_is_counted_and_ends_nothing() {
    let mut plan = Plan::new(3);
    plan.members[1].peer = "255.255.255.255:9".to_owned();
    let (one, three) = (plan.start(1).await, plan.start(3).await);
    for member in [&one, &three] {
        comes_true("errors are counted", || member.datagrams().dropped_kernel.load(Ordering::Relaxed) > 1).await;
        holds(member, "the two others are there", |roster| roster.count(Standing::Alive) == 2).await;
        assert_eq!(stands(&member.roster(), 2), Some(Standing::Unknown));
    }
}

/// As many forged datagrams as a thread can send, for as long as it takes two members to meet and one to leave.
#[tokio::test]
async fn a_flood_of_rubbish_keeps_members_neither_from_meeting_nor_from_leaving() {
    let plan = Plan::new(2);
    let one = plan.start(1).await;
    let target = plan.peer(1);
    let mut forged = sealed("members", 9, 1, PUBLIC, &ping());
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let is_over = Arc::new(AtomicBool::new(false));
    let flood = std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            while !is_over.load(Ordering::Relaxed) {
                let _ = socket.send_to(&forged, target); // what the kernel drops is part of it
            }
        }
    });
    comes_true("the flood is there", || refused(&one, Refusal::Forged) > 1_000).await;
    let two = plan.start(2).await;
    for member in [&one, &two] {
        holds(member, "both are alive", |roster| roster.count(Standing::Alive) == 2).await;
    }
    two.leave().await;
    holds(&one, "node 2 is gone", |roster| matches!(stands(roster, 2), Some(Standing::Left | Standing::Dead))).await;
    is_over.store(true, Ordering::Relaxed);
    flood.join().expect("it does not panic");
}
