//! What is counted, and the page that Prometheus reads: names that etcd's dashboards and alerts know.
//!
//! Plain atomics, no registry: a count costs one add, and the page is written when somebody asks. What others count (the
//! log's syncs, the chain) they add to the page by [`Metrics::also`].

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crate::etcd::rpc::{Kind, Rpc};
use crate::etcd::{CLUSTER_VERSION, VERSION};
use crate::keyspace::{Status, View};

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds to it, or takes away.
    pub fn add(&self, more: i64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The codes of gRPC, by number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

#[derive(Debug, Default)]
struct Calls {
    started: Counter,
    handled: [Counter; CODES.len()],
}

type Page = Box<dyn Fn(&mut String) + Send + Sync>;

/// What a node counts; its gateways share it.
pub struct Metrics {
    calls: Vec<Calls>,
    /// Bytes that came from clients.
    pub received_bytes: Counter,
    /// Bytes that went to clients.
    pub sent_bytes: Counter,
    /// Open connections.
    pub connections: Gauge,
    /// Calls being served.
    pub calls_in_flight: Gauge,
    /// Watchers.
    pub watchers: Gauge,
    /// Watchers that are behind.
    pub slow_watchers: Gauge,
    /// Streams of watches.
    pub watch_streams: Gauge,
    has_leader: AtomicBool,
    leader_changes: Counter,
    log_index: AtomicU64,
    applied_index: AtomicU64,
    failed: Counter,
    /// By the wall clock, in milliseconds since 1970.
    started_at_ms: u64,
    others: Mutex<Vec<Page>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: Rpc::ALL.iter().map(|_| Calls::default()).collect(),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            connections: Gauge::default(),
            calls_in_flight: Gauge::default(),
            watchers: Gauge::default(),
            slow_watchers: Gauge::default(),
            watch_streams: Gauge::default(),
            has_leader: AtomicBool::new(false),
            leader_changes: Counter::default(),
            log_index: AtomicU64::new(0),
            applied_index: AtomicU64::new(0),
            failed: Counter::default(),
            started_at_ms: quorate_runtime::clock::wall_ms(),
            others: Mutex::new(Vec::new()),
        }
    }
}

impl Metrics {
    /// Lets `page` add its part to each reading of the page, in Prometheus' text format.
    pub fn also(&self, page: impl Fn(&mut String) + Send + Sync + 'static) {
        self.others.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(page));
    }

    pub(crate) fn started(&self, rpc: Rpc) {
        self.calls[rpc as usize].started.add(1);
    }

    pub(crate) fn handled(&self, rpc: Rpc, code: tonic::Code) {
        self.calls[rpc as usize].handled[code as usize].add(1);
        if code == tonic::Code::Unavailable || code == tonic::Code::ResourceExhausted {
            self.failed.add(1);
        }
    }

    pub(crate) fn loop_status(&self, status: &Status, leads: bool, changed: bool) {
        self.has_leader.store(leads, Ordering::Relaxed);
        self.log_index.store(status.log_index, Ordering::Relaxed);
        self.applied_index.store(status.applied_index, Ordering::Relaxed);
        self.leader_changes.add(u64::from(changed));
    }

    pub(crate) fn lost_leader(&self) {
        self.has_leader.store(false, Ordering::Relaxed);
    }

    /// The page.
    #[must_use]
    pub fn page(&self, view: &View, member_id: u64, quota_bytes: u64) -> String {
        let mut page = Text(String::with_capacity(16 << 10));
        page.server(self, member_id, quota_bytes);
        page.store(self, view);
        page.calls(self);
        page.process(self.started_at_ms);
        let mut page = page.0;
        for other in self.others.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            other(&mut page);
        }
        page
    }

    /// The counts of calls so far, by service and method.
    pub(crate) fn totals(&self) -> serde_json::Value {
        let total = |rpc: &Rpc| {
            let (service, method) = rpc.names();
            (format!("{service}/{method}"), self.calls[*rpc as usize].started.get().into())
        };
        serde_json::Value::Object(Rpc::ALL.iter().map(total).collect())
    }
}

