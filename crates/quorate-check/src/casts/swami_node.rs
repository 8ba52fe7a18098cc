//! A stand-in for a node of a chain: it asks for leases, acts on configurations, says as the tail when a joiner is in step,
//! and retires. It holds no data, so what is judged is who may serve, and when.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_model::{Context, DecodeError, Event, Instant, NodeId, Pid, Process, Reader, Wire};
use quorate_protocols::chain::Configuration;
use quorate_protocols::chain::membership;
use quorate_protocols::chain::swami::Message;

/// One rule of the node's side broken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NodeMutant {
    /// Counts its lease from when it hears of it.
    CountsFromGrant,
    /// Hears of grants that it asked for before it retired.
    ServesAgain,
}

/// What it does when time has gone by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NodeTimer {
    /// Ask for a lease.
    Renew,
    /// The joiner has been copied to.
    Copied,
}

/// What it writes down.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NodeRecord {
    /// It acts on this.
    Configured(Configuration),
    /// As the tail, it commits nothing without the joiner under the prefix of this length.
    InStep(u64),
}

/// The stand-in.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ChainNode {
    swamis: Vec<Pid>,
    renew_every: Duration,
    copy_takes: Duration,
    mutant: Option<NodeMutant>,

    // Durable.
    configuration: Option<Configuration>,
    in_step: BTreeSet<u64>,

    // Volatile.
    /// What was asked for up to here gives no right: by an earlier life, or before it retired.
    not_before: Option<Instant>,
    right: Option<(Instant, Duration)>,
    heard_len: u64,
}

impl ChainNode {
    /// A node that begins with `configuration`, if it is a member from the beginning.
    #[must_use]
    pub fn new(swamis: Vec<Pid>, configuration: Option<Configuration>, renew_every: Duration) -> Self {
        Self {
            swamis,
            renew_every,
            copy_takes: renew_every,
            mutant: None,
            configuration,
            in_step: BTreeSet::new(),
            not_before: None,
            right: None,
            heard_len: 0,
        }
    }

    /// Breaks one rule.
    #[must_use]
    pub fn breaking(mut self, mutant: NodeMutant) -> Self {
        self.mutant = Some(mutant);
        self
    }

    /// The same, with a lease that somebody granted before everything.
    #[must_use]
    pub fn granted_before(mut self, asked: Instant, term: Duration) -> Self {
        self.right = Some((asked, term));
        self
    }

    /// Whether node `me`, which this is, would serve if its clock said this: as a member, as far as it knows, with a lease.
    #[must_use]
    pub fn serves(&self, me: NodeId, now: Instant) -> bool {
        let is_member = self.configuration.as_ref().is_some_and(|it| it.is_member(me));
        is_member && self.right.is_some_and(|(from, term)| now < from + term)
    }

    /// What it acts on.
    #[must_use]
    pub fn configuration(&self) -> Option<&Configuration> {
        self.configuration.as_ref()
    }

    /// The lengths of the prefixes under which it was the tail and found the joiner in step.
    #[must_use]
    pub fn in_step(&self) -> &BTreeSet<u64> {
        &self.in_step
    }

    fn prefix_len(&self) -> u64 {
        self.configuration.as_ref().map_or(0, Configuration::prefix_len)
    }

    fn is_placed(&self, me: NodeId) -> bool {
        self.configuration.as_ref().is_some_and(|it| it.is_member(me) || it.joiner() == Some(me))
    }

