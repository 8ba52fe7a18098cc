//! How fast a history of ten million operations is judged by its witness order:
//! `cargo run --release -p quorate-check --example witness_speed`.

use std::collections::BTreeMap;
use std::time::Instant;

use quorate_check::linearizable::witness::{self, Witnessed};
use quorate_check::linearizable::{RegisterMap, RegisterOp, RegisterRet, Timed};
use quorate_check::simulate::Draw;

const OPERATION_COUNT: u64 = 10_000_000;
const KEY_COUNT: u64 = 1_000;
/// How many operations are open at a time, about.
const OVERLAP: u64 = 50;

fn main() {
    let history = history();
    let begun = Instant::now();
    let verdict = witness::check(&RegisterMap::new(), 1, &history);
    println!("{OPERATION_COUNT} operations, judged {verdict:?} in {:.2} s", begun.elapsed().as_secs_f64());
}

/// What one register map answers to operations that overlap, each at a moment between question and answer.
fn history() -> Vec<Witnessed<RegisterOp<u32, u64>, RegisterRet<u64>>> {
    let mut draw = Draw::seeded(3, 0);
    let mut state = BTreeMap::new();
    let mut revision = 1;
    let call = |at: u64| {
        let moment = at * 10;
        let (invoked, returned) = (moment.saturating_sub(draw.below(OVERLAP * 10)), moment + draw.below(OVERLAP * 10));
        let (key, wrote) = (draw.below(KEY_COUNT) as u32, draw.per_mille(500));
        let (op, ret) = if wrote {
            revision += 1;
            state.insert(key, at + 1);
            (RegisterOp::Write(key, Some(at + 1)), RegisterRet::Written)
        } else {
            (RegisterOp::Read(key), RegisterRet::Value(state.get(&key).copied()))
        };
        Witnessed { timed: Timed { op, ret: Some(ret), invoked, returned }, revision, wrote }
    };
    (0..OPERATION_COUNT).map(call).collect()
}
