//! The client: takes requests on a node, numbers them, and sees them through.
//!
//! It asks its own node, again and again until it hears; the number makes sure that a command happens once. A client that
//! dies takes its open requests with it: what was in flight happened once or not at all, and nobody re-proposes it.
//! What waits is bounded; beyond the bound a request is refused at once. So it is when the own node is no member of the
//! chain: nobody here could see it through.

use alloc::collections::BTreeMap;
use core::time::Duration;

use quorate_model::{Context, Event, Machine, Pid, Process, Service};

use super::message::{Entry, Message, OperationId, Record, Request, Timer};

/// How much may wait, and how long to wait before asking again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientBounds {
    /// Requests that may wait for their answers.
    pub waiting_len_max: usize,
    /// Weight, about bytes, of the commands that may wait.
    pub waiting_weight_max: usize,
    /// How long to wait before asking again: at least this, at most twice this.
    pub retry_after: Duration,
    /// The same, when nothing was answered however often it was asked: the pause doubles up to this.
    pub retry_after_max: Duration,
    /// Weight, about bytes, of the commands that are asked again at once, the oldest first. A single one may weigh more.
    pub again_weight_max: usize,
}

impl Default for ClientBounds {
    fn default() -> Self {
        Self {
            waiting_len_max: 16_384,
            waiting_weight_max: 64 << 20,
            retry_after: Duration::from_millis(100),
            retry_after_max: Duration::from_millis(1_600),
            again_weight_max: 4 << 20,
        }
    }
}

/// After a move the first pause is this part of the usual one.
const AFTER_MOVE: u32 = 16;

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
    /// The pause after which what waits is asked again.
    pause: Duration,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Waiting<C, Q> {
    asker: Pid,
    token: u64,
    request: Request<C, Q>,
}

impl<M: Machine> Client<M> {
    /// A client before its first start.
    #[must_use]
    pub fn new(bounds: ClientBounds) -> Self {
        let pause = bounds.retry_after;
        Self { bounds, boot: 0, next: 1, waiting: BTreeMap::new(), waiting_weight: 0, old_below: 0, pause }
    }

    /// How many requests wait for their answers.
    #[must_use]
    pub fn waiting_len(&self) -> usize {
        self.waiting.len()
    }

    fn asked(&mut self, asker: Pid, token: u64, request: Request<M::Command, M::Query>, cx: &mut Context<'_, Self>) {
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
        self.tell_node(number, cx);
    }

    fn tell_node(&self, number: u64, cx: &mut Context<'_, Self>) {
        let Some(waiting) = self.waiting.get(&number) else { return };
        let node = Pid { service: Service::Chain, ..cx.me };
        let operation = OperationId { owner: cx.me.node, epoch: self.boot, number };
        let message = match &waiting.request {
            Request::Query(query) => Message::Read { operation, query: query.clone() },
            Request::Peek(query) => Message::Peek { operation, query: query.clone() },
            Request::Command(command) => {
                let done_below = self.waiting.keys().next().copied().unwrap_or(number);
                Message::Order(Entry { operation, done_below, command: command.clone() })
            }
        };
        cx.send(node, message);
    }

    fn answered(&mut self, operation: OperationId, answer: M::Answer, cx: &mut Context<'_, Self>) {
        if let Some(Waiting { asker, token, .. }) = self.finish(operation, cx) {
            cx.send(asker, Message::Answered { token, answer });
        }
    }

    /// The own node is no member, so nobody sees the request through.
    fn refused(&mut self, operation: OperationId, passed_on: bool, cx: &mut Context<'_, Self>) {
        if let Some(Waiting { asker, token, request }) = self.finish(operation, cx) {
            let unknown = passed_on && matches!(request, Request::Command(_));
            cx.send(asker, if unknown { Message::Left { token } } else { Message::NotMember { token } });
        }
    }

    /// The request that waits under this name no longer waits. Nothing if it was asked by an earlier life or answered before.
    fn finish(&mut self, operation: OperationId, cx: &mut Context<'_, Self>) -> Option<Waiting<M::Command, M::Query>> {
        let number = Some(operation.number).filter(|_| operation.epoch == self.boot)?;
        let waiting = self.waiting.remove(&number)?;
        self.waiting_weight -= weight_of::<M>(&waiting.request);
        let was_longer = self.pause > self.bounds.retry_after;
        self.pause = self.bounds.retry_after;
        if self.waiting.is_empty() {
            cx.stop(Timer::Retry);
        } else if was_longer {
            self.wait(cx);
        }
        Some(waiting)
    }

    fn ask_again(&mut self, cx: &mut Context<'_, Self>) {
        let mut weight = 0;
        for (number, waiting) in self.waiting.range(..self.old_below) {
            weight += weight_of::<M>(&waiting.request);
            if weight > self.bounds.again_weight_max && weight > weight_of::<M>(&waiting.request) {
                break; // asked again when those before it are answered
            }
            self.tell_node(*number, cx);
        }
        // What the chain cannot take now it is not to be kept busy with.
        self.pause = (self.pause * 2).min(self.bounds.retry_after_max);
        self.wait(cx);
    }

    /// The own node acts on another configuration. Others may be slower, so this is said again soon.
    fn node_moved(&mut self, cx: &mut Context<'_, Self>) {
        if !self.waiting.is_empty() {
            self.old_below = self.next;
            self.pause = self.bounds.retry_after / AFTER_MOVE;
            self.ask_again(cx);
        }
    }

    fn wait(&mut self, cx: &mut Context<'_, Self>) {
        self.old_below = self.next;
        cx.set(Timer::Retry, self.pause..self.pause * 2);
    }
}

fn weight_of<M: Machine>(request: &Request<M::Command, M::Query>) -> usize {
    match request {
        Request::Command(command) => M::weight(command),
        Request::Query(_) | Request::Peek(_) => 1,
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
            Event::Message { message: Message::Applied(answers), .. } => {
                for (operation, answer) in answers {
                    self.answered(operation, answer, cx);
                }
            }
            Event::Message { message: Message::ReadDone { operation, answer }, .. } => {
                self.answered(operation, answer, cx)
            }
            Event::Message { message: Message::Refused { operation, passed_on }, .. } => {
                self.refused(operation, passed_on, cx);
            }
            Event::Message { message: Message::Moved, .. } => self.node_moved(cx),
            Event::Alarm(Timer::Retry) => self.ask_again(cx),
            _ => {} // said to a node, not to a client
        }
    }

    fn replay(&mut self, record: Record<M>) {
        // All others are a node's.
        if let Record::Boot(boot) = record {
            self.boot = self.boot.max(boot);
        }
    }

    fn compact(&self) -> impl Iterator<Item = Record<M>> {
        [Record::Boot(self.boot)].into_iter()
    }
}
