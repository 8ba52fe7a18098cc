//! Learning: of two facts about a member the greater one is kept. What is said of ourselves is refuted.
//!
//! Source: SWIM (DSN 2002), sections 4.1 and 4.2; Lifeguard (DSN 2018), section IV.B.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;

use quorate_model::{Context, NodeId};

use super::super::fact::{Fact, Incarnation, Standing};
use super::super::message::{Message, Record, Timer};
use super::super::suspicion::{self, CONFIRMATIONS_MAX, Suspicion};
use super::{Member, Mutant};

/// How a fact came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// Along with another message.
    Rumour,
    /// By comparing.
    Exchange,
}

impl Member {
    pub(super) fn learn_all(&mut self, facts: &[Arc<Fact>], source: Source, cx: &mut Context<'_, Self>) {
        for fact in facts {
            self.learn(fact, source, cx);
        }
    }

    fn learn(&mut self, fact: &Arc<Fact>, source: Source, cx: &mut Context<'_, Self>) {
        if fact.node == self.me {
            return self.heard_of_itself(fact, cx);
        }
        let Some(held) = self.roster.get(fact.node) else { return self.meet(fact, source, cx) };
        if fact.rank() > held.rank() {
            self.rumour(fact);
            self.take(Arc::clone(fact), cx);
        } else if fact.rank() == held.rank()
            && let Standing::Suspected { by, .. } = fact.standing
        {
            self.confirm(fact, by, cx);
        }
    }

    /// Takes someone in of whom nothing was held. The dead are not: there is nothing to correct, and whoever was forgotten
    /// stays forgotten.
    fn meet(&mut self, fact: &Arc<Fact>, source: Source, cx: &mut Context<'_, Self>) {
        if !fact.is_up() || self.roster.len() >= self.options.members_len_max {
            return;
        }
        match source {
            Source::Rumour => self.rumour(fact),
            Source::Exchange => self.meeting = true, // those whom a newcomer meets are no news to others
        }
        self.take(Arc::clone(fact), cx);
    }

    pub(super) fn rumour(&mut self, fact: &Arc<Fact>) {
        self.rumours.begin(Arc::clone(fact), self.options.rumours_len_max);
    }

    /// Holds `fact` from now on, and does what follows.
    pub(super) fn take(&mut self, fact: Arc<Fact>, cx: &mut Context<'_, Self>) {
        let node = fact.node;
        if self.suspicions.remove(&node).is_some() {
            cx.stop(Timer::Suspicion(node));
        }
        let was_up = self.roster.get(node).is_some_and(|held| held.is_up());
        self.roster.put(Arc::clone(&fact));
        if fact.is_up() {
            self.fallen.remove(&node);
            if !was_up && node != self.me && !self.unprobed.is_empty() {
                let place = self.unprobed.partition_point(|other| *other < node);
                self.unprobed.insert(place, node);
            }
        } else if node != self.me {
            self.fell(node, cx);
        }
        if let Standing::Suspected { by, .. } = fact.standing {
            self.suspicions.insert(node, Suspicion { begun: cx.now, due: cx.now, by: BTreeSet::from([by]) });
            self.set_suspicion(node, cx);
        }
        if let Some(observer) = self.observer {
            cx.send(observer, Message::Changed(fact));
        }
    }

    /// We got no answer from `node`.
    pub(super) fn suspect(&mut self, node: NodeId, cx: &mut Context<'_, Self>) {
        let Some(held) = self.roster.get(node).cloned() else { return };
        if !self.own().is_up() {
            return; // whoever leaves has nothing to say of others any more
        }
        match &held.standing {
            Standing::Alive(_) if self.breaks(Mutant::DoesNotSuspect) => {
                self.declare(Fact { standing: Standing::Dead, ..*held }, cx);
            }
            Standing::Alive(profile) => {
                let standing = Standing::Suspected { profile: Arc::clone(profile), by: self.me };
                self.declare(Fact { standing, ..*held }, cx);
            }
            Standing::Suspected { profile, .. } => {
                let standing = Standing::Suspected { profile: Arc::clone(profile), by: self.me };
                let fact = Arc::new(Fact { standing, ..*held });
                self.confirm(&fact, self.me, cx);
            }
            Standing::Dead | Standing::Left => {} // it fell while we asked it
        }
    }

