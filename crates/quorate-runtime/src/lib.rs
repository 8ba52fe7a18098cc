//! The runtime: the only part of Quorate that touches the world. It drives processes with real sockets, a real disk and
//! real clocks, and adds nothing to what they decide.

pub mod clock;
pub mod datagram;
pub mod flight;
pub mod fuzz;
pub mod host;
pub mod metrics;
pub mod net;
pub mod store;
pub mod wal;
