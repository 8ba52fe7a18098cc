//! Hosts on real sockets (loopback) and a real disk (a temporary folder): what needs a kernel.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate_model::{Context, DecodeError, Event, NodeId, Pid, Process, Reader, Wire};
use quorate_runtime::host::{Host, HostConfig, HostError, Port, PortContext};
use quorate_runtime::net::NetConfig;
use quorate_runtime::wal::{Folder, Options, inspect};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// Counts; tells its peer; the peer acknowledges when it has it on disk too. Alarms repeat what got lost.
#[derive(Debug)]
struct Counter {
    peer: Pid,
    mine: u64,
    theirs: u64,
    acknowledged: u64,
    waiting: Vec<(Pid, u64)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Message {
    Add,
    Added(u64),
    Mine(u64),
    Have(u64),
    Break,
}

#[derive(Clone, Debug)]
enum Record {
    Mine(u64),
    Theirs(u64),
}

const REPEAT: std::ops::Range<Duration> = Duration::from_millis(20)..Duration::from_millis(40);

impl Process for Counter {
    type Message = Message;
    type Timer = u8;
    type Record = Record;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Start => {
                cx.send(self.peer, Message::Mine(self.mine));
                cx.set(0, REPEAT);
            }
            Event::Alarm(_) => {
                if self.acknowledged < self.mine {
                    cx.send(self.peer, Message::Mine(self.mine));
                }
                cx.set(0, REPEAT);
            }
            Event::Message { from, message: Message::Add } => {
                let mine = self.mine + 1;
                cx.append(self, Record::Mine(mine));
                self.waiting.push((from, mine));
                cx.send(self.peer, Message::Mine(mine));
            }
            Event::Message { from, message: Message::Mine(count) } => {
                if count > self.theirs {
                    cx.append(self, Record::Theirs(count));
                }
                cx.send(from, Message::Have(self.theirs));
            }
            Event::Message { message: Message::Have(count), .. } => {
                self.acknowledged = self.acknowledged.max(count);
                for (asker, _) in self.waiting.extract_if(.., |(_, wanted)| *wanted <= count) {
                    cx.send(asker, Message::Added(count));
                }
            }
            Event::Message { message: Message::Break, .. } => panic!("an invariant that does not hold"),
            Event::Message { message: Message::Added(_), .. } => {}
        }
    }

    fn replay(&mut self, record: Record) {
        match record {
            Record::Mine(count) => self.mine = count,
            Record::Theirs(count) => self.theirs = count,
        }
    }

    fn compact(&self) -> impl Iterator<Item = Record> {
        [Record::Mine(self.mine), Record::Theirs(self.theirs)].into_iter()
    }
}

impl Wire for Message {
    fn encode(&self, out: &mut Vec<u8>) {
        let (kind, count) = match self {
            Self::Add => (0, 0),
            Self::Added(count) => (1, *count),
            Self::Mine(count) => (2, *count),
            Self::Have(count) => (3, *count),
            Self::Break => (4, 0),
        };
        out.push(kind);
        count.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let kind = input.byte()?;
        let count = u64::decode(input)?;
        Ok(match kind {
            0 => Self::Add,
            1 => Self::Added(count),
            2 => Self::Mine(count),
            3 => Self::Have(count),
            4 => Self::Break,
            other => return Err(DecodeError::Unknown { what: "message", value: other.into() }),
        })
    }
}

impl Wire for Record {
    fn encode(&self, out: &mut Vec<u8>) {
        let (kind, count) = match self {
            Self::Mine(count) => (0, count),
            Self::Theirs(count) => (1, count),
        };
        out.push(kind);
        count.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let kind = input.byte()?;
        let count = u64::decode(input)?;
        Ok(if kind == 0 { Self::Mine(count) } else { Self::Theirs(count) })
    }
}

enum Ask {
    Add(oneshot::Sender<u64>),
    Counts(oneshot::Sender<(u64, u64)>),
    Break,
}

#[derive(Default)]
struct Asks {
    next: u32,
    waiting: BTreeMap<u32, oneshot::Sender<u64>>,
}

impl Port<Counter> for Asks {
    type Ask = Ask;

    fn ask(&mut self, ask: Ask, cx: &mut PortContext<'_, Counter>) {
        let node = cx.node().0;
        let message = match ask {
            Ask::Add(answer) => {
                self.next += 1;
                self.waiting.insert(self.next, answer);
                Message::Add
            }
            Ask::Counts(answer) => {
                let counter = cx.process(Pid::chain(node, 0)).expect("it was configured");
                let _ = answer.send((counter.mine, counter.theirs));
                return;
            }
            Ask::Break => Message::Break,
        };
        cx.push(Pid::outside(node, self.next), Pid::chain(node, 0), message).expect("little waits");
    }

