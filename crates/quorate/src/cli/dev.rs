//! `quorate dev`: a cluster on this machine, for trying things out.
//!
//! Starts one `quorate serve` process a node, the very one that production runs, and watches over them: a node that dies
//! is started again. When `dev` ends, so do they.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::{DIE_WITH_PARENT, place};
use crate::beginning;
use crate::config::{Bounds, Config, MemberConfig};
use crate::membership::GossipKey;

/// Ports between the nodes' ports.
const PORT_STEP: u16 = 10_000;
/// How long a node may take until it serves.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long a node may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// A node that dies so often in a row is not started again.
const DEATHS_MAX: u32 = 5;

/// Starts a cluster on this machine.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  quorate dev                        three nodes, data kept between runs
  quorate dev --ephemeral            data thrown away at the end
  quorate dev --nodes 1 --port 4001  one node on port 4001")]
pub struct DevArgs {
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=5))]
    nodes: u16,
    /// Where the data lies; one folder a node.
    #[arg(long, conflicts_with = "ephemeral")]
    data: Option<PathBuf>,
    /// Keep nothing: the data lies in a temporary folder and is deleted at the end.
    #[arg(long)]
    ephemeral: bool,
    /// The first node's port for clients. The second's is 20000 above it, then 10000 more each; the port after each is for
    /// other nodes.
    #[arg(long, default_value_t = 2379, value_parser = clap::value_parser!(u16).range(1..=15_000))]
    port: u16,
    /// Answer linearizable reads, watches and writes within this many milliseconds, or call the outcome unknown.
    #[arg(long, default_value_t = 7_000)]
    patience_ms: u64,
}

/// Runs the cluster until it is interrupted.
///
/// # Errors
/// When a port is taken, the data cannot be written, or a node does not come up.
pub async fn run(args: DevArgs) -> anyhow::Result<()> {
    let temporary =
        if args.ephemeral { Some(tempfile::tempdir().context("cannot make a temporary folder")?) } else { None };
    let data = match (&temporary, &args.data) {
        (Some(folder), _) => folder.path().to_path_buf(),
        (None, Some(data)) => data.clone(),
        (None, None) => default_data(args.nodes)?,
    };
    let members: Vec<_> = (0..args.nodes).map(|at| member(&args, at)).collect();
    check_ports(&members)?;
    let key = GossipKey::drawn(); // all nodes start anew, so it need not be the one of before
    let founded = data.join("founded");
    let is_ready = Arc::new(AtomicBool::new(false));
    let mut nodes = Vec::new();
    for member in &members {
        let config = write_config(&args, &data, &members, member, key)?;
        let name = member.name();
        let starting = Starting { config, founded: founded.clone(), is_ready: Arc::clone(&is_ready) };
        let (child, voice) = starting.start(&name)?;
        nodes.push(Node { name, client: member.client.clone(), child, voice, starting, deaths: 0 });
    }
    let outcome = tokio::select! {
        outcome = watch_over(&mut nodes, &data, &founded, temporary.is_some()) => outcome,
        () = interrupted() => {
            println!("\nstopping");
            Ok(())
        }
    };
    for node in &mut nodes {
        node.stop().await;
    }
    outcome
}

/// A node and the process that is it.
struct Node {
    name: String,
    client: String,
    starting: Starting,
    child: Child,
    /// Prints what the node says, until it ends.
    voice: JoinHandle<()>,
    deaths: u32,
}

impl Node {
    async fn stop(&mut self) {
        if let Some(pid) = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            // It may be gone already, which is what we want.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if timeout(STOP_WITHIN, self.child.wait()).await.is_err() {
            eprintln!("{} does not stop within {} s; killing it", self.name, STOP_WITHIN.as_secs());
            let _ = self.child.kill().await; // as above
        }
        self.hear_out().await;
    }

    /// Waits until what a node that ended had said is printed.
    async fn hear_out(&mut self) {
        let _ = timeout(STOP_WITHIN, &mut self.voice).await; // a descendant that still holds its output is not waited for
    }

    /// Starts it again after it died, unless it died too often.
    async fn restart(&mut self, status: ExitStatus) -> anyhow::Result<()> {
        self.hear_out().await;
        // Who is killed from outside is not at fault; only deaths of its own making are counted.
        if status.signal().is_none() {
            self.deaths += 1;
        }
        if self.deaths >= DEATHS_MAX {
            bail!("{} died {} times in a row, last with {status}; its messages are above", self.name, self.deaths);
        }
        println!("{} died with {status}; starting it again", self.name);
        sleep(Duration::from_millis(50 << self.deaths.min(6))).await;
        (self.child, self.voice) = self.starting.start(&self.name)?;
        Ok(())
    }
}

async fn watch_over(nodes: &mut [Node], data: &Path, founded: &Path, ephemeral: bool) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut announced = false;
    let mut steady_since = Instant::now();
    loop {
        for node in nodes.iter_mut() {
            if let Some(status) = node.child.try_wait().context("cannot ask after a node")? {
                steady_since = Instant::now();
                node.restart(status).await?;
            }
        }
        if steady_since.elapsed() > Duration::from_secs(10) {
            for node in nodes.iter_mut() {
                node.deaths = 0;
            }
        }
        if !announced {
            let mut ready = true;
            for node in nodes.iter() {
                ready = ready && is_ready(&node.client).await;
            }
            if ready {
                announced = true;
                std::fs::write(founded, "").with_context(|| format!("cannot write {}", founded.display()))?;
                nodes.iter().for_each(|node| node.starting.is_ready.store(true, Ordering::Relaxed));
                announce(nodes, data, ephemeral, started.elapsed());
            } else if started.elapsed() > READY_WITHIN {
                bail!("the cluster is not ready after {} s; the nodes' messages are above", READY_WITHIN.as_secs());
            }
        }
        sleep(Duration::from_millis(if announced { 100 } else { 20 })).await;
    }
}

