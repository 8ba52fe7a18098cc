//! The client: takes requests on a node, numbers them, and sees them through.
//!
//! It asks its own member, again and again until it hears; the number makes sure that a command happens once. A client
//! that dies takes its open requests with it: what was in flight happened once or not at all, and nobody re-proposes it.
//! What waits is bounded; beyond the bound a request is refused at once.

use alloc::collections::BTreeMap;
use core::time::Duration;

use quorate_model::{Context, Event, Machine, Pid, Process, Service};

use super::members::Members;
use super::message::{Message, Order, Outcome, Record, Request, Timer};
use crate::operation::{Entry, OperationId};

/// How much may wait, and how long to wait before asking again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientBounds {
    /// Requests that may wait for their answers.
    pub waiting_len_max: usize,
    /// Weight, about bytes, of the commands that may wait.
    pub waiting_weight_max: usize,
    /// How long to wait before asking again: at least this, at most twice this.
    pub retry_after: Duration,
}

impl Default for ClientBounds {
    fn default() -> Self {
        Self { waiting_len_max: 16_384, waiting_weight_max: 64 << 20, retry_after: Duration::from_millis(100) }
    }
}

/// The process that takes requests on a node.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Client<M: Machine> {
    bounds: ClientBounds,
    /// Durable: how many lives the client had.
    boot: u64,
    next: u64,
    waiting: BTreeMap<u64, Waiting<M::Command, M::Query>>,
    waiting_weight: usize,
    /// Requests below this number were asked before the last alarm, so it is time to ask them again.
    old_below: u64,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Waiting<C, Q> {
    asker: Pid,
    token: u64,
    request: Request<C, Q>,
}

impl<M: Machine> Client<M> {
    /// A client that nobody has asked yet.
    #[must_use]
    pub fn new(bounds: ClientBounds) -> Self {
        Self { bounds, boot: 0, next: 1, waiting: BTreeMap::new(), waiting_weight: 0, old_below: 0 }
    }

    /// How many requests wait for their answers.
    #[must_use]
    pub fn waiting_len(&self) -> usize {
        self.waiting.len()
    }

    fn asked(&mut self, asker: Pid, token: u64, request: Request<M::Command, M::Query>, cx: &mut Context<'_, Self>) {
        if let Request::Members(nodes) = &request
            && let Err(error) = Members::check(nodes)
        {
            return cx.send(asker, Message::Unfit { token, error });
        }
        let weight = weight_of::<M>(&request);
        let full = self.waiting.len() >= self.bounds.waiting_len_max
            || self.waiting_weight + weight > self.bounds.waiting_weight_max;
        // A peek waits for nobody, so it is answered also when others wait in numbers.
        if full && !matches!(request, Request::Peek(_)) {
            return cx.send(asker, Message::Busy { token });
        }
        let number = self.next;
        self.next += 1;
        if self.waiting.is_empty() {
            self.wait(cx);
        }
        self.waiting_weight += weight;
        self.waiting.insert(number, Waiting { asker, token, request });
        self.tell_member(number, cx);
    }

    fn tell_member(&self, number: u64, cx: &mut Context<'_, Self>) {
        let Some(waiting) = self.waiting.get(&number) else { return };
        let operation = OperationId { owner: cx.me.node, epoch: self.boot, number };
        let propose = |command| {
            let done_below = self.waiting.keys().next().copied().unwrap_or(number);
            Message::Propose { entry: Entry { operation, done_below, command } }
        };
        let message = match &waiting.request {
            Request::Query(query) => Message::Read { operation, query: query.clone() },
            Request::Peek(query) => Message::Peek { operation, query: query.clone() },
            Request::Command(command) => propose(Order::Command(command.clone())),
            Request::Members(nodes) => propose(Order::Members(nodes.clone())),
        };
        cx.send(Pid { service: Service::Consensus, ..cx.me }, message);
    }

    fn answered(&mut self, operation: OperationId, outcome: Outcome<M::Answer>, cx: &mut Context<'_, Self>) {
        if operation.epoch != self.boot {
            return; // asked by an earlier life
        }
        let Some(waiting) = self.waiting.remove(&operation.number) else { return }; // answered before
        self.waiting_weight -= weight_of::<M>(&waiting.request);
        cx.send(waiting.asker, Message::Answered { token: waiting.token, outcome });
        if self.waiting.is_empty() {
            cx.stop(Timer::Retry);
        }
    }

    fn ask_again(&mut self, cx: &mut Context<'_, Self>) {
        for (number, _) in self.waiting.range(..self.old_below) {
            self.tell_member(*number, cx);
        }
        self.wait(cx);
    }

    fn wait(&mut self, cx: &mut Context<'_, Self>) {
        self.old_below = self.next;
        cx.set(Timer::Retry, self.bounds.retry_after..self.bounds.retry_after * 2);
    }
}

fn weight_of<M: Machine>(request: &Request<M::Command, M::Query>) -> usize {
    match request {
        Request::Command(command) => M::weight(command),
        Request::Query(_) | Request::Peek(_) | Request::Members(_) => 1,
    }
}

impl<M: Machine> Process for Client<M> {
    type Message = Message<M>;
    type Timer = Timer;
    type Record = Record<M>;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Start => {
                let boot = self.boot + 1;
                cx.append(self, Record::Boot(boot)); // no operation leaves before its epoch is on disk
            }
            Event::Message { from, message: Message::Ask { token, request } } => self.asked(from, token, request, cx),
            Event::Message { message: Message::Applied(outcomes), .. } => {
                for (operation, outcome) in outcomes {
                    self.answered(operation, outcome, cx);
                }
            }
            Event::Message { message: Message::ReadDone { operation, answer }, .. } => {
                self.answered(operation, Outcome::Answer(answer), cx);
            }
            Event::Alarm(Timer::Retry) => self.ask_again(cx),
            _ => {} // said to a member, not to a client
        }
    }

    fn replay(&mut self, record: Record<M>) {
        if let Record::Boot(boot) = record {
            self.boot = self.boot.max(boot); // all others are a member's
        }
    }

    fn compact(&self) -> impl Iterator<Item = Record<M>> {
        [Record::Boot(self.boot)].into_iter()
    }
}
