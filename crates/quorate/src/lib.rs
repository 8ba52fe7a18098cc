//! What the binary is made of: gateways that speak foreign protocols, and the wiring to what answers them.

pub mod beginning;
pub mod bench;
pub mod cli;
pub mod config;
pub mod etcd;
pub mod http;
pub mod keyspace;
pub mod membership;
pub mod node;
