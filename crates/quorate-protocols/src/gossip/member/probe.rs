//! Probing: each round one other member is asked whether it is there. If it does not answer, a few others are asked to ask
//! it, so that a bad way between two members is not taken for a bad member; and it is asked once more. All are asked before
//! one is asked again.
//!
//! Source: Das, Gupta and Motivala, "SWIM", DSN 2002, sections 3.1 and 4.3; Lifeguard (DSN 2018), section IV.A (`Nack`).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use quorate_model::time::Instant;
use quorate_model::{Context, NodeId, Pid};

use super::super::message::{Message, News, Timer};
use super::learn::Source;
use super::{Member, Mutant};

/// The probe of this round.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Probe {
    /// The target was pinged, and has not answered.
    Asked { target: NodeId, asked: Instant },
    /// Helpers were asked too, at `helped`. `silent` are those who have neither reached it nor said that they did not so far.
    Helped { target: NodeId, asked: Instant, helped: Instant, silent: BTreeSet<NodeId>, helper_count: usize },
}

impl Probe {
    fn name(&self) -> (NodeId, Instant) {
        match self {
            Self::Asked { target, asked } | Self::Helped { target, asked, .. } => (*target, *asked),
        }
    }
}

/// A ping for someone else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Helping {
    target: NodeId,
    /// The name that the asker gave the probe.
    asked: Instant,
    /// The name that we gave ours.
    pinged: Instant,
}

impl Member {
    pub(super) fn set_round(&self, cx: &mut Context<'_, Self>) {
        let round = self.patiently(self.options.round);
        cx.set(Timer::Round, round..round + round / 8);
    }

    pub(super) fn round(&mut self, cx: &mut Context<'_, Self>) {
        self.mind_leaving(cx);
        if self.judge(cx)
            && let Some(target) = self.next_target(cx)
        {
            self.probe = Some(Probe::Asked { target, asked: cx.now });
            self.ping(target, cx.now, cx);
            let reply_after = self.patiently(self.options.reply_after);
            cx.set(Timer::Reply, reply_after..reply_after);
        }
        self.set_round(cx);
    }

    pub(super) fn ping(&mut self, target: NodeId, asked: Instant, cx: &mut Context<'_, Self>) {
        let news = self.news_for(target);
        cx.send(Self::pid(target, cx), Message::Ping { asked, news });
    }

    /// A probe that is still there when its round is over failed. False if it is given another round instead.
    fn judge(&mut self, cx: &mut Context<'_, Self>) -> bool {
        match self.probe.take() {
            None => {}
            Some(Probe::Asked { target, asked }) => {
                // The round is over and no help was asked for, so it is us who slept.
                self.hears_badly(1);
                self.probe = Some(Probe::Asked { target, asked });
                self.ask_for_help(cx);
                return false;
            }
            Some(Probe::Helped { target, helped, silent, helper_count, .. }) => {
                let slept = cx.now - helped > self.patiently(self.options.round + self.options.round / 8);
                // Helpers that could not reach the target either say so, and then it is not our hearing. Those who say
                // nothing at all are the sign that it is.
                self.hears_badly(if helper_count > 0 { silent.len() as u32 } else { 1 });
                if !slept {
                    self.suspect(target, cx);
                }
            }
        }
        true
    }

    /// One of those who were not asked since all were; nobody when there is nobody else.
    fn next_target(&mut self, cx: &mut Context<'_, Self>) -> Option<NodeId> {
        loop {
            if self.unprobed.is_empty() {
                let others = self.roster.iter().filter(|fact| fact.is_up() && fact.node != self.me);
                self.unprobed = others.map(|fact| fact.node).collect();
            }
            if self.unprobed.is_empty() {
                return None;
            }
            let target = *cx.choose(&self.unprobed);
            self.unprobed.retain(|node| *node != target);
            // Who fell since the list was made is not asked. Whoever is on a new list is up, so this ends.
            if self.roster.get(target).is_some_and(|fact| fact.is_up()) {
                return Some(target);
            }
        }
    }

