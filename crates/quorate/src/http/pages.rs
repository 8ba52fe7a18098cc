//! The pages that people, probes and Prometheus ask for.

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use quorate_machines::kv::{AlarmKind, Span};
use tonic::body::Body;

use super::chains::{self, ChainList};
use super::nodes::{self, NodeList};
use crate::etcd::{CLUSTER_VERSION, Gateway, VERSION};

pub(super) const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// A response of a few bytes.
pub(super) fn response(status: StatusCode, kind: &'static str, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

/// The page at the request's path.
pub(super) async fn page(gateway: &Gateway, request: &Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    if request.method() == Method::OPTIONS {
        return response(StatusCode::OK, TEXT, "");
    }
    let query = Query(request.uri().query().unwrap_or(""));
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    match path {
        _ if !get => response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "Method Not Allowed\n"),
        "/version" => {
            let versions = serde_json::json!({
                "etcdserver": VERSION, "etcdcluster": CLUSTER_VERSION, "storage": CLUSTER_VERSION,
            });
            response(StatusCode::OK, JSON, versions.to_string())
        }
        nodes::PATH => match &gateway.membership {
            Some(membership) => {
                let list = NodeList::of(membership, &gateway.cluster);
                let body = serde_json::to_vec(&list).expect("a list of plain fields can be written");
                response(StatusCode::OK, JSON, body)
            }
            None => not_found(),
        },
        chains::PATH => match gateway.keyspace.cluster().await {
            Ok(cluster) => {
                let me = u32::try_from(gateway.cluster.member_id).unwrap_or_default();
                let list = ChainList::of(quorate_model::NodeId(me), &cluster);
                let body = serde_json::to_vec(&list).expect("a list of plain fields can be written");
                response(StatusCode::OK, JSON, body)
            }
            Err(refusal) => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{refusal}\n")),
        },
        "/health" => health(gateway, query).await,
        "/metrics" => {
            // A node in trouble is the one whose counts are wanted most.
            let view = gateway.keyspace.peek().await.unwrap_or_else(|_| gateway.keyspace.published());
            let page = gateway.metrics.page(&view, gateway.cluster.member_id, gateway.limits.quota_bytes);
            response(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page)
        }
        "/debug/vars" => {
            let arguments: Vec<String> = std::env::args().collect();
            let Ok(view) = gateway.keyspace.peek().await else {
                return response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the keyspace does not answer\n");
            };
            let vars = serde_json::json!({
                "cmdline": arguments, "calls": gateway.metrics.totals(), "revision": view.revision().0,
                "keys": view.keys(), "bytes_in_use": view.bytes_in_use(), "leases": view.lease_count(),
            });
            response(StatusCode::OK, JSON, vars.to_string())
        }
        _ => match path
            .strip_prefix("/livez")
            .map(|rest| (LIVE, rest))
            .or_else(|| Some((READY, path.strip_prefix("/readyz")?)))
        {
            Some((checks, "" | "/")) => checked(gateway, checks, query).await,
            Some((checks, one)) => match checks.iter().find(|check| one.strip_prefix('/') == Some(check.name())) {
                Some(check) => checked(gateway, &[*check], query).await,
                None => not_found(),
            },
            None => not_found(),
        },
    }
}

fn not_found() -> Response<Body> {
    response(StatusCode::NOT_FOUND, TEXT, "404 page not found\n")
}

/// The part of a URL after the question mark.
#[derive(Clone, Copy)]
struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    fn pairs(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    fn has(self, name: &str) -> bool {
        self.pairs().any(|(key, _)| key == name)
    }

    fn is_true(self, name: &str) -> bool {
        self.pairs().any(|(key, value)| key == name && value == "true")
    }

    fn excludes(self, name: &str) -> bool {
        self.pairs().any(|(key, value)| key == "exclude" && value == name)
    }
}

async fn health(gateway: &Gateway, query: Query<'_>) -> Response<Body> {
    let reason = unhealthy(gateway, query).await;
    let body = serde_json::json!({
        "health": if reason.is_none() { "true" } else { "false" }, "reason": reason.clone().unwrap_or_default(),
    });
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    response(status, JSON, body.to_string())
}

async fn unhealthy(gateway: &Gateway, query: Query<'_>) -> Option<String> {
    let view = match gateway.keyspace.peek().await {
        Ok(view) => view,
        Err(refusal) => return Some(format!("RANGE ERROR:{refusal}")),
    };
    for alarm in view.alarms() {
        let kind = match alarm.kind {
            AlarmKind::NoSpace => "NOSPACE",
            AlarmKind::Corrupt => "CORRUPT",
        };
        if !query.excludes(kind) {
            return Some(format!("ALARM {kind}"));
        }
    }
    let serializable = query.is_true("serializable");
    if !serializable && !gateway.has_leader() {
        return Some("RAFT NO LEADER".to_owned());
    }
    let check = if serializable { Check::SerializableRead } else { Check::LinearizableRead };
    check.fails(gateway).await.map(|error| format!("RANGE ERROR:{error}"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

const LIVE: &[Check] = &[Check::SerializableRead];
const READY: &[Check] = &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }

    /// Why it does not hold.
    async fn fails(self, gateway: &Gateway) -> Option<String> {
        match self {
            Self::DataCorruption => match gateway.keyspace.peek().await {
                Ok(view) => view
                    .alarms()
                    .iter()
                    .any(|alarm| alarm.kind == AlarmKind::Corrupt)
                    .then(|| "alarm activated: CORRUPT".to_owned()),
                Err(refusal) => Some(refusal.to_string()),
            },
            Self::SerializableRead => gateway.keyspace.peek().await.err().map(|refusal| refusal.to_string()),
            Self::LinearizableRead => {
                gateway.keyspace.read(vec![Span::all()]).await.err().map(|refusal| refusal.to_string())
            }
            Self::NonLearner => match gateway.status().await {
                Ok(status) if status.serving => None,
                Ok(_) => Some("the node is catching up".to_owned()),
                Err(error) => Some(error.code_and_text().1.to_owned()),
            },
        }
    }
}

async fn checked(gateway: &Gateway, checks: &[Check], query: Query<'_>) -> Response<Body> {
    let (mut lines, mut failed) = (String::new(), false);
    for check in checks.iter().filter(|check| !query.excludes(check.name())) {
        match check.fails(gateway).await {
            None => lines += &format!("[+]{} ok\n", check.name()),
            Some(reason) => {
                failed = true;
                lines += &format!("[-]{} failed: {reason}\n", check.name());
            }
        }
    }
    match (failed, query.has("verbose")) {
        (true, _) => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, lines),
        (false, true) => response(StatusCode::OK, TEXT, lines + "ok\n"),
        (false, false) => response(StatusCode::OK, TEXT, "ok\n"),
    }
}
