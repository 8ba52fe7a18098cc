//! Links on real sockets (loopback): what is delivered, what is refused, and what is dropped.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quorate_model::codec::put_frame;
use quorate_model::{NodeId, Pid, Wire};
use quorate_runtime::net::{Hello, Inbound, Net, NetConfig, Release, take_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

type Links = Net<Bytes>;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await.expect("it ends in time") });
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

fn config(node: u32, addresses: &[SocketAddr]) -> NetConfig {
    let peers = addresses.iter().zip(1..).map(|(address, node)| (NodeId(node), address.to_string())).collect();
    NetConfig::new("test", NodeId(node), peers)
}

/// Waits until `condition` holds, looking again whenever something else had its turn.
async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

async fn receive(net: &mut Links, wanted: usize) -> Vec<Inbound<Bytes>> {
    let mut inbox = VecDeque::new();
    until(|| {
        net.take(&mut inbox, 1024);
        inbox.len() >= wanted
    })
    .await;
    inbox.into()
}

/// Two nodes, 1 and 2, with links up both ways.
async fn pair(change: impl Fn(&mut NetConfig)) -> (Links, Links, [SocketAddr; 2]) {
    let ((first, a), (second, b)) = (listen().await, listen().await);
    let start = |node, listener| {
        let mut config = config(node, &[a, b]);
        change(&mut config);
        Links::start(config, listener, Arc::new(Notify::new()))
    };
    let (one, two) = (start(1, first), start(2, second));
    until(|| one.is_up(NodeId(2)) && two.is_up(NodeId(1))).await;
    (one, two, [a, b])
}

const FROM: Pid = Pid::chain(1, 0);
const TO: Pid = Pid::chain(2, 0);

#[test]
fn messages_arrive_whole_in_order_and_stamped() {
    run(async {
        let (mut one, mut two, _) = pair(|_| {}).await;
        one.set_wall_ms(1_000_000);
        two.set_wall_ms(999_000);
        let large = Bytes::from(vec![7; 3 << 20]);
        for number in 0..1_000_u32 {
            one.send(FROM, TO, &Bytes::copy_from_slice(&number.to_be_bytes()));
        }
        one.send(FROM, TO, &large);
        one.flush();
        let inbox = receive(&mut two, 1_001).await;
        for (number, inbound) in inbox[..1_000].iter().enumerate() {
            assert_eq!((inbound.from, inbound.to), (FROM, TO));
            assert_eq!(inbound.message, Bytes::copy_from_slice(&(number as u32).to_be_bytes()));
        }
        assert_eq!(inbox[1_000].message, large);
        assert!(inbox.is_sorted_by(|early, late| early.sent < late.sent));
        let answer = two.stamp();
        assert!(answer > inbox[1_000].sent, "the receiver's clock moved on, though its wall clock is behind");
        assert!(count(&one.metrics().writes) < 200, "all that waited went with few writes");
    });
}

#[test]
fn a_clock_far_ahead_is_not_taken_over() {
    run(async {
        let (mut one, mut two, _) = pair(|_| {}).await;
        one.set_wall_ms(u64::MAX / 2);
        two.set_wall_ms(1_000);
        one.send(FROM, TO, &Bytes::new());
        one.flush();
        receive(&mut two, 1).await;
        assert_eq!(two.stamp().wall_ms, 1_000);
        assert_eq!(count(&two.metrics().ahead), 1);
    });
}