    pub(super) fn pinged(&mut self, from: Pid, asked: Instant, news: &News, cx: &mut Context<'_, Self>) {
        self.learn_all(news, Source::Rumour, cx);
        self.acknowledge(from, self.me, asked, cx);
        if self.roster.get(from.node).is_none() {
            self.compare_with(from.node, cx); // a stranger: it learns who we are, and we who it is
        }
    }

    fn acknowledge(&mut self, to: Pid, target: NodeId, asked: Instant, cx: &mut Context<'_, Self>) {
        let news = self.news_for(to.node);
        cx.send(to, Message::Ack { target, asked, news });
    }

    pub(super) fn acknowledged(
        &mut self,
        from: Pid,
        target: NodeId,
        asked: Instant,
        news: &News,
        cx: &mut Context<'_, Self>,
    ) {
        self.learn_all(news, Source::Rumour, cx);
        if self.probe.as_ref().is_some_and(|probe| probe.name() == (target, asked)) {
            self.probe = None;
            self.health.better();
            cx.stop(Timer::Reply);
        }
        if from.node == target {
            self.pass_on(target, asked, cx);
        }
    }

    /// Tells those for whom we pinged `target` that it is there.
    fn pass_on(&mut self, target: NodeId, pinged: Instant, cx: &mut Context<'_, Self>) {
        let reached = self.helping.iter().filter(|(_, help)| help.target == target && help.pinged == pinged);
        let askers: Vec<_> = reached.map(|(asker, help)| (*asker, help.asked)).collect();
        for (asker, asked) in askers {
            self.helping.remove(&asker);
            cx.stop(Timer::Help(asker));
            self.acknowledge(Self::pid(asker, cx), target, asked, cx);
        }
    }

    pub(super) fn ask_for_help(&mut self, cx: &mut Context<'_, Self>) {
        let Some(Probe::Asked { target, asked }) = self.probe else { return }; // it answered, or the round is over
        let mut silent = BTreeSet::new();
        if !self.breaks(Mutant::AsksNoHelp) {
            let others =
                self.roster.iter().filter(|fact| fact.is_alive() && fact.node != self.me && fact.node != target);
            let mut others: Vec<_> = others.map(|fact| fact.node).collect();
            while silent.len() < self.options.helpers_len && !others.is_empty() {
                let helper = *cx.choose(&others);
                others.retain(|node| *node != helper);
                silent.insert(helper);
            }
        }
        // Once more ourselves: most often it was one datagram that was lost.
        self.ping(target, asked, cx);
        for &helper in &silent {
            let news = self.news_for(helper);
            cx.send(Self::pid(helper, cx), Message::Help { target, asked, news });
        }
        self.probe = Some(Probe::Helped { target, asked, helped: cx.now, helper_count: silent.len(), silent });
    }

    pub(super) fn asked_to_help(
        &mut self,
        from: Pid,
        target: NodeId,
        asked: Instant,
        news: &News,
        cx: &mut Context<'_, Self>,
    ) {
        self.learn_all(news, Source::Rumour, cx);
        if target == self.me {
            return self.acknowledge(from, target, asked, cx);
        }
        if self.helping.len() >= self.options.helping_len_max && !self.helping.contains_key(&from.node) {
            return; // silence tells the asker nothing that is not so
        }
        self.helping.insert(from.node, Helping { target, asked, pinged: cx.now });
        // Half of what the asker waits for, so that it hears from us before its round is over.
        let wait = self.options.reply_after / 2;
        cx.set(Timer::Help(from.node), wait..wait);
        self.ping(target, cx.now, cx);
    }

    pub(super) fn give_up_helping(&mut self, asker: NodeId, cx: &mut Context<'_, Self>) {
        if let Some(help) = self.helping.remove(&asker) {
            cx.send(Self::pid(asker, cx), Message::Nack { target: help.target, asked: help.asked });
        }
    }

    pub(super) fn not_acknowledged(&mut self, from: Pid, target: NodeId, asked: Instant) {
        if let Some(probe) = &mut self.probe
            && probe.name() == (target, asked)
            && let Probe::Helped { silent, .. } = probe
        {
            silent.remove(&from.node);
        }
    }
}
