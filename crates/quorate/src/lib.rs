//! What the binary is made of: gateways that speak foreign protocols, and the wiring to what answers them.

pub mod etcd;
