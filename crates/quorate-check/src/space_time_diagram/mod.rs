//! Space-time diagrams: a trace as a picture. Processes stand side by side, time goes down, messages are arrows.
//!
//! People outside stand left, then clients, then nodes. [`text`] is for a terminal, [`svg()`] for a page.
//!
//! | sign (text) | means |
//! |------|-------|
//! | `●` | a message left here |
//! | `●────▶` | a message arrived; the arrow begins under its sender |
//! | `╳` | a message was lost before it got here |
//! | `■` | records became durable |
//! | `◷` | an alarm rang |
//! | `✖` | the process died; its line ends until `◇`, where it began anew |
//!
//! Source: Lamport, "Time, Clocks, and the Ordering of Events", 1978.

mod picture;
mod terminal;

use std::collections::BTreeMap;

pub use picture::svg;
use quorate_model::Pid;
use quorate_model::trace::{Trace, What};
pub use terminal::text;

/// The columns of a trace, from left to right.
fn columns(trace: &Trace) -> Vec<Pid> {
    let mut pids: Vec<Pid> = trace.iter().map(|step| step.at).collect();
    for step in trace {
        match &step.what {
            What::Send { to, .. } => pids.push(*to),
            What::Receive { from, .. } => pids.push(*from),
            _ => {}
        }
    }
    pids.sort_by_key(|pid| (std::cmp::Reverse(pid.service), pid.node, pid.shard));
    pids.dedup();
    pids
}

/// Who sent each message, where in the trace, and what it says.
fn sends(trace: &Trace) -> BTreeMap<u64, (usize, Pid, &str)> {
    let mut sends = BTreeMap::new();
    for (index, step) in trace.iter().enumerate() {
        if let What::Send { id, label, .. } = &step.what {
            sends.insert(*id, (index, step.at, label.as_str()));
        }
    }
    sends
}

/// Whether the step at `index` arrives or is lost in the very next step, so that one row says both.
fn lands_at_once(trace: &Trace, index: usize) -> bool {
    let What::Send { id, .. } = &trace[index].what else { return false };
    trace.get(index + 1).is_some_and(|next| match &next.what {
        What::Receive { id: next, .. } | What::Lose { id: next } => next == id,
        _ => false,
    })
}

/// `label`, cut to `most` characters.
fn cut(label: &str, most: usize) -> String {
    if label.chars().count() <= most {
        return label.to_owned();
    }
    label.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
