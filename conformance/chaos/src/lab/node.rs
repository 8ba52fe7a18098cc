//! A node: its addresses, its folder, and the process that is it, if it runs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use quorate::beginning;
use quorate::cli::DIE_WITH_PARENT;
use quorate::http::{CHAINS_PATH, ChainList};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::disk::Disk;

/// How long a page may take.
const PAGE_WITHIN: Duration = Duration::from_secs(1);
/// How long a node may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// A node of the lab.
#[derive(Debug)]
pub struct Node {
    /// From 1.
    pub number: u32,
    /// Where clients reach it.
    pub client: String,
    /// Where other nodes reach it.
    pub peer: String,
    /// Its folder of data, on its disk.
    pub data: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// The namespace that it runs in, if it has its own.
    space: Option<String>,
    said: PathBuf,
    child: Option<Child>,
    /// The disk that the folder is on, if it has its own. It goes after the process.
    pub disk: Option<Disk>,
}

impl Node {
    /// A node that does not run, with its files under `home`.
    pub fn new(home: &Path, number: u32, [client, peer]: [String; 2], space: Option<String>) -> Self {
        let data = home.join(format!("node-{number}")).join("data");
        let config = data.join("quorate.toml");
        let said = home.join(format!("node-{number}.log"));
        Self { number, client, peer, data, config, space, said, child: None, disk: None }
    }

    /// Gives it a disk of its own.
    ///
    /// # Errors
    /// See [`Disk::mount`].
    pub async fn mount(&mut self) -> anyhow::Result<()> {
        let folder = self.data.parent().context("the data lies in a folder")?;
        self.disk = Some(Disk::mount(folder, &format!("node-{}", self.number)).await?);
        Ok(())
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(&mut self, program: &Path) -> anyhow::Result<()> {
        let output = File::options().create(true).append(true).open(&self.said)?;
        let mut command = match &self.space {
            Some(space) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", space]).arg(program); // which becomes the program, so its number is the node's
                command
            }
            None => Command::new(program),
        };
        command.arg("serve").arg("--config").arg(&self.config);
        command.args((!beginning::was_told(&self.data)).then_some("--found")); // no disk is lost here
        command.env(DIE_WITH_PARENT, "1").env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.process_group(0).kill_on_drop(true).spawn();
        self.child = Some(child.with_context(|| format!("cannot start {}", program.display()))?);
        Ok(())
    }

    /// Whether it was started and not ended by us.
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// Its process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> anyhow::Result<Pid> {
        let id = self.child.as_ref().and_then(Child::id).and_then(|id| Pid::from_raw(id.cast_signed()));
        id.with_context(|| format!("node {} does not run", self.number))
    }

    /// Sends its process a signal.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// Kills it, and returns when it is dead.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().with_context(|| format!("node {} does not run", self.number))?;
        Ok(child.kill().await?)
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// When it does not run, does not stop in time, or stops in failure.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        let mut child = self.child.take().context("it has a number, so it runs")?;
        let status = timeout(STOP_WITHIN, child.wait()).await;
        let status = status.with_context(|| format!("node {} does not stop within {STOP_WITHIN:?}", self.number))??;
        if !status.success() {
            bail!("node {} stopped with {status}: {}", self.number, self.last_words());
        }
        Ok(())
    }

    /// How it ended, if it did so by itself.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn has_ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let ended = child.try_wait()?;
        if ended.is_some() {
            self.child = None;
        }
        Ok(ended)
    }

    /// The last line that it said.
    pub fn last_words(&self) -> String {
        let said = fs::read(&self.said).unwrap_or_default();
        String::from_utf8_lossy(&said).lines().next_back().unwrap_or("nothing").to_owned()
    }

    /// What it knows of the cluster, if it answers.
    pub async fn chains(&self) -> Option<ChainList> {
        serde_json::from_str(&self.page(CHAINS_PATH).await?).ok()
    }

    /// A page without its head, if the node answers.
    pub async fn page(&self, path: &str) -> Option<String> {
        let ask = async {
            let mut stream = TcpStream::connect(&self.client).await?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.client);
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = timeout(PAGE_WITHIN, ask).await.ok()?.ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }
}
