//! An observed member: a log that is led without anybody asking, and somebody beside it who acts by the leader's right.
//!
//! | at       | hears                                      | does                | tells             |
//! |----------|--------------------------------------------|---------------------|-------------------|
//! | follower | no leader and no candidate for its patience | tries to lead      | members: Prepare  |
//! | leader   | alarm, every third of the term             | opens a round       | members: Confirm  |
//! | leader   | Confirmed, quorum                          |                     | observer: Leads   |
//! | member   | anything that ends its leading             |                     | observer: Follows |
//!
//! No disk turns for this: a round asks who was promised what, and nothing more.
//!
//! **What the observer may rely on.** `Leads` has a moment on the clock of this node, and until then nobody else leads, even
//! if `Leads` arrives late and `Follows` never:
//! 1. A quorum has granted the lease, counted from after it was asked, and longer by what clocks may differ. The moment is
//!    counted from before it asked ([`super::super::lease`]).
//! 2. A change of members ends the grants: those who gave them decide nothing any more. So whoever leads next says `Leads`
//!    only when a whole lease has passed since it learned of the change, for the last round under the old members began
//!    before the change was chosen. Whoever starts anew waits as long before it promises anything.
//!
//! Source: notes "ALF Locks"; Gray and Cheriton, "Leases", SOSP 1989.

use core::time::Duration;

use quorate_model::time::Punctuality;
use quorate_model::{Context, Instant, Machine, Pid};

use super::super::super::ballot::Ballot;
use super::super::leader::Phase;
use super::super::message::{Message, Timer};
use super::{Node, Waiting};

/// Who is told, and what.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Observer {
    pid: Pid,
    /// Whether we led after the last step.
    leads: bool,
    /// The slot of the last change of members that we noticed, and when that was in this life.
    since: u64,
    changed: Option<Instant>,
    /// The leader that was heard last, and how punctual it is.
    leader: Option<(Ballot, Punctuality)>,
}

impl<M: Machine> Node<M> {
    /// Lets `observer`, a process of this node, hear whether this member leads. All members of a log are observed, or none.
    ///
    /// # Panics
    /// If the log has no leases: without one, nobody can know that he leads.
    #[must_use]
    pub fn observed_by(mut self, observer: Pid) -> Self {
        assert!(self.options.lease.is_some(), "who leads can be told only where leading is a lease");
        self.observer = Some(Observer { pid: observer, leads: false, since: 0, changed: None, leader: None });
        self
    }

    /// What was replayed is no news.
    pub(super) fn observe_start(&mut self) {
        let since = self.replica.members.since();
        if let Some(observer) = &mut self.observer {
            observer.since = since;
        }
    }

    /// Someone leads or is about to: the patience begins anew.
    pub(super) fn wait_anew(&mut self) {
        if self.observer.is_some() && self.waiting == Some(Waiting::Leader) {
            self.waiting = None;
        }
    }

    /// The leader of `ballot` speaks.
    pub(super) fn note_leader(&mut self, ballot: Ballot, now: Instant) {
        let (Some(observer), Some(_)) = (&mut self.observer, self.options.patience_max) else { return };
        match &mut observer.leader {
            Some((known, punctuality)) if *known == ballot => punctuality.hear(now),
            leader => *leader = Some((ballot, Punctuality::first_heard(now))),
        }
    }

    /// How long to wait for a leader.
    pub(super) fn patience(&self) -> Duration {
        let leader = self.observer.as_ref().and_then(|observer| observer.leader);
        match (leader, self.options.patience_max) {
            (Some((_, leader)), Some(max)) => self.options.patience.max(leader.patience().min(max)),
            _ => self.options.patience,
        }
    }

    /// Notes what came of a step.
    pub(super) fn mind_observer(&mut self, cx: &mut Context<'_, Self>) {
        let since = self.replica.members.since();
        let (Some(observer), Some(lease)) = (&mut self.observer, self.options.lease) else { return };
        if observer.since != since {
            observer.since = since;
            observer.changed = Some(cx.now);
        }
        let leads = matches!(self.phase, Phase::Leading(_));
        if observer.leads == leads {
            return;
        }
        observer.leads = leads;
        if leads {
            cx.set(Timer::Confirm, lease.term / 3..lease.term / 3);
            self.ask_round(cx);
        } else {
            cx.stop(Timer::Confirm);
            cx.send(observer.pid, Message::Follows);
        }
    }

    /// It is time to confirm that we lead.
    pub(super) fn confirm_lead(&mut self, cx: &mut Context<'_, Self>) {
        if let Some(lease) = self.options.lease {
            cx.set(Timer::Confirm, lease.term / 3..lease.term / 3);
        }
        self.ask_round(cx);
    }

    fn ask_round(&mut self, cx: &mut Context<'_, Self>) {
        let (Phase::Leading(leading), Some(lease)) = (&self.phase, self.options.lease) else { return };
        let round = &leading.round;
        if round.is_open && cx.now < round.asked + lease.term {
            self.confirm_again(cx);
        } else {
            self.open_round(cx); // a round that is older than the lease would prove nothing
        }
    }

    /// A quorum confirmed that we lead; it was asked after `asked`.
    pub(super) fn tell_leads(&self, asked: Instant, cx: &mut Context<'_, Self>) {
        let (Some(observer), Some(lease)) = (self.observer, self.options.lease) else { return };
        let since = self.replica.members.since();
        let changed = if observer.since == since { observer.changed } else { Some(cx.now) };
        if changed.is_none_or(|changed| cx.now >= changed + lease.bound()) {
            let until = asked + lease.term;
            cx.send_without(self.newer_than(0), observer.pid, Message::Leads { until });
        }
    }
}
