//! A gRPC connection that costs as little as HTTP/2 allows, so that a benchmark measures the server and not itself.
//!
//! | client                              | CPU a call             |
//! |-------------------------------------|------------------------|
//! | etcd's own benchmark, in Go         | 40 to 45 us            |
//! | tonic on a multi-threaded runtime   | 21 us                  |
//! | tonic on single-threaded runtimes   | 8.5 us                 |
//! | this                                | see `bench/README.md`  |
//!
//! A call is one HEADERS and one DATA frame out, and HEADERS, DATA and trailers back: `h2` does the frames, `prost` the
//! messages, and the five bytes between them are all that is written here. Not chosen: tonic's channel, whose buffer, layers
//! and boxed bodies are half of its cost.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Uri, header};
use prost::Message;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection may take to open.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// The flow-control window of a stream and of the connection: no answer that we ask for waits for an update of it.
const WINDOW_BYTES: u32 = 16 << 20;
/// One flag byte and four bytes of length stand before each message.
const PREFIX_BYTES: usize = 5;
/// The largest answer that is taken; etcd's own clients take 2 GiB, which would let one server fill our memory.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection came up. Nothing was sent.
    #[error("cannot connect to {endpoint}: {why}")]
    Connect {
        /// The endpoint that was tried.
        endpoint: String,
        /// What the system said.
        why: String,
    },
    /// The connection broke, perhaps after the request had left: it may or may not have taken effect.
    #[error("the connection broke: {0}")]
    Broken(#[from] h2::Error),
    /// The server answered that it will not or cannot. Whether it had an effect depends on the code.
    #[error("status {code}: {message}")]
    Status {
        /// gRPC's number.
        code: i32,
        /// The server's words.
        message: String,
    },
    /// The answer is not what the protocol allows. The request may have taken effect.
    #[error("malformed answer: {0}")]
    Malformed(&'static str),
    /// No answer came in time. The request may or may not take effect, even later.
    #[error("no answer in time")]
    Late,
}

impl CallError {
    /// Whether the request surely had no effect and never will.
    #[must_use]
    pub fn is_surely_without_effect(&self) -> bool {
        match self {
            Self::Connect { .. } => true,
            // 3 invalid argument, 5 not found, 7 permission denied, 8 resource exhausted, 9 failed precondition,
            // 11 out of range, 12 unimplemented, 16 unauthenticated: refused before they were ordered. All others,
            // 14 unavailable above all, can follow a request that was ordered already.
            Self::Status { code, .. } => matches!(code, 3 | 5 | 7 | 8 | 9 | 11 | 12 | 16),
            Self::Broken(_) | Self::Malformed(_) | Self::Late => false,
        }
    }

    /// A short name to count errors by.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Connect { .. } => "cannot connect".into(),
            Self::Broken(_) => "connection broke".into(),
            Self::Status { code, message } => format!("status {code}: {message}"),
            Self::Malformed(_) => "malformed answer".into(),
            Self::Late => "no answer in time".into(),
        }
    }
}

/// One HTTP/2 connection. Clones share it.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Bytes>,
    base: String,
}

impl Connection {
    /// Connects to `endpoint`, `host:port`, and drives the connection on the current runtime until the last clone is gone.
    ///
    /// # Errors
    /// [`CallError::Connect`].
    pub async fn open(endpoint: &str) -> Result<Self, CallError> {
        let refused = |why: String| CallError::Connect { endpoint: endpoint.into(), why };
        let handshake = async {
            let stream = TcpStream::connect(endpoint).await.map_err(|error| refused(error.to_string()))?;
            stream.set_nodelay(true).map_err(|error| refused(error.to_string()))?;
            h2::client::Builder::new()
                .initial_window_size(WINDOW_BYTES)
                .initial_connection_window_size(WINDOW_BYTES)
                .handshake(stream)
                .await
                .map_err(|error| refused(error.to_string()))
        };
        let (sender, driver) =
            timeout(OPEN_WITHIN, handshake).await.map_err(|_| refused("no answer in time".into()))??;
        // What ends the driver is told to every call in flight, so its own result says nothing new.
        tokio::spawn(async move { drop(driver.await) });
        Ok(Self { sender, base: format!("http://{endpoint}") })
    }

    /// Calls a method, `/package.Service/Method`, with one message for one message.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn unary<A: Message + Default>(&self, path: &str, request: &impl Message) -> Result<A, CallError> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut sending) = sender.send_request(self.head(path)?, false)?;
        sending.send_data(framed(request), true)?;
        let response = response.await?;
        check_status(response.headers())?;
        let mut receiving = Incoming { body: response.into_body(), buffer: BytesMut::new() };
        let answer = receiving.next().await?;
        // The status follows the message; a call is not over before it is read.
        if receiving.next::<A>().await?.is_some() {
            return Err(CallError::Malformed("two messages for one"));
        }
        answer.ok_or(CallError::Malformed("no message and no error"))
    }

    /// Opens a stream of messages both ways.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn stream(&self, path: &str, first: &impl Message) -> Result<(Outgoing, Incoming), CallError> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, sending) = sender.send_request(self.head(path)?, false)?;
        let mut outgoing = Outgoing(sending);
        outgoing.send(first)?;
        let response = response.await?;
        check_status(response.headers())?;
        Ok((outgoing, Incoming { body: response.into_body(), buffer: BytesMut::new() }))
    }

    fn head(&self, path: &str) -> Result<Request<()>, CallError> {
        let uri = Uri::try_from(format!("{}{path}", self.base)).map_err(|_| CallError::Malformed("endpoint"))?;
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = uri;
        *head.version_mut() = http::Version::HTTP_2;
        head.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/grpc"));
        head.headers_mut().insert(header::TE, header::HeaderValue::from_static("trailers"));
        Ok(head)
    }
}

