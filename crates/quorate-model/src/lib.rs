//! The model: everything that must be right is a [`Process`], a deterministic state machine of the asynchronous
//! message-passing model, `(state, event) -> (state', effects)`.
//!
//! A process never reads a clock, a socket, a file or a random source. That is held by the compiler: this crate and the
//! protocols above it are `no_std`. The same code runs under three hosts: the runtime, the simulator and the explorer.
//!
//! Source: notes "Asynchronous Message Passing".
#![no_std]
extern crate alloc;

pub mod codec;
pub mod machine;
pub mod outbox;
pub mod pid;
pub mod process;
pub mod quorum;
pub mod time;
pub mod trace;

pub use codec::{DecodeError, Reader, Wire};
pub use machine::Machine;
pub use outbox::{AlarmChange, Outbox};
pub use pid::{NodeId, Pid, Service};
pub use process::{Choose, Context, Effect, Event, Process};
pub use time::Instant;
