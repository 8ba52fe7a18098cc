//! What can happen next in a state, and what it leads to.
//!
//! | move | when | leads to |
//! |------|------|----------|
//! | deliver | a message is on its way | a step of the receiver; if that is down the message is gone |
//! | deliver a copy | as above, within the budget | as above, and the message stays on its way |
//! | lose | as above, within the budget | the message is gone |
//! | ask | the asker's last question is answered or lost, or has no answer | a step of the process that is asked |
//! | sync | records are not durable | all of them are (group commit); the messages behind them leave |
//! | ring | an alarm is set, and the rule for alarms allows it | a step of the process |
//! | crash | within the budget | the disk keeps a prefix of what was not durable, one move for each prefix |
//! | lose the disk | within the budget | the process is down, and will begin with nothing |
//! | restart | the process is down | the durable state begins again with `Start` |
//! | tick | clocks are explored | each local clock goes on by its rate |
//!
//! A step that chooses leads to one state for each way to choose. Most moves lead to a state that was visited before, so
//! a move first gives a [`Change`] with the fingerprint that the next state has; the state is made when it is new.

use std::sync::Arc;

use quorate_model::{Instant, Outbox, Pid, Process};

use super::local::{Hosting, Known, Left, Outcome, Stimulus};
use super::state::{OnStage, Script, Spent, State};
use super::{Alarms, Clocks, Explorable, Faults};
use crate::cast::{Cast, Status, View};
use crate::fingerprint::fingerprint;

#[derive(Clone, Copy, Debug)]
pub(super) enum Move<T> {
    Deliver { flight: usize, keep: bool },
    Lose { flight: usize },
    Ask { asker: usize, operation: usize, index: usize },
    Sync { actor: usize },
    Ring { actor: usize, timer: T },
    Crash { actor: usize, kept: usize },
    LoseDisk { actor: usize },
    Start { actor: usize },
    Tick,
}

impl<T> Move<T> {
    /// Whether it is bad luck: nothing may rely on it.
    pub fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Lose { .. } | Self::Crash { .. } | Self::LoseDisk { .. } | Self::Deliver { keep: true, .. }
        )
    }
}

/// What a move changes.
pub(super) struct Change<'a, P: Process> {
    pub made: Move<P::Timer>,
    /// The fingerprint of the next state.
    pub print: u128,
    pub outcome: Option<(usize, &'a Outcome<P>)>,
    /// The flight of which one copy leaves the network.
    landed: Option<usize>,
    /// Where it differs from before.
    script: Option<Script<P::Message>>,
    spent: Spent,
    tick_count: u32,
    /// Which outputs come to nothing: messages that are on their way in as many copies as may be, and late answers.
    pub void: u64,
}

pub(super) struct Stepper<'a, P: Process> {
    pub cast: &'a Cast<P>,
    pub faults: &'a Faults,
    pub clocks: Option<&'a Clocks>,
    hosting: Hosting<'a, P>,
    /// The process that each asker asks.
    asked: Vec<usize>,
    /// Which processes may crash, and which may lose their disks.
    crashable: Vec<bool>,
    losable: Vec<bool>,
}

impl<'a, P: Explorable> Stepper<'a, P> {
    pub fn new(
        cast: &'a Cast<P>,
        faults: &'a Faults,
        clocks: Option<&'a Clocks>,
        mutation: Option<fn(&mut Outbox<P>)>,
    ) -> Self {
        let index = |pid: Pid| cast.index_of(pid).unwrap_or_else(|| panic!("{pid} is asked and not in the cast"));
        let may_crash = |pid: &Pid| faults.crash_only.as_ref().is_none_or(|only| only.contains(pid));
        Self {
            cast,
            faults,
            clocks,
            hosting: Hosting {
                cast,
                mutation,
                at_once: !faults.slow_disk.unwrap_or(faults.crashes > 0),
                keep_durable: faults.crashes > 0 || faults.disk_losses > 0 || cast.faithful.is_some(),
                timed: clocks.is_some(),
            },
            asked: cast.askers.iter().map(|asker| index(asker.to)).collect(),
            crashable: cast.seats.iter().map(|(pid, _)| may_crash(pid)).collect(),
            losable: cast.seats.iter().map(|(pid, _)| faults.disks.contains(pid)).collect(),
        }
    }

