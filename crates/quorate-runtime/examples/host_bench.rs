//! What a message costs from step to step: two nodes in one program, each on a thread of its own, send each other so many
//! messages at once over TCP, without and with a durable record for each. CPU time is that of all threads and of the
//! kernel's work for them, divided by the messages that arrived.
//!
//! `cargo run --release -p quorate-runtime --example host_bench [FOLDER]`
//!
//! Measured once on 2 virtual cores of an EPYC with other work on both (load 8); the first row with a record pays for
//! the preparation of two segments in a few messages:
//!
//! | messages in flight | record each | messages/s | CPU us a message |
//! |---|---|---|---|
//! | 1 | no | 33,090 | 16.1 |
//! | 64 | no | 1,034,766 | 0.55 |
//! | 1024 | no | 1,410,219 | 0.35 |
//! | 1 | yes | 602 | 169 |
//! | 64 | yes | 29,610 | 4.0 |
//! | 1024 | yes | 249,234 | 0.84 |

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_model::{Context, Event, NodeId, Pid, Process};
use quorate_runtime::host::{Host, HostConfig, Port, PortContext};
use quorate_runtime::net::NetConfig;
use quorate_runtime::wal::Folder;
use rustix::time::{ClockId, clock_gettime};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const PAYLOAD_BYTES: usize = 128;
const BACK: Range<Duration> = Duration::from_secs(1)..Duration::from_secs(2);

/// Sends every message back; one node begins with `window` of them.
struct Ball {
    peer: Pid,
    window: usize,
    is_recorded: bool,
    arrived: Arc<AtomicU64>,
    last: Bytes,
}

impl Process for Ball {
    type Message = Bytes;
    type Timer = u8;
    type Record = Bytes;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Start => cx.set(0, Duration::from_millis(200)..Duration::from_millis(201)),
            Event::Alarm(_) => {
                for _ in 0..std::mem::take(&mut self.window) {
                    cx.send(self.peer, Bytes::from(vec![7; PAYLOAD_BYTES]));
                }
            }
            Event::Message { from, message } => {
                self.arrived.fetch_add(1, Ordering::Relaxed);
                cx.set(1, BACK);
                if self.is_recorded {
                    cx.append(self, message.clone());
                }
                cx.send(from, message);
            }
        }
    }

    fn replay(&mut self, record: Bytes) {
        self.last = record;
    }

    fn compact(&self) -> impl Iterator<Item = Bytes> {
        std::iter::once(self.last.clone())
    }
}

struct Silent;

impl Port<Ball> for Silent {
    type Ask = ();

    fn ask(&mut self, (): (), _: &mut PortContext<'_, Ball>) {}

    fn tell(&mut self, _: Pid, _: Pid, _: Bytes, _: &mut PortContext<'_, Ball>) {}
}

fn main() -> Result<(), Failure> {
    let folder = std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("quorate-host-bench"), PathBuf::from);
    println!("| messages in flight | record each | messages/s | CPU us a message |");
    println!("|---|---|---|---|");
    for is_recorded in [false, true] {
        for window in [1, 64, 1024] {
            measure(&folder, window, is_recorded)?;
        }
    }
    Ok(())
}

fn measure(folder: &Path, window: usize, is_recorded: bool) -> Result<(), Failure> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    let listeners = [std::net::TcpListener::bind("127.0.0.1:0")?, std::net::TcpListener::bind("127.0.0.1:0")?];
    let addresses = [listeners[0].local_addr()?, listeners[1].local_addr()?];
    let arrived = Arc::new(AtomicU64::new(0));
    let mut stops = Vec::new();
    let mut threads = Vec::new();
    for (node, listener) in (0..).zip(listeners) {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        stops.push(stop);
        let window = if node == 0 { window } else { 0 };
        let ball = Ball {
            peer: Pid::chain(1 - node, 0),
            window,
            is_recorded,
            arrived: Arc::clone(&arrived),
            last: Bytes::new(),
        };
        let folder = folder.join(node.to_string());
        threads.push(std::thread::spawn(move || run(&folder, node, listener, addresses, ball, stopped)));
    }
    std::thread::sleep(Duration::from_millis(700));
    let (began, cpu_before, before) = (Instant::now(), cpu(), arrived.load(Ordering::Relaxed));
    std::thread::sleep(Duration::from_secs(3));
    let count = (arrived.load(Ordering::Relaxed) - before) as f64;
    let (wall, cpu) = (began.elapsed().as_secs_f64(), (cpu() - cpu_before).as_secs_f64());
    println!("| {window} | {is_recorded} | {:.0} | {:.2} |", count / wall, cpu * 1e6 / count);
    drop(stops);
    for thread in threads {
        thread.join().map_err(|_| "a node panicked")??;
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

fn run(
    folder: &Path,
    node: u32,
    listener: std::net::TcpListener,
    addresses: [SocketAddr; 2],
    ball: Ball,
    stopped: tokio::sync::oneshot::Receiver<()>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let peers = (0..).zip(addresses).map(|(node, address)| (NodeId(node), address.to_string())).collect();
        let config = HostConfig::new(NetConfig::new("bench", NodeId(node), peers));
        let (_asks, asked) = mpsc::channel(1);
        let disk = Arc::new(Folder::open(folder)?);
        let listener = TcpListener::from_std(listener)?;
        let processes = vec![(Pid::chain(node, 0), ball)];
        let (host, _) = Host::open(config, disk, listener, processes, Silent, asked)?;
        let shutdown = async {
            let _ = stopped.await; // dropped: the same
        };
        host.run(shutdown).await?;
        Ok(())
    })
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
