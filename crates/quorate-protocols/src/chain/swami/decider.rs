//! The process that decides. The table of [`super`] says what it does.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};

use quorate_model::{Context, Event, Instant, NodeId, Pid, Process};

use super::super::configuration::Change;
use super::super::membership;
use super::decide::{Decision, decide};
use super::patience::{Patience, bound_of};
use super::system::{Answer, Chain, Command, Query, Refusal, State, System};
use super::watch::{Pending, Watch};
use super::{Message, Timer};
use crate::paxos::log::{self, Lease, Outcome, Request};

/// One rule broken on purpose, to prove that breaking it is noticed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mutant {
    /// Counts no leases of those who decided before.
    LeavesAtOnce,
    /// Waits for leases as long as they are, whatever the clocks.
    IgnoresDrift,
    /// Grants leases and decides when its own right to is over.
    OutlivesItsRight,
    /// Admits a joiner without the tail's word.
    AdmitsEarly,
    /// Grants leases to those whom it has asked to be put out.
    GrantsToLeaving,
    /// Grants leases to those who act on an older place of theirs.
    GrantsToOld,
    /// Reads what there is instead of taking over, so that what earlier ones decided is still done.
    TakesNothingOver,
    /// Counts the leases on after it stood still itself.
    TrustsItsPause,
}