#[test]
fn peers_come_and_go_while_the_links_of_others_stay() {
    run(async {
        let (mut one, mut two, [a, b]) = pair(|_| {}).await;
        let (third, c) = listen().await;
        let three = Links::start(config(3, &[a, b, c]), third, Arc::new(Notify::new()));
        until(|| three.is_up(NodeId(2)) || count(&three.metrics().refused) > 1).await;
        assert!(!three.is_up(NodeId(1)), "nobody knows node 3 yet");

        let all: BTreeMap<_, _> = [(NodeId(2), b.to_string()), (NodeId(3), c.to_string())].into();
        one.know(&all);
        until(|| three.is_up(NodeId(1)) && one.is_up(NodeId(3))).await;
        assert!(one.is_up(NodeId(2)), "the link of the other stayed");

        one.know(&[(NodeId(3), c.to_string())].into());
        until(|| !two.is_up(NodeId(1))).await;
        assert!(!one.is_up(NodeId(2)) && one.is_up(NodeId(3)));
        one.send(FROM, TO, &Bytes::new());
        assert_eq!(count(&one.metrics().dropped_misrouted), 1);

        one.know(&all);
        until(|| two.is_up(NodeId(1)) && one.is_up(NodeId(2))).await;
        one.send(FROM, TO, &Bytes::from_static(b"again"));
        one.flush();
        assert_eq!(receive(&mut two, 1).await[0].message, "again");
    });
}

#[test]
fn a_link_comes_back_when_its_peer_does() {
    run(async {
        let (mut one, two, [a, b]) = pair(|_| {}).await;
        drop(two);
        until(|| !one.is_up(NodeId(2))).await;
        let listener = TcpListener::bind(b).await.expect("the port is free again");
        let mut two = Links::start(config(2, &[a, b]), listener, Arc::new(Notify::new()));
        until(|| one.is_up(NodeId(2))).await;
        one.send(FROM, TO, &Bytes::from_static(b"again"));
        one.flush();
        assert_eq!(receive(&mut two, 1).await[0].message, "again");
    });
}

#[test]
fn what_does_not_fit_is_dropped_whole_and_counted() {
    run(async {
        let (mut one, mut two, _) = pair(|config| {
            config.mailbox_len_max = 10;
            config.outgoing_bytes_max = 4_000;
        })
        .await;
        for _ in 0..100 {
            one.send(FROM, TO, &Bytes::from(vec![1; 100]));
        }
        one.flush();
        let sent = count(&one.metrics().sent);
        assert_eq!(sent + count(&one.metrics().dropped_outgoing), 100);
        assert!((20..40).contains(&sent), "{sent}");
        let metrics = two.metrics();
        until(|| count(&metrics.received) + count(&metrics.dropped_mailbox) == sent).await;
        assert_eq!(receive(&mut two, 10).await.len(), 10);
        one.send(FROM, Pid::chain(9, 0), &Bytes::new());
        assert_eq!(count(&one.metrics().dropped_misrouted), 1);
    });
}

/// Node `node` of this release speaks to node 1.
fn hello_of(node: u32) -> Hello {
    Hello { release: Release::OWN, cluster: "test".to_owned(), node: NodeId(node), instance: 5, to: NodeId(1) }
}

/// Says hello as `hello` and gives what is answered: the kind of the frame and its payload.
async fn greet(address: SocketAddr, hello: &Hello) -> (TcpStream, u8, Bytes) {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let mut bytes = Vec::new();
    put_frame(1, &mut bytes, |out| hello.encode(out));
    stream.write_all(&bytes).await.expect("it takes a hello");
    let mut buffer = bytes::BytesMut::new();
    loop {
        if let Some((kind, payload)) = take_frame(&mut buffer, 4096).expect("it answers in frames") {
            return (stream, kind, payload);
        }
        assert!(stream.read_buf(&mut buffer).await.expect("it answers") > 0, "it closed without an answer");
    }
}

async fn refusal(address: SocketAddr, hello: &Hello) -> String {
    let (_, kind, payload) = greet(address, hello).await;
    assert_eq!(kind, 3);
    String::from_bytes(payload).expect("a reason")
}

