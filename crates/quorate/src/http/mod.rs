//! One port for everything: gRPC, the JSON gateway and the pages, told apart by connection and content type.
//!
//! | file      | what                                                                       |
//! |-----------|----------------------------------------------------------------------------|
//! | `serve`   | connections: accepted, bounded, ended                                        |
//! | `authority` | hosts that are none, mended                                              |
//! | `service` | requests: to gRPC, to the JSON gateway, to a page                            |
//! | `json`    | the JSON gateway                                                             |
//! | `websocket` | the JSON gateway, a call as a conversation                                 |
//! | `pages`   | `/version`, `/health`, `/livez`, `/readyz`, `/metrics`, `/debug/vars`         |
//! | `nodes`   | `/v1/nodes`                                                                |
//! | `chains`  | `/v1/chains`                                                               |
//! | `admin`   | what changes nodes and chains                                              |
//! | `metrics` | what is counted                                                              |

mod admin;
mod authority;
mod chains;
mod json;
pub mod metrics;
mod nodes;
mod pages;
mod serve;
mod service;
mod websocket;

pub use admin::{Length, Newcomer, NodeAddress, Welcome};
pub use chains::{ChainList, ChainRow, MemberRow, OwnRow, PATH as CHAINS_PATH, RegisteredRow};
pub use metrics::Metrics;
pub use nodes::{NodeList, NodeRow, PATH as NODES_PATH, ProfileRow};
pub use serve::serve;
