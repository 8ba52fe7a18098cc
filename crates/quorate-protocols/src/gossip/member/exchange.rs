//! Push and pull: now and then all that is held is compared with someone, so that it converges whatever was lost.
//!
//! A whole roster does not fit a datagram, and seldom differs. So it is compared by parts: a part is a range of members
//! with a digest over what is held of them. Where digests are equal nobody says anything; where they differ, a long part
//! is cut into shorter ones and these are compared; of a short one all facts are offered, and what the other holds above
//! them is given back. Each message is a datagram of its own and none needs another to have arrived, so nothing is
//! kept in between, and what is lost is found by the next comparison. Comparing equals costs one small datagram, and `d`
//! differences among `n` members some `d log n` of them.
//!
//! Not chosen: a stream for the whole state (as others do), which needs connections, time limits and bounds of its own,
//! and carries what both sides hold already.
//!
//! The partner is chosen among the living; and another one among those who are lost to us, that is, seeds that we do not
//! hold alive and members that we hold dead: after a partition nobody else would ever ask them.
//!
//! Source: notes "Endemic Spreading" (push/pull); Demers et al., "Epidemic Algorithms for Replicated Database
//! Maintenance", PODC 1987, section 1.3 (anti-entropy, checksums); Meyer, "Range-Based Set Reconciliation", SRDS 2023.

use alloc::sync::Arc;
use alloc::vec::Vec;

use quorate_model::{Context, NodeId, Pid, Wire};

use super::super::fact::{Fact, Standing};
use super::super::message::{Message, News, Part, Timer};
use super::super::wire::PARTS_LEN_MAX;
use super::learn::Source;
use super::{HEAD_BYTES_MAX, Member, Mutant};

/// A part in which no more are held is offered whole, if that fits a message.
const OFFER_LEN_MAX: usize = 8;

/// Into how many parts a part is cut.
const SPLIT_LEN: usize = 16;

/// All members.
const ALL: (NodeId, NodeId) = (NodeId(0), NodeId(u32::MAX));

impl Member {
    pub(super) fn set_exchange(&mut self, cx: &mut Context<'_, Self>) {
        if self.breaks(Mutant::NeverCompares) {
            return;
        }
        let wait = if self.meeting { self.options.round } else { self.exchange_wait * 2 };
        self.meeting = false;
        self.exchange_wait = wait.min(self.options.exchange_after);
        cx.set(Timer::Exchange, self.exchange_wait..self.exchange_wait + self.exchange_wait / 4);
    }

    pub(super) fn exchange(&mut self, cx: &mut Context<'_, Self>) {
        let others = self.roster.iter().filter(|fact| fact.is_up() && fact.node != self.me);
        let others: Vec<_> = others.map(|fact| fact.node).collect();
        let lost = self.lost();
        for group in [others, lost] {
            if !group.is_empty() {
                let partner = *cx.choose(&group);
                self.compare_with(partner, cx);
            }
        }
        self.set_exchange(cx);
    }

    /// Those who are lost to us: held dead, or seeds of whom nothing is held.
    fn lost(&self) -> Vec<NodeId> {
        if self.breaks(Mutant::LeavesTheLost) {
            return Vec::new();
        }
        let dead = self
            .fallen
            .keys()
            .filter(|node| self.roster.get(**node).is_some_and(|fact| fact.standing == Standing::Dead));
        let strangers = self.seeds.iter().filter(|seed| **seed != self.me && self.roster.get(**seed).is_none());
        dead.chain(strangers).copied().collect()
    }

    pub(super) fn compare_with(&mut self, partner: NodeId, cx: &mut Context<'_, Self>) {
        if !self.breaks(Mutant::NeverCompares) {
            let all = self.roster.part(ALL.0, ALL.1);
            cx.send(Self::pid(partner, cx), Message::Compare(Vec::from([all])));
        }
    }

    pub(super) fn compared(&mut self, from: Pid, theirs: &[Part], cx: &mut Context<'_, Self>) {
        let mut parts = Vec::new();
        let mut answer_count = 0;
        for part in theirs {
            if self.roster.part(part.first, part.last) == *part || answer_count >= self.options.answers_len_max {
                continue;
            }
            let facts = self.roster.between(part.first, part.last);
            if facts.len() <= 1 || (facts.len() <= OFFER_LEN_MAX && self.fits(facts)) {
                answer_count += 1;
                let facts = facts.to_vec();
                cx.send(from, Message::Offer { first: part.first, last: part.last, facts });
            } else {
                parts.extend(self.roster.split(part.first, part.last, SPLIT_LEN));
            }
        }
        self.compare_parts(from, &parts, answer_count, cx);
    }

    fn compare_parts(&self, to: Pid, parts: &[Part], answer_count: usize, cx: &mut Context<'_, Self>) {
        let left = self.options.answers_len_max.saturating_sub(answer_count);
        for parts in parts.chunks(PARTS_LEN_MAX).take(left) {
            cx.send(to, Message::Compare(parts.to_vec()));
        }
    }

    pub(super) fn offered(
        &mut self,
        from: Pid,
        first: NodeId,
        last: NodeId,
        theirs: &News,
        cx: &mut Context<'_, Self>,
    ) {
        self.learn_all(theirs, Source::Exchange, cx);
        let above = |held: &&Arc<Fact>| {
            theirs.iter().find(|fact| fact.node == held.node).is_none_or(|fact| held.rank() > fact.rank())
        };
        let facts: Vec<_> = self.roster.between(first, last).iter().filter(above).cloned().collect();
        let messages = self.pack(facts);
        if messages.len() > self.options.answers_len_max {
            return self.compare_parts(from, &self.roster.split(first, last, SPLIT_LEN), 0, cx);
        }
        for facts in messages {
            cx.send(from, Message::Give(facts));
        }
    }

    pub(super) fn given(&mut self, facts: &News, cx: &mut Context<'_, Self>) {
        self.learn_all(facts, Source::Exchange, cx);
    }

    fn room_bytes(&self) -> usize {
        self.options.message_bytes_max.saturating_sub(HEAD_BYTES_MAX)
    }

    fn fits(&self, facts: &[Arc<Fact>]) -> bool {
        facts.iter().map(|fact| fact.to_bytes().len()).sum::<usize>() <= self.room_bytes()
    }

    /// Facts by messages that they fill.
    fn pack(&self, facts: Vec<Arc<Fact>>) -> Vec<News> {
        let mut messages: Vec<News> = Vec::new();
        let mut left = 0;
        for fact in facts {
            let wire_bytes = fact.to_bytes().len();
            match messages.last_mut() {
                Some(message) if wire_bytes <= left => {
                    left -= wire_bytes;
                    message.push(fact);
                }
                _ => {
                    left = self.room_bytes().saturating_sub(wire_bytes);
                    messages.push(Vec::from([fact]));
                }
            }
        }
        messages
    }
}
