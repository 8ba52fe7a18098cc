//! The codec: how records and messages become bytes, and how bytes that are not ours are refused.
//!
//! A *frame* is `magic, version, kind, length, checksum, payload`. The length is checked against a bound before anything
//! is allocated; the checksum (CRC-32C) covers the header and the payload. What is not known (another version, another
//! kind, another enum value) is refused with an error that names it: nothing is guessed.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bytes::{Buf, Bytes};

/// The version of the wire format that this build speaks.
pub const WIRE_VERSION: u8 = 1;

/// The largest payload of a frame. Larger ones are refused before they are read.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// The bytes of a frame before its payload.
pub const HEADER_BYTES: usize = 12;

const MAGIC: [u8; 2] = *b"Qr";

/// Why bytes were refused. Nothing was changed by them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end early. More may follow on a stream; in a file, it is the torn end.
    Short,
    /// Bytes follow where the value should have ended.
    Trailing {
        /// How many.
        count: usize,
    },
    /// The frame does not begin as ours do: another protocol speaks.
    NotOurs,
    /// The frame is of another version than this build speaks.
    Version {
        /// The version found.
        found: u8,
    },
    /// A value that this build does not know, of the enum `what`.
    Unknown {
        /// Which enum.
        what: &'static str,
        /// The value found.
        value: u64,
    },
    /// The checksum does not fit: the bytes were damaged.
    Checksum,
    /// A length is beyond its bound.
    TooLong {
        /// The length found.
        length: u64,
        /// The bound.
        bound: u64,
    },
    /// A text is not UTF-8, or a number does not fit its type.
    Malformed(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(f, "the bytes end early"),
            Self::Trailing { count } => write!(f, "{count} bytes follow where the value should end"),
            Self::NotOurs => write!(f, "not a Quorate frame: another protocol speaks on this port or file"),
            Self::Version { found } => {
                write!(f, "wire version {found}, but this build speaks version {WIRE_VERSION}: upgrade the older side")
            }
            Self::Unknown { what, value } => write!(f, "unknown {what} {value}: it was written by a newer build"),
            Self::Checksum => write!(f, "the checksum does not fit: the bytes were damaged"),
            Self::TooLong { length, bound } => write!(f, "length {length} is beyond the bound of {bound}"),
            Self::Malformed(what) => write!(f, "malformed {what}"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// A value that has one encoding. Decoding what was encoded gives the same value back.
pub trait Wire: Sized {
    /// Appends the encoding to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes one value from the front of `input`.
    ///
    /// # Errors
    /// When the bytes are not the encoding of a value; `input` is then somewhere inside them.
    fn decode(input: &mut Reader) -> Result<Self, DecodeError>;

    /// The encoding as bytes of its own.
    fn to_bytes(&self) -> Bytes {
        let mut out = Vec::new();
        self.encode(&mut out);
        Bytes::from(out)
    }

    /// The value that `bytes` encode, all of them.
    ///
    /// # Errors
    /// When they encode no value, or more than one.
    fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        reader.end()?;
        Ok(value)
    }
}

/// Bytes to decode from. Byte strings are slices of it, not copies.
#[derive(Clone, Debug)]
pub struct Reader {
    bytes: Bytes,
}

impl Reader {
    /// A reader of `bytes`.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    /// How many bytes are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    /// Takes one byte.
    ///
    /// # Errors
    /// When none is left.
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.bytes.first().ok_or(DecodeError::Short)?;
        self.bytes.advance(1);
        Ok(byte)
    }

    /// Takes `length` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if length > self.bytes.len() {
            return Err(DecodeError::Short);
        }
        Ok(self.bytes.split_to(length))
    }

    /// Takes an unsigned number of up to ten bytes, seven bits each (LEB128).
    ///
    /// # Errors
    /// When the bytes end early or the number does not fit 64 bits.
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for (index, &byte) in self.bytes.iter().enumerate().take(10) {
            if index == 9 && byte > 1 {
                return Err(DecodeError::Malformed("number"));
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.bytes.advance(index + 1);
                return Ok(value);
            }
        }
        if self.bytes.len() >= 10 { Err(DecodeError::Malformed("number")) } else { Err(DecodeError::Short) }
    }

    /// Asserts that nothing is left.
    ///
    /// # Errors
    /// When something is.
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(DecodeError::Trailing { count: self.bytes.len() }) }
    }
}

/// Appends `value` as LEB128.
pub fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

impl Wire for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(*self, out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        input.varint()
    }
}

impl Wire for u32 {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(u64::from(*self), out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        u32::try_from(input.varint()?).map_err(|_| DecodeError::Malformed("number"))
    }
}

/// Zigzag, so that small negative numbers stay small.
impl Wire for i64 {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(((*self << 1) ^ (*self >> 63)) as u64, out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let value = input.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

impl Wire for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        match input.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Unknown { what: "boolean", value: other.into() }),
        }
    }
}

impl Wire for () {
    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(_: &mut Reader) -> Result<Self, DecodeError> {
        Ok(())
    }
}

impl Wire for Bytes {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(self.len() as u64, out);
        out.extend_from_slice(self);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let length = input.varint()?;
        let length = usize::try_from(length).map_err(|_| DecodeError::Short)?;
        input.take(length)
    }
}

