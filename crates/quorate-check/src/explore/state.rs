//! One state of a whole cast, made to be copied and compared often.
//!
//! Processes, messages and the history are shared between states and carry their fingerprints; a step replaces those
//! that it changed. The fingerprint of a state is the sum of those of its parts (the network is a multiset, and the print
//! of a process covers its place), so that the print after a step follows from the print before it. What is asked and
//! answered is kept as an order alone: for each operation, which others were answered before it was asked.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use quorate_model::{Instant, Outbox, Pid, Process};

use super::{Clocks, Explorable};
use crate::cast::{Asked, Asker, Cast, InFlight, Stage, Status};
use crate::fingerprint::Fingerprinter;
use crate::history::{EXPLORED_OPERATIONS_MAX, History, Operation, times_of};

/// An alarm that is set: it may ring from `from` on, and must before the clock passes `until`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct SetAlarm<T> {
    pub timer: T,
    pub from: Instant,
    pub until: Instant,
}

/// One process with what its host keeps for it.
pub(super) struct Actor<P: Process> {
    /// Nothing while it is down.
    pub live: Option<P>,
    pub outbox: Outbox<P>,
    /// In the order of their names.
    pub alarms: Vec<SetAlarm<P::Timer>>,
    /// The fold of what is durable.
    pub durable: Arc<P>,
    pub durable_print: u128,
    pub unsynced_count: usize,
    /// Where processes keep something beside their log.
    pub kept: Option<Arc<Kept<P>>>,
    pub print: u128,
}

/// What a process starts from that keeps something beside its log: the log is read again over that.
pub(super) struct Kept<P: Process> {
    /// What it is before its records are replayed.
    pub opened: P,
    /// What is durable of the log.
    pub log: Vec<P::Record>,
}

impl<P: Explorable> Clone for Kept<P> {
    fn clone(&self) -> Self {
        Self { opened: self.opened.clone(), log: self.log.clone() }
    }
}

impl<P: Explorable> Actor<P> {
    /// Brings up to date what follows from the rest. `index` is its place in the cast.
    pub fn reprint(&mut self, index: usize) {
        self.unsynced_count = self.outbox.unsynced().count();
        let mut hasher = Fingerprinter::seeded(index as u64);
        self.live.hash(&mut hasher);
        self.outbox.hash(&mut hasher);
        self.alarms.hash(&mut hasher);
        hasher.write_u128(self.durable_print);
        if let Some(kept) = &self.kept {
            kept.opened.hash(&mut hasher);
            kept.log.hash(&mut hasher);
        }
        self.print = hasher.print();
    }
}

impl<P: Explorable> Clone for Actor<P> {
    fn clone(&self) -> Self {
        Self {
            live: self.live.clone(),
            outbox: self.outbox.clone(),
            alarms: self.alarms.clone(),
            durable: Arc::clone(&self.durable),
            durable_print: self.durable_print,
            unsynced_count: self.unsynced_count,
            kept: self.kept.clone(),
            print: self.print,
        }
    }
}

/// Some equal messages on their way.
pub(super) struct Flight<P: Process> {
    pub from: u16,
    pub to: u16,
    pub copies: u16,
    pub print: u128,
    pub message: Arc<P::Message>,
}

impl<P: Process> Clone for Flight<P> {
    fn clone(&self) -> Self {
        Self { message: Arc::clone(&self.message), ..*self }
    }
}

/// How far one operation of a script is.
pub(super) struct Progress<M> {
    /// The set of operations that were answered before this one was asked.
    pub before: u64,
    pub status: Status<Arc<M>>,
    pub answer_print: u128,
}

impl<M> Clone for Progress<M> {
    fn clone(&self) -> Self {
        let status = match &self.status {
            Status::Waiting => Status::Waiting,
            Status::Open => Status::Open,
            Status::Unknown => Status::Unknown,
            Status::Answered(answer) => Status::Answered(Arc::clone(answer)),
        };
        Self { before: self.before, status, answer_print: self.answer_print }
    }
}

/// How far all scripts are. Operations of all askers stand in one row, asker by asker.
pub(super) struct Script<M> {
    pub progress: Vec<Progress<M>>,
    pub print: u128,
}

impl<M> Clone for Script<M> {
    fn clone(&self) -> Self {
        Self { progress: self.progress.clone(), print: self.print }
    }
}

impl<M> Script<M> {
    pub fn new(count: usize) -> Self {
        assert!(count <= EXPLORED_OPERATIONS_MAX, "an explored cast asks at most {EXPLORED_OPERATIONS_MAX} things");
        let waiting = Progress { before: 0, status: Status::Waiting, answer_print: 0 };
        let mut script = Self { progress: vec![waiting; count], print: 0 };
        script.reprint();
        script
    }

    pub fn reprint(&mut self) {
        let mut hasher = Fingerprinter::seeded(2);
        for progress in &self.progress {
            hasher.write_u64(progress.before);
            match &progress.status {
                Status::Waiting => hasher.write_u8(0),
                Status::Open => hasher.write_u8(1),
                Status::Unknown => hasher.write_u8(2),
                Status::Answered(_) => hasher.write_u128(progress.answer_print),
            }
        }
        self.print = hasher.print();
    }

    pub fn answered(&self) -> u64 {
        let mut set = 0;
        for (index, progress) in self.progress.iter().enumerate() {
            if matches!(progress.status, Status::Answered(_)) {
                set |= 1 << index;
            }
        }
        set
    }
}

