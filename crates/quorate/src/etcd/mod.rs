//! etcd's API, version 3, over a [`Keyspace`](crate::keyspace::Keyspace).
//!
//! | file                            | what                                                                   |
//! |---------------------------------|------------------------------------------------------------------------|
//! | `gateway`                       | what all services share: the keyspace, who the members are, the bounds  |
//! | `kv`, `lease`, `cluster`, `maintenance`, `auth`, `lock`, `election`, `health` | a service each          |
//! | `watch`                         | who hears of which change                                               |
//! | `queue`                         | what locks and elections are made of                                    |
//! | `convert`, `errors`             | the wire's words and the store's                                        |
//! | `snapshot`                      | a view as a file                                                        |
//! | `rpc`                           | the table of all calls                                                  |
//! | `generated`                     | messages and stubs, from `proto/`                                       |
//!
//! What clients rely on, and where etcd says it: its API reference, `rpctypes/error.go`, and its clients.

mod answers;
mod auth;
mod cluster;
pub mod codec;
pub mod convert;
mod election;
mod errors;
mod gateway;
pub mod generated;
mod health;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod queue;
pub mod rpc;
pub mod snapshot;
mod watch;

pub use auth::Auth;
pub use cluster::Cluster as ClusterService;
pub use election::Election;
pub use errors::EtcdError;
pub use gateway::{CLUSTER_VERSION, Cluster, Gateway, Limits, Member, VERSION};
pub use health::Health;
pub use kv::Kv;
pub use lease::{KeepAlives, Lease};
pub use lock::Lock;
pub use maintenance::Maintenance;
pub use watch::{Hub, Watch};
