//! An `:authority` that is no host, mended before HTTP/2 sees it.
//!
//! Some of Go's clients put whatever they were told to dial where a host should stand: etcdctl 3.4 says
//! `http://127.0.0.1:2379` in the calls that it makes of one endpoint (status, hashkv, defrag, snapshot), etcd's client 3.5.0
//! says `#initially=[…]` in every call, and any gRPC client of Go says the path of a Unix socket. Go's server never looks.
//! The h2 crate resets such a stream, as RFC 9113 (8.3.1) may have it, and cannot be told not to (hyperium/h2#525).
//!
//! So the value is replaced in the header block by a host that is no longer. No longer, since both sides remember headers in a
//! table that HPACK (RFC 7541, 4.1) bounds by their lengths: ours must not forget what the client still refers to. Only a
//! value that is spelled out has to be looked at; what refers to the table finds the host there. A value that is longer than
//! the whole table empties it (4.4), where a host would stay; so that one is left as it is, and reset. A frame whose headers
//! go on in a CONTINUATION is not looked at either, nor what follows it: no client of ours says so much.
//!
//! A connection whose first request has nothing to mend is not looked at again: a gRPC client says the same each time.
//!
//! Not chosen: a copy of h2 with that check taken out, which would have to follow every release of it.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use httlib_huffman::DecoderSpeed;
use http::uri::Authority;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What a connection of HTTP/2 begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A frame's length, type, flags and stream (RFC 9113, 4.1).
const HEAD_BYTES: usize = 9;
/// The longest payload that we take, h2's default.
const PAYLOAD_BYTES_MAX: usize = 16 << 10;
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Where `:authority` is in HPACK's static table (RFC 7541, A).
const AUTHORITY_INDEX: usize = 1;
/// The shortest host, as a text that is not encoded.
const HOST: &[u8] = b"\x01-";
/// How much HPACK's table holds, and what an entry takes beside its name and value (RFC 7541, 4.1; RFC 9113, 6.5.2).
const TABLE_BYTES: usize = 4_096;
const ENTRY_BYTES: usize = 32 + ":authority".len();

/// A client's bytes, mended.
pub(super) struct Mended<S> {
    socket: S,
    /// Nothing once there is nothing more to look for.
    mender: Option<Mender>,
    /// What was looked at and waits to be read.
    ready: BytesMut,
    /// The end of the time that the client has to say which protocol it speaks.
    patience: Pin<Box<Sleep>>,
}

