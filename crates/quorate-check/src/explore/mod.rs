//! The explorer: every interleaving of a small instance, with the code that ships.
//!
//! Breadth first, so that a counterexample is a shortest one. Of a visited state only a 128-bit fingerprint (see
//! [`crate::fingerprint`]) and the number of the state that led to it are kept; a counterexample is made by walking that
//! path again. Blocks of the frontier are expanded by several threads and joined in order, so that counts and
//! counterexamples do not depend on how many there are.
//!
//! | what keeps it finite | why that is sound |
//! |----------------------|-------------------|
//! | budgets of losses, copies, crashes, lost disks | a proof says for how many it holds |
//! | equal messages on their way are bounded ([`Faults::same_max`]); one more is lost at once | a network may lose it |
//! | clocks stop after [`Clocks::tick_max`] | a proof says for how long it holds |
//! | records are durable at once when nothing can crash | see [`Faults::slow_disk`] |
//!
//! Source: notes "Atomic Register Specification" (a step from every state, no infinite traces, every trace is correct).

mod cost;
mod graph;
mod local;
mod moves;
mod replay;
mod search;
mod state;

use std::collections::BTreeSet;
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

pub use cost::{Cost, cost};
use quorate_model::trace::Trace;
use quorate_model::{Outbox, Pid, Process};

use crate::cast::Cast;

/// A process that can be explored: it can be copied and told apart from others.
pub trait Explorable:
    Process<Message: Hash + Send + Sync, Timer: Hash + Send + Sync, Record: Hash + Send + Sync> + Clone + Hash + Send + Sync
{
}

impl<P> Explorable for P where
    P: Process<Message: Hash + Send + Sync, Timer: Hash + Send + Sync, Record: Hash + Send + Sync>
        + Clone
        + Hash
        + Send
        + Sync
{
}

/// When alarms that are set may ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alarms {
    /// At any time; when clocks are explored, within their range.
    AnyTime,
    /// When nothing else can happen but faults: all delays together are shorter than any alarm.
    WhenQuiet,
    /// Not at all.
    Never,
}

/// Which faults may happen, and how many of each in one history.
#[derive(Clone, Debug)]
pub struct Faults {
    pub(crate) losses: u16,
    pub(crate) copies: u16,
    pub(crate) crashes: u16,
    pub(crate) crash_only: Option<BTreeSet<Pid>>,
    pub(crate) disk_losses: u16,
    pub(crate) disks: BTreeSet<Pid>,
    pub(crate) alarms: Alarms,
    pub(crate) alarms_max: Option<u16>,
    pub(crate) same_max: u16,
    pub(crate) slow_disk: Option<bool>,
}

impl Faults {
    /// None: messages arrive once, in any order. Alarms ring at any time, any number of times.
    #[must_use]
    pub fn none() -> Self {
        Self {
            losses: 0,
            copies: 0,
            crashes: 0,
            crash_only: None,
            disk_losses: 0,
            disks: BTreeSet::new(),
            alarms: Alarms::AnyTime,
            alarms_max: None,
            same_max: 2,
            slow_disk: None,
        }
    }

    /// Up to so many messages are lost.
    #[must_use]
    pub fn losses(self, losses: u16) -> Self {
        Self { losses, ..self }
    }

    /// Up to so many messages arrive once more.
    #[must_use]
    pub fn copies(self, copies: u16) -> Self {
        Self { copies, ..self }
    }

    /// Up to so many crashes, at any moment; the disk keeps any prefix of what was not durable. Restarts are free.
    #[must_use]
    pub fn crashes(self, crashes: u16) -> Self {
        Self { crashes, ..self }
    }

    /// Only these processes crash.
    #[must_use]
    pub fn crash_only(self, pids: impl IntoIterator<Item = Pid>) -> Self {
        Self { crash_only: Some(pids.into_iter().collect()), ..self }
    }

    /// Up to so many times one of these processes dies and loses its disk; see [`Cast::disks_may_be_lost`].
    #[must_use]
    pub fn disk_losses(self, disk_losses: u16, pids: impl IntoIterator<Item = Pid>) -> Self {
        Self { disk_losses, disks: pids.into_iter().collect(), ..self }
    }

    /// When alarms ring.
    #[must_use]
    pub fn alarms(self, alarms: Alarms) -> Self {
        Self { alarms, ..self }
    }

    /// Up to so many alarms ring in one history.
    #[must_use]
    pub fn alarms_max(self, most: u16) -> Self {
        Self { alarms_max: Some(most), ..self }
    }

    /// How many equal messages (same sender, receiver and content) are on their way at most; one more is lost at once.
    /// Keeps alarms that send again from filling the network. Default 2.
    #[must_use]
    pub fn same_max(self, same_max: u16) -> Self {
        Self { same_max, ..self }
    }

    /// Whether records take time to become durable. Default: when something can crash.
    ///
    /// Without crashes they need not: whatever a process does before its records are durable, and whatever the messages
    /// behind them wait for, it can also do while those messages are on their way. Answers to people outside do leave
    /// earlier, which only makes histories stricter: those with later answers are linearizable whenever these are. The
    /// test `with_a_slow_disk_the_same_is_found` compares both.
    #[must_use]
    pub fn slow_disk(self, slow: bool) -> Self {
        Self { slow_disk: Some(slow), ..self }
    }
}

