//! Requests: gRPC by path to its service, the rest to the JSON gateway or a page.
//!
//! No router and no layers stand between a connection and a service: a call costs a look at the path, a count, and what
//! the service does.
//!
//! A call of the JSON gateway is counted among those being served when its request is there; one of gRPC from its headers
//! on, so its request has to be there in time, and a connection may have few streams.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service as _, StdError};
use tonic::{Code, Status};

use super::metrics::Metrics;
use super::websocket::{self, Websocket};
use super::{admin, json, pages};
use crate::etcd::generated::etcdserverpb::{
    auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer, lease_server::LeaseServer,
    maintenance_server::MaintenanceServer, watch_server::WatchServer,
};
use crate::etcd::generated::{
    health::health_server::HealthServer, v3electionpb::election_server::ElectionServer,
    v3lockpb::lock_server::LockServer,
};
use crate::etcd::rpc::{Kind, Rpc, Service};
use crate::etcd::{Auth, ClusterService, Election, EtcdError, Gateway, Health, Kv, Lease, Lock, Maintenance, Watch};

/// How long a request of one message may take to arrive.
pub(super) const BODY_PATIENCE: Duration = Duration::from_secs(50);
pub(super) const TOO_SLOW: &str = "the request did not arrive in time";

/// All services of a gateway.
#[derive(Clone)]
pub(super) struct Services(Arc<Shared>);

struct Shared {
    gateway: Gateway,
    calls_in_flight: AtomicUsize,
    kv: KvServer<Kv>,
    watch: WatchServer<Watch>,
    lease: LeaseServer<Lease>,
    cluster: ClusterServer<ClusterService>,
    maintenance: MaintenanceServer<Maintenance>,
    auth: AuthServer<Auth>,
    lock: LockServer<Lock>,
    election: ElectionServer<Election>,
    health: HealthServer<Health>,
}

impl Services {
    pub fn new(gateway: Gateway) -> Self {
        let max = gateway.limits.message_bytes_max();
        Self(Arc::new(Shared {
            calls_in_flight: AtomicUsize::new(0),
            kv: KvServer::new(Kv(gateway.clone())).max_decoding_message_size(max).max_encoding_message_size(usize::MAX),
            watch: WatchServer::new(Watch(gateway.clone()))
                .max_decoding_message_size(max)
                .max_encoding_message_size(usize::MAX),
            lease: LeaseServer::new(Lease(gateway.clone())).max_decoding_message_size(max),
            cluster: ClusterServer::new(ClusterService(gateway.clone())).max_decoding_message_size(max),
            maintenance: MaintenanceServer::new(Maintenance(gateway.clone())).max_decoding_message_size(max),
            auth: AuthServer::new(Auth(gateway.clone())).max_decoding_message_size(max),
            lock: LockServer::new(Lock(gateway.clone())).max_decoding_message_size(max),
            election: ElectionServer::new(Election(gateway.clone())).max_decoding_message_size(max),
            health: HealthServer::new(Health(gateway.clone())).max_decoding_message_size(max),
            gateway,
        }))
    }

    pub fn metrics(&self) -> Arc<Metrics> {
        self.0.gateway.metrics.clone()
    }

    pub fn gateway(&self) -> &Gateway {
        &self.0.gateway
    }

    fn call_grpc(&self, rpc: Rpc, request: Request<Arriving>) -> BoxFuture<Response<Body>, Infallible> {
        let shared = &*self.0;
        match rpc.service() {
            Service::Kv => shared.kv.clone().call(request),
            Service::Watch => shared.watch.clone().call(request),
            Service::Lease => shared.lease.clone().call(request),
            Service::Cluster => shared.cluster.clone().call(request),
            Service::Maintenance => shared.maintenance.clone().call(request),
            Service::Auth => shared.auth.clone().call(request),
            Service::Lock => shared.lock.clone().call(request),
            Service::Election => shared.election.clone().call(request),
            Service::Health => shared.health.clone().call(request),
        }
    }

    fn grpc(&self, request: Request<Incoming>) -> Answering {
        let Some(rpc) = Rpc::at_grpc_path(request.uri().path()) else {
            let status = Status::unimplemented(format!("unknown method {}", request.uri().path()));
            return Answering::Now(Some(status.into_http()));
        };
        let metrics = &self.0.gateway.metrics;
        metrics.started(rpc);
        let Some(turn) = self.turn(rpc) else {
            metrics.handled(rpc, Code::ResourceExhausted);
            return Answering::Now(Some(EtcdError::TooManyRequests.status().into_http()));
        };
        let request = request.map(|body| Arriving { body, is_timed: rpc.kind() == Kind::Unary, patience: None });
        Answering::Grpc { call: self.call_grpc(rpc, request), ending: Some(Ending::of(turn, rpc)) }
    }

