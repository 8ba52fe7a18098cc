//! Machines: what a replicated log drives, alone and deterministic.
//!
//! A machine never reads a clock, a socket, a file or a random source: two that applied the same commands in the same
//! order are equal. That is held by the compiler: this crate is `no_std`.
#![no_std]
extern crate alloc;

pub mod kv;
