//! Small protocols that the tools are tried on, each with its mutants.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod abd;
pub mod counter;
