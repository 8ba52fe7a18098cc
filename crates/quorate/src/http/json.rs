//! The JSON gateway: every call of the API as a POST, as grpc-gateway maps them for etcd.
//!
//! Names are those of the proto files (camelCase is taken too), 64-bit numbers are strings, bytes are base64, what is
//! unset is left out. A stream's answers are lines of `{"result":…}`; a stream of requests is JSON values one after the
//! other in the body. Errors carry the fields that clients of any version look for.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::{Code, Status};

use super::pages::{self, JSON};
use super::service::{BODY_PATIENCE, Ending, Services, TOO_SLOW};
use crate::etcd::generated::etcdserverpb::{
    auth_server::Auth as _, cluster_server::Cluster as _, kv_server::Kv as _, lease_server::Lease as _,
    maintenance_server::Maintenance as _,
};
use crate::etcd::generated::{v3electionpb::election_server::Election as _, v3lockpb::lock_server::Lock as _};
use crate::etcd::rpc::{Kind, Rpc};
use crate::etcd::{
    Auth, ClusterService, Election, EtcdError, Gateway, KeepAlives, Kv, Lease, Lock, Maintenance, Watch,
};

/// Answers a request over plain HTTP.
pub(super) async fn respond(services: &Services, rpc: Rpc, request: Request<Incoming>) -> Response<Body> {
    match *request.method() {
        Method::POST => {
            let (head, body) = request.into_parts();
            call(services, rpc, head.headers, Body::new(body), Form::Values).await
        }
        Method::OPTIONS => pages::response(StatusCode::OK, JSON, ""),
        _ => pages::response(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "Method Not Allowed\n"),
    }
}

/// How the messages of a stream stand in its body.
pub(super) enum Form {
    /// As JSON values, one after the other, cut anywhere.
    Values,
    /// Each frame is one.
    Frames,
}

/// Answers a call that `body` asks for. Each frame of a stream's answer is a whole line.
pub(super) async fn call(services: &Services, rpc: Rpc, headers: HeaderMap, body: Body, form: Form) -> Response<Body> {
    let gateway = services.gateway();
    let mut call = Call { headers, body, form, bytes_max: bytes_max(gateway) };
    // One that never sends its request takes nobody's turn.
    let arrived = if rpc.kind() == Kind::Unary { call.arrive().await } else { Ok(()) };
    gateway.metrics.started(rpc);
    if let Err(status) = arrived {
        gateway.metrics.handled(rpc, status.code());
        return failure(&status);
    }
    let Some(turn) = services.turn(rpc) else {
        gateway.metrics.handled(rpc, Code::ResourceExhausted);
        return failure(&EtcdError::TooManyRequests.status());
    };
    let mut ending = Ending::of(turn, rpc);
    match answer(gateway.clone(), rpc, call, &mut ending).await {
        Ok(response) => response,
        Err(status) => {
            ending.with(status.code());
            failure(&status)
        }
    }
}

/// The longest request: its bytes are base64.
pub(super) fn bytes_max(gateway: &Gateway) -> usize {
    2 * gateway.limits.message_bytes_max()
}

