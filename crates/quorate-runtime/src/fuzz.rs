//! What fuzzers and the tests that stand in for them run: any bytes at all, and the properties that must hold.
//!
//! Each function takes bytes as they come, panics if a property does not hold, and is silent otherwise.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quorate_model::NodeId;
use quorate_model::codec::FRAME_BYTES_MAX;

use crate::net::{decode_message, take_frame};
use crate::wal::memory::MemoryDisk;
use crate::wal::{Gathered, Identity, Log, Options, inspect};

/// Reads `bytes` as a stream of frames, in one piece and byte by byte: both give the same frames or the same error, and
/// nothing panics.
pub fn frames(bytes: &[u8]) {
    let mut whole = BytesMut::from(bytes);
    let mut pieces = BytesMut::new();
    let mut fed = 0;
    loop {
        let expected = take_frame(&mut whole, FRAME_BYTES_MAX);
        let found = loop {
            match take_frame(&mut pieces, FRAME_BYTES_MAX) {
                Ok(None) if fed < bytes.len() => {
                    pieces.extend_from_slice(&bytes[fed..=fed]);
                    fed += 1;
                }
                other => break other,
            }
        };
        assert_eq!(found, expected, "a stream is read the same however it comes");
        let Ok(Some((_, payload))) = found else { return };
        if let Ok(inbound) = decode_message::<Bytes>(payload) {
            assert!(inbound.message.len() <= bytes.len(), "a message is part of its bytes");
        }
    }
}

const SEGMENT: &str = "0000000000000001.wal";

fn options() -> Options {
    Options { segment_bytes: 4096, batch_bytes_max: 1024, prepare_ahead: false, folder: Some(1), ..Options::default() }
}

fn identity() -> Identity {
    Identity { cluster: "fuzz".to_owned(), node: NodeId(1) }
}

fn payload(number: u64) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(8 + (number as usize * 37) % 300, number as u8);
    payload
}

/// A small log of ten records in five batches.
fn small_log() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let (mut log, _) =
        Log::open(Arc::new(disk.clone()), &identity(), options(), |_, _| {}).expect("an empty disk takes a log");
    for batch in 0..5 {
        let mut gathered = Gathered::default();
        for number in 2 * batch..2 * batch + 2 {
            gathered.put(number, |out| out.extend_from_slice(&payload(number)));
        }
        log.write(&mut gathered).expect("memory does not fail");
    }
    disk
}

/// Opens a log whose first segment is `bytes` or, where `bytes` say so, a good one with changes: it opens or gives an
/// error, what it serves was written, in order from the first, and what is inspected agrees.
pub fn recovery(bytes: &[u8]) {
    let disk = small_log();
    let mut content = disk.content(SEGMENT).expect("the first segment");
    match bytes.split_first() {
        Some((0, raw)) => content = raw.to_vec(),
        Some((1, edits)) => {
            // Truncated, then changed.
            let length = edits.first().map_or(0, |&length| content.len() * usize::from(length) / 255);
            content.truncate(length);
            change(&mut content, edits.get(1..).unwrap_or_default());
        }
        Some((_, edits)) => change(&mut content, edits),
        None => {}
    }
    disk.set_content(SEGMENT, content);
    let verdict = inspect::verify(&disk);
    let mut number = 0;
    let replay = |stream, served: Bytes| {
        assert_eq!((stream, &served[..]), (number, &payload(number)[..]), "what is served was written, in order");
        number += 1;
    };
    let opened = Log::open(Arc::new(disk.clone()), &identity(), options(), replay);
    let verdict = verdict.expect("memory does not fail");
    assert_eq!(opened.is_ok(), verdict.damage.is_none(), "{verdict:?}");
    if let Ok((mut log, recovered)) = opened {
        assert_eq!((recovered.record_count, recovered.next_sequence), (number, number + 1));
        // It goes on from there, and what it cut does not come back.
        let mut gathered = Gathered::default();
        gathered.put(number, |out| out.extend_from_slice(&payload(number)));
        log.write(&mut gathered).expect("memory does not fail");
        drop(log);
        let mut count = 0;
        Log::open(Arc::new(disk), &identity(), options(), |stream, served| {
            assert_eq!((stream, &served[..]), (count, &payload(count)[..]));
            count += 1;
        })
        .expect("what was just written opens");
        assert_eq!(count, number + 1);
    }
}

/// Changes bytes: three bytes of `edits` each are a place and what is xored there.
fn change(content: &mut [u8], edits: &[u8]) {
    for edit in edits.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([edit[0], edit[1]]));
        if let Some(byte) = content.get_mut(place) {
            *byte ^= edit[2];
        }
    }
}
