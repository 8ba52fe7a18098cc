//! Whose folder it is. Written once, when the folder is made; a folder never changes hands without a word.

use std::io;

use bytes::Bytes;
use quorate_model::codec::{HEADER_BYTES, Header, put_frame};
use quorate_model::{DecodeError, NodeId, Reader, Wire};

use super::disk::Disk;
use super::error::OpenError;
use super::format::FORMAT_VERSION;

const IDENTITY_NAME: &str = "identity";
const IDENTITY_NEW_NAME: &str = "identity.new";
const IDENTITY_KIND: u8 = 0x1d;

/// The largest identity file that is read.
const IDENTITY_BYTES_MAX: u64 = 64 << 10;

/// Whose a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name of the cluster.
    pub cluster: String,
    /// The node in it.
    pub node: NodeId,
}

/// What the file holds: an identity and the random number of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderIdentity {
    /// Whose the folder is.
    pub identity: Identity,
    /// Drawn when the folder was made: tells two folders of one node apart.
    pub folder: u64,
}

impl FolderIdentity {
    /// Reads the identity file; nothing if there is none.
    ///
    /// # Errors
    /// If it cannot be read or is damaged.
    pub fn read(disk: &dyn Disk) -> Result<Option<Self>, OpenError> {
        let damaged = |what: String| OpenError::Identity { folder: disk.display(), what };
        let file = match disk.open(IDENTITY_NAME) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error(disk, "read the identity file", source)),
        };
        let length = file.bytes().map_err(|source| io_error(disk, "read the identity file", source))?;
        if length > IDENTITY_BYTES_MAX {
            return Err(damaged(format!("{length} bytes long")));
        }
        let mut bytes = vec![0; length as usize];
        file.read_at(0, &mut bytes).map_err(|source| io_error(disk, "read the identity file", source))?;
        let (format, found) = decode(&bytes).map_err(|error| damaged(format!("damaged ({error})")))?;
        if format != FORMAT_VERSION {
            return Err(OpenError::Format { folder: disk.display(), found: format, wanted: FORMAT_VERSION });
        }
        Ok(Some(found))
    }

    /// Writes the identity file, whole or not at all.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn write(&self, disk: &dyn Disk) -> Result<(), OpenError> {
        let mut bytes = Vec::new();
        put_frame(IDENTITY_KIND, &mut bytes, |out| {
            FORMAT_VERSION.encode(out);
            self.identity.cluster.encode(out);
            self.identity.node.encode(out);
            self.folder.encode(out);
        });
        let write = || {
            let file = disk.create(IDENTITY_NEW_NAME)?;
            file.write_at(0, &bytes)?;
            file.sync()?;
            disk.rename(IDENTITY_NEW_NAME, IDENTITY_NAME)?;
            disk.sync_names()
        };
        write().map_err(|source| io_error(disk, "write the identity file", source))
    }

    /// Asserts that the folder belongs to `wanted`.
    ///
    /// # Errors
    /// If it is another's.
    pub fn check(&self, wanted: &Identity, disk: &dyn Disk) -> Result<(), OpenError> {
        let folder = disk.display();
        if self.identity.cluster != wanted.cluster {
            let found = self.identity.cluster.clone();
            return Err(OpenError::OtherCluster { folder, found, wanted: wanted.cluster.clone() });
        }
        if self.identity.node != wanted.node {
            return Err(OpenError::OtherNode { folder, found: self.identity.node.0, wanted: wanted.node.0 });
        }
        Ok(())
    }
}

pub(super) fn io_error(disk: &dyn Disk, doing: &str, source: io::Error) -> OpenError {
    OpenError::Io { folder: disk.display(), doing: doing.to_owned(), source }
}

fn decode(bytes: &[u8]) -> Result<(u32, FolderIdentity), DecodeError> {
    let header = Header::read(bytes)?;
    let payload = &bytes[HEADER_BYTES..];
    if header.kind != IDENTITY_KIND {
        return Err(DecodeError::Unknown { what: "identity kind", value: header.kind.into() });
    }
    header.check(payload)?;
    let mut reader = Reader::new(Bytes::copy_from_slice(payload));
    let format = u32::decode(&mut reader)?;
    let identity = Identity { cluster: String::decode(&mut reader)?, node: NodeId::decode(&mut reader)? };
    let folder = u64::decode(&mut reader)?;
    reader.end()?;
    Ok((format, FolderIdentity { identity, folder }))
}
