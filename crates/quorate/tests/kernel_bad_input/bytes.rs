//! Bytes that are nobody's protocol, on both ports.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::cluster::{Cluster, exchange, until};

/// The begin of every HTTP/2 connection.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn garbage(rng: &mut ChaCha8Rng, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| rng.random()).collect()
}

/// A frame header as the nodes write it, with a length that is not true.
fn frame(kind: u8, length: u32, checksum: u32) -> Vec<u8> {
    let mut frame = b"Qr\x01".to_vec();
    frame.push(kind);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&checksum.to_le_bytes());
    frame
}

#[tokio::test]
async fn garbage_closes_the_link_that_it_came_on_and_nothing_else() {
    let mut cluster = Cluster::started("bytes", 3, "").await;
    cluster.nodes[0].put("before", "1").await.expect("a put");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for node in &cluster.nodes {
        let (client, peer) = node.settings.members[node.id - 1].clone();
        let mut for_peers = vec![
            frame(1, u32::MAX, 0),
            frame(6, 1 << 30, 7),
            frame(1, 4, 0).into_iter().chain([0; 4]).collect(),
            [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[0; 64]].concat(),
        ];
        let mut for_clients = vec![
            [PREFACE, &garbage(&mut rng, 4096)].concat(),
            [PREFACE, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], &garbage(&mut rng, 1 << 16)].concat(),
            b"POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n".to_vec(),
            b"POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n".to_vec(),
            b"POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 7\r\n\r\n\xff\0{\"a\":1"
                .to_vec(),
            [b"GET /".as_slice(), &[b'a'; 1 << 20], b" HTTP/1.1\r\n\r\n"].concat(),
        ];
        for bytes in [16, 100, 5_000, 100_000] {
            for_peers.push(garbage(&mut rng, bytes));
            for_clients.push([b"\x00".as_slice(), &garbage(&mut rng, bytes), b"\r\n\r\n"].concat());
        }
        let refused = node.counter("quorate_net_refused_total");
        let count = for_peers.len() as u64;
        std::thread::scope(|scope| {
            let all =
                for_peers.iter().map(|bytes| (&peer, bytes)).chain(for_clients.iter().map(|bytes| (&client, bytes)));
            for (address, bytes) in all {
                scope.spawn(move || {
                    let answer = exchange(address, bytes);
                    assert!(answer.is_some(), "{address} keeps a link open on {:?}", &bytes[..bytes.len().min(80)]);
                });
            }
        });
        until("each bad link is counted", || {
            (node.counter("quorate_net_refused_total") >= refused + count).then_some(())
        });
        node.says("link refused");
        node.put("after", "2").await.expect("it goes on");
        assert_eq!(node.keys().await, ["after", "before"]);
    }
    for node in &mut cluster.nodes {
        assert!(node.runs(), "{}", node.said());
        node.stop();
    }
}