    fn tell(&mut self, _: Pid, to: Pid, message: Message, _: &mut PortContext<'_, Counter>) {
        if let (Message::Added(count), Some(answer)) = (message, self.waiting.remove(&to.shard)) {
            let _ = answer.send(count);
        }
    }
}

struct Node {
    asks: mpsc::Sender<Ask>,
    stop: oneshot::Sender<()>,
    run: tokio::task::JoinHandle<Result<(), HostError>>,
}

struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("quorate-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn start(folder: &TemporaryFolder, node: u32, listener: TcpListener, addresses: &[SocketAddr; 2]) -> Node {
    let peers = (0..2).map(|index| (NodeId(index), addresses[index as usize].to_string())).collect();
    let mut config = HostConfig::new(NetConfig::new("test", NodeId(node), peers));
    config.wal = Options { segment_bytes: 16 << 10, ..Options::default() };
    config.compact_growth_bytes = 40 << 10;
    config.flight_path = Some(folder.0.join(format!("flight-{node}")));
    let disk = Folder::open(folder.0.join(node.to_string())).expect("a folder can be made");
    let counter = Counter { peer: Pid::chain(1 - node, 0), mine: 0, theirs: 0, acknowledged: 0, waiting: Vec::new() };
    let (asks, asked) = mpsc::channel(1024);
    let (stop, stopped) = oneshot::channel::<()>();
    let processes = vec![(Pid::chain(node, 0), counter)];
    let (host, _) =
        Host::open(config, Arc::new(disk), listener, processes, Asks::default(), asked).expect("the log opens");
    let shutdown = async {
        let _ = stopped.await;
    };
    Node { asks, stop, run: tokio::task::spawn_local(host.run(shutdown)) }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    let bounded = async { tokio::time::timeout(Duration::from_secs(60), test).await };
    local.block_on(&runtime, bounded).expect("the test ends in time");
}

impl Node {
    async fn add(&self) -> u64 {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask::Add(answer)).await.expect("the node runs");
        answered.await.expect("it is answered")
    }

    async fn counts(&self) -> (u64, u64) {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask::Counts(answer)).await.expect("the node runs");
        answered.await.expect("it is answered")
    }
}

#[test]
fn two_nodes_keep_what_they_acknowledged_through_restarts_and_compactions() {
    run(async {
        let folder = TemporaryFolder::new("host");
        let ((first, a), (second, b)) = (listen().await, listen().await);
        let addresses = [a, b];
        let mut nodes = [start(&folder, 0, first, &addresses), start(&folder, 1, second, &addresses)];
        let mut acknowledged = [0, 0];
        for round in 0..4 {
            for index in 0..2 {
                for _ in 0..100 {
                    acknowledged[index] = acknowledged[index].max(nodes[index].add().await);
                }
            }
            let index = round % 2;
            let [zero, one] = nodes;
            let (stopping, staying) = if index == 0 { (zero, one) } else { (one, zero) };
            stopping.stop.send(()).expect("it runs");
            stopping.run.await.expect("no panic").expect("the log closes");
            let listener = TcpListener::bind(addresses[index]).await.expect("the port is free again");
            let started = start(&folder, index as u32, listener, &addresses);
            nodes = if index == 0 { [started, staying] } else { [staying, started] };
            for (index, node) in nodes.iter().enumerate() {
                let (mine, _) = node.counts().await;
                assert_eq!(mine, acknowledged[index], "node {index} in round {round}");
            }
        }
        assert_eq!(acknowledged, [400, 400]);
        for node in nodes {
            node.stop.send(()).expect("it runs");
            node.run.await.expect("no panic").expect("the log closes");
        }
        let disk = Folder::open(folder.0.join("0")).expect("it is there");
        let verdict = inspect::verify(&disk).expect("it can be read");
        assert_eq!((verdict.damage, verdict.torn), (None, None));
        assert!(verdict.record_count < 600, "it was compacted: {}", verdict.record_count);
    });
}

#[test]
fn a_broken_invariant_ends_the_node_and_leaves_the_flight_recorder() {
    run(async {
        let folder = TemporaryFolder::new("broken");
        let ((first, a), (_second, b)) = (listen().await, listen().await);
        let node = start(&folder, 0, first, &[a, b]);
        node.asks.send(Ask::Break).await.expect("the node runs");
        let ended = node.run.await.expect("the panic was caught");
        let Err(HostError::Broken(text)) = ended else { panic!("the node did not end") };
        assert_eq!(text, "an invariant that does not hold");
        let flight = std::fs::read_to_string(folder.0.join("flight-0")).expect("the recorder was written");
        assert!(flight.lines().any(|line| line.contains(" Step ")), "{flight}");
    });
}
