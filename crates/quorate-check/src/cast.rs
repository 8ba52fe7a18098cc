//! A cast: the processes of one instance, what people outside ask them, and what must be true of it.
//!
//! The same cast is explored, simulated and played as a scenario, so what is claimed of a protocol is written once.
//!
//! | property | claims | explorer | simulator |
//! |----------|--------|----------|-----------|
//! | always | true in every state | each state | every so many events and at the end |
//! | sometimes | true in at least one state, so that no proof is empty | each state | over all seeds |
//! | possible | from every state there is a way to a state where it is true | on the finished graph, backwards | - |
//! | steps until | every state where it is not true has a next step | each state | - |
//! | finally | true when everything has come to rest | states without a next step | after the faults are healed |
//! | history | true of what was asked and answered | each new history | at the end |
//!
//! Losses, copies and crashes are bad luck and count neither as a way nor as a next step. Restarts do: what is down comes
//! up again.

mod view;

use std::collections::BTreeSet;

use quorate_model::{Choose, NodeId, Pid, Process, Service};
pub use view::{Asked, InFlight, Status, View};
pub(crate) use view::{Looked, Stage};

use crate::history::History;
use crate::linearizable::{self, Keyed, Spec, Timed};

/// What a property of a state looks at.
pub type Check<P> = Box<dyn Fn(&View<'_, P>) -> bool + Send + Sync>;
/// What a process begins as whose disk was lost, by its pid and the number of the loss.
type Begins<P> = Box<dyn Fn(Pid, u64) -> P + Send + Sync>;
/// Whether something may happen to a node in a state.
type NodeCheck<P> = Box<dyn Fn(&View<'_, P>, NodeId) -> bool + Send + Sync>;
/// What a property of a history looks at.
pub type HistoryCheck<P> = Box<dyn Fn(&History<<P as Process>::Message>) -> Judged + Send + Sync>;

/// What a process is before its records are replayed, given what it was when it died: what it keeps beside its log.
pub type Reopen<P> = Box<dyn Fn(Pid, &P, &mut dyn Choose) -> P + Send + Sync>;

/// The most steps that the search for a linear order may take: some seconds and a hundred megabytes. What is explored or
/// simulated needs some thousands.
pub const JUDGE_STEPS_MAX: usize = 1 << 22;

/// What a judge says of a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judged {
    /// The claim is true.
    Holds,
    /// It is not.
    Fails,
    /// Finding out took more than the judge is allowed. Neither shown nor refuted, so it fails the run, and says so.
    GaveUp,
}

impl From<linearizable::Verdict> for Judged {
    fn from(verdict: linearizable::Verdict) -> Self {
        match verdict {
            linearizable::Verdict::Linearizable(_) => Self::Holds,
            linearizable::Verdict::Not { .. } => Self::Fails,
            linearizable::Verdict::Unfinished => Self::GaveUp,
        }
    }
}

/// What is claimed; see the table of this module.
pub enum Claim<P: Process> {
    /// True in every state.
    Always(Check<P>),
    /// True in at least one state.
    Sometimes(Check<P>),
    /// From every state there is a way to a state where it is true.
    Possible(Check<P>),
    /// Every state where it is not true has a next step.
    StepsUntil(Check<P>),
    /// True in every state that has no next step.
    Finally(Check<P>),
    /// True of every history.
    History(HistoryCheck<P>),
}

/// A claim and its name: a sentence that is printed when it fails.
pub struct Property<P: Process> {
    /// The sentence.
    pub name: String,
    /// What it claims.
    pub claim: Claim<P>,
}

impl<P: Process> Property<P> {
    /// What to print when it does not hold.
    pub(crate) fn broken(&self, judged: Judged) -> String {
        match judged {
            Judged::GaveUp => format!("{}: not judged, since the judge gave up", self.name),
            Judged::Holds | Judged::Fails => self.name.clone(),
        }
    }
}

/// Someone outside: asks one process, one thing at a time.
#[derive(Clone, Debug)]
pub struct Asker<M> {
    /// Who asks.
    pub pid: Pid,
    /// Whom.
    pub to: Pid,
    /// What, in this order.
    pub asks: Vec<M>,
    /// Whether it waits for the answer to one thing before it says the next; else there is none.
    pub waits: bool,
}

/// What one operation of a script is specified as: what was asked, and what came back, if that is known.
pub struct Call<O, R> {
    /// What was asked.
    pub op: O,
    /// What came back; nothing if the outcome is not known.
    pub ret: Option<R>,
}

/// What comes of a process whose disk is lost; see [`Cast::disks_may_be_lost`].
pub(crate) struct Losable<P: Process> {
    pub begins: Begins<P>,
    pub may_lose: NodeCheck<P>,
}

/// See the module.
pub struct Cast<P: Process> {
    pub(crate) seats: Vec<(Pid, P)>,
    pub(crate) askers: Vec<Asker<P::Message>>,
    pub(crate) absent: BTreeSet<Pid>,
    pub(crate) properties: Vec<Property<P>>,
    pub(crate) faithful: Option<fn(&P, &P) -> bool>,
    pub(crate) reopen: Option<Reopen<P>>,
    pub(crate) losable: Option<Losable<P>>,
    pub(crate) answers: fn(&P::Message, &P::Message) -> bool,
}

impl<P: Process> Default for Cast<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Process> Cast<P> {
    /// Nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            seats: Vec::new(),
            askers: Vec::new(),
            absent: BTreeSet::new(),
            properties: Vec::new(),
            faithful: None,
            reopen: None,
            losable: None,
            answers: |_, _| true,
        }
    }

    /// Adds a process in the state in which it is before its very first start.
    ///
    /// # Panics
    /// If the pid is taken or stands outside.
    #[must_use]
    pub fn process(mut self, pid: Pid, process: P) -> Self {
        assert!(pid.service != Service::Outside, "{pid} stands outside and is no process");
        assert!(self.seats.iter().all(|(taken, _)| *taken != pid), "{pid} is in the cast twice");
        self.seats.push((pid, process));
        self
    }

    /// Adds someone outside who asks `to`, one thing at a time, in this order.
    ///
    /// # Panics
    /// If the pid is taken or does not stand outside.
    #[must_use]
    pub fn asks(self, outside: Pid, to: Pid, asks: impl IntoIterator<Item = P::Message>) -> Self {
        self.says(Asker { pid: outside, to, asks: asks.into_iter().collect(), waits: true })
    }

    /// Adds someone outside who tells `to` these things, in this order and at any time, and is not answered. What was
    /// told counts as lost with whom it was told to: nothing more is known of it.
    ///
    /// # Panics
    /// As [`Cast::asks`].
    #[must_use]
    pub fn tells(self, outside: Pid, to: Pid, tells: impl IntoIterator<Item = P::Message>) -> Self {
        self.says(Asker { pid: outside, to, asks: tells.into_iter().collect(), waits: false })
    }

    fn says(mut self, asker: Asker<P::Message>) -> Self {
        assert!(asker.pid.service == Service::Outside, "{} does not stand outside", asker.pid);
        assert!(self.askers.iter().all(|other| other.pid != asker.pid), "{} is in the cast twice", asker.pid);
        self.askers.push(asker);
        self
    }

    /// Says that nobody lives at `pid`: what is sent there is gone. A message to a pid that is neither in the cast nor
    /// absent is a mistake of the cast and panics.
    #[must_use]
    pub fn absent(mut self, pid: Pid) -> Self {
        self.absent.insert(pid);
        self
    }

    /// Says when a message to an outside pid answers what is asked there (the ask comes first). Others are taken for
    /// late answers and dropped. Without it every message answers the open question.
    #[must_use]
    pub fn answers(mut self, answers: fn(&P::Message, &P::Message) -> bool) -> Self {
        self.answers = answers;
        self
    }

    fn claim(mut self, name: &str, claim: Claim<P>) -> Self {
        self.properties.push(Property { name: name.to_owned(), claim });
        self
    }

    /// Claims that `check` is true in every state.
    #[must_use]
    pub fn always(self, name: &str, check: impl Fn(&View<'_, P>) -> bool + Send + Sync + 'static) -> Self {
        self.claim(name, Claim::Always(Box::new(check)))
    }

    /// Claims that `check` is true in at least one state.
    #[must_use]
    pub fn sometimes(self, name: &str, check: impl Fn(&View<'_, P>) -> bool + Send + Sync + 'static) -> Self {
        self.claim(name, Claim::Sometimes(Box::new(check)))
    }

    /// Claims that from every state there is a way to a state where `check` is true.
    #[must_use]
    pub fn possible(self, name: &str, check: impl Fn(&View<'_, P>) -> bool + Send + Sync + 'static) -> Self {
        self.claim(name, Claim::Possible(Box::new(check)))
    }

    /// Claims that every state where `check` is not true has a next step.
    #[must_use]
    pub fn steps_until(self, name: &str, check: impl Fn(&View<'_, P>) -> bool + Send + Sync + 'static) -> Self {
        self.claim(name, Claim::StepsUntil(Box::new(check)))
    }

    /// Claims that `check` is true whenever everything has come to rest.
    #[must_use]
    pub fn finally(self, name: &str, check: impl Fn(&View<'_, P>) -> bool + Send + Sync + 'static) -> Self {
        self.claim(name, Claim::Finally(Box::new(check)))
    }

    /// Claims that `check` is true of what was asked and answered.
    #[must_use]
    pub fn history(self, name: &str, check: impl Fn(&History<P::Message>) -> bool + Send + Sync + 'static) -> Self {
        self.judged(name, move |history| if check(history) { Judged::Holds } else { Judged::Fails })
    }

    /// Like [`Cast::history`], for a judge that may give up.
    #[must_use]
    pub fn judged(self, name: &str, judge: impl Fn(&History<P::Message>) -> Judged + Send + Sync + 'static) -> Self {
        self.claim(name, Claim::History(Box::new(judge)))
    }

    /// Claims that the histories are linearizable. `call` reads an operation out of what was asked and, if it was
    /// answered, the answer; an operation that it says `None` of had no effect.
    #[must_use]
    pub fn linearizable<S>(
        self,
        name: &str,
        spec: S,
        call: impl Fn(&P::Message, Option<&P::Message>) -> Option<Call<S::Op, S::Ret>> + Send + Sync + 'static,
    ) -> Self
    where
        S: Spec + Send + Sync + 'static,
    {
        self.judged(name, move |history| {
            linearizable::check_within(&spec, &timed::<S, P>(history, &call), JUDGE_STEPS_MAX).into()
        })
    }

    /// Like [`Cast::linearizable`], for operations that each touch one key: judged key by key, which is far cheaper.
    #[must_use]
    pub fn linearizable_by_key<S>(
        self,
        name: &str,
        spec: S,
        call: impl Fn(&P::Message, Option<&P::Message>) -> Option<Call<S::Op, S::Ret>> + Send + Sync + 'static,
    ) -> Self
    where
        S: Keyed + Send + Sync + 'static,
        S::Op: Clone,
        S::Ret: Clone,
    {
        self.judged(name, move |history| {
            linearizable::check_by_key_within(&spec, &timed::<S, P>(history, &call), JUDGE_STEPS_MAX).into()
        })
    }

    /// Claims that what [`Process::compact`] gives is the durable state: folded into a fresh process, it makes an equal
    /// one. Checked for what is durable in every state.
    #[must_use]
    pub fn compaction_is_faithful(mut self) -> Self
    where
        P: Clone + PartialEq,
    {
        self.faithful = Some(|fresh, durable| {
            let mut folded = fresh.clone();
            for record in durable.compact() {
                folded.replay(record);
            }
            folded == *durable
        });
        self
    }

    /// Says that processes keep something beside their log, and what they begin with when they start anew. Without it they
    /// begin as they are in the cast.
    #[must_use]
    pub fn reopens(mut self, reopen: impl Fn(Pid, &P, &mut dyn Choose) -> P + Send + Sync + 'static) -> Self {
        self.reopen = Some(Box::new(reopen));
        self
    }

    /// Says what a process begins as when its disk was lost, given its pid and the number of the loss, counted from 1. A
    /// simulated node loses its disk only where `may_lose` says so: what no protocol survives proves nothing.
    #[must_use]
    pub fn disks_may_be_lost(
        mut self,
        begins: impl Fn(Pid, u64) -> P + Send + Sync + 'static,
        may_lose: impl Fn(&View<'_, P>, NodeId) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.losable = Some(Losable { begins: Box::new(begins), may_lose: Box::new(may_lose) });
        self
    }

    /// What the process in a seat begins as, its disk having been lost so many times.
    ///
    /// # Panics
    /// If a disk was lost of which the cast does not say what comes of that.
    pub(crate) fn begins(&self, seat: usize, losses: u64) -> P
    where
        P: Clone,
    {
        let (pid, first) = &self.seats[seat];
        if losses == 0 {
            return first.clone();
        }
        let losable = self.losable.as_ref().expect("disks are lost only where the cast says what comes of that");
        (losable.begins)(*pid, losses)
    }

    pub(crate) fn index_of(&self, pid: Pid) -> Option<usize> {
        self.seats.iter().position(|(seat, _)| *seat == pid)
    }
}

type Timeline<S> = Vec<Timed<<S as Spec>::Op, <S as Spec>::Ret>>;

fn timed<S: Spec, P: Process>(
    history: &History<P::Message>,
    call: &impl Fn(&P::Message, Option<&P::Message>) -> Option<Call<S::Op, S::Ret>>,
) -> Timeline<S> {
    let mut calls = Vec::with_capacity(history.operations.len());
    for operation in &history.operations {
        let (returned, answer) = match &operation.answer {
            Some((at, answer)) => (*at, Some(answer)),
            None => (u64::MAX, None),
        };
        if let Some(Call { op, ret }) = call(&operation.ask, answer) {
            // An answer that says "I do not know" does not bound when the operation took effect.
            let returned = if ret.is_some() { returned } else { u64::MAX };
            calls.push(Timed { op, ret, invoked: operation.invoked, returned });
        }
    }
    calls
}