impl<S> Mended<S> {
    /// The client has `patience` to say which protocol it speaks; reading fails then.
    pub fn new(socket: S, patience: Duration) -> Self {
        let patience = Box::pin(tokio::time::sleep(patience));
        Self { socket, mender: Some(Mender::default()), ready: BytesMut::new(), patience }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Mended<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.ready.is_empty() || buffer.remaining() == 0 {
                let fits = this.ready.len().min(buffer.remaining());
                buffer.put_slice(&this.ready[..fits]);
                this.ready.advance(fits);
                return Poll::Ready(Ok(()));
            }
            let Some(mender) = &mut this.mender else { return Pin::new(&mut this.socket).poll_read(cx, buffer) };
            let before = buffer.filled().len();
            let polled = Pin::new(&mut this.socket).poll_read(cx, buffer);
            if polled.is_pending() && matches!(mender.place, Place::Preface(_)) {
                ready!(this.patience.as_mut().poll(cx));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            ready!(polled)?;
            let bytes = &buffer.filled()[before..];
            let more = !bytes.is_empty() && mender.look(bytes, &mut this.ready);
            buffer.set_filled(before);
            if !more {
                mender.give_up(&mut this.ready);
                this.mender = None;
                if this.ready.is_empty() {
                    return Poll::Ready(Ok(())); // the end
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Mended<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, parts)
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

/// Follows the frames of a connection.
#[derive(Default)]
struct Mender {
    place: Place,
    /// A frame of headers as far as it has come; never more than one.
    held: Vec<u8>,
    /// Whether the client was seen to say what is no host.
    odd: bool,
}

enum Place {
    /// So much of the preface was seen.
    Preface(usize),
    /// At a frame's head, of which `held` has a part.
    Frame,
    /// In a frame that does not matter, of which so much is left.
    Payload(usize),
}

impl Default for Place {
    fn default() -> Self {
        Self::Preface(0)
    }
}

impl Mender {
    /// Looks at more bytes and appends to `out` what may pass. Whether there may be something to mend later.
    fn look(&mut self, mut bytes: &[u8], out: &mut BytesMut) -> bool {
        while !bytes.is_empty() {
            let goes_on = match self.place {
                Place::Preface(seen) => self.preface(seen, &mut bytes, out),
                Place::Payload(left) => {
                    let passed = take(&mut bytes, left);
                    out.extend_from_slice(passed);
                    self.place = if passed.len() == left { Place::Frame } else { Place::Payload(left - passed.len()) };
                    true
                }
                Place::Frame => self.frame(&mut bytes, out),
            };
            if !goes_on {
                self.give_up(out);
                out.extend_from_slice(bytes);
                return false;
            }
        }
        true
    }

    /// Lets go of what is held.
    fn give_up(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(&self.held);
        self.held = Vec::new();
    }

    fn preface(&mut self, seen: usize, bytes: &mut &[u8], out: &mut BytesMut) -> bool {
        let expected = &PREFACE[seen..];
        let passed = take(bytes, expected.len());
        out.extend_from_slice(passed);
        self.place = if passed.len() == expected.len() { Place::Frame } else { Place::Preface(seen + passed.len()) };
        expected.starts_with(passed)
    }

    fn frame(&mut self, bytes: &mut &[u8], out: &mut BytesMut) -> bool {
        self.hold(bytes, HEAD_BYTES);
        let &[a, b, c, kind, flags, ..] = &self.held[..] else { return true };
        if self.held.len() < HEAD_BYTES {
            return true;
        }
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if kind != HEADERS {
            out.extend_from_slice(&self.held);
            self.held.clear();
            self.place = if length == 0 { Place::Frame } else { Place::Payload(length) };
            return true;
        }
        if length > PAYLOAD_BYTES_MAX || flags & END_HEADERS == 0 {
            return false; // too long to be taken, or longer than any client of ours says
        }
        self.hold(bytes, HEAD_BYTES + length);
        if self.held.len() < HEAD_BYTES + length {
            return true;
        }
        match mended(&self.held, flags) {
            Some(frame) => {
                self.odd = true;
                out.extend_from_slice(&frame);
            }
            None => out.extend_from_slice(&self.held),
        }
        self.held.clear();
        self.odd
    }

    /// Takes bytes until `len` are held.
    fn hold(&mut self, bytes: &mut &[u8], len: usize) {
        let missing = len.saturating_sub(self.held.len());
        self.held.extend_from_slice(take(bytes, missing));
    }
}

/// The first `len` bytes, or all if there are fewer.
fn take<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(len.min(bytes.len()));
    *bytes = rest;
    taken
}

/// The frame with a host instead of what is none; `None` when there is nothing to mend.
fn mended(frame: &[u8], flags: u8) -> Option<Vec<u8>> {
    let padding = if flags & PADDED == 0 { 0 } else { usize::from(*frame.get(HEAD_BYTES)?) };
    let begin = HEAD_BYTES + usize::from(flags & PADDED != 0) + if flags & PRIORITY == 0 { 0 } else { 5 };
    let end = frame.len().checked_sub(padding)?;
    let at = odd_authority(frame.get(begin..end)?)?;
    let mut mended = frame[..begin + at.start].to_vec();
    mended.extend_from_slice(HOST);
    mended.extend_from_slice(&frame[begin + at.end..]);
    let [0, a, b, c] = u32::try_from(mended.len() - HEAD_BYTES).ok()?.to_be_bytes() else { return None };
    mended[..3].copy_from_slice(&[a, b, c]);
    Some(mended)
}

/// Where in a header block an `:authority` is spelled out that is no host.
fn odd_authority(block: &[u8]) -> Option<Range<usize>> {
    let mut rest = block;
    loop {
        let index = match rest.first()? {
            0x80.. => {
                number(&mut rest, 7)?; // both name and value are in the table
                continue;
            }
            0x40.. => number(&mut rest, 6)?,
            0x20.. => {
                number(&mut rest, 5)?; // the table's size
                continue;
            }
            _ => number(&mut rest, 4)?,
        };
        if index == 0 {
            text(&mut rest)?; // a name of its own
        }
        let begin = block.len() - rest.len();
        let (encoded, is_huffman) = text(&mut rest)?;
        if index == AUTHORITY_INDEX {
            return is_odd(encoded, is_huffman).then_some(begin..block.len() - rest.len());
        }
    }
}

/// Whether a text is no host, and one may take its place. The empty one is none either, but there is nothing that is no longer.
fn is_odd(encoded: &[u8], is_huffman: bool) -> bool {
    let mut decoded = Vec::new();
    let text = match is_huffman {
        true if httlib_huffman::decode(encoded, &mut decoded, DecoderSpeed::FourBits).is_err() => return false,
        true => &decoded,
        false => encoded,
    };
    !text.is_empty() && text.len() + ENTRY_BYTES <= TABLE_BYTES && Authority::try_from(text).is_err()
}

/// A whole number in the last `bits` of a byte and what follows (RFC 7541, 5.1).
fn number(bytes: &mut &[u8], bits: u32) -> Option<usize> {
    let max = (1_usize << bits) - 1;
    let mut value = usize::from(*take(bytes, 1).first()?) & max;
    if value < max {
        return Some(value);
    }
    for shift in [0, 7, 14] {
        let byte = usize::from(*take(bytes, 1).first()?);
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None // longer than a frame
}

/// A text as it is encoded, and whether by Huffman's code (RFC 7541, 5.2).
fn text<'a>(bytes: &mut &'a [u8]) -> Option<(&'a [u8], bool)> {
    let is_huffman = bytes.first()? & 0x80 != 0;
    let len = number(bytes, 7)?;
    let encoded = take(bytes, len);
    (encoded.len() == len).then_some((encoded, is_huffman))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const ODD: &str = "http://127.0.0.1:2379";

    /// A client that remembers headers as Go's does: everything that is spelled out, the oldest forgotten first.
    struct Client {
        authority: &'static str,
        /// Lengths and names, the youngest first.
        table: VecDeque<(usize, &'static str)>,
        stream: u32,
    }

    impl Client {
        fn new(authority: &'static str) -> Self {
            Self { authority, table: VecDeque::new(), stream: 1 }
        }

        fn remember(&mut self, name: &'static str, value: &str) {
            self.table.push_front((name.len() + value.len() + 32, name));
            while self.table.iter().map(|(bytes, _)| bytes).sum::<usize>() > TABLE_BYTES {
                self.table.pop_back();
            }
        }

        /// A request with a header that no other has.
        fn request(&mut self, timeout: &str) -> Vec<u8> {
            let mut block = vec![0x83, 0x86, 0x04, 4, b'/', b'a', b'/', b'b']; // POST, http, a path not to remember
            match self.table.iter().position(|(_, name)| *name == ":authority") {
                Some(at) if at < 65 => block.push(0x80 | u8::try_from(62 + at).expect("a short table")),
                Some(at) => block.extend([0xff, u8::try_from(at - 65).expect("a short table")]),
                None => {
                    block.push(0x41);
                    let mut code = Vec::new();
                    httlib_huffman::encode(self.authority.as_bytes(), &mut code).expect("any text has a code");
                    block.push(0x80 | u8::try_from(code.len()).expect("a short text"));
                    block.extend(code);
                    self.remember(":authority", self.authority);
                }
            }
            block.extend([0x40, 12]);
            block.extend(b"grpc-timeout");
            block.push(u8::try_from(timeout.len()).expect("a short text"));
            block.extend(timeout.as_bytes());
            self.remember("grpc-timeout", timeout);
            let mut frame = frame(HEADERS, END_HEADERS | 1, &block);
            frame[5..9].copy_from_slice(&self.stream.to_be_bytes());
            self.stream += 2;
            frame
        }
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
        [&[a, b, c, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn opening() -> Vec<u8> {
        [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat() // and no settings
    }

    /// What comes of bytes that come in pieces.
    fn looked_at<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, bool) {
        let (mut mender, mut out, mut goes_on) = (Mender::default(), BytesMut::new(), true);
        for piece in pieces {
            if goes_on {
                goes_on = mender.look(piece, &mut out);
            } else {
                out.extend_from_slice(piece);
            }
        }
        mender.give_up(&mut out);
        (out.to_vec(), goes_on)
    }

    #[test]
    fn what_is_fine_passes_as_it_is_and_is_not_looked_at_again() {
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"PRI * HTTP/1.1\r\n\r\n".to_vec(),
            [opening(), Client::new("localhost:2379").request("1S")].concat(),
            [opening(), frame(HEADERS, END_HEADERS, &[0x41, 0xff, 0xff, 0xff, 0xff, 0xff]), vec![7; 99]].concat(),
            [opening(), frame(HEADERS, 0, &[0x41]), frame(9, END_HEADERS, &[1, b'/'])].concat(),
            [opening(), frame(HEADERS, END_HEADERS | PADDED, &[200, 1])].concat(),
            [opening(), vec![0xff; 40_000]].concat(),
        ] {
            let (whole, goes_on) = looked_at([&bytes[..]]);
            assert_eq!(whole, bytes);
            assert!(!goes_on || bytes.ends_with(&[0xff]), "{bytes:?}");
            assert_eq!(looked_at(bytes.chunks(1)).0, bytes);
        }
    }

    #[test]
    fn a_frame_that_breaks_off_is_passed_on() {
        let bytes = [opening(), Client::new(ODD).request("1S")].concat();
        for cut in 0..bytes.len() {
            assert_eq!(looked_at([&bytes[..cut]]).0, bytes[..cut]);
        }
    }

    #[test]
    fn a_host_takes_the_place_of_what_is_none_however_the_bytes_come() {
        let mut client = Client::new(ODD);
        let bytes = [opening(), client.request("1S"), frame(0, 1, &[0; 300]), client.request("2S")].concat();
        let (whole, goes_on) = looked_at([&bytes[..]]);
        let host = [&[0x41], HOST].concat();
        assert!(goes_on && whole.windows(host.len()).any(|part| part == host));
        for size in [1, 2, 7, 50] {
            assert_eq!(looked_at(bytes.chunks(size)).0, whole);
        }
    }

    #[test]
    fn padding_and_priority_stay() {
        let odd = |text: &[u8]| {
            let payload = [&[3, 0, 0, 0, 0, 9, 0x41], text, &[0x83, 0, 0, 0]].concat();
            [opening(), frame(HEADERS, END_HEADERS | PADDED | PRIORITY, &payload)].concat()
        };
        assert_eq!(looked_at([&odd(b"\x07a://b:1")[..]]).0, odd(HOST));
    }

    #[test]
    fn what_empties_the_table_is_left_as_it_is() {
        for (len, is_mended) in [(TABLE_BYTES - ENTRY_BYTES, true), (TABLE_BYTES - ENTRY_BYTES + 1, false)] {
            let [low, high] = [(len - 127) % 128, (len - 127) / 128].map(|part| u8::try_from(part).expect("7 bits"));
            let block = [&[0x41, 0x7f, 0x80 | low, high][..], &vec![b'/'; len]].concat();
            let bytes = [opening(), frame(HEADERS, END_HEADERS, &block)].concat();
            assert_eq!(looked_at([&bytes[..]]).0 != bytes, is_mended, "{len}");
        }
    }

    #[tokio::test]
    async fn a_client_that_does_not_say_what_it_speaks_is_not_kept() {
        for said in [&b""[..], b"PRI * HT"] {
            let (mut client, server) = tokio::io::duplex(64);
            client.write_all(said).await.expect("there is room");
            let ended = Mended::new(server, Duration::from_millis(1)).read_to_end(&mut Vec::new()).await;
            assert_eq!(ended.expect_err("it said no more").kind(), io::ErrorKind::TimedOut);
        }
    }

    #[test]
    fn damaged_bytes_are_passed_on_the_same_however_they_come() {
        let mut draw = ChaCha8Rng::seed_from_u64(1);
        let mut client = Client::new(ODD);
        let fine = [opening(), client.request("1S"), frame(0, 1, &[0; 9]), client.request("2S")].concat();
        for _ in 0..20_000 {
            let mut bytes = fine.clone();
            for _ in 0..draw.random_range(1..6) {
                let at = draw.random_range(PREFACE.len()..bytes.len());
                bytes[at] = draw.random();
            }
            let whole = looked_at([&bytes[..]]).0;
            assert_eq!(looked_at(bytes.chunks(draw.random_range(1..40))).0, whole);
        }
    }

    /// With a longer host our table would forget before the client's does.
    #[tokio::test]
    async fn our_table_has_all_that_the_client_refers_to() {
        const REQUESTS: usize = 500;
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let said = tokio::spawn(async move {
            let mut bytes = opening();
            let mut odd = Client::new(ODD);
            for request in 0..REQUESTS {
                bytes.extend(odd.request(&format!("{}m", 10_000 + request)));
            }
            client.write_all(&bytes).await.expect("it is read");
            client.read_to_end(&mut Vec::new()).await // until the server is done
        });
        let mut server = h2::server::handshake(Mended::new(server, Duration::from_secs(60))).await.expect("HTTP/2");
        for request in 0..REQUESTS {
            let (head, mut respond) = server.accept().await.expect("a request").expect("no error");
            assert_eq!(head.uri().authority().map(Authority::as_str), Some("-"));
            assert_eq!(head.headers()["grpc-timeout"], format!("{}m", 10_000 + request));
            respond.send_response(http::Response::new(()), true).expect("it is open");
        }
        drop(server);
        said.await.expect("no panic").expect("no error");
    }
}
