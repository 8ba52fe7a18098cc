//! Another explorer, the `stateright` crate, walks the same model and must count the same states.
//!
//! Only the exploring differs: both host the very same process. It asks itself at its start, since people outside are
//! ours alone.

mod support;

use std::borrow::Cow;
use std::sync::Arc;

use quorate_check::{Cast, Faults, explore};
use quorate_model::{Choose, Context, Event, Instant, Outbox, Pid, Process};
use stateright::actor::{Actor, ActorModel, Id, Network, Out};
use stateright::{Checker, Expectation, Model};
use support::abd::{Message, Role, Took, storage_pids};

/// A role that asks itself something when it starts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Eager {
    role: Role,
    asks: Option<Message>,
}

impl Process for Eager {
    type Message = Message;
    type Timer = ();
    type Record = Took;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        // The contexts of the two types differ, so the role runs on an outbox of its own.
        let mut outbox = Outbox::<Role>::new();
        let mut first = First;
        let mut inner = Context::new(cx.me, cx.now, &mut outbox, &mut first);
        let event = match event {
            Event::Start => match self.asks.take() {
                Some(message) => Event::Message { from: Pid::outside(9, 0), message },
                None => Event::Start,
            },
            Event::Message { from, message } => Event::Message { from, message },
            Event::Alarm(()) => Event::Alarm(()),
        };
        self.role.on(event, &mut inner);
        let mut count = 0;
        while outbox.take_record().is_some() {
            count += 1;
        }
        outbox.synced(count);
        while let Some((to, message)) = outbox.release() {
            cx.send(to, message);
        }
    }

    fn replay(&mut self, _: Took) {}

    fn compact(&self) -> impl Iterator<Item = Took> {
        std::iter::empty()
    }
}

struct First;

impl Choose for First {
    fn choose(&mut self, _: usize) -> usize {
        0
    }
}

fn cast() -> Vec<(Pid, Eager)> {
    let storages = storage_pids(3);
    let mut cast: Vec<_> = storages.iter().map(|pid| (*pid, Eager { role: Role::storage(), asks: None })).collect();
    for (node, asks) in [(11, Message::Write(7)), (12, Message::Read)] {
        cast.push((Pid::client(node, 0), Eager { role: Role::client(&storages), asks: Some(asks) }));
    }
    cast
}

/// The same process on stateright's stage.
#[derive(Clone)]
struct Guest {
    pids: Arc<Vec<Pid>>,
    process: Eager,
}

impl Guest {
    fn step(&self, id: Id, process: &mut Eager, event: Event<Eager>, out: &mut Out<Self>) {
        let mut outbox = Outbox::new();
        let mut first = First;
        process.on(event, &mut Context::new(self.pids[usize::from(id)], Instant(0), &mut outbox, &mut first));
        while let Some((to, message)) = outbox.release() {
            if let Some(index) = self.pids.iter().position(|pid| *pid == to) {
                out.send(Id::from(index), message);
            }
        }
    }
}

impl Actor for Guest {
    type Msg = Message;
    type Timer = ();
    type State = Eager;
    type Storage = ();
    type Random = ();

    fn on_start(&self, id: Id, _: &Option<()>, out: &mut Out<Self>) -> Eager {
        let mut process = self.process.clone();
        self.step(id, &mut process, Event::Start, out);
        process
    }

    fn on_msg(&self, id: Id, state: &mut Cow<'_, Eager>, from: Id, message: Message, out: &mut Out<Self>) {
        // Owned in any case: stateright takes a step that changes nothing for none, and leaves the message on its way.
        let from = self.pids[usize::from(from)];
        self.step(id, state.to_mut(), Event::Message { from, message }, out);
    }
}

#[test]
fn another_explorer_counts_the_same_states() {
    let ours = cast()
        .into_iter()
        .fold(Cast::new(), |cast, (pid, process)| cast.process(pid, process))
        .absent(Pid::outside(9, 0));
    let ours = explore(&ours, Faults::none().same_max(u16::MAX));

    let pids = Arc::new(cast().into_iter().map(|(pid, _)| pid).collect::<Vec<_>>());
    let theirs = ActorModel::new((), ())
        .actors(cast().into_iter().map(|(_, process)| Guest { pids: Arc::clone(&pids), process }))
        .init_network(Network::new_unordered_nonduplicating([]))
        .property(Expectation::Always, "it runs", |_, _| true)
        .checker()
        .spawn_bfs()
        .join();
    println!("ours: {ours}; theirs: {} states", theirs.unique_state_count());
    assert!(ours.verdict.holds());
    assert_eq!(ours.states, theirs.unique_state_count() as u64);
    assert!(ours.states > 10_000);
}