    /// The states before any process has started: one for each way to give out clock rates. Starting them all, in
    /// their order, comes before everything else.
    pub fn unstarted(&self) -> Vec<State<P>> {
        let count = self.cast.seats.len();
        let rates = self.clocks.map_or(1, |clocks| clocks.rates.len().pow(count as u32));
        (0..u32::try_from(rates).expect("clock rates to the power of processes stay small"))
            .map(|rates| {
                let actors: Vec<_> = (0..count).map(|index| self.hosting.unstarted(index)).collect();
                let script = Script::new(self.cast.askers.iter().map(|asker| asker.asks.len()).sum());
                State::new(actors, script, rates)
            })
            .collect()
    }

    pub fn view<R>(&self, state: &State<P>, look: impl FnOnce(&View<'_, P>) -> R) -> R {
        look(&View::new(&OnStage { cast: self.cast, state, clocks: self.clocks }))
    }

    pub fn pid(&self, index: usize) -> Pid {
        self.cast.seats[index].0
    }

    /// What the clock of process number `actor` says.
    pub fn now(&self, state: &State<P>, actor: usize) -> Instant {
        state.now(self.clocks, actor)
    }

    /// All moves of `state`, in an order that depends on nothing but the path that led to it.
    pub fn moves(&self, state: &State<P>, moves: &mut Vec<Move<P::Timer>>) {
        moves.clear();
        for flight in 0..state.network.len() {
            moves.push(Move::Deliver { flight, keep: false });
        }
        let mut first = 0;
        for (asker, to) in self.asked.iter().enumerate() {
            let count = self.cast.askers[asker].asks.len();
            if state.actors[*to].live.is_some()
                && let Some(index) = next_ask(&state.script, first, count)
            {
                moves.push(Move::Ask { asker, operation: first + index, index });
            }
            first += count;
        }
        for (actor, it) in state.actors.iter().enumerate() {
            if it.unsynced_count > 0 {
                moves.push(Move::Sync { actor });
            }
            if it.live.is_none() {
                moves.push(Move::Start { actor });
            }
        }
        let quiet = moves.is_empty();
        self.alarm_moves(state, quiet, moves);
        for flight in 0..state.network.len() {
            if state.spent.copies < self.faults.copies {
                moves.push(Move::Deliver { flight, keep: true });
            }
            if state.spent.losses < self.faults.losses {
                moves.push(Move::Lose { flight });
            }
        }
        if state.spent.crashes < self.faults.crashes {
            for (actor, it) in state.actors.iter().enumerate() {
                if it.live.is_some() && self.crashable[actor] {
                    moves.extend((0..=it.unsynced_count).map(|kept| Move::Crash { actor, kept }));
                }
            }
        }
        if state.spent.disk_losses < self.faults.disk_losses {
            let losing = (0..state.actors.len()).filter(|at| self.losable[*at] && state.actors[*at].live.is_some());
            moves.extend(losing.map(|actor| Move::LoseDisk { actor }));
        }
    }

    fn alarm_moves(&self, state: &State<P>, quiet: bool, moves: &mut Vec<Move<P::Timer>>) {
        let budget = self.faults.alarms_max.is_none_or(|most| state.spent.alarms < most);
        if budget && (self.faults.alarms == Alarms::AnyTime || (self.faults.alarms == Alarms::WhenQuiet && quiet)) {
            for (actor, it) in state.actors.iter().enumerate() {
                let now = self.now(state, actor);
                let due = it.alarms.iter().filter(|alarm| self.clocks.is_none() || alarm.from <= now);
                moves.extend(due.map(|alarm| Move::Ring { actor, timer: alarm.timer }));
            }
        }
        if let Some(clocks) = self.clocks
            && state.tick_count < clocks.tick_max
        {
            let overdue = state.actors.iter().enumerate().any(|(actor, it)| {
                let now = self.now(state, actor);
                it.alarms.iter().any(|alarm| alarm.until <= now)
            });
            if !overdue || self.faults.alarms == Alarms::Never {
                moves.push(Move::Tick);
            }
        }
    }

    /// Gives `visit` what `made` changes, once for each way to choose.
    pub fn changes(
        &self,
        state: &State<P>,
        made: Move<P::Timer>,
        known: &mut Known<P>,
        mut visit: impl FnMut(Change<'_, P>),
    ) {
        let (landed, mut spent, mut tick_count, mut script) = (None, state.spent, state.tick_count, None);
        let mut landed = landed;
        let (actor, stimulus) = match made {
            Move::Deliver { flight, keep } => {
                spent.copies += u16::from(keep);
                landed = (!keep).then_some(flight);
                let flight = &state.network[flight];
                let to = usize::from(flight.to);
                let from = self.pid(flight.from.into());
                let stimulus = Stimulus::Message { from, message: &*flight.message, print: flight.print };
                (state.actors[to].live.is_some().then_some(to), stimulus)
            }
            Move::Lose { flight } => {
                spent.losses += 1;
                landed = Some(flight);
                (None, Stimulus::Sync)
            }
            Move::Ask { asker, operation, index } => {
                let mut asked = Script::clone(&state.script);
                asked.progress[operation].before = asked.answered();
                let who = &self.cast.askers[asker];
                asked.progress[operation].status = if who.waits { Status::Open } else { Status::Unknown };
                script = Some(asked);
                // What a person asks has a print of its own: his number and the place in his script.
                let print = fingerprint(&(u64::MAX, asker, index));
                let stimulus = Stimulus::Message { from: who.pid, message: &who.asks[index], print };
                (Some(self.asked[asker]), stimulus)
            }
            Move::Sync { actor } => (Some(actor), Stimulus::Sync),
            Move::Ring { actor, timer } => {
                spent.alarms += u16::from(self.faults.alarms_max.is_some());
                (Some(actor), Stimulus::Ring(timer))
            }
            Move::Crash { actor, kept } => {
                spent.crashes += 1;
                script = self.script_after_crash(state, actor);
                (Some(actor), Stimulus::Crash { kept })
            }
            Move::LoseDisk { actor } => {
                spent.disk_losses += 1;
                script = self.script_after_crash(state, actor);
                (Some(actor), Stimulus::LoseDisk { nth: spent.disk_losses.into() })
            }
            Move::Start { actor } => (Some(actor), Stimulus::Start),
            Move::Tick => {
                tick_count += 1;
                (None, Stimulus::Sync)
            }
        };
        let change = Change { made, print: 0, outcome: None, landed, script, spent, tick_count, void: 0 };
        let Some(actor) = actor else {
            return visit(self.finish(state, change));
        };
        let now = self.now(state, actor);
        let outcomes = known.outcomes(&self.hosting, actor, &state.actors[actor], now, &stimulus);
        for outcome in &outcomes[1..] {
            let script = change.script.clone();
            visit(self.finish(state, Change { script, outcome: Some((actor, outcome)), ..change }));
        }
        visit(self.finish(state, Change { outcome: Some((actor, &outcomes[0])), ..change }));
    }

    /// People who asked a process that died do not learn what came of it.
    fn script_after_crash(&self, state: &State<P>, actor: usize) -> Option<Script<P::Message>> {
        let mut script = None;
        let mut first = 0;
        for (asker, to) in self.cast.askers.iter().zip(&self.asked) {
            let range = first..first + asker.asks.len();
            first = range.end;
            for at in range {
                if *to == actor && state.script.progress[at].status.is_open() {
                    let script = script.get_or_insert_with(|| Script::clone(&state.script));
                    script.progress[at].status = Status::Unknown;
                }
            }
        }
        script
    }

    /// Works out what the outputs come to, and the print of the next state.
    fn finish<'c>(&self, state: &State<P>, mut change: Change<'c, P>) -> Change<'c, P> {
        let mut print = state.print;
        if let Some(flight) = change.landed {
            print = print.wrapping_sub(state.network[flight].print);
        }
        if let Some((actor, outcome)) = change.outcome {
            print = print.wrapping_sub(state.actors[actor].print).wrapping_add(outcome.actor.print);
            assert!(outcome.outputs.len() <= 64, "a step of an explored process tells at most 64 things");
            for (at, left) in outcome.outputs.iter().enumerate() {
                match left {
                    Left::Message(flight) => {
                        let same = |it: &Left<P>| matches!(it, Left::Message(it) if it.print == flight.print);
                        let sent = outcome.outputs[..at].iter().filter(|it| same(it)).count();
                        let copies = self.copies_in_flight(state, change.landed, flight.print) + sent;
                        if copies >= self.faults.same_max.into() {
                            change.void |= 1 << at;
                        } else {
                            print = print.wrapping_add(flight.print);
                        }
                    }
                    Left::Answer { asker, answer, print } => {
                        let script = change.script.get_or_insert_with(|| Script::clone(&state.script));
                        if !self.take_answer(script, *asker, answer, *print) {
                            change.void |= 1 << at;
                        }
                    }
                    Left::Gone { .. } => change.void |= 1 << at,
                }
            }
        }
        if let Some(script) = &mut change.script {
            script.reprint();
            print = print.wrapping_sub(state.script.print).wrapping_add(script.print);
        }
        print = print.wrapping_sub(spent_print(state.spent, state.tick_count));
        change.print = print.wrapping_add(spent_print(change.spent, change.tick_count));
        change
    }