async fn answer(gateway: Gateway, rpc: Rpc, call: Call, ending: &mut Ending) -> Result<Response<Body>, Status> {
    macro_rules! unary {
        ($service:ident.$method:ident) => {{
            let answer = $service(gateway).$method(call.message().await?).await?;
            let body = serde_json::to_vec(answer.get_ref()).map_err(unsayable)?;
            ending.with(Code::Ok);
            Ok(pages::response(StatusCode::OK, JSON, body))
        }};
    }
    match rpc {
        Rpc::Range => unary!(Kv.range),
        Rpc::Put => unary!(Kv.put),
        Rpc::DeleteRange => unary!(Kv.delete_range),
        Rpc::Txn => unary!(Kv.txn),
        Rpc::Compact => unary!(Kv.compact),
        Rpc::LeaseGrant => unary!(Lease.lease_grant),
        Rpc::LeaseRevoke => unary!(Lease.lease_revoke),
        Rpc::LeaseTimeToLive => unary!(Lease.lease_time_to_live),
        Rpc::LeaseLeases => unary!(Lease.lease_leases),
        Rpc::MemberAdd => unary!(ClusterService.member_add),
        Rpc::MemberRemove => unary!(ClusterService.member_remove),
        Rpc::MemberUpdate => unary!(ClusterService.member_update),
        Rpc::MemberList => unary!(ClusterService.member_list),
        Rpc::MemberPromote => unary!(ClusterService.member_promote),
        Rpc::Alarm => unary!(Maintenance.alarm),
        Rpc::Status => unary!(Maintenance.status),
        Rpc::Defragment => unary!(Maintenance.defragment),
        Rpc::Hash => unary!(Maintenance.hash),
        Rpc::HashKv => unary!(Maintenance.hash_kv),
        Rpc::MoveLeader => unary!(Maintenance.move_leader),
        Rpc::Downgrade => unary!(Maintenance.downgrade),
        Rpc::AuthEnable => unary!(Auth.auth_enable),
        Rpc::AuthDisable => unary!(Auth.auth_disable),
        Rpc::AuthStatus => unary!(Auth.auth_status),
        Rpc::Authenticate => unary!(Auth.authenticate),
        Rpc::UserAdd => unary!(Auth.user_add),
        Rpc::UserGet => unary!(Auth.user_get),
        Rpc::UserList => unary!(Auth.user_list),
        Rpc::UserDelete => unary!(Auth.user_delete),
        Rpc::UserChangePassword => unary!(Auth.user_change_password),
        Rpc::UserGrantRole => unary!(Auth.user_grant_role),
        Rpc::UserRevokeRole => unary!(Auth.user_revoke_role),
        Rpc::RoleAdd => unary!(Auth.role_add),
        Rpc::RoleGet => unary!(Auth.role_get),
        Rpc::RoleList => unary!(Auth.role_list),
        Rpc::RoleDelete => unary!(Auth.role_delete),
        Rpc::RoleGrantPermission => unary!(Auth.role_grant_permission),
        Rpc::RoleRevokePermission => unary!(Auth.role_revoke_permission),
        Rpc::Lock => unary!(Lock.lock),
        Rpc::Unlock => unary!(Lock.unlock),
        Rpc::Campaign => unary!(Election.campaign),
        Rpc::Proclaim => unary!(Election.proclaim),
        Rpc::Leader => unary!(Election.leader),
        Rpc::Resign => unary!(Election.resign),
        Rpc::Watch => {
            let requires_leader = call.requires_leader();
            Ok(stream(Watch(gateway).stream(call.messages(), requires_leader).await?, ending))
        }
        Rpc::LeaseKeepAlive => Ok(stream(KeepAlives::new(gateway, call.messages()), ending)),
        Rpc::Snapshot => Ok(stream(Maintenance(gateway).snapshot(call.message().await?).await?.into_inner(), ending)),
        Rpc::Observe => Ok(stream(Election(gateway).observe(call.message().await?).await?.into_inner(), ending)),
        // These have no path on the gateway.
        Rpc::RangeStream | Rpc::HealthCheck | Rpc::HealthWatch => Err(Status::unimplemented("only for gRPC")),
    }
}

fn unsayable(error: serde_json::Error) -> Status {
    Status::internal(format!("the answer has no JSON form: {error}"))
}

/// A request on the gateway.
struct Call {
    headers: HeaderMap,
    body: Body,
    form: Form,
    bytes_max: usize,
}

impl Call {
    fn requires_leader(&self) -> bool {
        self.headers.get("grpc-metadata-hasleader").is_some_and(|wanted| wanted.as_bytes() == b"true")
    }

    /// Waits until all of the body is there.
    async fn arrive(&mut self) -> Result<(), Status> {
        let body = Limited::new(std::mem::take(&mut self.body), self.bytes_max);
        let Ok(body) = timeout(BODY_PATIENCE, body.collect()).await else {
            return Err(Status::deadline_exceeded(TOO_SLOW));
        };
        let body = body.map_err(|_| {
            Status::invalid_argument(EtcdError::RequestTooLarge.code_and_text().1) // or it broke off: nobody listens then
        })?;
        self.body = Body::new(Full::new(body.to_bytes()));
        Ok(())
    }

    /// The one message that the body is. An empty body is an empty message.
    async fn message<M: DeserializeOwned>(mut self) -> Result<tonic::Request<M>, Status> {
        let requires_leader = self.requires_leader();
        self.arrive().await?; // at once, if it had to be there before
        let body = self.body.collect().await?.to_bytes();
        let body = if body.iter().all(u8::is_ascii_whitespace) { &b"{}"[..] } else { &body[..] };
        let message = serde_json::from_slice(body).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut request = tonic::Request::new(message);
        if requires_leader {
            request.metadata_mut().insert("hasleader", tonic::metadata::MetadataValue::from_static("true"));
        }
        Ok(request)
    }

