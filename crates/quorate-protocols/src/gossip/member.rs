//! A member. The table at the top of [`super`] says what it does; this file is its state, the match over events, and what
//! all parts share. [`super::member::probe`], `learn`, `exchange` and `depart` are the four things that a member does: ask
//! others whether they are there, take in what it hears, compare all with someone, and speak for itself.

mod depart;
mod exchange;
mod learn;
mod probe;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use quorate_model::time::Instant;
use quorate_model::{Context, Event, NodeId, Pid, Process};

use super::fact::{Fact, Incarnation, Standing};
use super::health::Health;
use super::message::{Message, News, Record, Timer};
use super::profile::Profile;
use super::roster::Roster;
use super::rumours::Rumours;
use super::suspicion::Suspicion;
use probe::{Helping, Probe};

/// How a member behaves where the protocol leaves it free.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Options {
    /// From one probe to the next, when all is well: at least this, at most an eighth more. At least twice `reply_after`.
    pub round: Duration,
    /// When a member that is well has answered a ping: at least three round trips of the network.
    pub reply_after: Duration,
    /// How many others are asked to help when it has not.
    pub helpers_len: usize,
    /// How many rounds, for each doubling of the members, the shortest suspicion lasts. At least 2: a rumour has to reach the
    /// suspect and its refutation to come back.
    pub suspicion_rounds: u32,
    /// How many signs of bad hearing count: with so many everything takes one more than so many times as long.
    pub health_worst: u32,
    /// How often a rumour is told by each member, for each doubling of the members.
    pub told_factor: u32,
    /// From one comparison of all with someone to the next. Less after one that let a member meet someone: a round first, and
    /// each time twice as long.
    pub exchange_after: Duration,
    /// How long the dead and those who left are remembered. A member that was cut off for longer may bring one of them back
    /// as alive, until the next probes show otherwise.
    pub fallen_for: Duration,
    /// How many of the dead and those who left are remembered; beyond this the ones that fell first are forgotten.
    pub fallen_len_max: usize,
    /// How many members there may be, the fallen included. Beyond this nobody new is taken in.
    pub members_len_max: usize,
    /// How many rumours are told at a time.
    pub rumours_len_max: usize,
    /// How many others are helped at a time.
    pub helping_len_max: usize,
    /// How many messages one message is answered with at most.
    pub answers_len_max: usize,
    /// The longest message, in bytes. A datagram of 1,400 bytes is this and what its sealing takes.
    pub message_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            round: Duration::from_secs(1),
            reply_after: Duration::from_millis(500),
            helpers_len: 3,
            suspicion_rounds: 2,
            health_worst: 8,
            told_factor: 3,
            exchange_after: Duration::from_secs(30),
            fallen_for: Duration::from_secs(3600),
            fallen_len_max: 1024,
            members_len_max: 16_384,
            rumours_len_max: 1024,
            helping_len_max: 64,
            answers_len_max: 16,
            message_bytes_max: 1320,
        }
    }
}

/// One rule broken on purpose, to prove that breaking it is noticed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mutant {
    /// Says nothing when it hears that it is suspected or dead.
    NeverRefutes,
    /// Says that it is alive, in the incarnation in which it was called dead.
    RefutesWithoutRaising,
    /// Tells rumours for ever.
    TellsForEver,
    /// Tells no rumours.
    TellsNothing,
    /// Never compares all with anyone.
    NeverCompares,
    /// Compares with the living only.
    LeavesTheLost,
    /// Trusts its own hearing whatever happens.
    IgnoresHealth,
    /// Suspects without asking others to help.
    AsksNoHelp,
    /// Calls dead whoever does not answer.
    DoesNotSuspect,
    /// Begins each life with the number of the first.
    ForgetsLife,
}

