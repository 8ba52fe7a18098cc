//! Notes between the ports of two nodes: lease renewals, which are not replicated. A note may be lost; then it is asked
//! again.

use quorate_machines::kv::LeaseId;
use quorate_model::{DecodeError, Reader, Wire};

/// The name of a question: who asked, and which.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NoteId {
    /// The node that asked.
    pub node: u32,
    /// Its number for it.
    pub number: u64,
}

/// What a note says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoteBody {
    /// Renew this lease.
    KeepAlive(LeaseId),
    /// It lasts so many seconds from when you asked; or there is none.
    KeptAlive(Option<i64>),
    /// How long has this lease left?
    Remaining(LeaseId),
    /// Granted and left, in seconds; or there is none.
    RemainingIs(Option<(i64, i64)>),
}

/// A note.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Note {
    /// The question that it is or answers.
    pub id: NoteId,
    /// What it says.
    pub body: NoteBody,
}

impl Wire for Note {
    fn encode(&self, out: &mut Vec<u8>) {
        self.id.node.encode(out);
        self.id.number.encode(out);
        match self.body {
            NoteBody::KeepAlive(lease) => {
                out.push(1);
                lease.0.encode(out);
            }
            NoteBody::KeptAlive(term) => {
                out.push(2);
                term.encode(out);
            }
            NoteBody::Remaining(lease) => {
                out.push(3);
                lease.0.encode(out);
            }
            NoteBody::RemainingIs(time) => {
                out.push(4);
                time.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let id = NoteId { node: u32::decode(input)?, number: u64::decode(input)? };
        let body = match input.byte()? {
            1 => NoteBody::KeepAlive(LeaseId(i64::decode(input)?)),
            2 => NoteBody::KeptAlive(Wire::decode(input)?),
            3 => NoteBody::Remaining(LeaseId(i64::decode(input)?)),
            4 => NoteBody::RemainingIs(Wire::decode(input)?),
            other => return Err(DecodeError::Unknown { what: "note", value: other.into() }),
        };
        Ok(Self { id, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_through_their_bytes() {
        let id = NoteId { node: 2, number: 77 };
        for body in [
            NoteBody::KeepAlive(LeaseId(-5)),
            NoteBody::KeptAlive(None),
            NoteBody::Remaining(LeaseId(i64::MAX)),
            NoteBody::RemainingIs(Some((60, 3))),
        ] {
            let note = Note { id, body };
            assert_eq!(Note::from_bytes(note.to_bytes()), Ok(note));
        }
    }
}