    /// Holds a fact of our own making, and tells it.
    pub(super) fn declare(&mut self, fact: Fact, cx: &mut Context<'_, Self>) {
        let fact = Arc::new(fact);
        self.rumour(&fact);
        self.take(fact, cx);
    }

    /// Someone else suspects too, so it is less likely to be the suspecting member's hearing.
    fn confirm(&mut self, fact: &Arc<Fact>, by: NodeId, cx: &mut Context<'_, Self>) {
        let Some(suspicion) = self.suspicions.get_mut(&fact.node) else { return };
        if suspicion.by.len() > CONFIRMATIONS_MAX || !suspicion.by.insert(by) {
            return; // enough said, or said before
        }
        self.rumour(fact);
        self.set_suspicion(fact.node, cx);
    }

    fn set_suspicion(&mut self, node: NodeId, cx: &mut Context<'_, Self>) {
        // Those who could confirm: all but us, the suspect, and the one who suspects already.
        let wanted = self.roster.up_len().saturating_sub(3).min(CONFIRMATIONS_MAX);
        let shortest = self.patiently(self.options.round * self.options.suspicion_rounds * self.doublings());
        let Some(suspicion) = self.suspicions.get_mut(&node) else { return };
        let lasts = suspicion::lasts(shortest, suspicion.by.len() - 1, wanted);
        suspicion.due = (suspicion.begun + lasts).max(cx.now);
        let left = suspicion.due - cx.now;
        cx.set(Timer::Suspicion(node), left..left);
    }

    pub(super) fn suspected_long_enough(&mut self, node: NodeId, cx: &mut Context<'_, Self>) {
        let Some(held) = self.roster.get(node).cloned() else { return };
        let wait = self.patiently(self.options.round);
        let Some(suspicion) = self.suspicions.get_mut(&node) else { return }; // it fell, or refuted
        if cx.now - suspicion.due > self.options.reply_after {
            // We slept. The refutation may lie in our mailbox.
            suspicion.due = cx.now + wait;
            return cx.set(Timer::Suspicion(node), wait..wait);
        }
        if self.own().is_up() {
            self.declare(Fact { standing: Standing::Dead, ..*held }, cx);
        }
    }

    /// What we say of ourselves.
    pub(super) fn own(&self) -> &Arc<Fact> {
        self.roster.get(self.me).expect("a member that has started holds a fact about itself")
    }

    /// Others say of us what we did not. Unless we left, we say that we are alive, above it.
    fn heard_of_itself(&mut self, fact: &Arc<Fact>, cx: &mut Context<'_, Self>) {
        let own = Arc::clone(self.own());
        if fact.rank() <= own.rank() || !own.is_up() || self.breaks(Mutant::NeverRefutes) {
            return;
        }
        // It is likely that we answered too late.
        self.hears_badly(1);
        if self.breaks(Mutant::RefutesWithoutRaising) {
            return self.rumour(&own);
        }
        if fact.incarnation.life > self.life {
            // We lived more often than our disk knows.
            cx.append(self, Record::Life(fact.incarnation.life + 1));
            self.speak(Incarnation { life: self.life, count: 0 }, cx);
        } else {
            self.speak(Incarnation { count: fact.incarnation.count + 1, ..fact.incarnation }, cx);
        }
    }

    /// Says that we are alive.
    pub(super) fn speak(&mut self, incarnation: Incarnation, cx: &mut Context<'_, Self>) {
        let standing = Standing::Alive(Arc::clone(&self.profile));
        self.declare(Fact { node: self.me, incarnation, standing }, cx);
    }
}
