//! A stand-in for the `_system` log: one process that does at once what it is asked, and lets one swami after the other
//! lead. What is explored is then the swami, not Paxos once more.

use std::time::Duration;

use quorate_model::{Context, Event, Machine, Pid, Process};
use quorate_protocols::chain::swami::{Message, System};
use quorate_protocols::paxos::log::{self, Outcome, Request};

/// The stand-in.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Tape {
    /// Who leads, one after the other, and for how long.
    leads: Vec<(Pid, Duration)>,
    next: usize,
    system: System,
}

/// The next one leads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Turn;

impl Tape {
    /// A log that holds `system`, which these lead, one after the other, for so long each.
    #[must_use]
    pub fn new(system: System, leads: Vec<(Pid, Duration)>) -> Self {
        Self { leads, next: 0, system }
    }

    /// What it holds.
    #[must_use]
    pub fn system(&self) -> &System {
        &self.system
    }

    fn turn(&mut self, cx: &mut Context<'_, Self>) {
        let Some((swami, term)) = self.leads.get(self.next).copied() else { return };
        self.next += 1;
        cx.send(swami, Message::Log(log::Message::Leads { until: cx.now + term }));
        if self.next < self.leads.len() {
            cx.set(Turn, term..term);
        }
    }
}

impl Process for Tape {
    type Message = Message;
    type Timer = Turn;
    type Record = ();

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        match event {
            Event::Start | Event::Alarm(Turn) => self.turn(cx),
            Event::Message { from, message: Message::Log(log::Message::Ask { token, request }) } => {
                let answer = match request {
                    Request::Command(command) => self.system.apply(0, &command),
                    Request::Query(query) | Request::Peek(query) => self.system.read(&query),
                    Request::Members(_) => return, // its members are nobody
                };
                let outcome = Outcome::Answer(answer);
                cx.send(from, Message::Log(log::Message::Answered { token, outcome }));
            }
            Event::Message { .. } => {} // said to others
        }
    }

    fn replay(&mut self, (): ()) {}

    fn compact(&self) -> impl Iterator<Item = ()> {
        std::iter::empty()
    }
}
