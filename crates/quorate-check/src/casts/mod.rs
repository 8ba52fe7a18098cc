//! The casts of our protocols: instances that the tests, `quorate check` and `quorate simulate` share.

pub mod chain;
mod chain_decider;
pub mod chain_moves;
pub mod gossip;
pub mod gossip_crowd;
pub mod housed;
mod lists;
pub mod paxos_log;
pub mod paxos_register;
pub mod paxos_store;
mod shelf;
pub mod store;
pub mod swami;
pub mod swami_node;
pub mod swami_role;
pub mod swami_tape;

pub use lists::{Append, ListSpec, Lists, Read};