/// A member of the cluster.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Member {
    me: NodeId,
    seeds: Vec<NodeId>,
    profile: Arc<Profile>,
    options: Options,
    life_min: u64,
    observer: Option<Pid>,
    mutant: Option<Mutant>,

    // Durable: a fold of the records.
    life: u64,

    // Volatile.
    roster: Roster,
    rumours: Rumours,
    health: Health,
    probe: Option<Probe>,
    /// Who was not probed since all were.
    unprobed: Vec<NodeId>,
    /// Whom we ping for others, by asker.
    helping: BTreeMap<NodeId, Helping>,
    suspicions: BTreeMap<NodeId, Suspicion>,
    /// Since when the dead and those who left are.
    fallen: BTreeMap<NodeId, Instant>,
    forgetting: bool,
    /// Comparisons let us meet someone since the last one that we began, so there may be more.
    meeting: bool,
    /// How long after the last comparison that we began the next one is.
    exchange_wait: Duration,
    /// Who asked us to leave, and waits.
    leaving: Option<Pid>,
}

impl Member {
    /// The member that `me` is, before its records are replayed. `seeds` are those it asks whom they know; it may be among
    /// them.
    ///
    /// # Panics
    /// If a part of the profile is longer than its bound.
    #[must_use]
    pub fn new(me: NodeId, seeds: Vec<NodeId>, profile: Profile, options: Options) -> Self {
        assert!(profile.check().is_ok(), "the parts of a member's profile keep to their bounds");
        Self {
            me,
            seeds,
            profile: Arc::new(profile),
            options,
            life_min: 1,
            observer: None,
            mutant: None,
            life: 0,
            roster: Roster::default(),
            rumours: Rumours::default(),
            health: Health::default(),
            probe: None,
            unprobed: Vec::new(),
            helping: BTreeMap::new(),
            suspicions: BTreeMap::new(),
            fallen: BTreeMap::new(),
            forgetting: false,
            meeting: true,
            exchange_wait: Duration::ZERO,
            leaving: None,
        }
    }

    /// Counts its lives from `life_min` at least: for a member that may have lost its disk.
    #[must_use]
    pub fn with_life_min(self, life_min: u64) -> Self {
        Self { life_min: life_min.max(1), ..self }
    }

    /// Lets `observer` hear whenever it holds something new of a member.
    #[must_use]
    pub fn observed_by(self, observer: Pid) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Knows these in its first life, and the others know it: for instances that begin in the middle.
    #[must_use]
    pub fn knowing(mut self, facts: impl IntoIterator<Item = Arc<Fact>>) -> Self {
        for fact in facts {
            if fact.node != self.me {
                self.roster.put(fact);
            }
        }
        self
    }

