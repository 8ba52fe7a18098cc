//! A counter with one record: it says a number only when that number is on disk, so it never says one twice.

use quorate_model::{Context, DecodeError, Event, Pid, Process, Reader, Wire};

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Message {
    Next,
    Number(u64),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Counter {
    pub count: u64,
    /// A mutant: its snapshot is one short.
    pub compacts_badly: bool,
}

impl Process for Counter {
    type Message = Message;
    type Timer = ();
    type Record = u64;

    fn on(&mut self, event: Event<Self>, cx: &mut Context<'_, Self>) {
        if let Event::Message { from, message: Message::Next } = event {
            let next = self.count + 1;
            cx.append(self, next);
            cx.send(from, Message::Number(next));
        }
    }

    fn replay(&mut self, record: u64) {
        self.count = record;
    }

    fn compact(&self) -> impl Iterator<Item = u64> {
        let count = self.count - u64::from(self.compacts_badly && self.count > 1);
        (count > 0).then_some(count).into_iter()
    }
}

impl Wire for Message {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Next => 0_u64.encode(out),
            Self::Number(number) => number.encode(out),
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match u64::decode(input)? {
            0 => Self::Next,
            number => Self::Number(number),
        })
    }
}

use quorate_check::{Cast, Status};

/// One counter and `askers` who each ask for `asks` numbers.
pub fn cast(counter: Counter, askers: u32, asks: usize) -> Cast<Counter> {
    let pid = Pid::chain(1, 0);
    let mut cast = Cast::new().process(pid, counter);
    for asker in 0..askers {
        cast = cast.asks(Pid::outside(1, asker), pid, vec![Message::Next; asks]);
    }
    cast.always("no number is said twice", |view| {
        let mut said: Vec<u64> = view
            .asked()
            .filter_map(|asked| match asked.status {
                Status::Answered(Message::Number(number)) => Some(*number),
                _ => None,
            })
            .collect();
        let count = said.len();
        said.sort_unstable();
        said.dedup();
        said.len() == count
    })
}
