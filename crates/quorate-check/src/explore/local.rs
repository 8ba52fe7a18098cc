//! What one process does, whatever goes on around it.
//!
//! A step depends on nothing but the process, what its host keeps for it, and what it hears. In a large state space the
//! same few thousand steps are taken again and again, so their outcomes are remembered and shared. That is also why equal
//! processes of different states are one object.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::HashMap;
use quorate_model::{AlarmChange, Choose, Context, Event, Instant, Outbox, Pid, Process, Service};

use super::Explorable;
use super::state::{Actor, Flight, Kept, SetAlarm};
use crate::cast::Cast;
use crate::fingerprint::{Fingerprinter, PlainHash, fingerprint};

/// How many steps are remembered; when there are more, all are forgotten, and found again as they come.
const KNOWN_LEN_MAX: usize = 1 << 20;

/// What happens to a process.
pub(super) enum Stimulus<'a, P: Process> {
    /// It begins, in its durable state.
    Start,
    /// It hears a message. The fingerprint stands for sender, receiver and content.
    Message {
        from: Pid,
        message: &'a P::Message,
        print: u128,
    },
    Ring(P::Timer),
    Sync,
    /// It dies, and the disk keeps so many of the records that were not durable.
    Crash {
        kept: usize,
    },
    /// It dies, and its disk is an empty one from now on, for the nth time that any was lost.
    LoseDisk {
        nth: u64,
    },
}

/// What came of it.
pub(super) struct Outcome<P: Process> {
    pub actor: Arc<Actor<P>>,
    pub synced_count: usize,
    /// What left, in this order.
    pub outputs: Vec<Left<P>>,
}

/// Something that left a process.
pub(super) enum Left<P: Process> {
    Message(Flight<P>),
    /// To someone outside; `asker` is his number.
    Answer {
        asker: usize,
        answer: Arc<P::Message>,
        print: u128,
    },
    /// To nobody.
    Gone {
        to: Pid,
        message: Arc<P::Message>,
    },
}

/// How a process is hosted.
pub(super) struct Hosting<'a, P: Process> {
    pub cast: &'a Cast<P>,
    pub mutation: Option<fn(&mut Outbox<P>)>,
    /// Records are durable at once.
    pub at_once: bool,
    /// The durable state is kept.
    pub keep_durable: bool,
    /// Alarms have a time.
    pub timed: bool,
}

/// The steps that are remembered.
pub(super) struct Known<P: Process> {
    outcomes: HashMap<u128, Vec<Outcome<P>>, PlainHash>,
}

impl<P: Explorable> Known<P> {
    pub fn new() -> Self {
        Self { outcomes: HashMap::default() }
    }

    /// The outcomes of a step, one for each way to choose.
    pub fn outcomes(
        &mut self,
        hosting: &Hosting<'_, P>,
        index: usize,
        actor: &Arc<Actor<P>>,
        now: Instant,
        stimulus: &Stimulus<'_, P>,
    ) -> &[Outcome<P>] {
        if self.outcomes.len() >= KNOWN_LEN_MAX {
            self.outcomes.clear();
        }
        let print = step_print(actor, now, stimulus);
        self.outcomes.entry(print).or_insert_with(|| hosting.outcomes(index, actor, now, stimulus))
    }
}

/// The print of a process covers its place in the cast, and that of a message its receiver.
fn step_print<P: Explorable>(actor: &Actor<P>, now: Instant, stimulus: &Stimulus<'_, P>) -> u128 {
    let mut hasher = Fingerprinter::seeded(now.0);
    hasher.write_u128(actor.print);
    match stimulus {
        Stimulus::Start => hasher.write_u8(0),
        Stimulus::Message { print, .. } => hasher.write_u128(*print),
        Stimulus::Ring(timer) => {
            hasher.write_u8(1);
            timer.hash(&mut hasher);
        }
        Stimulus::Sync => hasher.write_u8(2),
        Stimulus::LoseDisk { nth } => {
            hasher.write_u8(3);
            hasher.write_u64(*nth);
        }
        Stimulus::Crash { kept } => hasher.write_u64(4 + *kept as u64),
    }
    hasher.print()
}

