//! Connections of clients: accepted, bounded, and ended with grace.
//!
//! One call of [`serve`] is one gateway thread's work, made for a `current_thread` runtime: with several threads, each
//! has a listener of its own on the same port (`SO_REUSEPORT`), and the kernel spreads the connections. No request then
//! crosses a thread but for its one message to the keyspace's loop. On a multi-threaded runtime it works too, at two to
//! three times the cost of a call.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::authority::Mended;
use super::metrics::Metrics;
use super::service::{Connected, Services};
use super::websocket::Websocket;
use crate::etcd::Gateway;

/// How much a client may send on one stream before it has to wait.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// How much a client may send on one connection before it has to wait.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// How many calls and streams one connection may have at once: few of the calls that a gateway serves, so that one client
/// does not lock out the others.
const STREAMS_MAX: u32 = 2_048;
/// How much waits on a stream for the client to read before whoever makes it waits.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// How long a connection may be silent before it is asked whether it lives, and how long it has to answer.
pub(super) const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// How long a client may take to say which protocol it speaks, and for the head of an HTTP/1.1 request.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// How long calls may go on after the end was asked for.
const GRACE: Duration = Duration::from_secs(3);
/// How long to wait when the machine has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Serves the clients of `listener` until `shutdown`, then lets calls end.
///
/// # Errors
/// When the listener is broken.
pub async fn serve(listener: TcpListener, gateway: Gateway, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    // Headers carry the configuration, so it has to be known first; a keyspace that cannot say so yet is served all the
    // same, since serializable reads and health need none of it.
    if let Err(error) = gateway.status().await {
        tracing::debug!(?error, "the keyspace does not answer yet");
    }
    let mut background = JoinSet::new();
    let (pulse, pump) = (gateway.clone(), gateway.hub.clone());
    background.spawn(async move { pulse.keep_pulse().await });
    background.spawn(async move { pump.pump().await });

    let connections_max = gateway.limits.connections_max;
    let server = Arc::new(server());
    let services = Services::new(gateway);
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) if connections.len() < connections_max => {
                let (server, services, closed) = (server.clone(), services.clone(), closed.clone());
                connections.spawn(connection(server, services, socket, closed));
            }
            Ok((socket, peer)) => {
                drop(socket);
                tracing::debug!(%peer, "too many connections");
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) if is_of_the_machine(&error) => tokio::time::sleep(ACCEPT_PAUSE).await,
            Err(error) => return Err(error),
        }
    }
    closing.send_replace(true);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all_ended).await.is_err() {
        tracing::debug!("calls that did not end in time are cut");
    }
    Ok(()) // what is left of connections and background ends with their sets
}

/// The connection failed before it was taken.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Out of descriptors or memory: later there may be some.
fn is_of_the_machine(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | ENOBUFS))
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1);
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
    server
}

async fn connection(
    server: Arc<auto::Builder<TokioExecutor>>,
    services: Services,
    socket: TcpStream,
    mut closed: watch::Receiver<bool>,
) {
    // Without it small answers wait for the peer's acknowledgements; a socket that refuses it works, slower.
    let _ = socket.set_nodelay(true);
    let metrics = services.metrics();
    metrics.connections.add(1);
    let socket = TokioIo::new(Mended::new(Metered { socket, metrics: metrics.clone() }, HEAD_PATIENCE));
    let websocket = Websocket::new(closed.clone());
    let service = Connected { services, websocket: websocket.clone() };
    let connection = server.serve_connection_with_upgrades(socket, service);
    let mut connection = pin!(connection);
    let closing = async { closed.wait_for(|closed| *closed).await.is_ok() };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = closing => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    match ended {
        Ok(()) => websocket.talk().await,
        Err(error) => tracing::debug!(%error, "a connection ended early"),
    }
    metrics.connections.add(-1);
}

/// A socket whose bytes are counted.
struct Metered {
    socket: TcpStream,
    metrics: Arc<Metrics>,
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(cx, buffer);
        self.metrics.received_bytes.add((buffer.filled().len() - before) as u64);
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.sent(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, parts);
        self.sent(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl Metered {
    fn sent(&self, polled: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = polled {
            self.metrics.sent_bytes.add(*bytes as u64);
        }
    }
}
