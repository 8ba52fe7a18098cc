//! etcd v3.
pub mod generated;