impl Wire for String {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(self.len() as u64, out);
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let bytes = Bytes::decode(input)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::Malformed("text"))
    }
}

impl<T: Wire> Wire for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(if bool::decode(input)? { Some(T::decode(input)?) } else { None })
    }
}

impl<T: Wire> Wire for Box<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        (**self).encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Box::new(T::decode(input)?))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(self.len() as u64, out);
        for item in self {
            item.encode(out);
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let count = bounded_count(input)?;
        // Grown as items come, so that a lying count cannot allocate more than a small multiple of the input.
        let mut items = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            items.push(T::decode(input)?);
        }
        Ok(items)
    }
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(self.len() as u64, out);
        for (key, value) in self {
            key.encode(out);
            value.encode(out);
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let count = bounded_count(input)?;
        let mut map = BTreeMap::new();
        for _ in 0..count {
            map.insert(K::decode(input)?, V::decode(input)?);
        }
        Ok(map)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok((A::decode(input)?, B::decode(input)?))
    }
}

fn bounded_count(input: &mut Reader) -> Result<usize, DecodeError> {
    let count = input.varint()?;
    let bound = (FRAME_BYTES_MAX as u64).min(input.left() as u64);
    if count > bound {
        return Err(DecodeError::TooLong { length: count, bound });
    }
    usize::try_from(count).map_err(|_| DecodeError::Short)
}

/// A frame's header, checked but for its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the payload is; each stream and file kind has numbers of its own.
    pub kind: u8,
    /// The length of the payload.
    pub payload_bytes: usize,
    checksum: u32,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// When the bytes are too few, not ours, of another version, or promise more than [`FRAME_BYTES_MAX`].
    pub fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let head: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(DecodeError::Short)?;
        if head[..2] != MAGIC {
            return Err(DecodeError::NotOurs);
        }
        if head[2] != WIRE_VERSION {
            return Err(DecodeError::Version { found: head[2] });
        }
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if length as usize > FRAME_BYTES_MAX {
            return Err(DecodeError::TooLong { length: length.into(), bound: FRAME_BYTES_MAX as u64 });
        }
        let checksum = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        Ok(Self { kind: head[3], payload_bytes: length as usize, checksum })
    }

    /// Checks `payload` against the header.
    ///
    /// # Errors
    /// When it is not what was written.
    pub fn check(&self, payload: &[u8]) -> Result<(), DecodeError> {
        if payload.len() != self.payload_bytes || frame_checksum(self.kind, payload) != self.checksum {
            return Err(DecodeError::Checksum);
        }
        Ok(())
    }
}

/// Appends a frame whose payload `write` appends.
///
/// # Panics
/// If the payload is larger than [`FRAME_BYTES_MAX`]; callers bound what they put in.
pub fn put_frame(kind: u8, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[MAGIC[0], MAGIC[1], WIRE_VERSION, kind, 0, 0, 0, 0, 0, 0, 0, 0]);
    write(out);
    let payload_bytes = out.len() - start - HEADER_BYTES;
    assert!(payload_bytes <= FRAME_BYTES_MAX, "a frame's payload is bounded by its writer");
    let checksum = frame_checksum(kind, &out[start + HEADER_BYTES..]);
    out[start + 4..start + 8].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
    out[start + 8..start + 12].copy_from_slice(&checksum.to_le_bytes());
}

fn frame_checksum(kind: u8, payload: &[u8]) -> u32 {
    let length = (payload.len() as u32).to_le_bytes();
    let head = [WIRE_VERSION, kind, length[0], length[1], length[2], length[3]];
    checksum(payload) ^ checksum(&head).rotate_left(7)
}

/// CRC-32C of `bytes`.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        let value: Vec<(Bytes, Option<i64>)> = vec![
            (Bytes::from_static(b"key"), Some(-3)),
            (Bytes::new(), None),
            (Bytes::from_static(&[0, 255]), Some(i64::MIN)),
        ];
        assert_eq!(Wire::from_bytes(value.to_bytes()), Ok(value));
        for number in [0, 1, 127, 128, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(u64::from_bytes(number.to_bytes()), Ok(number));
        }
    }

    #[test]
    fn a_lying_count_is_refused_before_it_is_allocated() {
        let mut bytes = Vec::new();
        put_varint(u64::MAX, &mut bytes);
        assert!(matches!(Vec::<u64>::from_bytes(Bytes::from(bytes)), Err(DecodeError::TooLong { .. })));
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_noticed() {
        let mut frame = Vec::new();
        put_frame(3, &mut frame, |out| out.extend_from_slice(b"some payload"));
        let header = Header::read(&frame).expect("it was just written");
        assert_eq!(header.check(&frame[HEADER_BYTES..]), Ok(()));
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let seen = Header::read(&damaged).and_then(|header| {
                let payload =
                    damaged.get(HEADER_BYTES..HEADER_BYTES + header.payload_bytes).ok_or(DecodeError::Short)?;
                header.check(payload)
            });
            assert!(seen.is_err(), "bit {bit} went unseen");
        }
    }
}
