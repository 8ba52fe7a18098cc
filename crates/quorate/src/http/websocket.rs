//! The JSON gateway over a WebSocket: a call as a conversation, which a browser can hold and plain HTTP/1.1 cannot.
//!
//! As etcd's proxy for WebSockets has it: a message of text is a request, an answer is a message of text, on the path that
//! the call has over plain HTTP. A call that takes one request takes the first message. The end of the answers closes the
//! socket; closing the socket ends the call.
//!
//! A browser cannot set headers, so etcd's clients put `Bearer, TOKEN` where the subprotocol stands, and want `Bearer`
//! back. The token itself is not looked at, as everywhere while there is no authentication.
//!
//! Nothing is read while something waits to be written. Else a client that pings and never reads would have its replies
//! pile up here, for which tungstenite knows no end but an error.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{Sink, SinkExt, Stream, StreamExt, stream};
use http::header::{SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tonic::body::Body;

use super::json::{self, Form};
use super::pages;
use super::serve::KEEP_ALIVE;
use super::service::Services;
use crate::etcd::rpc::Rpc;

/// So many requests wait for the call to take them before the client does.
const REQUESTS_MAX: usize = 4;
/// How much of what a client sent is taken off its connection at once.
const READ_BUFFER_BYTES: usize = 4 << 10;
/// How long a client may take to close its side after we closed ours.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);
/// How long a client may say nothing, or leave an answer unread, and a call a request untaken.
const PATIENCE: Duration = KEEP_ALIVE.0.saturating_add(KEEP_ALIVE.1);

/// A WebSocket that is read when all is written.
struct Socket(WebSocketStream<TokioIo<Upgraded>>);

impl Stream for Socket {
    type Item = Result<Message, tungstenite::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Err(error) = ready!(self.0.poll_flush_unpin(cx)) {
            return Poll::Ready(Some(Err(error)));
        }
        self.0.poll_next_unpin(cx)
    }
}

