//! Nodes as a user runs them: `quorate serve` processes with folders and ports of their own, ended when the test ends,
//! however it ends.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use quorate::etcd::generated::etcdserverpb::{
    self as pb, kv_client::KvClient, lease_client::LeaseClient, watch_client::WatchClient,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// Longer than anything here takes, however busy the machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long to rest between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(10);

/// A chain of nodes in one temporary folder.
pub struct Cluster {
    /// Ended before the folder goes.
    pub nodes: Vec<Node>,
    pub folder: TempDir,
}

/// A node: its configuration, its folder, and the process that is it, if it runs.
pub struct Node {
    pub id: usize,
    pub settings: Settings,
    /// The configuration file.
    pub config: PathBuf,
    output: PathBuf,
    /// Where the output of the present process begins.
    output_from: u64,
    child: Option<Child>,
    /// Whether it was told once that it founds the cluster.
    has_begun: bool,
    /// Another user to run as.
    pub user: Option<u32>,
}

/// What is in a configuration file.
#[derive(Clone, Debug)]
pub struct Settings {
    pub cluster: String,
    pub node: usize,
    pub data: PathBuf,
    pub listen: String,
    pub bounds: String,
    /// Client and peer address of each member.
    pub members: Vec<(String, String)>,
}

impl Settings {
    fn text(&self) -> String {
        let Self { cluster, node, data, listen, bounds, members } = self;
        let data = data.display();
        let mut text =
            format!("cluster = \"{cluster}\"\nnode = {node}\ndata = \"{data}\"\n{listen}\n[bounds]\n{bounds}\n");
        for (at, (client, peer)) in members.iter().enumerate() {
            let id = at + 1;
            write!(text, "[[member]]\nid = {id}\nclient = \"{client}\"\npeer = \"{peer}\"\n").expect("a String");
        }
        text
    }
}

/// Where the ports of tests begin, and how many blocks of how many there are. All are below those that systems give to
/// outgoing connections, so none of these can take the port of a node between two of its lives.
const PORTS: (u16, u16, u16) = (16_384, 255, 64);

/// The ports that this process took and did not use: a block is its own for as long as it holds the block's first port.
static BLOCKS: Mutex<(Vec<TcpListener>, Range<u16>)> = Mutex::new((Vec::new(), 0..0));

/// Addresses that nobody listens on and no other test will, all different.
pub fn addresses(count: usize) -> Vec<String> {
    let mut blocks = BLOCKS.lock().expect("nobody panics with it");
    let (held, left) = &mut *blocks;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut free = Vec::new();
    while free.len() < count {
        if left.start == left.end {
            let (first, blocks, ports) = PORTS;
            let tried = (0..blocks).map(|at| first + ports * ((at + std::process::id() as u16 % blocks) % blocks));
            let taken = tried.filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).next();
            let taken = taken.expect("not all blocks are taken");
            let own = taken.local_addr().expect("it is bound").port();
            held.push(taken);
            *left = own + 1..own + ports;
        }
        free.extend(left.next().filter(is_free));
    }
    free.iter().map(|port| format!("127.0.0.1:{port}")).collect()
}

impl Cluster {
    /// A chain of `count` nodes named `name`, not started, with `bounds` as the lines of that section.
    pub fn new(name: &str, count: usize, bounds: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let addresses = addresses(2 * count);
        let members: Vec<_> = addresses.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        let nodes = (1..=count).map(|node| {
            let settings = Settings {
                cluster: name.to_owned(),
                node,
                data: folder.path().join(format!("data-{node}")),
                listen: String::new(),
                bounds: bounds.to_owned(),
                members: members.clone(),
            };
            Node::new(folder.path(), &format!("node-{node}"), settings)
        });
        let nodes = nodes.collect();
        Self { nodes, folder }
    }

    /// As [`Cluster::new`], started and serving.
    pub async fn started(name: &str, count: usize, bounds: &str) -> Self {
        let mut cluster = Self::new(name, count, bounds);
        for node in &mut cluster.nodes {
            node.start();
        }
        for node in &mut cluster.nodes {
            node.serves().await;
        }
        cluster
    }
}

