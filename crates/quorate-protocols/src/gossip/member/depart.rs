//! Speaking for itself: a new profile, a leave; and forgetting those who fell.

use alloc::sync::Arc;
use alloc::vec::Vec;

use quorate_model::{Context, NodeId, Pid};

use super::super::fact::{Fact, Incarnation, Standing};
use super::super::message::{Message, Timer};
use super::super::profile::Profile;
use super::Member;

impl Member {
    pub(super) fn describe(&mut self, asker: Pid, profile: Profile, cx: &mut Context<'_, Self>) {
        if profile.check().is_err() {
            return cx.send(asker, Message::Refused);
        }
        let own = Arc::clone(self.own());
        if own.is_up() && profile != *self.profile {
            self.profile = Arc::new(profile);
            let Incarnation { life, count } = own.incarnation;
            self.speak(Incarnation { life, count: count + 1 }, cx);
        }
        cx.send(asker, Message::Done);
    }

    /// Says that we leave, to as many as a rumour is told to, at once. The rounds go on until it was told often enough.
    pub(super) fn leave(&mut self, asker: Pid, cx: &mut Context<'_, Self>) {
        self.leaving = Some(asker);
        let own = Arc::clone(self.own());
        if own.is_up() {
            self.probe = None;
            let Incarnation { life, count } = own.incarnation;
            let incarnation = Incarnation { life, count: count + 1 };
            self.declare(Fact { node: self.me, incarnation, standing: Standing::Left }, cx);
            let others = self.roster.iter().filter(|fact| fact.is_up());
            let mut others: Vec<_> = others.map(|fact| fact.node).collect();
            for _ in 0..self.told_max() {
                if others.is_empty() {
                    break;
                }
                let other = *cx.choose(&others);
                others.retain(|node| *node != other);
                self.ping(other, cx.now, cx);
            }
        }
        self.mind_leaving(cx);
    }

    /// Tells whoever waits for it that the others know that we left, or that there is nobody to tell.
    pub(super) fn mind_leaving(&mut self, cx: &mut Context<'_, Self>) {
        if let Some(asker) = self.leaving
            && (!self.rumours.is_told(self.me) || self.roster.up_len() == 0)
        {
            self.leaving = None;
            cx.send(asker, Message::Done);
        }
    }

    /// Remembers from when on `node` is dead or left. Beyond the bound whoever fell first is forgotten.
    pub(super) fn fell(&mut self, node: NodeId, cx: &mut Context<'_, Self>) {
        self.fallen.insert(node, cx.now);
        if self.fallen.len() > self.options.fallen_len_max
            && let Some((&first, _)) = self.fallen.iter().min_by_key(|(_, since)| **since)
        {
            self.forget_one(first, cx);
        }
        if !self.forgetting {
            self.forgetting = true;
            self.set_forget(cx);
        }
    }

    fn set_forget(&self, cx: &mut Context<'_, Self>) {
        cx.set(Timer::Forget, self.options.fallen_for..self.options.fallen_for + self.options.fallen_for / 8);
    }

    pub(super) fn forget(&mut self, cx: &mut Context<'_, Self>) {
        let long_ago = self.fallen.iter().filter(|(_, since)| cx.now - **since >= self.options.fallen_for);
        let long_ago: Vec<_> = long_ago.map(|(node, _)| *node).collect();
        for node in long_ago {
            self.forget_one(node, cx);
        }
        self.forgetting = !self.fallen.is_empty();
        if self.forgetting {
            self.set_forget(cx);
        }
    }

    fn forget_one(&mut self, node: NodeId, cx: &mut Context<'_, Self>) {
        self.fallen.remove(&node);
        self.roster.forget(node);
        self.rumours.end(node);
        if let Some(observer) = self.observer {
            cx.send(observer, Message::Forgotten(node));
        }
    }
}
