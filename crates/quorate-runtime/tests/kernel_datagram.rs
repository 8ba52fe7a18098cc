//! Datagrams on real sockets (loopback): what is heard, what is refused and counted, and who is answered where.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use quorate_model::NodeId;
use quorate_runtime::datagram::{DATAGRAM_BYTES_MAX, Datagrams, Key, KeyRing, PAYLOAD_BYTES_MAX, Refusal, Seal};
use tokio::net::UdpSocket;

type Socket = Datagrams<Bytes>;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(120), test).await.expect("it ends in time") });
}

async fn socket(cluster: &str, node: u32, key: [u8; 32]) -> (Socket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
    let address = socket.local_addr().expect("it is bound");
    let seal = Seal::new(NodeId(node), 1, KeyRing::new(cluster, &Key::new(key)), 64);
    (Datagrams::new(socket, seal).await.expect("the socket is fine"), address)
}

/// The next message that is heard.
async fn receive(at: &mut Socket) -> (NodeId, Bytes) {
    let mut heard = Vec::new();
    while heard.is_empty() {
        at.receive_some(&mut heard).await.expect("the socket is fine");
    }
    assert_eq!(heard.len(), 1, "nobody sends more before it was heard");
    heard.remove(0)
}

const KEY: [u8; 32] = [7; 32];

#[test]
fn a_message_arrives_and_its_sender_is_answered_where_it_was_heard() {
    run(async {
        let (mut one, _) = socket("c", 1, KEY).await;
        let (mut two, at_two) = socket("c", 2, KEY).await;
        one.know(NodeId(2), at_two);
        one.send(NodeId(2), &Bytes::from_static(b"question"));
        assert_eq!(receive(&mut two).await, (NodeId(1), Bytes::from_static(b"question")));
        two.send(NodeId(1), &Bytes::from_static(b"answer")); // which is in no book
        assert_eq!(receive(&mut one).await, (NodeId(2), Bytes::from_static(b"answer")));
        two.send(NodeId(3), &Bytes::new());
        assert_eq!(two.metrics().dropped_nowhere.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn the_largest_message_arrives_and_a_larger_one_is_dropped_and_counted() {
    run(async {
        let (mut one, _) = socket("c", 1, KEY).await;
        let (mut two, at_two) = socket("c", 2, KEY).await;
        one.know(NodeId(2), at_two);
        // Two bytes of the payload are the length.
        let largest = Bytes::from(vec![5; PAYLOAD_BYTES_MAX - 2]);
        one.send(NodeId(2), &Bytes::from(vec![5; PAYLOAD_BYTES_MAX - 1]));
        one.send(NodeId(2), &largest);
        assert_eq!(receive(&mut two).await.1, largest);
        assert_eq!(one.metrics().dropped_too_long.load(Ordering::Relaxed), 1);
        assert_eq!(one.metrics().sent_bytes.load(Ordering::Relaxed), DATAGRAM_BYTES_MAX as u64);
    });
}

/// An eavesdropper with a socket of its own plays a datagram again; others belong to another cluster, have another key, or
/// send what is no message at all.
#[test]
fn what_is_refused_is_counted_by_its_reason() {
    run(async {
        let (mut one, _) = socket("c", 1, KEY).await;
        let (mut other_cluster, _) = socket("d", 3, KEY).await;
        let (mut other_key, _) = socket("c", 4, [8; 32]).await;
        let (mut two, at_two) = socket("c", 2, KEY).await;
        let eavesdropper = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
        let at_eavesdropper = eavesdropper.local_addr().expect("it is bound");

        one.know(NodeId(2), at_eavesdropper);
        one.send(NodeId(2), &Bytes::from_static(b"once"));
        let mut overheard = [0; 2048];
        let (length, _) = eavesdropper.recv_from(&mut overheard).await.expect("it arrives");
        for _ in 0..3 {
            eavesdropper.send_to(&overheard[..length], at_two).await.expect("it is sent");
        }
        overheard[length - 1] ^= 1;
        eavesdropper.send_to(&overheard[..length], at_two).await.expect("it is sent");
        eavesdropper.send_to(&[0; 2000], at_two).await.expect("it is sent");
        for stranger in [&mut other_cluster, &mut other_key] {
            stranger.know(NodeId(2), at_two);
            stranger.send(NodeId(2), &Bytes::new());
        }
        // What authenticates and is no message: five bytes that promise nine.
        let mut seal = Seal::new(NodeId(5), 1, KeyRing::new("c", &Key::new(KEY)), 1);
        let mut datagram = Vec::new();
        seal.seal(NodeId(2), &[9, 1, 2, 3, 4], &mut datagram).expect("it fits");
        eavesdropper.send_to(&datagram, at_two).await.expect("it is sent");

        one.know(NodeId(2), at_two);
        one.send(NodeId(2), &Bytes::from_static(b"last"));
        let mut heard = Vec::new();
        while heard.last().is_none_or(|(_, last)| last != "last") {
            two.receive_some(&mut heard).await.expect("the socket is fine");
        }
        let heard: Vec<_> = heard.into_iter().map(|(_, message)| message).collect();
        assert_eq!(heard, ["once", "last"]);
        let metrics = two.metrics();
        let refused = |refusal| metrics.refused(&refusal);
        assert_eq!(refused(Refusal::Replayed), 2);
        assert_eq!(refused(Refusal::Forged), 1);
        assert_eq!(refused(Refusal::NotOurs), 1);
        assert_eq!(refused(Refusal::OtherCluster), 1);
        assert_eq!(refused(Refusal::UnknownKey), 1);
        assert_eq!(refused(Refusal::Malformed), 1);
        assert_eq!(metrics.received.load(Ordering::Relaxed), 2);
        assert_eq!(metrics.sent.load(Ordering::Relaxed), 0, "nothing is answered to what is refused");
    });
}
