//! Chores of the repository: `cargo xtask gate | tidy | codegen`.

#[cfg(feature = "codegen")]
mod codegen;
mod tidy;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Chores of the repository")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything that must be green before a commit: formatting, clippy, tidy, tests, a minute of seeds.
    Gate {
        /// How long to simulate, in seconds.
        #[arg(long, default_value_t = 60)]
        seeds_s: u32,
    },
    /// Layering, file lengths, glossary, bans, reasons.
    Tidy,
    /// Writes the code of the wire formats. Needs `--features codegen`.
    Codegen,
}

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
    match Cli::parse().chore {
        Chore::Tidy => tidy::tidy(root),
        Chore::Gate { seeds_s } => gate(root, seeds_s),
        Chore::Codegen => codegen(root),
    }
}

#[cfg(feature = "codegen")]
fn codegen(_: &Path) -> anyhow::Result<()> {
    codegen::run().map_err(|error| anyhow::anyhow!("{error}"))
}

#[cfg(not(feature = "codegen"))]
fn codegen(_: &Path) -> anyhow::Result<()> {
    bail!("run it as `cargo run -p xtask --features codegen -- codegen`")
}

fn gate(root: &Path, seeds_s: u32) -> anyhow::Result<()> {
    let seeds = format!("{seeds_s}");
    let steps: &[(&str, &[&str])] = &[
        ("formatting", &["fmt", "--all", "--check"]),
        ("clippy", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        ("tidy", &["run", "-q", "-p", "xtask", "--", "tidy"]),
        ("tests", &["test", "--workspace", "-q"]),
        ("seeds", &["run", "--release", "-q", "-p", "quorate", "--", "simulate", "chain", "--for-s", &seeds]),
    ];
    for (name, words) in steps {
        let begun = Instant::now();
        let status = Command::new(env!("CARGO")).args(*words).current_dir(root).status().context("cannot run cargo")?;
        if !status.success() {
            bail!("{name} failed: cargo {}", words.join(" "));
        }
        println!("{name}: good, {:.0} s", begun.elapsed().as_secs_f64());
    }
    Ok(())
}