/// Prometheus' text format.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n").expect("a String takes any text");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        writeln!(self.0, "{name}{labels} {value}").expect("a String takes any text");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, "counter", help);
        self.sample(name, "", value);
    }

    fn server(&mut self, metrics: &Metrics, member_id: u64, quota_bytes: u64) {
        let has_leader = metrics.has_leader.load(Ordering::Relaxed);
        let (log, applied) = (metrics.log_index.load(Ordering::Relaxed), metrics.applied_index.load(Ordering::Relaxed));
        self.gauge("etcd_server_has_leader", "Whether somebody orders writes.", u8::from(has_leader));
        let changes = metrics.leader_changes.get();
        self.counter("etcd_server_leader_changes_seen_total", "How often the head was another.", changes);
        self.gauge("etcd_server_proposals_committed_total", "The last index of the log.", log);
        self.gauge("etcd_server_proposals_applied_total", "The last index that is applied.", applied);
        self.gauge("etcd_server_proposals_pending", "What is in the log and not applied.", log.saturating_sub(applied));
        self.counter("etcd_server_proposals_failed_total", "Calls that got no answer.", metrics.failed.get());
        self.gauge("etcd_server_quota_backend_bytes", "The quota; 0 is none.", quota_bytes);
        self.family("etcd_server_id", "gauge", "This member.");
        self.sample("etcd_server_id", &format!("{{server_id=\"{member_id:x}\"}}"), 1);
        self.family("etcd_server_version", "gauge", "The version that clients are told.");
        self.sample("etcd_server_version", &format!("{{server_version=\"{VERSION}\"}}"), 1);
        let cluster = CLUSTER_VERSION.rsplit_once('.').map_or(CLUSTER_VERSION, |(minor, _)| minor);
        self.family("etcd_cluster_version", "gauge", "The version of the cluster's protocol.");
        self.sample("etcd_cluster_version", &format!("{{cluster_version=\"{cluster}\"}}"), 1);
        let (received, sent) = (metrics.received_bytes.get(), metrics.sent_bytes.get());
        self.counter("etcd_network_client_grpc_received_bytes_total", "Bytes from clients.", received);
        self.counter("etcd_network_client_grpc_sent_bytes_total", "Bytes to clients.", sent);
        self.gauge("quorate_gateway_connections", "Open connections of clients.", metrics.connections.get());
        self.gauge("quorate_gateway_calls_in_flight", "Calls being served.", metrics.calls_in_flight.get());
    }

    fn store(&mut self, metrics: &Metrics, view: &View) {
        let bytes = view.bytes_in_use();
        self.gauge("etcd_mvcc_db_total_size_in_bytes", "The size of the store.", bytes);
        self.gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "The size of the store.", bytes);
        self.gauge("etcd_debugging_mvcc_db_total_size_in_bytes", "The size of the store.", bytes);
        self.gauge("etcd_debugging_mvcc_keys_total", "How many keys there are.", view.keys());
        self.gauge("etcd_debugging_mvcc_current_revision", "The revision.", view.revision().0);
        self.gauge("etcd_debugging_mvcc_compact_revision", "The compacted revision.", view.compacted().0);
        self.gauge("etcd_debugging_mvcc_watcher_total", "Watchers.", metrics.watchers.get());
        self.gauge("etcd_debugging_mvcc_slow_watcher_total", "Watchers that are behind.", metrics.slow_watchers.get());
        self.gauge("etcd_debugging_mvcc_watch_stream_total", "Streams of watches.", metrics.watch_streams.get());
        let count = |rpc: Rpc| metrics.calls[rpc as usize].handled[0].get();
        self.counter("etcd_mvcc_put_total", "Puts through this node.", count(Rpc::Put));
        self.counter("etcd_mvcc_delete_total", "Deletes through this node.", count(Rpc::DeleteRange));
        self.counter("etcd_mvcc_range_total", "Ranges through this node.", count(Rpc::Range));
        self.counter("etcd_mvcc_txn_total", "Transactions through this node.", count(Rpc::Txn));
        self.counter("etcd_debugging_lease_granted_total", "Leases granted here.", count(Rpc::LeaseGrant));
        self.counter("etcd_debugging_lease_revoked_total", "Leases revoked here.", count(Rpc::LeaseRevoke));
        self.gauge("quorate_leases", "How many leases there are.", view.lease_count());
    }

    fn calls(&mut self, metrics: &Metrics) {
        self.family("grpc_server_started_total", "counter", "Calls that began.");
        for rpc in Rpc::ALL {
            let started = metrics.calls[*rpc as usize].started.get();
            self.sample("grpc_server_started_total", &format!("{{{}}}", labels(*rpc)), started);
        }
        self.family("grpc_server_handled_total", "counter", "Calls that ended, by their code.");
        for rpc in Rpc::ALL {
            let handled = &metrics.calls[*rpc as usize].handled;
            for (code, count) in CODES.iter().zip(handled).filter(|(code, count)| **code == "OK" || count.get() > 0) {
                let labels = format!("{{grpc_code=\"{code}\",{}}}", labels(*rpc));
                self.sample("grpc_server_handled_total", &labels, count.get());
            }
        }
    }

    fn process(&mut self, started_at_ms: u64) {
        let seconds = started_at_ms as f64 / 1000.0;
        self.gauge("process_start_time_seconds", "When the process started.", seconds);
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let status = read("/proc/self/status");
        for (field, name) in [("VmRSS:", "process_resident_memory_bytes"), ("VmSize:", "process_virtual_memory_bytes")]
        {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            if let Some(kib) = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()) {
                self.gauge(name, "Memory of the process.", kib * 1024);
            }
        }
        // After the name in parentheses, user and system time are the 12th and 13th field, in hundredths of a second.
        let stat = read("/proc/self/stat");
        let ticks = stat.rsplit_once(')').and_then(|(_, rest)| {
            let mut fields = rest.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
            Some(fields.next()?? + fields.next()??)
        });
        if let Some(ticks) = ticks {
            self.counter("process_cpu_seconds_total", "CPU time of the process.", ticks as f64 / 100.0);
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            self.gauge("process_open_fds", "Open files.", open.count());
        }
        let limits = read("/proc/self/limits");
        let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        if let Some(max) = files.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()) {
            self.gauge("process_max_fds", "How many files may be open.", max);
        }
    }
}

fn labels(rpc: Rpc) -> String {
    let (service, method) = rpc.names();
    let kind = match rpc.kind() {
        Kind::Stream if rpc.takes_many() => "bidi_stream",
        Kind::Stream => "server_stream",
        Kind::Unary | Kind::Wait => "unary",
    };
    format!("grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"{kind}\"")
}