/// See [`super`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Swami {
    /// Whom it asks: the client of the log on its own node.
    log: Pid,
    lease: Lease,
    mutant: Option<Mutant>,
    /// Durable: how many lives it had.
    boot: u64,
    /// How many questions it asked in this life.
    asked_count: u64,
    suspected: BTreeSet<NodeId>,
    /// How punctual the nodes are; without it each is let go as soon as its lease has run out.
    patience: Option<Patience>,
    phase: Phase,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Phase {
    /// Another one decides, or nobody.
    Idle,
    /// It may decide, and does not know yet on what.
    TakingOver { until: Instant, token: u64 },
    /// It decides.
    Deciding(Box<Deciding>),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Deciding {
    /// Nobody else decides before then.
    until: Instant,
    /// When it last looked after everything.
    looked: Instant,
    state: State,
    watches: BTreeMap<u32, Watch>,
    /// The question what is new.
    peek: u64,
}

impl Swami {
    /// One that asks `log` and grants leases like `lease`: their term, and how much longer it waits before it takes one for
    /// over, at least by how much one clock may outrun another.
    #[must_use]
    pub fn new(log: Pid, lease: Lease) -> Self {
        let suspected = BTreeSet::new();
        Self { log, lease, mutant: None, boot: 0, asked_count: 0, suspected, patience: None, phase: Phase::Idle }
    }

    /// Lets it wait for who was slow lately, at most for `max`.
    #[must_use]
    pub fn patient(mut self, max: core::time::Duration) -> Self {
        self.patience = Some(Patience::new(max));
        self
    }

    /// Breaks one rule.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn breaking(mut self, mutant: Mutant) -> Self {
        self.mutant = Some(mutant);
        self
    }

    /// Whether it decides, as far as it knows.
    #[must_use]
    pub fn decides(&self) -> bool {
        matches!(self.phase, Phase::Deciding(_))
    }

    /// Until when, on the clock of its node, it has been told that nobody else leads.
    #[must_use]
    pub fn leads_until(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Idle => None,
            Phase::TakingOver { until, .. } => Some(*until),
            Phase::Deciding(deciding) => Some(deciding.until),
        }
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

    /// How long a lease that was granted may live, on our clock.
    fn bound(&self) -> core::time::Duration {
        if self.breaks(Mutant::IgnoresDrift) { self.lease.term } else { self.lease.bound() }
    }

    /// Asks the log. The name of the question is used in no other life.
    fn ask(&mut self, request: Request<Command, Query>, cx: &mut Context<'_, Self>) -> u64 {
        self.asked_count += 1;
        let token = (self.boot << 32) + self.asked_count;
        cx.send(self.log, Message::Log(log::Message::Ask { token, request }));
        token
    }

    /// Ends what is over, before anything else is done: at this very moment the right to decide lives, or nothing is done.
    fn mind_right(&mut self, cx: &mut Context<'_, Self>) {
        let is_over = |until: Instant| until <= cx.now && !self.breaks(Mutant::OutlivesItsRight);
        match &self.phase {
            Phase::TakingOver { until, .. } if is_over(*until) => self.stand_back(cx),
            Phase::Deciding(deciding) if is_over(deciding.until) => self.stand_back(cx),
            _ => {} // it lives, or there is none
        }
    }

    /// Whoever stood still has heard nobody: that is no proof against them.
    fn mind_pause(&mut self, cx: &Context<'_, Self>) {
        let stood_still = self.lease.term * 2 / 3;
        if self.breaks(Mutant::TrustsItsPause) {
            return;
        }
        if let Phase::Deciding(deciding) = &mut self.phase
            && cx.now - deciding.looked > stood_still
        {
            deciding.looked = cx.now;
            deciding.watches.values_mut().for_each(|watch| watch.count_anew(cx.now));
        }
    }

    fn stand_back(&mut self, cx: &mut Context<'_, Self>) {
        self.phase = Phase::Idle;
        cx.stop(Timer::Look);
    }

    /// Nobody but us decides until then.
    fn leads(&mut self, until: Instant, cx: &mut Context<'_, Self>) {
        match &mut self.phase {
            _ if until <= cx.now => {} // too late
            Phase::Idle => self.take_over(until, cx),
            Phase::TakingOver { until: known, .. } => *known = until.max(*known),
            Phase::Deciding(deciding) => deciding.until = until.max(deciding.until),
        }
    }

    fn take_over(&mut self, until: Instant, cx: &mut Context<'_, Self>) {
        let request = if self.breaks(Mutant::TakesNothingOver) {
            Request::Query(Query::Since(u64::MAX))
        } else {
            Request::Command(Command::TakeOver)
        };
        let token = self.ask(request, cx);
        self.phase = Phase::TakingOver { until, token };
        cx.set(Timer::Look, self.lease.term..self.lease.term * 2);
    }

    /// Begins to decide on what there is.
    fn decide_on(&mut self, until: Instant, state: State, cx: &mut Context<'_, Self>) {
        let from = if self.breaks(Mutant::LeavesAtOnce) { Instant::default() } else { cx.now };
        let mut watches = BTreeMap::<u32, Watch>::new();
        for (number, chain) in &state.chains {
            watches.entry(*number).or_default().learn(chain, from);
        }
        self.phase = Phase::Deciding(Box::new(Deciding { until, looked: cx.now, state, watches, peek: 0 }));
        self.look(cx);
    }

    fn answered(&mut self, token: u64, answer: Answer, cx: &mut Context<'_, Self>) {
        match (&mut self.phase, answer) {
            (Phase::TakingOver { until, token: asked }, Answer::Everything(state)) if *asked == token => {
                let until = *until;
                self.decide_on(until, *state, cx);
            }
            (Phase::Deciding(deciding), Answer::Everything(state)) if deciding.peek == token => {
                deciding.learn_all(*state, cx.now);
            }
            (Phase::Deciding(deciding), answer) => {
                let is_asked = |watch: &Watch| watch.pending.is_some_and(|pending| pending.token == token);
                let found = deciding.watches.iter_mut().find(|(_, watch)| is_asked(watch));
                let Some((number, watch)) = found else { return }; // nothing is new, or of an earlier time
                let number = *number;
                let asked = watch.pending.take();
                if let Answer::Changed(chain) | Answer::Refused(Refusal::Moved(chain)) = answer {
                    if let Some(Pending { change: Change::Leave(node), .. }) = asked {
                        // At once: the links to it may be closed soon.
                        tell(node, number, membership::Message::Configure(chain.configuration.clone()), cx);
                    }
                    deciding.learn(number, *chain, cx.now);
                    self.tell_behind(number, cx);
                    self.decide_one(number, cx);
                }
            }
            _ => {} // of an earlier time
        }
    }

    /// Looks after everything, now and again.
    fn look(&mut self, cx: &mut Context<'_, Self>) {
        let Phase::Deciding(deciding) = &mut self.phase else {
            if let Phase::TakingOver { until, .. } = self.phase {
                self.take_over(until, cx); // the question was lost with the client of the log
            }
            return;
        };
        deciding.looked = cx.now;
        let (since, numbers) = (deciding.state.revision, deciding.state.chains.keys().copied());
        for number in numbers.collect::<alloc::vec::Vec<_>>() {
            self.tell_behind(number, cx);
            self.ask_again(number, cx);
            self.decide_one(number, cx);
        }
        let token = self.ask(Request::Peek(Query::Since(since)), cx);
        if let Phase::Deciding(deciding) = &mut self.phase {
            deciding.peek = token;
        }
        self.look_later(cx);
    }

    /// The next look is when the next lease has run out, or soon.
    fn look_later(&self, cx: &mut Context<'_, Self>) {
        let Phase::Deciding(deciding) = &self.phase else { return };
        let bound = |number| {
            let joiner = deciding.state.chains.get(number).and_then(|chain| chain.configuration.joiner());
            bound_of(self.bound(), self.patience.as_ref(), joiner)
        };
        let ends = deciding.watches.iter().filter_map(|(number, watch)| watch.next_end(bound(number), cx.now));
        let next = ends.chain([self.lease.term / 3]).min().unwrap_or(self.lease.term / 3);
        cx.set(Timer::Look, next..next);
    }

    /// Tells those who do not act on the chain's configuration what it is.
    fn tell_behind(&self, number: u32, cx: &mut Context<'_, Self>) {
        let Phase::Deciding(deciding) = &self.phase else { return };
        let (Some(chain), Some(watch)) = (deciding.state.chains.get(&number), deciding.watches.get(&number)) else {
            return;
        };
        for node in watch.behind(&chain.configuration) {
            tell(node, number, membership::Message::Configure(chain.configuration.clone()), cx);
        }
    }

    /// Asks again for a change of which nobody said what came of it. If it was made, the revision refuses the second.
    fn ask_again(&mut self, number: u32, cx: &mut Context<'_, Self>) {
        let Phase::Deciding(deciding) = &self.phase else { return };
        let Some(pending) = deciding.watches.get(&number).and_then(|watch| watch.pending) else { return };
        if cx.now - pending.asked >= self.lease.term {
            self.change(number, pending.change, pending.expected, cx);
        }
    }

    fn change(&mut self, number: u32, change: Change, expected: u64, cx: &mut Context<'_, Self>) {
        let token = self.ask(Request::Command(Command::Change { chain: number, change, expected }), cx);
        if let Phase::Deciding(deciding) = &mut self.phase {
            let pending = Pending { token, asked: cx.now, change, expected };
            deciding.watches.entry(number).or_default().pending = Some(pending);
        }
    }

    /// Decides what to do about one chain, unless something is being done.
    fn decide_one(&mut self, number: u32, cx: &mut Context<'_, Self>) {
        let (bound, admits_early) = (self.bound(), self.breaks(Mutant::AdmitsEarly));
        let Phase::Deciding(deciding) = &mut self.phase else { return };
        let Some(watch) = deciding.watches.get_mut(&number).filter(|watch| watch.pending.is_none()) else { return };
        let chain = deciding.state.chains.get(&number);
        let joiner = chain.and_then(|chain| chain.configuration.joiner());
        let bound = bound_of(bound, self.patience.as_ref(), joiner);
        let mut observed = watch.observed(bound, cx.now, &self.suspected);
        observed.in_step |= admits_early;
        let revision = chain.map_or(0, |chain| chain.revision);
        match decide(&deciding.state, number, &observed) {
            Some(Decision::Change(change)) => self.change(number, change, revision, cx),
            Some(Decision::Retire(node)) => {
                watch.retire(node, revision);
                tell(node, number, membership::Message::Retire { revision }, cx);
            }
            None => {} // all is well, or has to wait
        }
    }

    /// A node of a chain says something.
    fn hear(&mut self, from: Pid, message: &membership::Message, cx: &mut Context<'_, Self>) {
        if let (membership::Message::Renew { asked, .. }, Some(patience)) = (message, &mut self.patience) {
            patience.hear(from.node, asked.boot, cx.now);
        }
        let grants_to_leaving = self.breaks(Mutant::GrantsToLeaving);
        let grants_to_old = self.breaks(Mutant::GrantsToOld);
        let Phase::Deciding(deciding) = &mut self.phase else { return }; // the one who decides hears it too
        let (number, node) = (from.shard, from.node);
        let (Some(chain), Some(watch)) = (deciding.state.chains.get(&number), deciding.watches.get_mut(&number)) else {
            return; // of a chain that we do not know yet
        };
        let configuration = &chain.configuration;
        match *message {
            membership::Message::Renew { prefix_len, .. }
                if !watch.acts_on_its_place(node, if grants_to_old { u64::MAX } else { prefix_len }) =>
            {
                watch.heard(node, cx.now);
                if prefix_len < configuration.prefix_len() {
                    tell(node, number, membership::Message::Configure(configuration.clone()), cx); // it does not know
                }
            }
            membership::Message::Renew { asked, .. } if !watch.lets_go(node) || grants_to_leaving => {
                watch.grant(node, cx.now);
                tell(node, number, membership::Message::Granted { asked, term: self.lease.term }, cx);
            }
            membership::Message::ActsOn { prefix_len, in_step, .. } => {
                watch.acts_on(node, prefix_len);
                if prefix_len < configuration.prefix_len() {
                    tell(node, number, membership::Message::Configure(configuration.clone()), cx);
                } else if in_step && prefix_len == configuration.prefix_len() && node == configuration.tail() {
                    watch.is_in_step(prefix_len);
                    self.decide_one(number, cx);
                }
            }
            membership::Message::Retired { revision } => {
                watch.retired(node, revision);
                self.decide_one(number, cx);
            }
            _ => {} // it is about to leave; or said to a node
        }
    }
}

