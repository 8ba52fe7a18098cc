//! Vector clocks: one counter for each process. They decide happens-before in both directions.
//!
//! Source: Fidge 1988; Mattern, "Virtual Time and Global States of Distributed Systems", 1989.

use alloc::collections::BTreeMap;

use super::happens_before::Order;
use crate::pid::Pid;

/// How many events of each process are in the past of an event. A missing process counts 0.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct VectorClock(BTreeMap<Pid, u64>);

impl VectorClock {
    /// Numbers a local event or a send at `me`.
    pub fn tick(&mut self, me: Pid) -> &Self {
        *self.0.entry(me).or_default() += 1;
        self
    }

    /// Numbers the receive at `me` of a message that was sent at `sent`.
    pub fn receive(&mut self, me: Pid, sent: &Self) -> &Self {
        for (&pid, &count) in &sent.0 {
            let mine = self.0.entry(pid).or_default();
            *mine = (*mine).max(count);
        }
        self.tick(me)
    }

    /// How this event stands to `other`.
    #[must_use]
    pub fn order(&self, other: &Self) -> Order {
        match (self.within(other), other.within(self)) {
            (true, true) => Order::Equal,
            (true, false) => Order::Before,
            (false, true) => Order::After,
            (false, false) => Order::Concurrent,
        }
    }

    fn within(&self, other: &Self) -> bool {
        self.0.iter().all(|(pid, count)| other.0.get(pid).copied().unwrap_or(0) >= *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_orders_and_silence_does_not() {
        let (a, b) = (Pid::chain(1, 0), Pid::chain(2, 0));
        let (mut left, mut right) = (VectorClock::default(), VectorClock::default());
        let sent = left.tick(a).clone();
        let alone = right.tick(b).clone();
        assert_eq!(sent.order(&alone), Order::Concurrent);
        let received = right.receive(b, &sent).clone();
        assert_eq!(sent.order(&received), Order::Before);
        assert_eq!(received.order(&alone), Order::After);
        assert_eq!(sent.order(&sent.clone()), Order::Equal);
    }
}
