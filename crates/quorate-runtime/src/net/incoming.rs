//! The receiving side of a link.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate_model::NodeId;
use quorate_model::codec::{DecodeError, FRAME_BYTES_MAX, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout};

use super::hello::{HELLO, HELLO_TIME_MAX, Hello, HelloError, MESSAGE, PING, PONG, REFUSED, WELCOME};
use super::hello::{frame_of, read_first, take_frame};
use super::{Common, Inbound, PING_EVERY, SILENCE_MAX, decode_message, note_link};

/// How many connections may be open before they have said who they are.
const STRANGER_COUNT_MAX: usize = 64;

/// The least room that a read is given.
const READ_BYTES: usize = 64 << 10;

/// A process that was heard from so recently is alive.
const ALIVE_WITHIN: Duration = Duration::from_millis(3 * PING_EVERY.as_millis() as u64);

/// The links that are up, by who sends on them.
type Links = Mutex<BTreeMap<NodeId, Arc<Link>>>;

struct Link {
    instance: u64,
    heard_at: Mutex<Instant>,
    replaced: Notify,
}

impl Link {
    fn heard(&self) {
        *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn is_alive(&self) -> bool {
        self.heard_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < ALIVE_WITHIN
    }
}

/// Accepts links for ever.
pub(super) async fn listen<M: Wire + Send + 'static>(common: Arc<Common<M>>, listener: TcpListener) {
    let links = Arc::new(Links::default());
    let strangers = Arc::new(Semaphore::new(STRANGER_COUNT_MAX));
    // Dropped together with this task, and all links with it.
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&strangers).acquire_owned().await else {
            return; // the semaphore is never closed
        };
        match listener.accept().await {
            Ok((stream, address)) => {
                let (common, links) = (Arc::clone(&common), Arc::clone(&links));
                tasks.spawn(async move {
                    if let Err(error) = serve(&common, &links, stream, permit).await {
                        common.note_refusal(&address.to_string(), &error);
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a link");
                tokio::time::sleep(PING_EVERY).await; // out of file descriptors, most likely: some will come back
            }
        }
    }
}

/// Answers the hello, then hears messages until the link breaks.
async fn serve<M: Wire + Send + 'static>(
    common: &Common<M>,
    links: &Links,
    mut stream: TcpStream,
    permit: tokio::sync::OwnedSemaphorePermit,
) -> Result<(), HelloError> {
    // Without this the link works as well, only slower.
    let _ = stream.set_nodelay(true);
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    let judged = match read_first(&mut stream, &mut buffer).await {
        Ok((HELLO, payload)) => judge(common, links, payload),
        Ok((other, _)) => Err(DecodeError::Unknown { what: "hello", value: other.into() }.into()),
        Err(error) => Err(error),
    };
    let (node, link) = match judged {
        Ok(link) => link,
        Err(error) => {
            // Told as a courtesy: if it does not arrive, the other side sees the link closed.
            let refusal = frame_of(REFUSED, &error.to_string());
            let _ = timeout(HELLO_TIME_MAX, stream.write_all(&refusal)).await;
            return Err(error);
        }
    };
    let welcome = common.hello_to(node).frame(WELCOME);
    let is_up = AtomicBool::new(false);
    if stream.write_all(&welcome).await.is_ok() {
        drop(permit);
        note_link(&common.metrics, &is_up, true);
        tokio::select! {
            () = hear(common, node, &link, stream, buffer) => {}
            () = link.replaced.notified() => {}
        }
        note_link(&common.metrics, &is_up, false);
    }
    let mut links = links.lock().unwrap_or_else(PoisonError::into_inner);
    if links.get(&node).is_some_and(|known| Arc::ptr_eq(known, &link)) {
        links.remove(&node);
    }
    Ok(())
}

/// Whether to take a link, and from whom. A newer link of the same process replaces an older one.
fn judge<M>(common: &Common<M>, links: &Links, payload: Bytes) -> Result<(NodeId, Arc<Link>), HelloError> {
    let hello = Hello::read(payload)?;
    let config = &common.config;
    if hello.cluster != config.cluster {
        let (found, wanted) = (hello.cluster, config.cluster.clone());
        return Err(HelloError::OtherCluster { node: hello.node, found, wanted });
    }
    if hello.to != config.node {
        return Err(HelloError::OtherNode { found: config.node, wanted: hello.to });
    }
    if hello.node == config.node {
        return Err(HelloError::Twin(hello.node));
    }
    if !common.known().contains(&hello.node) {
        return Err(HelloError::UnknownPeer(hello.node));
    }
    let mut links = links.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = links.get(&hello.node) {
        if known.instance != hello.instance && known.is_alive() {
            return Err(HelloError::Twin(hello.node));
        }
        known.replaced.notify_one();
    }
    let link =
        Arc::new(Link { instance: hello.instance, heard_at: Mutex::new(Instant::now()), replaced: Notify::new() });
    links.insert(hello.node, Arc::clone(&link));
    Ok((hello.node, link))
}

/// Reads messages into the mailbox until the link breaks.
async fn hear<M: Wire + Send + 'static>(
    common: &Common<M>,
    node: NodeId,
    link: &Link,
    mut stream: TcpStream,
    mut buffer: BytesMut,
) {
    let metrics = &common.metrics;
    let pong = frame_of(PONG, &());
    let mut messages: Vec<Inbound<M>> = Vec::new();
    loop {
        let mut is_asked = false;
        let taken = loop {
            match take_frame(&mut buffer, FRAME_BYTES_MAX) {
                Ok(None) => break Ok(()),
                Ok(Some((PING, _))) => is_asked = true,
                Ok(Some((MESSAGE, payload))) => match decode_message::<M>(payload) {
                    Ok(inbound) if inbound.from.node != node => break Err(DecodeError::Malformed("sender")),
                    Ok(inbound) if inbound.to.node != common.config.node => {
                        metrics.dropped_misrouted.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(inbound) => messages.push(inbound),
                    Err(error) => break Err(error),
                },
                Ok(Some((kind, _))) => break Err(DecodeError::Unknown { what: "frame", value: kind.into() }),
                Err(error) => break Err(error),
            }
        };
        if !common.known().contains(&node) {
            metrics.refused.fetch_add(1, Ordering::Relaxed);
            return; // it is none of the others any more
        }
        common.mailbox.put_all(&mut messages, metrics);
        if let Err(error) = taken {
            metrics.malformed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(node = node.0, %error, "link closed: malformed bytes");
            return;
        }
        if is_asked {
            link.heard();
            if !matches!(timeout(SILENCE_MAX, stream.write_all(&pong)).await, Ok(Ok(()))) {
                return;
            }
        }
        if buffer.capacity() - buffer.len() < READ_BYTES / 4 {
            buffer.reserve(READ_BYTES);
        }
        match timeout(SILENCE_MAX, stream.read_buf(&mut buffer)).await {
            Ok(Ok(count)) if count > 0 => {
                metrics.received_bytes.fetch_add(count as u64, Ordering::Relaxed);
            }
            _ => return, // closed, broken or silent: the sender dials again
        }
    }
}
