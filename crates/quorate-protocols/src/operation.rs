//! Operations: what any replicated log carries. Each has a name of its own, so that it happens once.
//!
//! The protocols don't know each other; what they share stands here. The chain was there first, so the words still live in
//! its folder.

pub use crate::chain::{Entry, OperationId};
