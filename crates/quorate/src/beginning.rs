//! How a node begins: whether an empty folder is right.
//!
//! | the folder | was told | so |
//! |------------|----------|----|
//! | empty | `serve --found` | it founds the cluster with the others of its configuration |
//! | empty, but for what `node join` wrote | that | it is new, and joins |
//! | of an earlier start | nothing | it goes on |
//! | of an earlier start that remembers | `serve --found` | refused: the word is for the first start alone |
//! | empty, or without a memory | nothing | it was lost: the node asks the others what it had promised, and is in no chain until it is told |
//! | the same, of one that would ask only itself | nothing | refused |
//!
//! So a folder that was lost never founds a second cluster, unless somebody says so. Not chosen: a setting in the
//! configuration, which would stay there (etcd's `initial-cluster-state`).

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, anyhow};

use crate::config::Config;

/// In the data folder of a node that `node join` made: it is new.
const NEW: &str = "new";
/// In the data folder of a node that was told once that it is new.
const BEGUN: &str = "begun";

/// What a node knows of its own past before it opens its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beginning {
    /// It was told that it founds a cluster.
    Founds,
    /// It was told that it joins one.
    Joins,
    /// It was told so earlier.
    GoesOn,
    /// It was not told anything: what it had is lost.
    Lost,
}

impl Beginning {
    /// What the data folder of `config` and the command line say; `founds` is what the latter does.
    #[must_use]
    pub fn of(config: &Config, founds: bool) -> Self {
        match () {
            () if founds => Self::Founds,
            () if config.data.join(NEW).exists() => Self::Joins,
            () if config.data.join(BEGUN).exists() => Self::GoesOn,
            () => Self::Lost,
        }
    }

    /// Whether the node has never run before.
    #[must_use]
    pub fn is_new(self) -> bool {
        matches!(self, Self::Founds | Self::Joins)
    }

    /// Notes that the node was told, for its next starts.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn note(self, data: &Path) -> anyhow::Result<()> {
        let noted = match self {
            Self::Founds => File::create(data.join(BEGUN)).and_then(|file| file.sync_all()),
            Self::Joins => fs::rename(data.join(NEW), data.join(BEGUN)),
            Self::GoesOn | Self::Lost => return Ok(()),
        };
        noted.and_then(|()| File::open(data)?.sync_all()).with_context(|| format!("cannot write in {}", data.display()))
    }

    /// Whether a node that begins so fits one that `remembers` what it has decided.
    ///
    /// # Errors
    /// When it does not; the text says what to do.
    pub fn check(self, config: &Config, remembers: bool) -> anyhow::Result<()> {
        let alone = config.system() == [config.node_id()];
        match self {
            Self::Founds if remembers => {
                Err(anyhow!("this node has founded its cluster already: start it without --found"))
            }
            Self::Founds | Self::Joins => Ok(()),
            Self::GoesOn | Self::Lost if remembers => Ok(()),
            Self::GoesOn | Self::Lost if alone => Err(anyhow!(
                "its data folder holds nothing of what it decided, and there is nobody whom it could ask. If this is a new \
                 cluster, start it once with --found. If the folder was lost, put a copy of it back; if the cluster has other \
                 nodes by now, remove this node there and let it join as a new one"
            )),
            Self::GoesOn | Self::Lost => {
                if config.system().contains(&config.node_id()) {
                    tracing::warn!(
                        "the data folder holds nothing of what this node decided: it asks all others of them, and decides nothing \
                         before they have answered. If this is a new cluster, start each of its nodes once with --found"
                    );
                }
                Ok(())
            }
        }
    }
}

/// Notes in the data folder of a node that was registered just now that it is new.
///
/// # Errors
/// When the folder cannot be written.
pub fn note_new(data: &Path) -> anyhow::Result<()> {
    let noted = File::create(data.join(NEW)).and_then(|file| file.sync_all());
    noted.with_context(|| format!("cannot write in {}", data.display()))
}

/// Whether the node of the data folder was told already that it is new: when it joined, or at an earlier start.
#[must_use]
pub fn was_told(data: &Path) -> bool {
    data.join(NEW).exists() || data.join(BEGUN).exists()
}
