//! Tools of the system, by their command lines.

use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::Command;
use tokio::time::timeout;

/// How long a tool may take.
const WITHIN: Duration = Duration::from_secs(60);

/// Runs a command of words without spaces in them.
///
/// # Errors
/// When it cannot be started, takes too long, or fails; the error has what it said last.
pub async fn run(line: &str) -> anyhow::Result<()> {
    read(line).await.map(drop)
}

/// Runs a command of words without spaces in them, and gives what it printed.
///
/// # Errors
/// As [`run`].
pub async fn read(line: &str) -> anyhow::Result<String> {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().context("an empty command")?);
    command.args(words).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(WITHIN, command.output()).await.with_context(|| format!("`{line}` takes too long"))?;
    said(line, output.with_context(|| format!("cannot run `{line}`"))?)
}

/// As [`run`], for an end that cannot wait for others.
///
/// # Errors
/// As [`run`], without a limit of time.
pub fn run_now(line: &str) -> anyhow::Result<()> {
    let mut words = line.split_whitespace();
    let mut command = std::process::Command::new(words.next().context("an empty command")?);
    said(line, command.args(words).stdin(Stdio::null()).output()?).map(drop)
}

fn said(line: &str, output: Output) -> anyhow::Result<String> {
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed: {}", errors.trim().lines().last().unwrap_or("it says nothing"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
