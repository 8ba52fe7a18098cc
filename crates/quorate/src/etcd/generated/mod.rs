//! The wire formats, written by `cargo run -p xtask --features codegen -- codegen` from the files in `proto/`.

/// Versions of keys and their changes.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod mvccpb {
    include!("mvccpb.rs");
    include!("mvccpb.serde.rs");
}

/// What auth requests carry.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod authpb {
    include!("authpb.rs");
    include!("authpb.serde.rs");
}

/// The services of etcd proper.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod etcdserverpb {
    include!("etcdserverpb.rs");
    include!("etcdserverpb.serde.rs");
}

/// The lock service.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v3lockpb {
    include!("v3lockpb.rs");
    include!("v3lockpb.serde.rs");
}

/// The election service.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v3electionpb {
    include!("v3electionpb.rs");
    include!("v3electionpb.serde.rs");
}

/// The health service of gRPC.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod health {
    include!("grpc.health.v1.rs");
}