/// What of the allowed faults was spent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Spent {
    pub losses: u16,
    pub copies: u16,
    pub crashes: u16,
    pub disk_losses: u16,
    pub alarms: u16,
}

pub(super) struct State<P: Process> {
    pub actors: Vec<Arc<Actor<P>>>,
    pub network: Vec<Flight<P>>,
    pub script: Arc<Script<P::Message>>,
    pub spent: Spent,
    /// How often the tick of real time went by. Stands still where clocks are not explored.
    pub tick_count: u32,
    /// Which clock rates the processes have: a number in the base of the count of rates.
    pub rates: u32,
    pub print: u128,
}

impl<P: Process> Clone for State<P> {
    fn clone(&self) -> Self {
        // Room for what the step about to be taken may send.
        let mut network = Vec::with_capacity(self.network.len() + 4);
        network.extend(self.network.iter().cloned());
        Self { actors: self.actors.clone(), network, script: Arc::clone(&self.script), ..*self }
    }
}

impl<P: Process> State<P> {
    pub fn new(actors: Vec<Arc<Actor<P>>>, script: Script<P::Message>, rates: u32) -> Self {
        let parts = actors.iter().fold(script.print, |sum, actor| sum.wrapping_add(actor.print));
        let (spent, tick_count) = (Spent::default(), 0);
        // The rates stay as they are, so any number that tells them apart will do.
        let print = parts.wrapping_add(u128::from(rates) << 64);
        Self { actors, network: Vec::new(), script: Arc::new(script), spent, tick_count, rates, print }
    }

    /// What the clock of process number `actor` says; nothing goes by where clocks are not explored.
    pub fn now(&self, clocks: Option<&Clocks>, actor: usize) -> Instant {
        let Some(clocks) = clocks else { return Instant::default() };
        let rate = self.rates as usize / clocks.rates.len().pow(actor as u32) % clocks.rates.len();
        Instant::default() + clocks.rates[rate] * self.tick_count
    }

    /// Adds a message.
    pub fn launch(&mut self, flight: Flight<P>) {
        match self.network.iter_mut().find(|same| same.print == flight.print) {
            Some(same) => same.copies += 1,
            None => self.network.push(flight),
        }
    }

    /// Takes one copy of flight number `index` out of the network.
    pub fn land(&mut self, index: usize) {
        let flight = &mut self.network[index];
        flight.copies -= 1;
        if flight.copies == 0 {
            self.network.remove(index);
        }
    }
}

/// A state together with what stays the same in all states.
pub(super) struct OnStage<'a, P: Process> {
    pub cast: &'a Cast<P>,
    pub state: &'a State<P>,
    pub clocks: Option<&'a Clocks>,
}

impl<P: Process> Stage<P> for OnStage<'_, P> {
    fn pid(&self, index: usize) -> Pid {
        self.cast.seats[index].0
    }

    fn len(&self) -> usize {
        self.cast.seats.len()
    }

    fn live(&self, index: usize) -> Option<&P> {
        self.state.actors[index].live.as_ref()
    }

    fn durable(&self, index: usize) -> &P {
        &self.state.actors[index].durable
    }

    fn unsynced_count(&self, index: usize) -> usize {
        self.state.actors[index].unsynced_count
    }

    fn flight(&self, index: usize) -> Option<InFlight<'_, P::Message>> {
        let flight = self.state.network.get(index)?;
        let (from, to) = (self.pid(flight.from.into()), self.pid(flight.to.into()));
        Some(InFlight { from, to, message: &flight.message, copies: flight.copies.into() })
    }

    fn now(&self, index: usize) -> Instant {
        self.state.now(self.clocks, index)
    }

    fn asked(&self, index: usize) -> Option<Asked<'_, P::Message>> {
        let (asker, at) = script_place(&self.cast.askers, index)?;
        let status = match &self.state.script.progress[index].status {
            Status::Waiting => Status::Waiting,
            Status::Open => Status::Open,
            Status::Unknown => Status::Unknown,
            Status::Answered(answer) => Status::Answered(&**answer),
        };
        Some(Asked { asker: asker.pid, index: at, ask: &asker.asks[at], status })
    }
}

/// Whose operation number `index` is, and which of his.
pub(super) fn script_place<M>(askers: &[Asker<M>], mut index: usize) -> Option<(&Asker<M>, usize)> {
    for asker in askers {
        if index < asker.asks.len() {
            return Some((asker, index));
        }
        index -= asker.asks.len();
    }
    None
}

/// The history that `state` holds.
pub(super) fn history_of<P: Process>(cast: &Cast<P>, state: &State<P>) -> History<P::Message> {
    let progress = &state.script.progress;
    let before: Vec<Option<u64>> = progress
        .iter()
        .map(|progress| (!matches!(progress.status, Status::Waiting)).then_some(progress.before))
        .collect();
    let mut operations = Vec::with_capacity(progress.len());
    for (index, times) in times_of(&before).into_iter().enumerate() {
        let (Some((invoked, returned)), Some((asker, at))) = (times, script_place(&cast.askers, index)) else {
            continue;
        };
        let answer = match &progress[index].status {
            Status::Answered(answer) => Some((returned, P::Message::clone(answer))),
            _ => None,
        };
        operations.push(Operation { asker: asker.pid, ask: asker.asks[at].clone(), invoked, answer });
    }
    History { operations }
}
