//! The JSON gateway over a WebSocket: a message a request, a message an answer.

mod support;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use support::{Server, soon, start};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// A client's end.
struct Talk(WebSocketStream<TcpStream>);

impl Talk {
    async fn open(server: &Server, path: &str) -> Self {
        Self::open_as(server, path, "").await.expect("a WebSocket").0
    }

    /// As [`Talk::open`], with a subprotocol if it is not empty.
    async fn open_as(server: &Server, path: &str, protocol: &str) -> Result<(Self, Response), Error> {
        let mut request = format!("ws://{}{path}", server.address).into_client_request()?;
        if !protocol.is_empty() {
            let protocol = HeaderValue::from_str(protocol).expect("a header's value");
            request.headers_mut().insert("sec-websocket-protocol", protocol);
        }
        let socket = soon(TcpStream::connect(server.address)).await.expect("it listens");
        let (socket, response) = soon(client_async(request, socket)).await?;
        Ok((Self(socket), response))
    }

    async fn say(&mut self, request: Value) {
        soon(self.0.send(Message::text(request.to_string()))).await.expect("said");
    }

    /// The next message, whatever it is.
    async fn hear(&mut self) -> Message {
        soon(self.0.next()).await.expect("no end").expect("no error")
    }

    /// The next answer.
    async fn answer(&mut self) -> Value {
        let message = self.hear().await;
        let text = message.to_text().expect("text");
        assert!(message.is_text() && !text.ends_with('\n'), "{message:?}");
        let line: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        line["result"].clone()
    }

    /// How the other side closes.
    async fn closed(&mut self) -> CloseCode {
        match self.hear().await {
            Message::Close(Some(frame)) => frame.code,
            other => panic!("not closed but {other:?}"),
        }
    }
}

#[tokio::test]
async fn many_watchers_are_made_and_cancelled_in_one_conversation() {
    let server = start().await;
    let mut talk = Talk::open(&server, "/v3/watch").await;
    talk.say(json!({"create_request": {"key": "YQ==", "watch_id": 3}})).await;
    assert_eq!(talk.answer().await["created"], true);
    talk.say(json!({"create_request": {"key": "Yg==", "watch_id": 4}})).await;
    assert_eq!(talk.answer().await["watch_id"], "4");
    server.put("b", "1").await;
    server.put("a", "2").await;
    let event = talk.answer().await;
    assert_eq!((&event["watch_id"], &event["events"][0]["kv"]["value"]), (&json!("4"), &json!("MQ==")));
    assert_eq!(talk.answer().await["watch_id"], "3");
    talk.say(json!({"cancel_request": {"watch_id": 4}})).await;
    let cancelled = talk.answer().await;
    assert_eq!((&cancelled["watch_id"], &cancelled["canceled"]), (&json!("4"), &json!(true)));
    server.put("b", "3").await;
    server.put("a", "4").await;
    let event = talk.answer().await;
    assert_eq!((&event["watch_id"], &event["events"][0]["kv"]["value"]), (&json!("3"), &json!("NA==")));
}

#[tokio::test]
async fn a_watch_ends_when_its_client_closes() {
    let server = start().await;
    let mut talk = Talk::open(&server, "/v3/watch").await;
    talk.say(json!({"create_request": {"key": "YQ=="}})).await;
    talk.answer().await;
    assert!(server.page("/metrics").await.contains("\netcd_debugging_mvcc_watcher_total 1\n"));
    soon(talk.0.close(None)).await.expect("closed");
    assert!(soon(talk.0.next()).await.is_none_or(|last| last.is_ok_and(|message| message.is_close())));
    let gone = async {
        while !server.page("/metrics").await.contains("\netcd_debugging_mvcc_watcher_total 0\n") {
            tokio::task::yield_now().await;
        }
    };
    soon(gone).await;
}

