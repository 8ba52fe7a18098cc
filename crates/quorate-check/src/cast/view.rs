//! One state of a cast, as properties see it.

use std::cell::Cell;

use quorate_model::{Instant, Pid, Process};

/// How far an operation of a script is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status<M> {
    /// It was not asked yet.
    Waiting,
    /// It was asked.
    Open,
    /// The process died that was asked, or gives no answer. It may have taken effect, now or later.
    Unknown,
    /// It was answered.
    Answered(M),
}

impl<M> Status<M> {
    /// Whether it was asked, and neither answered nor lost.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }
}

/// One operation of a script, as a property sees it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a, M> {
    /// Who asks.
    pub asker: Pid,
    /// Which of its asks, counted from 0.
    pub index: usize,
    /// What.
    pub ask: &'a M,
    /// How far it is.
    pub status: Status<&'a M>,
}

/// A message on its way.
#[derive(Clone, Copy, Debug)]
pub struct InFlight<'a, M> {
    /// Who sent it.
    pub from: Pid,
    /// To whom.
    pub to: Pid,
    /// What it says.
    pub message: &'a M,
    /// In how many copies.
    pub copies: usize,
}

/// What a host shows of its state.
pub(crate) trait Stage<P: Process> {
    fn pid(&self, index: usize) -> Pid;
    fn len(&self) -> usize;
    fn live(&self, index: usize) -> Option<&P>;
    fn durable(&self, index: usize) -> &P;
    fn unsynced_count(&self, index: usize) -> usize;
    fn flight(&self, index: usize) -> Option<InFlight<'_, P::Message>>;
    fn asked(&self, index: usize) -> Option<Asked<'_, P::Message>>;
    fn now(&self, index: usize) -> Instant;
}

/// One state of the whole cast, for properties to look at.
///
/// It notes what was looked at, so that a property of two processes is not checked again when only others did something.
pub struct View<'a, P: Process> {
    stage: &'a dyn Stage<P>,
    looked: Cell<Looked>,
}

/// What a property looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Looked {
    /// A bit for each process, by its number.
    pub processes: u64,
    /// What was asked and answered.
    pub script: bool,
    /// Messages on their way, or a process whose number has no bit.
    pub rest: bool,
}

impl Looked {
    fn process(&mut self, index: usize) {
        match u32::try_from(index).ok().and_then(|index| 1_u64.checked_shl(index)) {
            Some(bit) => self.processes |= bit,
            None => self.rest = true,
        }
    }

    /// What either looked at.
    pub fn and(self, other: Self) -> Self {
        Self {
            processes: self.processes | other.processes,
            script: self.script || other.script,
            rest: self.rest || other.rest,
        }
    }
}

impl<'a, P: Process> View<'a, P> {
    pub(crate) fn new(stage: &'a dyn Stage<P>) -> Self {
        Self { stage, looked: Cell::default() }
    }

    /// What was looked at since this was last asked.
    pub(crate) fn take_looked(&self) -> Looked {
        self.looked.take()
    }

    fn look(&self, note: impl FnOnce(&mut Looked)) {
        let mut looked = self.looked.get();
        note(&mut looked);
        self.looked.set(looked);
    }

    fn index(&self, pid: Pid) -> usize {
        let index = (0..self.stage.len())
            .find(|&index| self.stage.pid(index) == pid)
            .unwrap_or_else(|| panic!("{pid} is not in the cast"));
        self.look(|looked| looked.process(index));
        index
    }

    /// The live state of the process at `pid`, unless it is down.
    ///
    /// # Panics
    /// If the cast has no such pid.
    #[must_use]
    pub fn process(&self, pid: Pid) -> Option<&'a P> {
        self.stage.live(self.index(pid))
    }

    /// All processes that are up.
    pub fn processes(&self) -> impl Iterator<Item = (Pid, &'a P)> {
        let stage = self.stage;
        self.look(|looked| (0..stage.len()).for_each(|index| looked.process(index)));
        (0..stage.len()).filter_map(move |index| Some((stage.pid(index), stage.live(index)?)))
    }

    /// What the process at `pid` would be after a restart that lost all that is not durable. Only known where crashes
    /// can happen; else it is the process before its first start.
    ///
    /// # Panics
    /// If the cast has no such pid.
    #[must_use]
    pub fn durable(&self, pid: Pid) -> &'a P {
        self.stage.durable(self.index(pid))
    }

    /// How many records of the process at `pid` are not durable yet.
    ///
    /// # Panics
    /// If the cast has no such pid.
    #[must_use]
    pub fn unsynced_count(&self, pid: Pid) -> usize {
        self.stage.unsynced_count(self.index(pid))
    }

    /// What the clock of the process at `pid` says now, whether the process is up or not, stands still or not.
    ///
    /// # Panics
    /// If the cast has no such pid.
    #[must_use]
    pub fn now(&self, pid: Pid) -> Instant {
        self.look(|looked| looked.rest = true);
        self.stage.now(self.index(pid))
    }

    /// The messages on their way, in no order that means anything.
    pub fn in_flight(&self) -> impl Iterator<Item = InFlight<'a, P::Message>> {
        let stage = self.stage;
        self.look(|looked| looked.rest = true);
        (0..).map_while(move |index| stage.flight(index))
    }

    /// The operations of all scripts, asker by asker.
    pub fn asked(&self) -> impl Iterator<Item = Asked<'a, P::Message>> {
        let stage = self.stage;
        self.look(|looked| looked.script = true);
        (0..).map_while(move |index| stage.asked(index))
    }

    /// Whether all scripts are at their end: everything was asked, and answered or lost with the process that was asked.
    #[must_use]
    pub fn all_answered(&self) -> bool {
        self.asked().all(|asked| matches!(asked.status, Status::Answered(_) | Status::Unknown))
    }

    /// The answer to ask number `index` (counted from 0) of `asker`, if there is one yet.
    #[must_use]
    pub fn answer(&self, asker: Pid, index: usize) -> Option<&'a P::Message> {
        self.asked().find(|asked| asked.asker == asker && asked.index == index).and_then(|asked| match asked.status {
            Status::Answered(answer) => Some(answer),
            _ => None,
        })
    }
}