    /// The messages that the body is, as they come.
    fn messages<M>(self) -> Messages<M> {
        Messages {
            body: self.body,
            form: self.form,
            read: BytesMut::new(),
            scan: Scan::default(),
            bytes_max: self.bytes_max,
            ended: false,
            message: PhantomData,
        }
    }
}

/// Messages from a body of JSON values.
struct Messages<M> {
    body: Body,
    form: Form,
    read: BytesMut,
    scan: Scan,
    bytes_max: usize,
    ended: bool,
    message: PhantomData<fn() -> M>,
}

impl<M: DeserializeOwned> Messages<M> {
    /// The next message in what was read; `None` when it is not all there.
    fn take(&mut self) -> Result<Option<M>, serde_json::Error> {
        let end = match self.form {
            Form::Frames => self.read.len(),
            Form::Values => match self.scan.end(&self.read) {
                Some(end) => end,
                None if self.ended => self.read.len(),
                None => return Ok(None),
            },
        };
        let value = self.read.split_to(end);
        self.scan = Scan::default();
        if value.iter().all(u8::is_ascii_whitespace) { Ok(None) } else { serde_json::from_slice(&value).map(Some) }
    }
}

/// Looks for the end of an object, at each byte once: a client may send them one by one.
#[derive(Default)]
struct Scan {
    seen: usize,
    depth: usize,
    in_text: bool,
    is_escaped: bool,
}

impl Scan {
    /// Where the first object ends, or what is none begins; `None` when it is not all there.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(&byte) = bytes.get(self.seen) {
            self.seen += 1;
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_text => self.is_escaped = true,
                b'"' if self.depth > 0 => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' => self.depth += 1,
                b'}' if self.depth > 1 => self.depth -= 1,
                _ if self.depth > 0 && byte != b'}' || byte.is_ascii_whitespace() => {}
                _ => return Some(self.seen),
            }
        }
        None
    }
}

impl<M: DeserializeOwned> Stream for Messages<M> {
    type Item = Result<M, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match self.take() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Ok(None) if self.ended => return Poll::Ready(None),
                Ok(None) if self.read.len() > self.bytes_max => {
                    return Poll::Ready(Some(Err(EtcdError::RequestTooLarge.status())));
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(Status::invalid_argument(error.to_string())))),
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.read.extend_from_slice(bytes);
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(Status::cancelled(error.to_string())))),
                None => self.ended = true,
            }
        }
    }
}

fn stream<S, T>(answers: S, ending: &mut Ending) -> Response<Body>
where
    S: Stream<Item = Result<T, Status>> + Send + 'static,
    T: Serialize,
{
    let lines = Lines { answers: Some(Box::pin(answers)), ending: ending.pass_on() };
    let mut response = Response::new(Body::new(lines));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

/// A stream's answers as lines.
struct Lines<S> {
    answers: Option<Pin<Box<S>>>,
    ending: Ending,
}

#[derive(Serialize)]
struct Line<T> {
    result: T,
}

impl<S, T> http_body::Body for Lines<S>
where
    S: Stream<Item = Result<T, Status>>,
    T: Serialize,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(answers) = &mut self.answers else { return Poll::Ready(None) };
        let answer = ready!(answers.as_mut().poll_next(cx));
        let line = match answer {
            None => {
                self.answers = None;
                self.ending.with(Code::Ok);
                return Poll::Ready(None);
            }
            Some(Ok(result)) => serde_json::to_vec(&Line { result }).map_err(unsayable),
            Some(Err(status)) => Err(status),
        };
        let mut line = line.unwrap_or_else(|status| {
            self.answers = None;
            self.ending.with(status.code());
            let (code, reason) = (http_status(status.code()), http_status(status.code()).canonical_reason());
            let error = serde_json::json!({"error": {
                "grpc_code": status.code() as i32, "http_code": code.as_u16(), "http_status": reason,
                "code": status.code() as i32, "message": status.message(), "details": [],
            }});
            error.to_string().into_bytes()
        });
        line.push(b'\n');
        Poll::Ready(Some(Ok(Frame::data(line.into()))))
    }
}

/// An error as every version of etcd's gateway said it, all at once.
fn failure(status: &Status) -> Response<Body> {
    let body = serde_json::json!({
        "error": status.message(), "message": status.message(), "code": status.code() as i32, "details": [],
    });
    pages::response(http_status(status.code()), JSON, body.to_string())
}

/// The HTTP status that grpc-gateway has for a code.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT), // nginx's, not registered
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
