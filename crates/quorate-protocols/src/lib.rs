//! The protocols: what sends messages. Each is a set of roles, each role is a process, each process is a file.
//!
//! `no_std`, so that no clock, socket, file or thread can be used: see ARCHITECTURE.md.
#![no_std]
extern crate alloc;

pub mod chain;
pub mod cluster;
pub mod gossip;
pub mod operation;
pub mod paxos;