impl Sink<Message> for Socket {
    type Error = tungstenite::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready_unpin(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Self::Error> {
        self.0.start_send_unpin(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_flush_unpin(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_close_unpin(cx)
    }
}

/// Whether the request asks for a WebSocket.
pub(super) fn is_wanted<B>(request: &Request<B>) -> bool {
    request.headers().get(UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The WebSocket that a connection may turn into. It is opened by a request, and talks when the connection has nothing more
/// to do with HTTP.
#[derive(Clone)]
pub(super) struct Websocket {
    opened: Arc<Mutex<Option<Opened>>>,
    closed: watch::Receiver<bool>,
}

/// A call that was asked for, and the bytes of its connection when they are ours.
struct Opened {
    services: Services,
    rpc: Rpc,
    headers: HeaderMap,
    upgrade: OnUpgrade,
}

impl Websocket {
    /// None yet; `closed` turns true when the server ends.
    pub fn new(closed: watch::Receiver<bool>) -> Self {
        Self { opened: Arc::default(), closed }
    }

    /// The answer to a request for a WebSocket.
    pub fn open(&self, services: &Services, rpc: Rpc, mut request: Request<Incoming>) -> Response<Body> {
        let mut response = match create_response_with_body(&request, Body::empty) {
            Ok(response) => response,
            Err(error) => {
                return pages::response(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", format!("{error}\n"));
            }
        };
        let asked = request.headers().get(SEC_WEBSOCKET_PROTOCOL);
        if asked.is_some_and(|protocols| protocols.as_bytes().starts_with(b"Bearer")) {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("Bearer"));
        }
        let upgrade = hyper::upgrade::on(&mut request);
        let headers = std::mem::take(request.headers_mut());
        let opened = Opened { services: services.clone(), rpc, headers, upgrade };
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        response
    }

    /// Serves the call that was asked for, if one was, until it ends.
    pub async fn talk(self) {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Opened { services, rpc, headers, upgrade }) = opened else { return };
        let ended = match upgrade.await {
            Ok(upgraded) => {
                let bytes_max = json::bytes_max(services.gateway());
                let config = WebSocketConfig::default()
                    .max_message_size(Some(bytes_max))
                    .max_frame_size(Some(bytes_max))
                    .read_buffer_size(READ_BUFFER_BYTES);
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
                talk(services, rpc, headers, Socket(socket), self.closed).await
            }
            Err(error) => return tracing::debug!(%error, "a connection did not become a WebSocket"),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a WebSocket ended early");
        }
    }
}

async fn talk(
    services: Services,
    rpc: Rpc,
    headers: HeaderMap,
    socket: Socket,
    closed: watch::Receiver<bool>,
) -> Result<(), tungstenite::Error> {
    let (mut answers, mut messages) = socket.split();
    let (requests, received) = mpsc::channel(REQUESTS_MAX);
    let body = Body::new(StreamBody::new(ReceiverStream::new(received)));
    let call = json::call(&services, rpc, headers, body, Form::Frames);
    let close = tokio::select! {
        asked = ask(&mut messages, requests, rpc) => match asked {
            Ok(()) => return Ok(()), // closed by the client
            Err(error) => fault(error)?,
        },
        close = answer(&mut answers, call, closed) => close?,
    };
    let closing = async {
        answers.send(Message::Close(Some(close))).await?;
        while let Some(Ok(_)) = messages.next().await {}
        // A socket that is closed with bytes unread is reset, and what was said last may not arrive.
        let Socket(mut socket) = messages.reunite(answers).expect("these are halves of one socket");
        socket.get_mut().shutdown().await?;
        tokio::io::copy(socket.get_mut(), &mut tokio::io::sink()).await?;
        Ok(())
    };
    timeout(CLOSE_PATIENCE, closing).await.unwrap_or(Ok(())) // the client had its time
}

type Piece = Result<Frame<Bytes>, Infallible>;

/// Hands on what the client asks, until it closes or is silent for too long.
async fn ask(
    messages: &mut SplitStream<Socket>,
    requests: mpsc::Sender<Piece>,
    rpc: Rpc,
) -> Result<(), tungstenite::Error> {
    let mut requests = Some(requests);
    loop {
        let Ok(message) = timeout(PATIENCE, messages.next()).await else { return Ok(()) };
        let Some(message) = message else { return Ok(()) };
        // What is no request has its reply, if it gets one, sent by the next look.
        let message @ (Message::Text(_) | Message::Binary(_)) = message? else { continue };
        let Some(open) = &requests else { continue }; // it takes one, and had it
        let sent = timeout(PATIENCE, open.send(Ok(Frame::data(message.into_data())))).await;
        let Ok(sent) = sent else { return Ok(()) };
        if sent.is_err() || !rpc.takes_many() {
            requests = None;
        }
    }
}

/// Says what the call answers until it ends; then how to close.
async fn answer(
    answers: &mut SplitSink<Socket, Message>,
    call: impl Future<Output = Response<Body>>,
    mut closed: watch::Receiver<bool>,
) -> Result<CloseFrame, tungstenite::Error> {
    let mut lines = pin!(stream::once(call).flat_map(|response| response.into_body().into_data_stream()));
    let mut pings = interval_at(Instant::now() + KEEP_ALIVE.0, KEEP_ALIVE.0);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            line = lines.next() => match line {
                Some(Ok(line)) => Message::Text(text(line)?),
                Some(Err(_)) | None => return Ok(close(CloseCode::Normal, "")), // an error is said in a line
            },
            _ = pings.tick() => Message::Ping(Bytes::new()),
            _ = closed.wait_for(|closed| *closed) => return Ok(close(CloseCode::Away, "the node is stopping")),
        };
        let sent = timeout(PATIENCE, answers.send(message)).await;
        sent.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))?;
    }
}

fn text(mut line: Bytes) -> Result<Utf8Bytes, tungstenite::Error> {
    line.truncate(line.trim_ascii_end().len());
    Ok(Utf8Bytes::try_from(line)?)
}

/// How to close after a client's mistake (RFC 6455, 7.4.1).
///
/// # Errors
/// The same error when there is nobody to close to.
fn fault(error: tungstenite::Error) -> Result<CloseFrame, tungstenite::Error> {
    match error {
        tungstenite::Error::Utf8(_) => Ok(close(CloseCode::Invalid, "a text that is not UTF-8")),
        tungstenite::Error::Capacity(_) => Ok(close(CloseCode::Size, "the message is too long")),
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Err(error),
        tungstenite::Error::Protocol(_) => Ok(close(CloseCode::Protocol, "not as WebSockets talk")),
        _ => Err(error),
    }
}

fn close(code: CloseCode, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: Utf8Bytes::from_static(reason) }
}
