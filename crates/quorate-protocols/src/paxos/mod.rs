//! Consensus by Paxos: any majority decides, and no leader is needed for anything but speed.
//!
//! First [`register`], the write-once register: read that to understand all of it. Then [`log`], a log of such registers
//! under one leader, which drives a machine.
//!
//! Source: notes "Paxos Consensus"; Lamport, "The Part-Time Parliament", 1998, and "Paxos Made Simple", 2001.

mod ballot;
pub mod log;
pub mod register;

pub use ballot::Ballot;
