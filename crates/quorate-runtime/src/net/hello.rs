//! The first words on a link, and why they are refused. Nothing is told to and nothing is heard from a peer before both
//! sides have said who they are and whom they mean.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate_model::NodeId;
use quorate_model::codec::{DecodeError, HEADER_BYTES, Header, Reader, Wire, put_frame};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::release::Release;

pub(super) const HELLO: u8 = 1;
pub(super) const WELCOME: u8 = 2;
pub(super) const REFUSED: u8 = 3;
pub(super) const PING: u8 = 4;
pub(super) const PONG: u8 = 5;
pub(super) const MESSAGE: u8 = 6;

/// The largest frame before both sides know each other.
const HELLO_BYTES_MAX: usize = 4096;

/// How long the other side may take for its first words.
pub(super) const HELLO_TIME_MAX: Duration = Duration::from_secs(3);

/// Who speaks, and whom it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What it is built from. It stands first, so that it can be read whatever follows.
    pub release: Release,
    /// The name of the cluster.
    pub cluster: String,
    /// Who speaks.
    pub node: NodeId,
    /// Drawn when the process began: tells two processes apart that say they are the same node.
    pub instance: u64,
    /// Who should be listening.
    pub to: NodeId,
}

/// Why a link was refused. The connection is closed, nothing was delivered; the dialer tries again later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// The other side is of a release that this one is not beside.
    #[error(
        "the other side is release {found}, this one {}: a node talks to its own release and to those beside it, so upgrade all \
         nodes by one release at a time",
        Release::OWN
    )]
    OtherRelease {
        /// Its release.
        found: Release,
    },
    /// The other side is of another cluster.
    #[error("node {} belongs to cluster {found:?}, this one to {wanted:?}: correct the peer's address or the cluster name", .node.0)]
    OtherCluster {
        /// Who it says it is.
        node: NodeId,
        /// Its cluster.
        found: String,
        /// Ours.
        wanted: String,
    },
    /// The other side is none of the others that this node knows.
    #[error("node {} is not known to this one: if it is new, wait until it has been heard of; if it was removed, stop it", .0.0)]
    UnknownPeer(NodeId),
    /// Another node listens there than was dialed.
    #[error("node {} was dialed, but node {} listens there: correct the address", .wanted.0, .found.0)]
    OtherNode {
        /// Who listens.
        found: NodeId,
        /// Who was meant.
        wanted: NodeId,
    },
    /// Two processes say that they are this node.
    #[error("two processes run as node {}: stop one of them", .0.0)]
    Twin(NodeId),
    /// The other side refused, and says why.
    #[error("the peer refused the link: {0}")]
    Refused(String),
    /// What came is no hello.
    #[error("no hello: {0}")]
    NoHello(#[from] DecodeError),
    /// The connection ended, or nothing came in time.
    #[error("the peer said nothing")]
    Silent,
}

impl HelloError {
    /// Whether trying again may help without anyone changing anything; such errors are not worth a line in a log.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Silent)
    }
}

impl Hello {
    /// Appends the encoding to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.release.encode(out);
        self.cluster.encode(out);
        self.node.encode(out);
        self.instance.encode(out);
        self.to.encode(out);
    }

    /// What `payload` says, if its release is beside this one. What a later release adds at the end is not read.
    ///
    /// # Errors
    /// [`HelloError::OtherRelease`] and [`HelloError::NoHello`].
    pub fn read(payload: Bytes) -> Result<Self, HelloError> {
        let mut input = Reader::new(payload);
        let found = Release::decode(&mut input)?;
        if !found.is_beside(Release::OWN) {
            return Err(HelloError::OtherRelease { found });
        }
        Ok(Self {
            release: found,
            cluster: String::decode(&mut input)?,
            node: NodeId::decode(&mut input)?,
            instance: u64::decode(&mut input)?,
            to: NodeId::decode(&mut input)?,
        })
    }

    /// A frame of `kind` with this in it.
    pub(super) fn frame(&self, kind: u8) -> Vec<u8> {
        let mut out = Vec::new();
        put_frame(kind, &mut out, |out| self.encode(out));
        out
    }
}

/// A frame with `value` as its payload.
pub(super) fn frame_of(kind: u8, value: &impl Wire) -> Vec<u8> {
    let mut out = Vec::new();
    put_frame(kind, &mut out, |out| value.encode(out));
    out
}

/// Reads one small frame: its kind and payload. What follows it stays in `buffer`.
pub(super) async fn read_first(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> Result<(u8, Bytes), HelloError> {
    let read = async {
        loop {
            if let Some(frame) = take_frame(buffer, HELLO_BYTES_MAX)? {
                return Ok(frame);
            }
            if stream.read_buf(buffer).await.map_err(|_| HelloError::Silent)? == 0 {
                return Err(HelloError::Silent);
            }
        }
    };
    tokio::time::timeout(HELLO_TIME_MAX, read).await.unwrap_or(Err(HelloError::Silent))
}

/// A frame whose payload is larger than this gets memory of its own by splitting the buffer, a smaller one by copying, so
/// that a small value which someone keeps does not keep the whole buffer.
const COPY_BYTES_MAX: usize = 16 << 10;

/// Takes a whole frame from the front of `buffer`, or nothing if its end has not come yet.
///
/// # Errors
/// When the bytes are no frame, or one with a payload larger than `payload_bytes_max`.
pub fn take_frame(buffer: &mut BytesMut, payload_bytes_max: usize) -> Result<Option<(u8, Bytes)>, DecodeError> {
    if buffer.len() < HEADER_BYTES {
        return Ok(None);
    }
    let header = Header::read(buffer)?;
    if header.payload_bytes > payload_bytes_max {
        return Err(DecodeError::TooLong { length: header.payload_bytes as u64, bound: payload_bytes_max as u64 });
    }
    let end = HEADER_BYTES + header.payload_bytes;
    if buffer.len() < end {
        return Ok(None);
    }
    header.check(&buffer[HEADER_BYTES..end])?;
    let payload = if header.payload_bytes > COPY_BYTES_MAX {
        buffer.split_to(end).freeze().slice(HEADER_BYTES..)
    } else {
        let payload = Bytes::copy_from_slice(&buffer[HEADER_BYTES..end]);
        bytes::Buf::advance(buffer, end);
        payload
    };
    Ok(Some((header.kind, payload)))
}
