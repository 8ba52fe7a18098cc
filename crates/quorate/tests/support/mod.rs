//! A gateway over a store in memory, on a port of the kernel's choice, and a client of it.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod store;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quorate::etcd::generated::etcdserverpb::{
    self as pb, cluster_client::ClusterClient, kv_client::KvClient, lease_client::LeaseClient,
    maintenance_client::MaintenanceClient, watch_client::WatchClient,
};
use quorate::etcd::{Cluster, Gateway, Limits, Member};
use quorate::http::Metrics;
use quorate::keyspace::Keyspace;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// Longer than anything here takes, however busy the machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway and the way to it.
pub struct Server {
    pub address: SocketAddr,
    pub channel: Channel,
    pub keyspace: Keyspace,
    pub metrics: Arc<Metrics>,
}

/// A gateway with etcd's bounds.
pub async fn start() -> Server {
    start_with(1, Limits::default()).await
}

/// A gateway over a store whose head is `head`.
pub async fn start_with(head: u64, limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let keyspace = store::start(head, PATIENCE);
    let metrics = Arc::new(Metrics::default());
    let url = format!("http://{address}");
    let members = vec![Member { id: 7, name: "one".into(), peer_urls: vec![], client_urls: vec![url.clone()] }];
    let cluster = Cluster { name: "test".to_owned(), keyed: false, id: 9, member_id: 7, members };
    let gateway = Gateway::new(keyspace.clone(), cluster, limits, metrics.clone());
    tokio::spawn(quorate::http::serve(listener, gateway, std::future::pending()));
    let channel = Endpoint::from_shared(url).expect("a URL").connect().await.expect("it listens");
    Server { address, channel, keyspace, metrics }
}

impl Server {
    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    pub fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel.clone())
    }

    pub fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone())
    }

    pub fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone())
    }

    /// Writes a key; answers with the revision.
    pub async fn put(&self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> i64 {
        let request = pb::PutRequest { key: key.into().into(), value: value.into().into(), ..Default::default() };
        let answer = soon(self.kv().put(request)).await.expect("a put").into_inner();
        answer.header.expect("a header").revision
    }

    pub async fn delete(&self, key: &str) -> i64 {
        let request = pb::DeleteRangeRequest { key: key.to_owned().into(), ..Default::default() };
        let answer = soon(self.kv().delete_range(request)).await.expect("a delete").into_inner();
        answer.header.expect("a header").revision
    }

    /// A page with its head.
    pub async fn page(&self, path: &str) -> String {
        let mut socket = soon(TcpStream::connect(self.address)).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        soon(socket.write_all(request.as_bytes())).await.expect("sent");
        let mut page = String::new();
        soon(socket.read_to_string(&mut page)).await.expect("a page");
        page
    }

    pub async fn watch(&self) -> Watching {
        let (wishes, receiver) = mpsc::channel(16);
        let mut client = WatchClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        let answers = soon(client.watch(ReceiverStream::new(receiver))).await.expect("a stream").into_inner();
        Watching { wishes, answers }
    }
}

/// A stream of watches.
pub struct Watching {
    wishes: mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

impl Watching {
    pub async fn ask(&self, union: pb::watch_request::RequestUnion) {
        let request = pb::WatchRequest { request_union: Some(union) };
        self.wishes.send(request).await.expect("the stream is open");
    }

    pub async fn create(&self, create: pb::WatchCreateRequest) {
        self.ask(pb::watch_request::RequestUnion::CreateRequest(create)).await;
    }

    pub async fn cancel(&self, watch_id: i64) {
        self.ask(pb::watch_request::RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id })).await;
    }

    pub async fn progress(&self) {
        self.ask(pb::watch_request::RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
    }

    pub async fn next(&mut self) -> pb::WatchResponse {
        soon(self.answers.message()).await.expect("no error").expect("no end")
    }

    /// The next answer, which must say that a watcher was made.
    pub async fn created(&mut self) -> pb::WatchResponse {
        let answer = self.next().await;
        assert!(answer.created && !answer.canceled, "{answer:?}");
        answer
    }
}

/// What a watch request for one key is.
pub fn of_key(key: &str, start_revision: i64) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: key.to_owned().into(), start_revision, ..Default::default() }
}

/// What a watch request for everything is.
pub fn of_all(start_revision: i64) -> pb::WatchCreateRequest {
    let zero = bytes::Bytes::from_static(b"\0");
    pb::WatchCreateRequest { key: zero.clone(), range_end: zero, start_revision, ..Default::default() }
}

/// What `future` comes to, which must be soon.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it took too long")
}