    fn copies_in_flight(&self, state: &State<P>, landed: Option<usize>, print: u128) -> usize {
        let found = state.network.iter().position(|flight| flight.print == print);
        found.map_or(0, |at| usize::from(state.network[at].copies) - usize::from(landed == Some(at)))
    }

    /// Whether the answer answers what is open.
    fn take_answer(
        &self,
        script: &mut Script<P::Message>,
        asker: usize,
        answer: &Arc<P::Message>,
        print: u128,
    ) -> bool {
        let first: usize = self.cast.askers[..asker].iter().map(|asker| asker.asks.len()).sum();
        let asks = &self.cast.askers[asker].asks;
        let open = (0..asks.len()).find(|at| script.progress[first + at].status.is_open());
        let Some(at) = open.filter(|&at| (self.cast.answers)(&asks[at], answer)) else { return false };
        script.progress[first + at].status = Status::Answered(Arc::clone(answer));
        script.progress[first + at].answer_print = print;
        true
    }

    /// The state after a change.
    pub fn apply(&self, state: &State<P>, change: Change<'_, P>) -> State<P> {
        let mut next = state.clone();
        if let Some(flight) = change.landed {
            next.land(flight);
        }
        if let Some((actor, outcome)) = change.outcome {
            next.actors[actor] = Arc::clone(&outcome.actor);
            for (at, left) in outcome.outputs.iter().enumerate() {
                if let Left::Message(flight) = left
                    && change.void & (1 << at) == 0
                {
                    next.launch(flight.clone());
                }
            }
        }
        if let Some(script) = change.script {
            next.script = Arc::new(script);
        }
        next.spent = change.spent;
        next.tick_count = change.tick_count;
        next.print = change.print;
        next
    }
}

fn spent_print(spent: Spent, tick_count: u32) -> u128 {
    fingerprint(&(spent, tick_count))
}

/// The index within its script of the operation that an asker can ask now.
fn next_ask<M>(script: &Script<M>, first: usize, count: usize) -> Option<usize> {
    for index in 0..count {
        match script.progress[first + index].status {
            Status::Waiting => return Some(index),
            Status::Open => return None,
            Status::Unknown | Status::Answered(_) => {}
        }
    }
    None
}