/// The sending half of a stream. Dropping it ends the stream.
pub struct Outgoing(SendStream<Bytes>);

impl Outgoing {
    /// Sends one message.
    ///
    /// # Errors
    /// When the stream is over.
    pub fn send(&mut self, message: &impl Message) -> Result<(), CallError> {
        Ok(self.0.send_data(framed(message), false)?)
    }
}

/// The receiving half of a stream.
pub struct Incoming {
    body: RecvStream,
    buffer: BytesMut,
}

impl Incoming {
    /// The next message; `None` when the server ended the stream well.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn next<A: Message + Default>(&mut self) -> Result<Option<A>, CallError> {
        loop {
            if let Some(message) = self.take()? {
                return A::decode(message)
                    .map(Some)
                    .map_err(|_| CallError::Malformed("not the message of this method"));
            }
            let Some(chunk) = self.body.data().await else {
                return match self.body.trailers().await? {
                    Some(trailers) => check_status(&trailers).map(|()| None),
                    None => Ok(None),
                };
            };
            let chunk = chunk?;
            self.body.flow_control().release_capacity(chunk.len())?;
            self.buffer.extend_from_slice(&chunk);
        }
    }

    /// The message at the front of the buffer, if it is there as a whole.
    fn take(&mut self) -> Result<Option<Bytes>, CallError> {
        let Some((prefix, rest)) = self.buffer.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        if prefix[0] != 0 {
            return Err(CallError::Malformed("compressed, which was not asked for"));
        }
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if length > ANSWER_BYTES_MAX {
            return Err(CallError::Malformed("longer than any answer may be"));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("a request is far below 4 GiB"));
    message.encode(&mut frame).expect("a buffer that grows has room");
    frame.freeze()
}

/// Fails when the headers or trailers carry a status other than 0.
fn check_status(headers: &HeaderMap) -> Result<(), CallError> {
    let Some(status) = headers.get("grpc-status") else { return Ok(()) };
    let code = status.to_str().ok().and_then(|code| code.parse().ok()).ok_or(CallError::Malformed("grpc-status"))?;
    if code == 0 {
        return Ok(());
    }
    let message = headers.get("grpc-message").map_or("", |message| message.to_str().unwrap_or("not text"));
    Err(CallError::Status { code, message: percent_decoded(message) })
}

/// gRPC sends its message percent-encoded.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = if first == b'%' { after.get(..2) } else { None };
        let value = escaped
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(value.unwrap_or(first));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An endpoint and the connection to it, opened again when it broke.
pub struct Link {
    endpoint: String,
    live: Mutex<Option<Connection>>,
}

impl Link {
    /// A link that connects at its first call.
    #[must_use]
    pub fn new(endpoint: &str) -> Self {
        Self { endpoint: endpoint.into(), live: Mutex::new(None) }
    }

    /// Where it leads.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The connection, opened if there is none.
    ///
    /// # Errors
    /// [`CallError::Connect`].
    pub async fn connection(&self) -> Result<Connection, CallError> {
        if let Some(connection) = self.live.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(connection);
        }
        let connection = Connection::open(&self.endpoint).await?;
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
        Ok(connection)
    }

    /// As [`Connection::unary`], within `patience`. A connection that broke, or that no answer came from, is let go.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn unary<A: Message + Default>(
        &self,
        path: &str,
        request: &impl Message,
        patience: Duration,
    ) -> Result<A, CallError> {
        let connection = self.connection().await?;
        let outcome = match timeout(patience, connection.unary(path, request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::Late),
        };
        if matches!(outcome, Err(CallError::Broken(_) | CallError::Late)) {
            *self.live.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_decoded_from_its_percent_form() {
        assert_eq!(percent_decoded("etcdserver: 50%25 of %C3%A4"), "etcdserver: 50% of ä");
        assert_eq!(percent_decoded("cut %C"), "cut %C");
        assert_eq!(percent_decoded("not hex %zz"), "not hex %zz");
    }

    #[test]
    fn a_status_that_can_follow_an_ordered_request_is_not_taken_for_a_refusal() {
        let status = |code| CallError::Status { code, message: String::new() };
        assert!(!status(14).is_surely_without_effect());
        assert!(!status(4).is_surely_without_effect());
        assert!(status(3).is_surely_without_effect());
        assert!(!CallError::Late.is_surely_without_effect());
    }
}
