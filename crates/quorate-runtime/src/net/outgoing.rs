//! The sending side of a link.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use quorate_model::NodeId;
use quorate_model::codec::{DecodeError, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, timeout};

use super::hello::{self, HELLO, Hello, HelloError, PING, PONG, REFUSED, WELCOME, frame_of, take_frame};
use super::{Common, NetMetrics, PING_EVERY, SILENCE_MAX, note_link};

/// The shortest and the longest pause between two dials.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What waited for a link longer than this is thrown away when it comes up: it would only be stale.
const STALE_AFTER: Duration = Duration::from_secs(1);

/// The largest buffer that is kept for the next batch.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// The bytes that wait for one peer.
#[derive(Default)]
pub(super) struct Outgoing {
    waiting: Mutex<Vec<u8>>,
    waiting_bytes: AtomicUsize,
    wake: Notify,
    pub(super) is_up: AtomicBool,
}

impl Outgoing {
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Takes over whole frames.
    pub(super) fn hand_over(&self, frames: &mut Vec<u8>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() {
            std::mem::swap(&mut *waiting, frames);
        } else {
            waiting.extend_from_slice(frames);
        }
        self.waiting_bytes.store(waiting.len(), Ordering::Relaxed);
        drop(waiting);
        frames.clear();
        self.wake.notify_one();
    }

    /// Everything that waits; `into` is left behind as the next buffer.
    fn take(&self, into: &mut Vec<u8>) {
        into.clear();
        if into.capacity() > KEPT_BYTES_MAX {
            *into = Vec::new();
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *waiting, into);
        // What is being written still takes room until it is written.
    }

    fn written(&self) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting_bytes.store(waiting.len(), Ordering::Relaxed);
    }
}

/// Keeps a link to `node` up for ever.
pub(super) async fn dial<M: Wire + Send + 'static>(
    common: Arc<Common<M>>,
    node: NodeId,
    address: String,
    outgoing: Arc<Outgoing>,
) {
    let mut pause = PAUSE_MIN;
    let mut down_since = Instant::now();
    loop {
        match connect(&common, node, &address).await {
            Ok((stream, buffer)) => {
                if down_since.elapsed() > STALE_AFTER {
                    outgoing.take(&mut Vec::new());
                    outgoing.written();
                }
                note_link(&common.metrics, &outgoing.is_up, true);
                tracing::info!(node = node.0, "link up");
                let began = Instant::now();
                let ended = carry(stream, buffer, &outgoing, &common.metrics).await;
                note_link(&common.metrics, &outgoing.is_up, false);
                tracing::info!(node = node.0, reason = %ended, "link down");
                down_since = Instant::now();
                if began.elapsed() > PAUSE_MAX {
                    pause = PAUSE_MIN;
                }
            }
            Err(error) => common.note_refusal(&address, &error),
        }
        // Half of the pause is chance, so that nodes which lost a peer together do not come back together.
        tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * rand::random::<f64>())).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn connect<M>(common: &Common<M>, node: NodeId, address: &str) -> Result<(TcpStream, BytesMut), HelloError> {
    let connecting = timeout(hello::HELLO_TIME_MAX, TcpStream::connect(address)).await;
    let mut stream = connecting.ok().and_then(Result::ok).ok_or(HelloError::Silent)?;
    // Without this the link works as well, only slower.
    let _ = stream.set_nodelay(true);
    let hello = common.hello_to(node).frame(HELLO);
    stream.write_all(&hello).await.map_err(|_| HelloError::Silent)?;
    let mut buffer = BytesMut::with_capacity(4096);
    let (kind, payload) = hello::read_first(&mut stream, &mut buffer).await?;
    match kind {
        WELCOME => {
            let answer = Hello::read(payload)?;
            if answer.cluster != common.config.cluster {
                let (found, wanted) = (answer.cluster, common.config.cluster.clone());
                return Err(HelloError::OtherCluster { node: answer.node, found, wanted });
            }
            if answer.node != node {
                return Err(HelloError::OtherNode { found: answer.node, wanted: node });
            }
            Ok((stream, buffer))
        }
        REFUSED => Err(HelloError::Refused(String::from_bytes(payload)?)),
        other => Err(DecodeError::Unknown { what: "answer to a hello", value: other.into() }.into()),
    }
}

/// Why a link that was up went down.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the peer closed it")]
    Closed,
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the peer was silent for {SILENCE_MAX:?}")]
    Silent,
    #[error("the peer takes nothing")]
    Stuck,
    #[error("{0}")]
    Malformed(#[from] DecodeError),
}

/// Carries what waits over a link until it breaks.
async fn carry(mut stream: TcpStream, mut heard: BytesMut, outgoing: &Outgoing, metrics: &NetMetrics) -> Ended {
    let (mut read, mut write) = stream.split();
    let mut sending = Vec::new();
    let ping = frame_of(PING, &());
    let mut tick = tokio::time::interval(PING_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = outgoing.wake.notified() => {
                outgoing.take(&mut sending);
                let written = write_all(&mut write, &sending, metrics).await;
                outgoing.written();
                if let Err(ended) = written {
                    return ended;
                }
            }
            count = read.read_buf(&mut heard) => {
                match count {
                    Ok(0) => return Ended::Closed,
                    Ok(_) => {}
                    Err(error) => return Ended::Io(error),
                }
                loop {
                    match take_frame(&mut heard, 0) {
                        Ok(Some((PONG, _))) => heard_at = Instant::now(),
                        Ok(Some((kind, _))) => {
                            metrics.malformed.fetch_add(1, Ordering::Relaxed);
                            return DecodeError::Unknown { what: "frame", value: kind.into() }.into();
                        }
                        Ok(None) => break,
                        Err(error) => {
                            metrics.malformed.fetch_add(1, Ordering::Relaxed);
                            return error.into();
                        }
                    }
                }
            }
            _ = tick.tick() => {
                if heard_at.elapsed() > SILENCE_MAX {
                    return Ended::Silent;
                }
                if let Err(ended) = write_all(&mut write, &ping, metrics).await {
                    return ended;
                }
            }
        }
    }
}

/// Writes all of `bytes`, as long as the peer goes on taking some.
async fn write_all(write: &mut WriteHalf<'_>, bytes: &[u8], metrics: &NetMetrics) -> Result<(), Ended> {
    let mut at = 0;
    while at < bytes.len() {
        let count = match write.try_write(&bytes[at..]) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let taking = timeout(SILENCE_MAX, write.writable()).await;
                taking.map_err(|_| Ended::Stuck)??;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        metrics.writes.fetch_add(1, Ordering::Relaxed);
        metrics.sent_bytes.fetch_add(count as u64, Ordering::Relaxed);
        at += count;
    }
    Ok(())
}
