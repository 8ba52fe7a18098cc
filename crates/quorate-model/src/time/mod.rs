//! Time in a distributed system: an order of events. Clocks assign numbers to events.
//!
//! Source: notes "Time in Distributed Systems"; Lamport, "Time, Clocks, and the Ordering of Events", 1978.

mod happens_before;
mod hybrid;
mod instant;
mod lamport;
mod punctuality;
mod staleness;
mod vector;

pub use happens_before::{Order, happens_before};
pub use hybrid::{HybridClock, HybridTime};
pub use instant::Instant;
pub use lamport::LamportClock;
pub use punctuality::Punctuality;
pub use staleness::Staleness;
pub use vector::VectorClock;