    /// Breaks one rule.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn breaking(self, mutant: Mutant) -> Self {
        Self { mutant: Some(mutant), ..self }
    }

    /// Who it is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.me
    }

    /// Which life of it is the last that its disk knows; 0 before the first.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.life
    }

    /// Which life of it begins when it starts next.
    #[must_use]
    pub fn next_life(&self) -> u64 {
        (self.life + 1).max(self.life_min)
    }

    /// What it holds of `node`.
    #[must_use]
    pub fn fact(&self, node: NodeId) -> Option<&Arc<Fact>> {
        self.roster.get(node)
    }

    /// All that it holds, in the order of the members' numbers.
    pub fn facts(&self) -> impl Iterator<Item = &Arc<Fact>> {
        self.roster.iter()
    }

    /// How many members are up, as far as it knows; itself included.
    #[must_use]
    pub fn up_len(&self) -> usize {
        self.roster.up_len()
    }

    /// How many rumours it tells.
    #[must_use]
    pub fn rumours_len(&self) -> usize {
        self.rumours.len()
    }

    /// How far it trusts its own hearing.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    #[cfg(feature = "mutants")]
    fn breaks(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    #[cfg(not(feature = "mutants"))]
    #[allow(clippy::unused_self)] // the twin of the one above, for what ships
    fn breaks(&self, _: Mutant) -> bool {
        false
    }

    fn pid(node: NodeId, cx: &Context<'_, Self>) -> Pid {
        Pid { node, ..cx.me }
    }

    /// How many doublings lead from one member to all that are up.
    fn doublings(&self) -> u32 {
        usize::BITS - self.roster.up_len().leading_zeros()
    }

    fn told_max(&self) -> u32 {
        self.options.told_factor * self.doublings()
    }

    /// How long something takes that takes `duration` when all is well.
    fn patiently(&self, duration: Duration) -> Duration {
        if self.breaks(Mutant::IgnoresHealth) { duration } else { self.health.stretch(duration) }
    }

    fn hears_badly(&mut self, signs: u32) {
        self.health.worse(signs, self.options.health_worst);
    }

    /// What is told along to `to`: first that it is held suspect or dead, so that it can refute; then rumours.
    fn news_for(&mut self, to: NodeId) -> News {
        let mut news = News::new();
        let mut room_bytes = self.options.message_bytes_max.saturating_sub(HEAD_BYTES_MAX);
        if let Some(held) = self.roster.get(to)
            && matches!(held.standing, Standing::Suspected { .. } | Standing::Dead)
        {
            room_bytes = room_bytes.saturating_sub(quorate_model::Wire::to_bytes(&**held).len());
            news.push(Arc::clone(held));
        }
        if !self.breaks(Mutant::TellsNothing) {
            let told_max = self.told_max();
            self.rumours.pick(room_bytes, told_max, &mut news);
            if self.breaks(Mutant::TellsForEver) {
                news.iter().for_each(|fact| self.rumours.begin(Arc::clone(fact), self.options.rumours_len_max));
            }
        }
        news
    }

    fn start(&mut self, cx: &mut Context<'_, Self>) {
        if self.life > 0 {
            self.roster = Roster::default(); // what it knew without having been told, it knew in its first life
        }
        let is_known = self.roster.len() > 0;
        let life = self.next_life();
        cx.append(self, Record::Life(life)); // nobody hears of a life before it is on disk
        let life = if self.breaks(Mutant::ForgetsLife) { 1 } else { self.life };
        let standing = Standing::Alive(Arc::clone(&self.profile));
        self.declare(Fact { node: self.me, incarnation: Incarnation { life, count: 0 }, standing }, cx);
        if is_known {
            self.rumours.end(self.me);
        }
        self.set_round(cx);
        for seed in self.seeds.clone() {
            if seed != self.me {
                self.compare_with(seed, cx);
            }
        }
        self.set_exchange(cx);
    }

    fn hear(&mut self, from: Pid, message: Message, cx: &mut Context<'_, Self>) {
        match message {
            Message::Ping { asked, news } => self.pinged(from, asked, &news, cx),
            Message::Ack { target, asked, news } => self.acknowledged(from, target, asked, &news, cx),
            Message::Help { target, asked, news } => self.asked_to_help(from, target, asked, &news, cx),
            Message::Nack { target, asked } => self.not_acknowledged(from, target, asked),
            Message::Compare(parts) => self.compared(from, &parts, cx),
            Message::Offer { first, last, facts } => self.offered(from, first, last, &facts, cx),
            Message::Give(facts) => self.given(&facts, cx),
            Message::Describe(profile) => self.describe(from, *profile, cx),
            Message::Leave => self.leave(from, cx),
            Message::Members => cx.send(from, Message::Known(self.roster.iter().cloned().collect())),
            // Said to others than members.
            Message::Done | Message::Refused | Message::Known(_) | Message::Changed(_) | Message::Forgotten(_) => {}
        }
    }
}

/// What a message takes at most besides its facts.
const HEAD_BYTES_MAX: usize = 24;

impl Process for Member {
    type Message = Message;
    type Timer = Timer;
    type Record = Record;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Start => self.start(cx),
            Event::Message { from, message } => self.hear(from, message, cx),
            Event::Alarm(Timer::Round) => self.round(cx),
            Event::Alarm(Timer::Reply) => self.ask_for_help(cx),
            Event::Alarm(Timer::Help(asker)) => self.give_up_helping(asker, cx),
            Event::Alarm(Timer::Suspicion(node)) => self.suspected_long_enough(node, cx),
            Event::Alarm(Timer::Exchange) => self.exchange(cx),
            Event::Alarm(Timer::Forget) => self.forget(cx),
        }
    }

    fn replay(&mut self, record: Record) {
        let Record::Life(life) = record;
        self.life = self.life.max(life);
    }

    fn compact(&self) -> impl Iterator<Item = Record> {
        [Record::Life(self.life)].into_iter()
    }
}