#[tokio::test]
async fn a_lease_is_kept_alive_message_by_message() {
    let server = start().await;
    let request = quorate::etcd::generated::etcdserverpb::LeaseGrantRequest { ttl: 60, id: 5 };
    soon(server.lease().lease_grant(request)).await.expect("a lease");
    let mut talk = Talk::open(&server, "/v3/lease/keepalive").await;
    for _ in 0..3 {
        talk.say(json!({"ID": 5})).await;
        let answer = talk.answer().await;
        assert_eq!((&answer["ID"], &answer["TTL"]), (&json!("5"), &json!("60")));
    }
    talk.say(json!({"ID": 6})).await;
    assert_eq!(talk.answer().await["TTL"], Value::Null, "an unknown lease has no time left");
}

#[tokio::test]
async fn a_call_of_one_request_is_answered_and_the_end() {
    let server = start().await;
    let mut talk = Talk::open(&server, "/v3beta/kv/put").await;
    talk.say(json!({"key": "YQ==", "value": "MQ=="})).await;
    let message = talk.hear().await;
    let answer: Value = serde_json::from_str(message.to_text().expect("text")).expect("JSON");
    assert_eq!(answer["header"]["revision"], "2");
    assert_eq!(talk.closed().await, CloseCode::Normal);
}

#[tokio::test]
async fn what_is_no_request_is_said_and_ends_the_conversation() {
    let server = start().await;
    let mut talk = Talk::open(&server, "/v3/watch").await;
    soon(talk.0.send(Message::text("{x"))).await.expect("said");
    let message = talk.hear().await;
    let answer: Value = serde_json::from_str(message.to_text().expect("text")).expect("JSON");
    assert_eq!(answer["error"]["code"], 3, "{answer}");
    assert_eq!(talk.closed().await, CloseCode::Normal);
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_conversation() {
    let server = start().await;
    let mut talk = Talk::open(&server, "/v3/watch").await;
    let long = "x".repeat(8 << 20);
    // The other side may close before it took everything.
    let _ = soon(talk.0.send(Message::text(long))).await;
    assert_eq!(talk.closed().await, CloseCode::Size);
    assert_eq!(server.put("a", "1").await, 2, "the server goes on");
}

#[tokio::test]
async fn a_mistake_is_said_by_its_code() {
    let server = start().await;
    // A frame's head, a mask of nothing, and the payload (RFC 6455, 5.2).
    for (frame, code) in [
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff][..], CloseCode::Invalid),
        (&[0x83, 0x80, 0, 0, 0, 0], CloseCode::Protocol),
        (&[0x81, 0x01, b'x'], CloseCode::Protocol),
    ] {
        let mut talk = Talk::open(&server, "/v3/watch").await;
        soon(talk.0.get_mut().write_all(frame)).await.expect("said");
        assert_eq!(talk.closed().await, code, "{frame:?}");
    }
}

/// A review saw a process grow by 240 MB over 400 MB of pings, since the replies waited for a client that read none.
#[tokio::test]
async fn pings_of_a_client_that_never_reads_do_not_pile_up() {
    const FLOOD_BYTES: usize = 200 << 20;
    const GROWTH_KIB_MAX: u64 = 64 << 10;
    let server = start().await;
    let mut talk = Talk::open(&server, "/v3/watch").await;
    let ping = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[7; 125]].concat();
    let pings = ping.repeat(1_000);
    let before = resident_kib();
    for _ in 0..FLOOD_BYTES / pings.len() {
        let said = talk.0.get_mut().write_all(&pings);
        if tokio::time::timeout(std::time::Duration::from_secs(1), said).await.is_err() {
            break; // it is not read any more
        }
    }
    let growth = resident_kib().saturating_sub(before);
    assert!(growth < GROWTH_KIB_MAX, "{growth} KiB");
    assert_eq!(server.put("a", "1").await, 2, "the server goes on");
}

/// The memory that this process has.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it is there");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

#[tokio::test]
async fn a_token_is_offered_as_browsers_have_to() {
    let server = start().await;
    let (_, response) = Talk::open_as(&server, "/v3/watch", "Bearer, abc").await.expect("a WebSocket");
    assert_eq!(response.headers()["sec-websocket-protocol"], "Bearer");
    let refused = Talk::open_as(&server, "/nowhere", "").await;
    assert!(matches!(&refused, Err(Error::Http(response)) if response.status() == 404), "no call is there");
}
