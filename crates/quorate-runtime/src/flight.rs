//! The flight recorder: the last things that happened, kept in memory, written out when something breaks.
//!
//! It stands in for chatty logs: noting an event is a few stores into a ring, and nobody formats it unless it is wanted.
//! Source: notes "Scalable Architecture" (logging does not scale).

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use quorate_model::Instant;

/// How many events a recorder keeps.
pub const EVENT_COUNT: usize = 1 << 14;

/// What happened. Two numbers go with it; what they mean stands beside each kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A batch began: messages that waited, asks that waited.
    Batch,
    /// A process took a step on a message: the stream of the process, node and shard of the sender.
    Step,
    /// An alarm rang: the stream of the process, how many nanoseconds late.
    Alarm,
    /// Records were handed to the log: up to this sequence number, bytes in its backlog.
    Submit,
    /// Records became durable: up to this sequence number, how many.
    Durable,
    /// A compaction began: sequence number, bytes of the log.
    Compact,
    /// A message was dropped because a queue was full: the stream of the receiver, the node.
    Drop,
    /// A link changed: the node, 1 for up and 0 for down.
    Link,
    /// Something a port noted: its own two numbers.
    Port,
}

#[derive(Clone, Copy)]
struct Event {
    at: Instant,
    kind: Kind,
    first: u64,
    second: u64,
}

/// A ring of recent events.
pub struct FlightRecorder {
    ring: Vec<Event>,
    /// How many events there ever were.
    count: u64,
}

impl Default for FlightRecorder {
    fn default() -> Self {
        Self { ring: Vec::with_capacity(EVENT_COUNT), count: 0 }
    }
}

impl FlightRecorder {
    /// Notes an event.
    pub fn note(&mut self, at: Instant, kind: Kind, first: u64, second: u64) {
        let event = Event { at, kind, first, second };
        if self.ring.len() < EVENT_COUNT {
            self.ring.push(event);
        } else {
            self.ring[self.count as usize % EVENT_COUNT] = event;
        }
        self.count += 1;
    }

    /// The events as text, oldest first, one a line: nanoseconds, what, numbers.
    #[must_use]
    pub fn dump(&self) -> String {
        let mut out = String::new();
        let oldest = if self.ring.len() < EVENT_COUNT { 0 } else { self.count as usize % EVENT_COUNT };
        for event in self.ring[oldest..].iter().chain(&self.ring[..oldest]) {
            let written = writeln!(out, "{} {:?} {} {}", event.at.0, event.kind, event.first, event.second);
            written.expect("a string takes all that is written to it");
        }
        out
    }

    /// Writes [`FlightRecorder::dump`] to a file.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, self.dump())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_events_are_kept_in_order() {
        let mut recorder = FlightRecorder::default();
        let count = EVENT_COUNT as u64 + 10;
        for number in 0..count {
            recorder.note(Instant(number), Kind::Submit, number, 0);
        }
        let dump = recorder.dump();
        let lines: Vec<&str> = dump.lines().collect();
        assert_eq!(lines.len(), EVENT_COUNT);
        assert_eq!(lines[0], "10 Submit 10 0");
        assert_eq!(lines[EVENT_COUNT - 1], format!("{0} Submit {0} 0", count - 1));
    }
}