/// Local clocks that run at different rates. Without them clocks stand still and alarms ring at any time.
///
/// Real time goes by in equal ticks. At the start each process gets one of the rates: how far its clock goes at each
/// tick. All assignments are explored. An alarm may ring from the start of its range on, by its own clock, and no
/// clock passes the end of a range without the alarm having rung.
#[derive(Clone, Debug)]
pub struct Clocks {
    /// How far a clock goes at each tick; one entry for each rate.
    pub rates: Vec<Duration>,
    /// How many ticks go by in one history at most.
    pub tick_max: u32,
}

/// What came of an exploration, in one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All claims hold in all states.
    Holds {
        /// How many different states there are.
        states: u64,
        /// How many moves there are between them.
        transitions: u64,
        /// How many moves it takes to the state that is farthest from the start. Not the least when depth first.
        depth: u32,
    },
    /// A claim does not hold; the trace shows it.
    Refuted {
        /// The claim.
        property: String,
        /// How many moves the trace has.
        steps: u32,
    },
    /// Nothing that was claimed to happen sometimes did.
    NeverHappens {
        /// The claim.
        property: String,
        /// How many states were looked at.
        states: u64,
    },
    /// A limit was reached first. Nothing was refuted so far.
    Unfinished {
        /// How many states were visited.
        states: u64,
        /// How many moves it takes to the last of them.
        depth: u32,
    },
}

impl Verdict {
    /// Whether all claims hold in all states.
    #[must_use]
    pub fn holds(&self) -> bool {
        matches!(self, Self::Holds { .. })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds { states, transitions, depth } => {
                write!(f, "holds: {states} states, {transitions} transitions, depth {depth}")
            }
            Self::Refuted { property, steps } => write!(f, "refuted in {steps} steps: {property}"),
            Self::NeverHappens { property, states } => write!(f, "never happens in {states} states: {property}"),
            Self::Unfinished { states, depth } => write!(f, "unfinished: {states} states, depth {depth}"),
        }
    }
}

/// What an exploration found. Prints as the verdict and the time it took.
#[derive(Clone, Debug)]
pub struct Exploration {
    /// What came of it.
    pub verdict: Verdict,
    /// The way to the state that refutes a claim; empty when none does.
    pub trace: Trace,
    /// How many states were visited.
    pub states: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl fmt::Display for Exploration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        write!(f, "{}, {seconds:.2} s ({:.0} states/s)", self.verdict, self.states as f64 / seconds.max(1e-9))
    }
}

/// How far an exploration is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// States visited.
    pub states: u64,
    /// States that wait to be expanded.
    pub frontier: u64,
    /// How many moves from the start the states are that are expanded now.
    pub depth: u32,
}

/// Explores a cast breadth first, with one thread and without limits.
pub fn explore<P: Explorable>(cast: &Cast<P>, faults: Faults) -> Exploration {
    Explorer::new(cast).faults(faults).run()
}

/// An exploration to be.
pub struct Explorer<'a, P: Process> {
    pub(super) cast: &'a Cast<P>,
    pub(super) faults: Faults,
    pub(super) clocks: Option<Clocks>,
    pub(super) mutation: Option<fn(&mut Outbox<P>)>,
    pub(super) threads: usize,
    pub(super) depth_first: bool,
    pub(super) states_max: u64,
    pub(super) time_max: Duration,
    pub(super) progress: Option<Box<dyn FnMut(Progress) + 'a>>,
}

impl<'a, P: Explorable> Explorer<'a, P> {
    /// Explores `cast` breadth first, without faults, with one thread and without limits.
    #[must_use]
    pub fn new(cast: &'a Cast<P>) -> Self {
        Self {
            cast,
            faults: Faults::none(),
            clocks: None,
            mutation: None,
            threads: 1,
            depth_first: false,
            states_max: u32::MAX.into(),
            time_max: Duration::MAX,
            progress: None,
        }
    }

    /// Which faults may happen.
    #[must_use]
    pub fn faults(self, faults: Faults) -> Self {
        Self { faults, ..self }
    }

    /// Explores local clocks too.
    #[must_use]
    pub fn clocks(self, clocks: Clocks) -> Self {
        Self { clocks: Some(clocks), ..self }
    }

    /// How many threads expand states. Changes nothing but the time it takes.
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        Self { threads: threads.max(1), ..self }
    }

    /// Goes deep first: keeps fewer states waiting, and finds longer counterexamples.
    #[must_use]
    pub fn depth_first(self) -> Self {
        Self { depth_first: true, ..self }
    }

    /// Gives up after so many states. At most about four thousand million.
    #[must_use]
    pub fn states_max(self, states_max: u64) -> Self {
        Self { states_max: states_max.min(u32::MAX.into()), ..self }
    }

    /// Gives up after so long.
    #[must_use]
    pub fn time_max(self, time_max: Duration) -> Self {
        Self { time_max, ..self }
    }

    /// Is told now and then how far it is.
    #[must_use]
    pub fn progress(self, progress: impl FnMut(Progress) + 'a) -> Self {
        Self { progress: Some(Box::new(progress)), ..self }
    }

    /// Does this to every outbox after every step: a host that breaks the contract on purpose, to prove that breaking
    /// it is noticed.
    #[must_use]
    pub fn mutate_outboxes(self, mutation: fn(&mut Outbox<P>)) -> Self {
        Self { mutation: Some(mutation), ..self }
    }

    /// Explores.
    #[must_use]
    pub fn run(self) -> Exploration {
        search::run(self)
    }
}