impl Deciding {
    /// A chain is like this now, unless we know better.
    fn learn(&mut self, number: u32, chain: Chain, now: Instant) {
        if self.state.chains.get(&number).is_none_or(|known| known.revision <= chain.revision) {
            self.watches.entry(number).or_default().learn(&chain, now);
            self.state.chains.insert(number, chain);
        }
    }

    /// Everything is like this now, unless we know better.
    fn learn_all(&mut self, mut state: State, now: Instant) {
        if state.revision <= self.state.revision {
            return;
        }
        for (number, chain) in core::mem::take(&mut state.chains) {
            self.learn(number, chain, now);
        }
        state.chains = core::mem::take(&mut self.state.chains);
        self.state = state;
    }
}

fn tell(node: NodeId, chain: u32, message: membership::Message, cx: &mut Context<'_, Swami>) {
    cx.send(Pid::chain(node.0, chain), Message::Membership(message));
}

impl Process for Swami {
    type Message = Message;
    type Timer = Timer;
    type Record = log::Record<System>;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        self.mind_right(cx);
        self.mind_pause(cx);
        match event {
            Event::Start => {
                let boot = self.boot + 1;
                cx.append(self, log::Record::Boot(boot)); // no question leaves before its name is ours alone
            }
            Event::Message { message: Message::Log(log::Message::Leads { until }), .. } => self.leads(until, cx),
            Event::Message { message: Message::Log(log::Message::Follows), .. } => self.stand_back(cx),
            Event::Message { message: Message::Log(log::Message::Answered { token, outcome }), .. } => {
                if let Outcome::Answer(answer) = outcome {
                    self.answered(token, answer, cx);
                }
            }
            Event::Message { from, message: Message::Membership(message) } => self.hear(from, &message, cx),
            Event::Message { message: Message::Suspected(node), .. } => {
                self.suspected.insert(node);
            }
            Event::Message { message: Message::Alive(node), .. } => {
                self.suspected.remove(&node);
            }
            Event::Message { .. } => {} // too busy, so it is asked again; or said to the log
            Event::Alarm(_) => self.look(cx),
        }
    }

    fn replay(&mut self, record: log::Record<System>) {
        if let log::Record::Boot(boot) = record {
            self.boot = self.boot.max(boot); // all others are the log's
        }
    }

    fn compact(&self) -> impl Iterator<Item = log::Record<System>> {
        [log::Record::Boot(self.boot)].into_iter()
    }
}