impl<P: Explorable> Hosting<'_, P> {
    /// A process before its first start.
    pub fn unstarted(&self, index: usize) -> Arc<Actor<P>> {
        let durable = Arc::new(self.cast.seats[index].1.clone());
        let keeps = self.keep_durable && self.cast.reopen.is_some();
        let kept = keeps.then(|| Arc::new(Kept { opened: P::clone(&durable), log: Vec::new() }));
        let mut actor = Actor {
            live: None,
            outbox: Outbox::new(),
            alarms: Vec::new(),
            durable_print: fingerprint(&durable),
            durable,
            unsynced_count: 0,
            kept,
            print: 0,
        };
        actor.reprint(index);
        Arc::new(actor)
    }

    fn outcomes(
        &self,
        index: usize,
        actor: &Arc<Actor<P>>,
        now: Instant,
        stimulus: &Stimulus<'_, P>,
    ) -> Vec<Outcome<P>> {
        let mut outcomes = Vec::with_capacity(1);
        let mut chance = Scripted::default();
        loop {
            let mut next = Actor::clone(actor);
            let mut synced_count = 0;
            match stimulus {
                Stimulus::Start => {
                    read_again(&mut next);
                    next.live = Some(P::clone(&next.durable));
                    synced_count = self.step(index, &mut next, now, Event::Start, &mut chance);
                }
                Stimulus::Message { from, message, .. } => {
                    let event = Event::Message { from: *from, message: P::Message::clone(message) };
                    synced_count = self.step(index, &mut next, now, event, &mut chance);
                }
                Stimulus::Ring(timer) => {
                    next.alarms.retain(|alarm| alarm.timer != *timer);
                    synced_count = self.step(index, &mut next, now, Event::Alarm(*timer), &mut chance);
                }
                Stimulus::Sync => synced_count = self.sync(&mut next),
                Stimulus::Crash { kept } => self.crash(index, &mut next, *kept, &mut chance),
                Stimulus::LoseDisk { nth } => {
                    self.crash(index, &mut next, 0, &mut chance);
                    let begun = self.cast.begins(index, *nth);
                    next.kept = next.kept.map(|_| Arc::new(Kept { opened: begun.clone(), log: Vec::new() }));
                    next.durable = Arc::new(begun);
                    next.durable_print = fingerprint(&next.durable);
                }
            }
            let outputs = self.release(index, &mut next);
            next.reprint(index);
            outcomes.push(Outcome { actor: Arc::new(next), synced_count, outputs });
            if !chance.advance() {
                return outcomes;
            }
        }
    }

    fn step(&self, index: usize, next: &mut Actor<P>, now: Instant, event: Event<P>, chance: &mut Scripted) -> usize {
        let live = next.live.as_mut().expect("only a process that is up takes a step");
        live.on(event, &mut Context::new(self.cast.seats[index].0, now, &mut next.outbox, chance));
        while let Some(change) = next.outbox.alarm_change() {
            change_alarm(&mut next.alarms, change, self.timed.then_some(now));
        }
        if let Some(mutation) = self.mutation {
            mutation(&mut next.outbox);
        }
        if self.at_once { self.sync(next) } else { 0 }
    }

    fn sync(&self, next: &mut Actor<P>) -> usize {
        let mut count = 0;
        while let Some(record) = next.outbox.take_record() {
            if self.keep_durable {
                Arc::make_mut(&mut next.durable).replay(record.clone());
            }
            if let Some(kept) = &mut next.kept {
                Arc::make_mut(kept).log.push(record.clone());
            }
            count += 1;
        }
        if count > 0 {
            next.outbox.synced(count);
            if self.keep_durable {
                next.durable_print = fingerprint(&next.durable);
            }
        }
        count
    }

    fn crash(&self, index: usize, next: &mut Actor<P>, kept: usize, chance: &mut Scripted) {
        let records: Vec<P::Record> = next.outbox.unsynced().take(kept).cloned().collect();
        if kept > 0 {
            let durable = Arc::make_mut(&mut next.durable);
            records.iter().for_each(|record| durable.replay(record.clone()));
            next.durable_print = fingerprint(durable);
        }
        if let (Some(beside), Some(reopen), Some(dead)) = (&mut next.kept, &self.cast.reopen, &next.live) {
            let beside = Arc::make_mut(beside);
            beside.log.extend(records);
            beside.opened = reopen(self.cast.seats[index].0, dead, chance);
        }
        next.live = None;
        next.outbox = Outbox::new();
        next.alarms.clear();
    }

    fn release(&self, index: usize, next: &mut Actor<P>) -> Vec<Left<P>> {
        let from = self.cast.seats[index].0;
        let mut outputs = Vec::new();
        while let Some((to, message)) = next.outbox.release() {
            let asker = self.cast.askers.iter().position(|asker| asker.pid == to);
            let message = Arc::new(message);
            outputs.push(match (asker, self.cast.index_of(to)) {
                (Some(asker), _) => Left::Answer { asker, print: fingerprint(&message), answer: message },
                (None, Some(target)) => {
                    let (from, to) = (index as u16, target as u16);
                    let print = fingerprint(&(from, to, &message));
                    Left::Message(Flight { from, to, copies: 1, print, message })
                }
                (None, None) => {
                    let known = to.service == Service::Outside || self.cast.absent.contains(&to);
                    assert!(known, "{from} tells {to}, who is neither in the cast nor absent");
                    Left::Gone { to, message }
                }
            });
        }
        outputs
    }
}

/// Reads the log again, over what was kept beside it.
fn read_again<P: Explorable>(next: &mut Actor<P>) {
    if let Some(kept) = &next.kept {
        let mut opened = kept.opened.clone();
        kept.log.iter().for_each(|record| opened.replay(record.clone()));
        next.durable = Arc::new(opened);
        next.durable_print = fingerprint(&next.durable);
    }
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

/// Chance that follows a script, and can go on to the next one.
#[derive(Default)]
struct Scripted {
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
    fn advance(&mut self) -> bool {
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