fn announce(nodes: &[Node], data: &Path, ephemeral: bool, took: Duration) {
    let endpoints: Vec<_> = nodes.iter().map(|node| node.client.as_str()).collect();
    let endpoints = endpoints.join(",");
    println!("\nQuorate is ready: {} node(s) in {:.1} s\n", nodes.len(), took.as_secs_f64());
    for (at, node) in nodes.iter().enumerate() {
        println!("  {}  http://{}  ({})", node.name, node.client, place(at, nodes.len()));
    }
    let last = nodes.last().expect("a cluster has at least one node");
    let kept = if ephemeral { "deleted at the end" } else { "kept" };
    println!("\n  data: {} ({kept})", data.display());
    println!(
        "
Try, in another terminal:
  export QUORATE_ENDPOINTS={endpoints}
  export ETCDCTL_ENDPOINTS=$QUORATE_ENDPOINTS
  quorate put greeting hello           or  etcdctl put greeting hello
  quorate get greeting                 or  etcdctl get greeting
  quorate watch greeting               prints each change until Ctrl-C
  quorate status                       who is head, who is tail, how far
  quorate node list                    who is there, as one node knows
  quorate chain show                   who is in the chain, how far each is, what is left of its lease
  curl -s http://{}/health
  kill -9 {pid}                        {name} dies and comes back; nothing acknowledged is lost

Ctrl-C stops the cluster.",
        nodes[0].client,
        name = last.name,
        pid = last.child.id().unwrap_or_default(),
    );
}

/// Whether the node at `address` says that it is ready.
async fn is_ready(address: &str) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.ends_with(b" 200"))
    };
    matches!(timeout(Duration::from_secs(1), ask).await, Ok(Ok(true)))
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

fn default_data(node_count: u16) -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share")))
        .context("neither XDG_DATA_HOME nor HOME is set: say where the data goes with --data, or use --ephemeral")?;
    // The nodes of a cluster of another size are another cluster's.
    let name = if node_count == 3 { "dev".to_owned() } else { format!("dev-{node_count}") };
    Ok(base.join("quorate").join(name))
}

fn member(args: &DevArgs, at: u16) -> MemberConfig {
    let client = if at == 0 { args.port } else { args.port + (at + 1) * PORT_STEP };
    MemberConfig {
        id: u32::from(at) + 1,
        name: None,
        client: format!("127.0.0.1:{client}"),
        peer: format!("127.0.0.1:{}", client + 1),
    }
}

fn check_ports(members: &[MemberConfig]) -> anyhow::Result<()> {
    for address in members.iter().flat_map(|member| [&member.client, &member.peer]) {
        let address: SocketAddr = address.parse().expect("we wrote the address ourselves");
        let bound = TcpListener::bind(address).and_then(|_| UdpSocket::bind(address));
        if let Err(error) = bound {
            bail!(
                "port {} cannot be used: {error}. Another cluster may run here: stop it, or choose other ports with --port",
                address.port()
            );
        }
    }
    Ok(())
}

fn write_config(
    args: &DevArgs,
    data: &Path,
    members: &[MemberConfig],
    member: &MemberConfig,
    key: GossipKey,
) -> anyhow::Result<PathBuf> {
    let folder = data.join(member.name());
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let config = Config {
        cluster: format!("dev-{}", members.len()),
        node: member.id,
        data: folder.clone(),
        listen_client: None,
        listen_peer: None,
        zone: String::new(),
        gossip_keys: vec![key],
        chain: None,
        system: None,
        bounds: Bounds { patience_ms: args.patience_ms, ..Bounds::default() },
        members: members.to_vec(),
    };
    let path = folder.join("quorate.toml");
    config.write(&path)?;
    Ok(path)
}

/// How a node is started.
struct Starting {
    config: PathBuf,
    /// Is there once the cluster was ready: what is lost from then on is lost, and not new.
    founded: PathBuf,
    /// Whether the cluster was ready in this run: before, only what is wrong is printed.
    is_ready: Arc<AtomicBool>,
}

impl Starting {
    fn start(&self, name: &str) -> anyhow::Result<(Child, JoinHandle<()>)> {
        let program = std::env::current_exe().context("cannot find the program itself")?;
        let was_told = self.config.parent().is_some_and(beginning::was_told);
        let mut child = Command::new(&program)
            .arg("serve")
            .arg("--config")
            .arg(&self.config)
            .args((!was_told && !self.founded.exists()).then_some("--found"))
            .env(DIE_WITH_PARENT, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null()) // a node says what it says on the other
            .stderr(Stdio::piped())
            .process_group(0) // Ctrl-C is for us; we stop them in good order
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let said = child.stderr.take().expect("it is piped");
        Ok((child, tokio::spawn(repeat(said, name.to_owned(), Arc::clone(&self.is_ready)))))
    }
}

/// Prints each line that a node says, with its name before it. Until the cluster is ready, nodes that find each other are
/// no news, and what is wrong is.
async fn repeat(said: ChildStderr, name: String, is_ready: Arc<AtomicBool>) {
    let mut lines = BufReader::new(said).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line);
        if is_ready.load(Ordering::Relaxed) || !line.contains(" INFO ") {
            // Nobody reads along any more; the node must not wait for that.
            let _ = writeln!(std::io::stderr(), "{name}  {line}");
        }
    }
}