    fn tell<P>(&self, message: &membership::Message, cx: &mut Context<'_, P>)
    where
        P: Process<Message = Message>,
    {
        for swami in &self.swamis {
            cx.send(*swami, Message::Membership(message.clone()));
        }
    }

    fn say_acts_on(&self, cx: &mut Context<'_, Self>) {
        let prefix_len = self.prefix_len();
        let in_step = self.in_step.contains(&prefix_len);
        let heard_len = self.heard_len.max(prefix_len);
        self.tell(&membership::Message::ActsOn { prefix_len, heard_len, in_step }, cx);
    }

    fn renew(&self, cx: &mut Context<'_, Self>) {
        let asked = membership::Asked { boot: 0, at: cx.now };
        self.tell(&membership::Message::Renew { asked, prefix_len: self.prefix_len() }, cx);
        cx.set(NodeTimer::Renew, self.renew_every..self.renew_every);
    }

    fn mind_joiner(&self, cx: &mut Context<'_, Self>) {
        let Some(configuration) = &self.configuration else { return };
        let is_tail = configuration.tail() == cx.me.node;
        if is_tail && configuration.joiner().is_some() && !self.in_step.contains(&self.prefix_len()) {
            cx.set(NodeTimer::Copied, self.copy_takes..self.copy_takes * 4);
        }
    }

    fn hear(&mut self, from: Pid, message: membership::Message, cx: &mut Context<'_, Self>) {
        match message {
            membership::Message::Granted { asked, term } => {
                let asked = asked.at;
                let is_old = self.not_before.is_some_and(|not_before| asked <= not_before);
                if is_old && self.mutant != Some(NodeMutant::ServesAgain) {
                    return;
                }
                let from = if self.mutant == Some(NodeMutant::CountsFromGrant) { cx.now } else { asked };
                if self.right.is_none_or(|(known, _)| known <= from) {
                    self.right = Some((from, term));
                }
            }
            membership::Message::Configure(next) => {
                if next.prefix_len() > self.prefix_len() {
                    cx.append(self, NodeRecord::Configured(next));
                    if !self.is_placed(cx.me.node) {
                        self.right = None;
                    }
                    self.mind_joiner(cx);
                }
                self.say_acts_on(cx);
            }
            membership::Message::Retire { revision } => {
                (self.right, self.not_before) = (None, Some(cx.now));
                cx.send(from, Message::Membership(membership::Message::Retired { revision }));
            }
            _ => {} // said to a swami
        }
    }
}

impl Process for ChainNode {
    type Message = Message;
    type Timer = NodeTimer;
    type Record = NodeRecord;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Start => {
                self.not_before = Some(cx.now);
                self.mind_joiner(cx);
                cx.set(NodeTimer::Renew, Duration::from_nanos(1)..self.renew_every);
            }
            Event::Message { from, message: Message::Membership(message) } => self.hear(from, message, cx),
            Event::Message { .. } => {} // said to others
            Event::Alarm(NodeTimer::Renew) => self.renew(cx),
            Event::Alarm(NodeTimer::Copied) => {
                let configuration = self.configuration.as_ref();
                if configuration.is_some_and(|it| it.tail() == cx.me.node && it.joiner().is_some()) {
                    let prefix_len = self.prefix_len();
                    cx.append(self, NodeRecord::InStep(prefix_len));
                    self.say_acts_on(cx);
                }
            }
        }
    }

    fn replay(&mut self, record: NodeRecord) {
        match record {
            NodeRecord::Configured(configuration) => self.configuration = Some(configuration),
            NodeRecord::InStep(prefix_len) => {
                self.in_step.insert(prefix_len);
            }
        }
    }

    fn compact(&self) -> impl Iterator<Item = NodeRecord> {
        let in_step = self.in_step.iter().map(|prefix_len| NodeRecord::InStep(*prefix_len));
        self.configuration.clone().map(NodeRecord::Configured).into_iter().chain(in_step)
    }
}

impl Wire for NodeRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Configured(configuration) => {
                out.push(1);
                configuration.encode(out);
            }
            Self::InStep(prefix_len) => {
                out.push(2);
                prefix_len.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.byte()? {
            1 => Self::Configured(Configuration::decode(input)?),
            2 => Self::InStep(u64::decode(input)?),
            other => return Err(DecodeError::Unknown { what: "stand-in's record", value: other.into() }),
        })
    }
}
