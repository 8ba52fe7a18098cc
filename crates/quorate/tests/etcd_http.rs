//! The JSON gateway and the pages, over plain HTTP/1.1 written by hand, so that each byte is what a foreign client sends.

mod support;

use serde_json::{Value, json};
use support::{Server, soon, start, start_with};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A response: its status, its head and its body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

async fn send(server: &Server, method: &str, path: &str, body: &str) -> TcpStream {
    let mut socket = soon(TcpStream::connect(server.address)).await.expect("it listens");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    soon(socket.write_all(request.as_bytes())).await.expect("sent");
    socket
}

async fn call(server: &Server, method: &str, path: &str, body: &str) -> Answer {
    let mut socket = send(server, method, path, body).await;
    let mut text = String::new();
    soon(socket.read_to_string(&mut text)).await.expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

async fn post(server: &Server, path: &str, body: Value) -> Answer {
    call(server, "POST", path, &body.to_string()).await
}

#[tokio::test]
async fn names_are_those_of_the_protocol_and_long_numbers_are_strings() {
    let server = start().await;
    let put = post(&server, "/v3/kv/put", json!({"key": "YQ==", "value": "MQ=="})).await;
    let header = json!({"cluster_id": "9", "member_id": "7", "revision": "2", "raft_term": "1"});
    assert_eq!(put.status, 200);
    assert_eq!(put.json(), json!({"header": header}));
    assert!(put.head.contains("content-type: application/json"));
    assert!(put.head.contains("access-control-allow-origin: *"));
    let range = post(&server, "/v3/kv/range", json!({"key": "YQ=="})).await;
    let kv = json!({"key": "YQ==", "create_revision": "2", "mod_revision": "2", "version": "1", "value": "MQ=="});
    assert_eq!(range.json(), json!({"header": header, "kvs": [kv], "count": "1"}));
}

#[tokio::test]
async fn what_older_and_looser_clients_send_is_understood() {
    let server = start().await;
    server.put("a", "1").await;
    server.put("b", "1").await;
    let loose = json!({"key": "YQ==", "rangeEnd": "AA==", "limit": 1, "sort_order": "DESCEND", "of_the_future": [1]});
    let range = post(&server, "/v3/kv/range", loose).await.json();
    assert_eq!(range["kvs"][0]["key"], "Yg==");
    assert_eq!((&range["count"], &range["more"]), (&json!("2"), &json!(true)));
    let txn = json!({
        "compare": [{"target": "CREATE", "key": "YQ==", "create_revision": "2"}],
        "success": [{"requestPut": {"key": "YQ==", "value": "Mg=="}}, {"request_range": {"key": "YQ=="}}],
    });
    let txn = post(&server, "/v3/kv/txn", txn).await.json();
    assert_eq!(txn["succeeded"], true);
    assert_eq!(txn["responses"][1]["response_range"]["kvs"][0]["value"], "Mg==");
    let members = call(&server, "POST", "/v3/cluster/member/list", "").await.json();
    assert_eq!(members["members"][0]["name"], "one");
    let grant = post(&server, "/v3/lease/grant", json!({"TTL": 60, "ID": "5"})).await.json();
    assert_eq!((&grant["ID"], &grant["TTL"]), (&json!("5"), &json!("60")));
    let time = post(&server, "/v3/kv/lease/timetolive", json!({"ID": 5})).await.json();
    assert_eq!(time["grantedTTL"], "60");
}

#[tokio::test]
async fn paths_of_older_versions_are_the_same_calls() {
    let server = start().await;
    for (version, revision) in [("v3alpha", "2"), ("v3beta", "3"), ("v3", "4")] {
        let put = post(&server, &format!("/{version}/kv/put"), json!({"key": "YQ==", "value": "MQ=="})).await;
        assert_eq!(put.json()["header"]["revision"], revision);
    }
    assert_eq!(post(&server, "/v4/kv/put", json!({"key": "YQ=="})).await.status, 405, "no page takes a POST");
}

#[tokio::test]
async fn an_error_carries_every_field_that_a_client_may_look_for() {
    let server = start().await;
    let missing = post(&server, "/v3/kv/range", json!({})).await;
    let text = "etcdserver: key is not provided";
    assert_eq!(missing.status, 400);
    assert_eq!(missing.json(), json!({"error": text, "message": text, "code": 3, "details": []}));
    assert_eq!(post(&server, "/v3/lease/revoke", json!({"ID": 9})).await.status, 404);
    let refused = post(&server, "/v3/auth/enable", json!({})).await;
    assert_eq!(refused.status, 501);
    let broken = call(&server, "POST", "/v3/kv/range", "{x").await;
    assert_eq!((broken.status, &broken.json()["code"]), (400, &json!(3)));
    assert_eq!(call(&server, "GET", "/v3/kv/range", "").await.status, 405);
    assert_eq!(call(&server, "GET", "/nowhere", "").await.status, 404);
}

/// A review locked everybody out with requests that were announced and never sent.
#[tokio::test]
async fn a_request_that_does_not_arrive_takes_nobodys_turn() {
    let limits = quorate::etcd::Limits { calls_max: 1, ..Default::default() };
    let server = start_with(1, limits).await;
    let mut idle = soon(TcpStream::connect(server.address)).await.expect("it listens");
    let head = "POST /v3/kv/put HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    soon(idle.write_all(head.as_bytes())).await.expect("sent");
    let mut asked_for = [0; 12];
    soon(idle.read_exact(&mut asked_for)).await.expect("the body is waited for");
    assert_eq!(&asked_for, b"HTTP/1.1 100");
    assert_eq!(server.put("a", "1").await, 2);
}

#[tokio::test]
async fn values_of_a_stream_may_be_cut_anywhere() {
    let server = start().await;
    let create = r#" {"create_request": {"key": "YQ==", "of_the_future": ["}", "\\\"}{"], "watch_id": 3}}"#;
    let body = format!("{create}{}", create.replace('3', "4"));
    let mut socket = soon(TcpStream::connect(server.address)).await.expect("it listens");
    let head = format!("POST /v3/watch HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len() + 1);
    soon(socket.write_all(head.as_bytes())).await.expect("sent");
    socket.set_nodelay(true).expect("a socket");
    for byte in body.as_bytes() {
        soon(socket.write_all(&[*byte])).await.expect("sent");
        tokio::task::yield_now().await;
    }
    let mut lines = BufReader::new(socket).lines();
    for watch_id in [3, 4] {
        let line = loop {
            let line = soon(lines.next_line()).await.expect("a line").expect("no end");
            if line.starts_with('{') {
                break serde_json::from_str::<Value>(&line).expect("JSON");
            }
        };
        assert_eq!(line["result"]["watch_id"], watch_id.to_string(), "{line}");
    }
}

#[tokio::test]
async fn a_watch_is_lines_of_results() {
    let server = start().await;
    server.put("a", "1").await;
    let socket =
        send(&server, "POST", "/v3/watch", r#"{"create_request": {"key": "YQ==", "start_revision": "2"}}"#).await;
    let mut lines = BufReader::new(socket).lines();
    let mut next = async || loop {
        let line = soon(lines.next_line()).await.expect("a line").expect("no end");
        if line.starts_with('{') {
            return serde_json::from_str::<Value>(&line).expect("JSON")["result"].clone();
        }
    };
    assert_eq!(next().await["created"], true);
    assert_eq!(next().await["events"][0]["kv"]["value"], "MQ==");
    server.delete("a").await;
    let event = next().await["events"][0].clone();
    assert_eq!(event, json!({"type": "DELETE", "kv": {"key": "YQ==", "mod_revision": "3"}}));
}

#[tokio::test]
async fn a_renewal_is_one_line_and_then_the_end() {
    let server = start().await;
    post(&server, "/v3/lease/grant", json!({"TTL": 60, "ID": 5})).await;
    let answer = post(&server, "/v3/lease/keepalive", json!({"ID": 5})).await;
    let line = answer.body.lines().find(|line| line.starts_with('{')).expect("a result");
    let line: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!((&line["result"]["ID"], &line["result"]["TTL"]), (&json!("5"), &json!("60")));
}

#[tokio::test]
async fn locks_are_taken_and_given_back_with_a_plain_http_client() {
    let server = start().await;
    let lock = post(&server, "/v3/lock/lock", json!({"name": "bA=="})).await.json();
    let key = lock["key"].clone();
    assert!(key.is_string());
    let given = post(&server, "/v3/lock/unlock", json!({"key": key})).await;
    assert_eq!(given.status, 200);
}

#[tokio::test]
async fn the_version_is_one_that_scripts_can_take_apart() {
    let server = start().await;
    let version = call(&server, "GET", "/version", "").await.json();
    for field in ["etcdserver", "etcdcluster"] {
        let parts: Vec<u32> =
            version[field].as_str().expect("a version").split('.').map(|part| part.parse().expect("digits")).collect();
        assert!(parts.len() == 3 && parts >= vec![3, 5, 0], "{version}");
    }
}

#[tokio::test]
async fn health_says_what_is_wrong() {
    let server = start().await;
    let health = call(&server, "GET", "/health", "").await;
    assert_eq!((health.status, health.body.as_str()), (200, r#"{"health":"true","reason":""}"#));
    assert_eq!(call(&server, "GET", "/livez", "").await.body, "ok\n");
    let ready = call(&server, "GET", "/readyz?verbose", "").await;
    assert!(ready.body.contains("[+]linearizable_read ok"), "{}", ready.body);
    assert_eq!(call(&server, "GET", "/readyz/serializable_read", "").await.body, "ok\n");
    assert_eq!(call(&server, "GET", "/readyz/of_the_future", "").await.status, 404);

    let alarm = json!({"action": "ACTIVATE", "memberID": 7, "alarm": "NOSPACE"});
    post(&server, "/v3/maintenance/alarm", alarm).await;
    let health = call(&server, "GET", "/health", "").await;
    assert_eq!((health.status, &health.json()["reason"]), (503, &json!("ALARM NOSPACE")));
    assert_eq!(call(&server, "GET", "/health?exclude=NOSPACE", "").await.status, 200);

    let leaderless = start_with(0, quorate::etcd::Limits::default()).await;
    let health = call(&leaderless, "GET", "/health", "").await;
    assert_eq!((health.status, &health.json()["reason"]), (503, &json!("RAFT NO LEADER")));
    assert_eq!(call(&leaderless, "GET", "/health?serializable=true", "").await.status, 200);
}

#[tokio::test]
async fn the_metrics_are_those_that_dashboards_ask_for() {
    let server = start().await;
    server.put("a", "1").await;
    post(&server, "/v3/kv/range", json!({})).await;
    let mut watching = server.watch().await;
    watching.create(support::of_key("a", 0)).await;
    watching.created().await;
    let page = call(&server, "GET", "/metrics", "").await.body;
    for line in [
        "etcd_server_has_leader 1",
        "etcd_debugging_mvcc_keys_total 1",
        "etcd_debugging_mvcc_watcher_total 1",
        "etcd_mvcc_put_total 1",
        "# TYPE etcd_mvcc_db_total_size_in_bytes gauge",
        r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1"#,
        r#"grpc_server_handled_total{grpc_code="InvalidArgument",grpc_method="Range",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1"#,
        r#"grpc_server_started_total{grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 1"#,
    ] {
        assert!(page.lines().any(|have| have == line), "{line} is not in\n{page}");
    }
    assert!(page.contains("process_resident_memory_bytes"));
}
