//! What can happen next in a state, and what it leads to.
//!
//! | move | when | leads to |
//! |------|------|----------|
//! | deliver | a message is on its way | a step of the receiver; if that is down the message is gone |
//! | deliver a copy | as above, within the budget | as above, and the message stays on its way |
//! | lose | as above, within the budget | the message is gone |
//! | ask | the asker's last question is answered or lost | a step of the process that is asked |
//! | sync | records are not durable | all of them are (group commit); the messages behind them leave |
//! | ring | an alarm is set, and the rule for alarms allows it | a step of the process |
//! | crash | within the budget | the disk keeps a prefix of what was not durable, one move for each prefix |
//! | restart | the process is down | the durable state begins again with `Start` |
//! | tick | clocks are explored | each local clock goes on by its rate |
//!
//! A step that chooses gives one state for each way to choose: it is run again with the choices before the last one
//! that has an option left.

use std::sync::Arc;

use quorate_model::{AlarmChange, Choose, Context, Event, Instant, Outbox, Pid, Process, Service};

use super::state::{Actor, Flight, OnStage, Script, SetAlarm, Spent, State};
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
    Restart { actor: usize },
    Tick,
}

/// What a recorder hears while a move is made.
pub(super) enum Happening<'a, P: Process> {
    Start { at: Pid },
    Send { from: Pid, to: Pid, message: &'a P::Message, print: u128, gone: bool },
    Receive { from: Pid, to: Pid, message: &'a P::Message, print: u128, keep: bool, down: bool },
    Lose { to: Pid, print: u128 },
    Ring { at: Pid, timer: P::Timer },
    Sync { at: Pid, count: usize },
    Crash { at: Pid, kept: usize },
    Ask { asker: Pid, to: Pid, ask: &'a P::Message },
    Answer { from: Pid, asker: Pid, answer: &'a P::Message, late: bool },
    Tick { readings: Vec<(Pid, Instant)> },
}

pub(super) trait Recorder<P: Process> {
    fn hear(&mut self, happening: Happening<'_, P>);

    /// Forgets all that was heard.
    fn reset(&mut self) {}
}

/// Records nothing.
pub(super) struct Silent;

impl<P: Process> Recorder<P> for Silent {
    #[inline(always)]
    fn hear(&mut self, _: Happening<'_, P>) {}
}

/// Chance that follows a script, and can go on to the next one.
#[derive(Default)]
pub(super) struct Scripted {
    script: Vec<(usize, usize)>,
    at: usize,
}

impl Choose for Scripted {
    fn choose(&mut self, count: usize) -> usize {
        if self.at == self.script.len() {
            self.script.push((0, count));
        }
        let (chosen, of) = self.script[self.at];
        assert!(of == count, "a process that takes the same step again chooses among as many options");
        self.at += 1;
        chosen
    }
}

impl Scripted {
    /// Goes on to the next script. False when there is none.
    pub fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some((chosen, count)) = self.script.pop() {
            if chosen + 1 < count {
                self.script.push((chosen + 1, count));
                return true;
            }
        }
        false
    }
}

pub(super) struct Stepper<'a, P: Process> {
    pub cast: &'a Cast<P>,
    pub faults: &'a Faults,
    pub clocks: Option<&'a Clocks>,
    pub mutation: Option<fn(&mut Outbox<P>)>,
    /// Records are durable at once.
    pub at_once: bool,
    /// The durable state is kept.
    pub keep_durable: bool,
    /// The process that each asker asks.
    pub asked: Vec<usize>,
    /// Which processes may crash.
    pub crashable: Vec<bool>,
}

impl<'a, P: Explorable> Stepper<'a, P> {
    pub fn new(
        cast: &'a Cast<P>,
        faults: &'a Faults,
        clocks: Option<&'a Clocks>,
        mutation: Option<fn(&mut Outbox<P>)>,
    ) -> Self {
        let index = |pid: Pid| cast.index_of(pid).unwrap_or_else(|| panic!("{pid} is asked and not in the cast"));
        Self {
            cast,
            faults,
            clocks,
            mutation,
            at_once: !faults.slow_disk.unwrap_or(faults.crashes > 0),
            keep_durable: faults.crashes > 0 || cast.faithful.is_some(),
            asked: cast.askers.iter().map(|asker| index(asker.to)).collect(),
            crashable: cast
                .seats
                .iter()
                .map(|(pid, _)| faults.crash_only.as_ref().is_none_or(|only| only.contains(pid)))
                .collect(),
        }
    }

    /// The states in which the exploration begins: all processes have started, in each way to choose. Ends with number
    /// `last`, counted from 0, if that is given; the recorder then holds how that one came to be.
    pub fn initial(&self, recorder: &mut impl Recorder<P>, last: Option<usize>) -> Vec<State<P>> {
        let rates = self.clocks.map_or(1, |clocks| clocks.rates.len().pow(self.cast.seats.len() as u32));
        let mut states = Vec::new();
        for rates in 0..u32::try_from(rates).expect("clock rates to the power of processes stay small") {
            let mut chance = Scripted::default();
            loop {
                recorder.reset();
                let mut state = self.unstarted(rates);
                for index in 0..self.cast.seats.len() {
                    recorder.hear(Happening::Start { at: self.pid(index) });
                    self.step(&mut state, index, Event::Start, &mut chance, recorder);
                }
                states.push(state);
                if last == Some(states.len() - 1) {
                    return states;
                }
                if !chance.advance() {
                    break;
                }
            }
        }
        states
    }

    fn unstarted(&self, rates: u32) -> State<P> {
        State {
            actors: self.cast.seats.iter().map(|(_, process)| Arc::new(new_actor(process))).collect(),
            network: Vec::new(),
            network_print: 0,
            script: Arc::new(Script::new(self.cast.askers.iter().map(|asker| asker.asks.len()).sum())),
            spent: Spent::default(),
            tick_count: 0,
            rates,
        }
    }

    pub fn view<R>(&self, state: &State<P>, look: impl FnOnce(&View<'_, P>) -> R) -> R {
        look(&View::new(&OnStage { cast: self.cast, state }))
    }

    pub fn pid(&self, index: usize) -> Pid {
        self.cast.seats[index].0
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
            if it.outbox.unsynced().next().is_some() {
                moves.push(Move::Sync { actor });
            }
        }
        let restarts = moves.len();
        for (actor, it) in state.actors.iter().enumerate() {
            if it.live.is_none() {
                moves.push(Move::Restart { actor });
            }
        }
        let quiet = restarts == 0 && moves.is_empty();
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
                    moves.extend((0..=it.outbox.unsynced().count()).map(|kept| Move::Crash { actor, kept }));
                }
            }
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

    /// What the clock of process number `actor` says.
    pub fn now(&self, state: &State<P>, actor: usize) -> Instant {
        let Some(clocks) = self.clocks else { return Instant::default() };
        let rate = state.rates as usize / clocks.rates.len().pow(actor as u32) % clocks.rates.len();
        Instant::default() + clocks.rates[rate] * state.tick_count
    }

    /// The state after one move.
    pub fn apply(
        &self,
        state: &State<P>,
        made: Move<P::Timer>,
        chance: &mut Scripted,
        recorder: &mut impl Recorder<P>,
    ) -> State<P> {
        let mut next = state.clone();
        match made {
            Move::Deliver { flight, keep } => {
                let moved = state.network[flight].clone();
                if keep {
                    next.spent.copies += 1;
                } else {
                    next.land(flight);
                }
                let down = state.actors[usize::from(moved.to)].live.is_none();
                let (from, to) = (self.pid(moved.from.into()), self.pid(moved.to.into()));
                let message = &moved.message;
                recorder.hear(Happening::Receive { from, to, message, print: moved.print, keep, down });
                if !down {
                    let event = Event::Message { from, message: P::Message::clone(message) };
                    self.step(&mut next, moved.to.into(), event, chance, recorder);
                }
            }
            Move::Lose { flight } => {
                next.spent.losses += 1;
                let lost = &state.network[flight];
                recorder.hear(Happening::Lose { to: self.pid(lost.to.into()), print: lost.print });
                next.land(flight);
            }
            Move::Ask { asker, operation, index } => {
                let script = Arc::make_mut(&mut next.script);
                script.progress[operation].before = script.answered();
                script.progress[operation].status = Status::Open;
                let (who, to) = (&self.cast.askers[asker], self.asked[asker]);
                recorder.hear(Happening::Ask { asker: who.pid, to: who.to, ask: &who.asks[index] });
                let event = Event::Message { from: who.pid, message: who.asks[index].clone() };
                self.step(&mut next, to, event, chance, recorder);
                // After the step, which may have answered at once.
                Arc::make_mut(&mut next.script).reprint();
            }
            Move::Sync { actor } => {
                let mut it = Actor::clone(&state.actors[actor]);
                self.sync(&mut it, actor, recorder);
                self.settle(&mut next, it, actor, recorder);
            }
            Move::Ring { actor, timer } => {
                next.spent.alarms += u16::from(self.faults.alarms_max.is_some());
                recorder.hear(Happening::Ring { at: self.pid(actor), timer });
                let it = Arc::make_mut(&mut next.actors[actor]);
                it.alarms.retain(|alarm| alarm.timer != timer);
                self.step(&mut next, actor, Event::Alarm(timer), chance, recorder);
            }
            Move::Crash { actor, kept } => self.crash(&mut next, actor, kept, recorder),
            Move::Restart { actor } => {
                recorder.hear(Happening::Start { at: self.pid(actor) });
                let it = Arc::make_mut(&mut next.actors[actor]);
                it.live = Some(P::clone(&it.durable));
                self.step(&mut next, actor, Event::Start, chance, recorder);
            }
            Move::Tick => {
                next.tick_count += 1;
                let readings = (0..next.actors.len()).map(|actor| (self.pid(actor), self.now(&next, actor))).collect();
                recorder.hear(Happening::Tick { readings });
            }
        }
        next
    }

    fn crash(&self, next: &mut State<P>, actor: usize, kept: usize, recorder: &mut impl Recorder<P>) {
        next.spent.crashes += 1;
        let pid = self.pid(actor);
        recorder.hear(Happening::Crash { at: pid, kept });
        let it = Arc::make_mut(&mut next.actors[actor]);
        if kept > 0 {
            let durable = Arc::make_mut(&mut it.durable);
            for record in it.outbox.unsynced().take(kept) {
                durable.replay(record.clone());
            }
            it.durable_print = fingerprint(durable);
        }
        it.live = None;
        it.outbox = Outbox::new();
        it.alarms.clear();
        it.reprint();

        let mut first = 0;
        for asker in &self.cast.askers {
            let range = first..first + asker.asks.len();
            first = range.end;
            if asker.to == pid && next.script.progress[range.clone()].iter().any(|it| it.status.is_open()) {
                let script = Arc::make_mut(&mut next.script);
                for progress in &mut script.progress[range] {
                    if progress.status.is_open() {
                        progress.status = Status::Unknown;
                    }
                }
                script.reprint();
            }
        }
    }

    fn step(
        &self,
        next: &mut State<P>,
        actor: usize,
        event: Event<P>,
        chance: &mut Scripted,
        recorder: &mut impl Recorder<P>,
    ) {
        let mut it = Actor::clone(&next.actors[actor]);
        let now = self.now(next, actor);
        let live = it.live.as_mut().expect("only a process that is up takes a step");
        live.on(event, &mut Context::new(self.pid(actor), now, &mut it.outbox, chance));
        while let Some(change) = it.outbox.alarm_change() {
            change_alarm(&mut it.alarms, change, self.clocks.map(|_| now));
        }
        if let Some(mutation) = self.mutation {
            mutation(&mut it.outbox);
        }
        if self.at_once {
            self.sync(&mut it, actor, recorder);
        }
        self.settle(next, it, actor, recorder);
    }

    fn sync(&self, it: &mut Actor<P>, actor: usize, recorder: &mut impl Recorder<P>) {
        let mut count = 0;
        while let Some(record) = it.outbox.take_record() {
            if self.keep_durable {
                Arc::make_mut(&mut it.durable).replay(record.clone());
            }
            count += 1;
        }
        if count > 0 {
            it.outbox.synced(count);
            if self.keep_durable {
                it.durable_print = fingerprint(&it.durable);
            }
            recorder.hear(Happening::Sync { at: self.pid(actor), count });
        }
    }

    /// Lets out what may leave, and puts the process back on the stage.
    fn settle(&self, next: &mut State<P>, mut it: Actor<P>, actor: usize, recorder: &mut impl Recorder<P>) {
        let from = self.pid(actor);
        while let Some((to, message)) = it.outbox.release() {
            if to.service == Service::Outside {
                self.answer(next, from, to, message, recorder);
            } else if let Some(target) = self.cast.index_of(to) {
                let (from_index, to_index) = (actor as u16, target as u16);
                let print = fingerprint(&(from_index, to_index, &message));
                let message = Arc::new(message);
                let flight = Flight { from: from_index, to: to_index, copies: 1, print, message: Arc::clone(&message) };
                let gone = !next.launch(flight, self.faults.same_max);
                recorder.hear(Happening::Send { from, to, message: &message, print, gone });
            } else {
                assert!(self.cast.absent.contains(&to), "{from} tells {to}, who is neither in the cast nor absent");
                recorder.hear(Happening::Send { from, to, message: &message, print: 0, gone: true });
            }
        }
        it.reprint();
        next.actors[actor] = Arc::new(it);
    }

    fn answer(&self, next: &mut State<P>, from: Pid, to: Pid, answer: P::Message, recorder: &mut impl Recorder<P>) {
        let mut first = 0;
        for asker in &self.cast.askers {
            let range = first..first + asker.asks.len();
            first = range.end;
            if asker.pid != to {
                continue;
            }
            let open = range.clone().find(|&at| next.script.progress[at].status.is_open());
            let open = open.filter(|&at| (self.cast.answers)(&asker.asks[at - range.start], &answer));
            recorder.hear(Happening::Answer { from, asker: to, answer: &answer, late: open.is_none() });
            if let Some(at) = open {
                let script = Arc::make_mut(&mut next.script);
                script.progress[at].answer_print = fingerprint(&answer);
                script.progress[at].status = Status::Answered(Arc::new(answer));
                script.reprint();
            }
            return;
        }
        assert!(self.cast.absent.contains(&to), "{from} answers {to}, who is neither in the cast nor absent");
    }
}

fn new_actor<P: Explorable>(process: &P) -> Actor<P> {
    let durable = Arc::new(process.clone());
    let mut actor = Actor {
        live: Some(process.clone()),
        outbox: Outbox::new(),
        alarms: Vec::new(),
        durable_print: fingerprint(&durable),
        durable,
        print: 0,
    };
    actor.reprint();
    actor
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

fn change_alarm<T: Copy + Ord>(alarms: &mut Vec<SetAlarm<T>>, change: AlarmChange<T>, now: Option<Instant>) {
    match change {
        AlarmChange::Set(timer, after) => {
            // Untimed, an alarm may ring at any time: when does not matter, and must not tell states apart.
            let (from, until) = now.map_or_else(Default::default, |now| (now + after.start, now + after.end));
            let alarm = SetAlarm { timer, from, until };
            match alarms.binary_search_by_key(&timer, |alarm| alarm.timer) {
                Ok(at) => alarms[at] = alarm,
                Err(at) => alarms.insert(at, alarm),
            }
        }
        AlarmChange::Stop(timer) => alarms.retain(|alarm| alarm.timer != timer),
    }
}