    /// Leave to serve a call; `None` when too many are being served. What waits or streams is not counted, since it takes
    /// no more than memory while nothing happens.
    pub fn turn(&self, rpc: Rpc) -> Option<Turn> {
        let counted = rpc.kind() == Kind::Unary;
        if counted {
            if self.0.calls_in_flight.load(Ordering::Relaxed) >= self.0.gateway.limits.calls_max {
                return None;
            }
            self.0.calls_in_flight.fetch_add(1, Ordering::Relaxed);
        }
        self.0.gateway.metrics.calls_in_flight.add(1);
        Some(Turn { shared: self.0.clone(), counted })
    }
}

/// Leave to serve a call, given back when dropped.
pub(super) struct Turn {
    shared: Arc<Shared>,
    counted: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.counted {
            self.shared.calls_in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        self.shared.gateway.metrics.calls_in_flight.add(-1);
    }
}

/// The end of a call, counted once: by its code, or as given up by the client when it is dropped before.
pub(super) struct Ending {
    turn: Option<Turn>,
    rpc: Rpc,
}

impl Ending {
    pub fn of(turn: Turn, rpc: Rpc) -> Self {
        Self { turn: Some(turn), rpc }
    }

    pub fn with(&mut self, code: Code) {
        if let Some(turn) = self.turn.take() {
            turn.shared.gateway.metrics.handled(self.rpc, code);
        }
    }

    /// The same end, for whoever sees the call out.
    pub fn pass_on(&mut self) -> Self {
        Self { turn: self.turn.take(), rpc: self.rpc }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.with(Code::Cancelled);
    }
}

/// The body of a request, which fails when it takes too long.
struct Arriving {
    body: Incoming,
    is_timed: bool,
    /// Nothing until there is something to wait for: most requests are there at once.
    patience: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(StdError::from)));
        }
        if !self.is_timed {
            return Poll::Pending;
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(BODY_PATIENCE)));
        ready!(patience.as_mut().poll(cx));
        Poll::Ready(Some(Err(Status::deadline_exceeded(TOO_SLOW).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The services, as one connection has them.
pub(super) struct Connected {
    pub services: Services,
    pub websocket: Websocket,
}

impl hyper::service::Service<Request<Incoming>> for Connected {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let content_type = request.headers().get(header::CONTENT_TYPE).map(|value| value.as_bytes());
        if content_type.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
            return self.services.grpc(request);
        }
        let (services, websocket) = (self.services.clone(), self.websocket.clone());
        Answering::Page(Box::pin(async move { services.page(request, &websocket).await }))
    }
}

impl Services {
    async fn page(self, mut request: Request<Incoming>, websocket: &Websocket) -> Response<Body> {
        let mut response = match Rpc::at_json_path(request.uri().path()) {
            Some(rpc) if websocket::is_wanted(&request) => websocket.open(&self, rpc, request),
            Some(rpc) => json::respond(&self, rpc, request).await,
            None => match admin::admin(&self.0.gateway, &mut request).await {
                Some(response) => response,
                None => pages::page(&self.0.gateway, &request).await,
            },
        };
        // As etcd does, any page in a browser may use the gateway.
        let headers = response.headers_mut();
        let star = http::HeaderValue::from_static;
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, star("*"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, star("POST, GET, OPTIONS, PUT, DELETE"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, star("accept, content-type, authorization"));
        response
    }
}

/// A response being made.
pub(super) enum Answering {
    Now(Option<Response<Body>>),
    Grpc { call: BoxFuture<Response<Body>, Infallible>, ending: Option<Ending> },
    Page(Pin<Box<dyn Future<Output = Response<Body>> + Send>>),
}

impl Future for Answering {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Now(response) => Poll::Ready(Ok(response.take().expect("a future is not polled after its end"))),
            Self::Page(page) => page.as_mut().poll(cx).map(Ok),
            Self::Grpc { call, ending } => {
                let Ok(response) = ready!(call.as_mut().poll(cx));
                let failed = code(response.headers());
                let mut ending = ending.take().expect("a future is not polled after its end");
                if ending.rpc.kind() == Kind::Stream && failed.is_none() {
                    return Poll::Ready(Ok(response.map(|body| Body::new(Counted { body, ending }))));
                }
                ending.with(failed.unwrap_or(Code::Ok));
                Poll::Ready(Ok(response))
            }
        }
    }
}

fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
}

/// The body of a stream, whose end is counted.
struct Counted {
    body: Body,
    ending: Ending,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(code) = frame.trailers_ref().and_then(code) {
                    this.ending.with(code);
                }
            }
            Some(Err(status)) => this.ending.with(status.code()),
            None => this.ending.with(Code::Ok),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
