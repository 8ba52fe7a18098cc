//! The fuzz targets over seeded bytes, a bounded count: what a machine without a fuzzer can do each day.

use bytes::Bytes;
use quorate_model::codec::put_frame;
use quorate_model::time::HybridTime;
use quorate_model::{Pid, Wire};
use quorate_runtime::fuzz;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn arbitrary(rng: &mut ChaCha8Rng, length_max: usize) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(0..length_max)];
    rng.fill_bytes(&mut bytes);
    bytes
}

#[test]
fn any_bytes_are_frames_or_an_error() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for round in 0..40_000 {
        let mut bytes = Vec::new();
        for _ in 0..rng.random_range(0..3) {
            let payload = Bytes::from(arbitrary(&mut rng, 60));
            put_frame(6, &mut bytes, |out| {
                HybridTime { wall_ms: rng.random(), counter: rng.random() }.encode(out);
                Pid::chain(1, 0).encode(out);
                Pid::client(2, 3).encode(out);
                payload.encode(out);
            });
        }
        match round % 3 {
            0 => bytes.extend(arbitrary(&mut rng, 40)),
            1 if !bytes.is_empty() => {
                let at = rng.random_range(0..bytes.len());
                bytes[at] ^= 1 << rng.random_range(0..8);
            }
            _ => {}
        }
        fuzz::frames(&bytes);
    }
}

#[test]
fn any_segment_is_read_back_right_or_refused() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for round in 0..20_000 {
        let mut bytes = vec![(round % 4) as u8];
        if round % 2 == 0 {
            bytes.extend(arbitrary(&mut rng, 30));
        } else {
            // Few changes near the front, where the batches are.
            for _ in 0..rng.random_range(1..4) {
                bytes.extend(rng.random_range(0..4096_u16).to_le_bytes());
                bytes.push(1 << rng.random_range(0..8));
            }
        }
        fuzz::recovery(&bytes);
    }
}
