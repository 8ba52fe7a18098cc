//! Writes the Rust of the wire formats: `cargo run -p xtask --features codegen -- codegen`.
//!
//! The output is checked in, so that building the product takes neither protoc nor the two dozen crates that this takes.
//! Run it after a change of `crates/quorate/proto`, and commit both.

use std::error::Error;
use std::fs;
use std::path::Path;

use prost::Message;

/// The files with services; what they import comes along.
const FILES: [&str; 4] = ["etcdserverpb.proto", "v3lockpb.proto", "v3electionpb.proto", "grpc_health_v1.proto"];

/// The packages that have a JSON form.
const JSON_PACKAGES: [&str; 5] = [".mvccpb", ".authpb", ".etcdserverpb", ".v3lockpb", ".v3electionpb"];

const HEADER: &str = "// Written by `cargo run -p xtask --features codegen -- codegen`. Do not edit.\n\n";

/// Generates messages, services and the JSON mapping from the proto files of the workspace.
pub fn run() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in the workspace")?;
    let protos = root.join("crates/quorate/proto");
    let out = root.join("crates/quorate/src/etcd/generated");
    fs::create_dir_all(&out)?;

    let descriptors = protox::compile(FILES, [&protos])?;
    pbjson_build::Builder::new()
        .register_descriptors(&descriptors.encode_to_vec())?
        .preserve_proto_field_names()
        .ignore_unknown_fields()
        .out_dir(&out)
        .build(&JSON_PACKAGES)?;
    tonic_prost_build::configure()
        .bytes(".")
        .build_transport(false)
        .codec_path("crate::etcd::codec::Codec")
        .out_dir(&out)
        .compile_fds(descriptors)?;

    for entry in fs::read_dir(&out)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name != "mod.rs") {
            let text = fs::read_to_string(&path)?;
            if !text.starts_with(HEADER) {
                fs::write(&path, format!("{HEADER}{text}"))?;
            }
        }
    }
    Ok(())
}