#[test]
fn strangers_and_twins_are_refused_with_the_reason() {
    run(async {
        let (one, two, [a, _]) = pair(|_| {}).await;
        let hello = hello_of(2);
        let far = Release { minor: Release::OWN.minor + 2, ..Release::OWN };
        let why = refusal(a, &Hello { release: far, ..hello.clone() }).await;
        assert!(why.contains(&format!("the other side is release {far}, this one {}", Release::OWN)), "{why}");
        let other = Hello { cluster: "other".to_owned(), ..hello.clone() };
        assert!(refusal(a, &other).await.contains("belongs to cluster \"other\", this one to \"test\""));
        let unknown = Hello { node: NodeId(7), ..hello.clone() };
        assert!(refusal(a, &unknown).await.contains("node 7 is not known to this one"));
        let lost = Hello { to: NodeId(2), ..hello.clone() };
        assert!(refusal(a, &lost).await.contains("node 2 was dialed, but node 1 listens"));
        let mine = Hello { node: NodeId(1), ..hello.clone() };
        assert!(refusal(a, &mine).await.contains("two processes run as node 1"));
        assert!(refusal(a, &hello).await.contains("two processes run as node 2"), "node 2 is alive");
        let metrics = one.metrics();
        until(|| count(&metrics.refused) >= 6).await;
        assert!(two.is_up(NodeId(1)), "the true node 2 kept its link");
    });
}

#[test]
fn a_node_that_restarts_replaces_its_old_link() {
    run(async {
        let (listener, address) = listen().await;
        let config = config(1, &[address, address]);
        let _one = Links::start(config, listener, Arc::new(Notify::new()));
        let hello = hello_of(2);
        let (mut old, kind, _) = greet(address, &hello).await;
        assert_eq!(kind, 2);
        let (_new, kind, _) = greet(address, &hello).await;
        assert_eq!(kind, 2);
        assert_eq!(old.read(&mut [0; 16]).await.expect("it was closed in order"), 0);
    });
}

#[test]
fn bytes_that_are_not_ours_close_their_link_and_no_other() {
    run(async {
        let (mut one, mut two, [a, b]) = pair(|_| {}).await;
        for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], b"Qr\x01\x01\xff\xff\xff\xff\0\0\0\0", b"Qr\x09\x01"]
        {
            for address in [a, b] {
                let mut stream = TcpStream::connect(address).await.expect("it listens");
                stream.write_all(garbage).await.expect("it takes bytes");
                stream.shutdown().await.expect("it is open");
                let mut answer = Vec::new();
                // Closed, with a refusal or without: it may also be cut because we said more than was read.
                let _ = stream.read_to_end(&mut answer).await;
                assert!(answer.is_empty() || answer.starts_with(b"Qr"), "{answer:?}");
            }
        }
        // Past the hello: a frame whose sender is another node, and one that is no message.
        let hello = hello_of(3);
        assert!(refusal(a, &hello).await.contains("node 3"));
        one.send(FROM, TO, &Bytes::from_static(b"still up"));
        one.flush();
        assert_eq!(receive(&mut two, 1).await[0].message, "still up");
        assert!(one.is_up(NodeId(2)) && two.is_up(NodeId(1)));
    });
}

#[test]
fn a_message_in_the_name_of_another_node_closes_the_link() {
    run(async {
        let (listener, address) = listen().await;
        let mut peers = BTreeMap::from([(NodeId(1), address.to_string())]);
        peers.insert(NodeId(2), address.to_string());
        let one = Links::start(NetConfig::new("test", NodeId(1), peers), listener, Arc::new(Notify::new()));
        let hello = hello_of(2);
        let (mut stream, _, _) = greet(address, &hello).await;
        let mut frame = Vec::new();
        put_frame(6, &mut frame, |out| {
            0_u64.encode(out);
            0_u32.encode(out);
            Pid::chain(3, 0).encode(out);
            Pid::chain(1, 0).encode(out);
            Bytes::new().encode(out);
        });
        stream.write_all(&frame).await.expect("it takes bytes");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let metrics = one.metrics();
        until(|| count(&metrics.malformed) == 1).await;
        assert_eq!(count(&metrics.received), 0);
    });
}