impl Node {
    /// A node with its configuration in `folder`, not started.
    pub fn new(folder: &Path, name: &str, settings: Settings) -> Self {
        let (config, output) = (folder.join(format!("{name}.toml")), folder.join(format!("{name}.output")));
        Self { id: settings.node, settings, config, output, output_from: 0, child: None, has_begun: false, user: None }
    }

    /// Starts the process with the present settings.
    pub fn start(&mut self) {
        self.start_with(&self.settings.text());
    }

    /// Starts the process with `config` as its configuration.
    pub fn start_with(&mut self, config: &str) {
        assert!(self.child.is_none(), "node {} runs", self.id);
        std::fs::write(&self.config, config).expect("a file");
        let output = File::options().create(true).append(true).open(&self.output).expect("a file");
        self.output_from = output.metadata().expect("it is open").len();
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
        command.arg("serve").arg("--config").arg(&self.config).stdin(Stdio::null());
        self.mind_beginning();
        if !self.has_begun {
            command.arg("--found");
        }
        command.env("NO_COLOR", "1").env("RUST_BACKTRACE", "1");
        command.stdout(output.try_clone().expect("a descriptor")).stderr(output);
        if let Some(user) = self.user {
            std::os::unix::process::CommandExt::uid(&mut command, user);
        }
        self.child = Some(command.spawn().expect("the program starts"));
    }

    /// Notes whether it has begun, while its folder says so: one whose folder was lost is not new.
    fn mind_beginning(&mut self) {
        self.has_begun |= quorate::beginning::was_told(&self.settings.data);
    }

    /// What the present process, or the last one, has said.
    pub fn said(&self) -> String {
        let bytes = std::fs::read(&self.output).unwrap_or_default();
        let said = String::from_utf8_lossy(&bytes[self.output_from as usize..]).into_owned();
        assert!(!said.contains("panicked") && !said.contains("backtrace"), "node {} panicked: {said}", self.id);
        said
    }

    /// Waits until the process has said `text`.
    pub fn says(&self, text: &str) {
        until(&format!("node {} says {text:?}", self.id), || self.said().contains(text).then_some(()));
    }

    pub fn runs(&mut self) -> bool {
        let child = self.child.as_mut().expect("it was started");
        child.try_wait().expect("it is our child").is_none()
    }

    /// Waits until the process ends by itself, in failure and with one line that says why.
    pub fn fails(&mut self) -> String {
        let mut child = self.child.take().expect("it was started");
        let ended = Instant::now() + PATIENCE;
        let status = loop {
            match child.try_wait().expect("it is our child") {
                Some(status) => break status,
                None if Instant::now() > ended => {
                    self.child = Some(child);
                    panic!("node {} does not end: {}", self.id, self.said());
                }
                None => std::thread::sleep(PAUSE),
            }
        };
        self.mind_beginning();
        let said = self.said();
        assert_eq!(status.code(), Some(1), "node {}: {status}: {said}", self.id);
        let last = said.lines().next_back().unwrap_or_default();
        last.strip_prefix("quorate: ").unwrap_or_else(|| panic!("node {}: no reason: {said}", self.id)).to_owned()
    }

