//! Happens-before: the order that messages make.
//!
//! `E1 -> E2` if both are events of one process in this order, or one sends what the other receives, or there is an
//! event between. Otherwise they are concurrent, `E1 || E2`. Source: notes "Time in Distributed Systems".

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::vector::VectorClock;
use crate::trace::{Trace, What};

/// How two events stand to each other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Order {
    /// The first can have caused the second.
    Before,
    /// The second can have caused the first.
    After,
    /// Neither can have caused the other.
    Concurrent,
    /// They are one event.
    Equal,
}

/// A vector clock for each step of `trace`, so that any two can be compared with [`VectorClock::order`].
#[must_use]
pub fn happens_before(trace: &Trace) -> Vec<VectorClock> {
    let mut clocks = BTreeMap::<_, VectorClock>::new();
    let mut sent = BTreeMap::new();
    let mut stamps = Vec::with_capacity(trace.len());
    for step in trace {
        let clock = clocks.entry(step.at).or_default();
        match &step.what {
            What::Receive { id, .. } => match sent.get(id) {
                Some(stamp) => clock.receive(step.at, stamp),
                None => clock.tick(step.at), // sent by someone outside the trace
            },
            _ => clock.tick(step.at),
        };
        if let What::Send { id, .. } = step.what {
            sent.insert(id, clock.clone());
        }
        stamps.push(clock.clone());
    }
    stamps
}
