//! Chores of the workspace.

#[cfg(feature = "codegen")]
mod codegen;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args().nth(1).as_deref() {
        #[cfg(feature = "codegen")]
        Some("codegen") => codegen::run(),
        #[cfg(not(feature = "codegen"))]
        Some("codegen") => Err("run it as: cargo run -p xtask --features codegen -- codegen".into()),
        _ => Err("usage: cargo run -p xtask -- codegen".into()),
    }
}