    /// Ends the process in good order.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("it was started");
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a process has a number");
        kill_process(pid, Signal::TERM).expect("it runs");
        let status = child.wait().expect("it is our child");
        assert!(status.success(), "node {}: {status}: {}", self.id, self.said());
        self.mind_beginning();
    }

    /// Writes the present settings, and lets the process read them again.
    pub fn reload(&mut self) {
        std::fs::write(&self.config, self.settings.text()).expect("a file");
        let child = self.child.as_ref().expect("it was started");
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a process has a number");
        kill_process(pid, Signal::HUP).expect("it runs");
    }

    /// Ends the process at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already, which is what we want.
            let _ = child.kill();
            let _ = child.wait();
            self.mind_beginning();
        }
    }

    fn client(&self) -> &str {
        &self.settings.members[self.settings.node - 1].0
    }

    /// Waits until the node says that it is ready, and no longer than it runs.
    pub async fn serves(&mut self) {
        assert!(self.serves_or_ends().await, "node {} ended: {}", self.id, self.said());
    }

    /// Waits until the node says that it is ready, or ends; which of the two.
    pub async fn serves_or_ends(&mut self) -> bool {
        let ended = Instant::now() + PATIENCE;
        loop {
            if !self.runs() {
                return false;
            }
            if self.page("/readyz").is_some_and(|page| page.starts_with("HTTP/1.1 200")) {
                return true;
            }
            assert!(Instant::now() < ended, "node {} does not serve: {}", self.id, self.said());
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A page with its head, if the node answers.
    pub fn page(&self, path: &str) -> Option<String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        String::from_utf8(exchange(self.client(), request.as_bytes())?).ok()
    }

    /// A counter of `/metrics`.
    pub fn counter(&self, name: &str) -> u64 {
        let page = self.page("/metrics").expect("the node answers");
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().expect("a count")
    }

    /// A client of this node.
    pub async fn kv(&self) -> KvClient<Channel> {
        let channel = self.endpoint().timeout(PATIENCE).connect_lazy();
        KvClient::new(channel).max_decoding_message_size(usize::MAX)
    }

    /// A client of this node's leases.
    pub fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.endpoint().timeout(PATIENCE).connect_lazy())
    }

    /// What happens to all keys from now on.
    pub async fn watch(&self) -> Streaming<pb::WatchResponse> {
        let zero = bytes::Bytes::from_static(b"\0");
        let create = pb::WatchCreateRequest { key: zero.clone(), range_end: zero, ..Default::default() };
        let union = pb::watch_request::RequestUnion::CreateRequest(create);
        let wishes = tokio_stream::once(pb::WatchRequest { request_union: Some(union) });
        let mut client = WatchClient::new(self.endpoint().connect_lazy());
        let mut answers = client.watch(wishes).await.expect("a stream").into_inner();
        let made = answers.message().await.expect("no error").expect("no end");
        assert!(made.created && !made.canceled, "{made:?}");
        answers
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://{}", self.client())).expect("an address")
    }

    pub async fn put(&self, key: &str, value: impl Into<Vec<u8>>) -> Result<i64, Status> {
        let request = pb::PutRequest { key: key.to_owned().into(), value: value.into().into(), ..Default::default() };
        let answer = self.kv().await.put(request).await?.into_inner();
        Ok(answer.header.expect("a header").revision)
    }

    /// Everything, at `revision` or now if it is 0.
    pub async fn everything(&self, revision: i64, serializable: bool) -> Result<Vec<(String, Vec<u8>)>, Status> {
        let zero = bytes::Bytes::from_static(b"\0");
        let request =
            pb::RangeRequest { key: zero.clone(), range_end: zero, revision, serializable, ..Default::default() };
        let kvs = self.kv().await.range(request).await?.into_inner().kvs;
        Ok(kvs.into_iter().map(|kv| (String::from_utf8_lossy(&kv.key).into_owned(), kv.value.to_vec())).collect())
    }

    /// Which keys there are.
    pub async fn keys(&self) -> Vec<String> {
        let all = self.everything(0, false).await.unwrap_or_else(|status| panic!("node {}: {status}", self.id));
        all.into_iter().map(|(key, _)| key).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- node {}: {:?} {:?}", self.id, self.page("/v1/chains"), self.page("/v1/nodes"));
            eprintln!("--- node {} said:\n{}", self.id, std::fs::read_to_string(&self.output).unwrap_or_default());
        }
        self.kill();
    }
}

/// Sends `bytes` and gives what came back until the other side closed; nothing if it does not listen or stays silent.
pub fn exchange(address: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    // It may close before it took everything, and what it said before that counts.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
        _ => Some(answer),
    }
}

/// Waits until `condition` gives something.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let ended = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < ended, "this does not come true: {what}");
        std::thread::sleep(PAUSE);
    }
}
