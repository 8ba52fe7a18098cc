//! The lessor: the time of leases, as the head keeps it by its own clock, in step with the log.
//!
//! A head that starts anew knows which leases there are only when it has applied again all that it found in its log;
//! until then it says nothing of any lease, and then each has its full term. A head that stood still for long does the
//! same: its clients could not reach it. A refused grant changes nothing, and each lease has one order to end at a time.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_machines::kv::{Command, Expiry, LeaseId};
use quorate_model::Instant;
use quorate_protocols::chain::Node;

use super::{Kv, LeaseTime};

/// How many leases are looked at in one tick.
const EXPIRY_LOOKS_MAX: usize = 2_000;
/// A head that did not look for so long stood still.
const STILL_MAX: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lessor {
    /// Nothing while this node is not the head, or does not know the leases yet.
    expiry: Option<Expiry>,
    /// The log was read for grants and revokes up to here.
    seen: u64,
    /// An order to end them is under way.
    ending: BTreeSet<LeaseId>,
    looked: Option<Instant>,
}

impl Lessor {
    /// Reads what the head applied since it last looked.
    pub fn mind(&mut self, node: &Node<Kv>, now: Instant) {
        let status = node.status();
        if !status.joined || status.committed < status.floor {
            return;
        }
        let view = node.machine().view();
        let Some(expiry) = &mut self.expiry else {
            self.expiry = Some(Expiry::began(view.leases(), now));
            self.seen = status.committed;
            return;
        };
        for (index, entry) in node.applied_after(self.seen) {
            self.seen = index;
            match entry.command {
                Command::LeaseGrant { id, .. } if expiry.granted_s(id).is_none() => {
                    if let Some(term_s) = view.lease(id) {
                        expiry.granted(id, term_s, now);
                    }
                }
                Command::LeaseRevoke(id) => expiry.revoked(id),
                _ => {}
            }
        }
    }

    /// Renews a lease and says its term; the inner `None` when there is no such lease, the outer when that is not known.
    pub fn renew(&mut self, lease: LeaseId, node: &Node<Kv>, now: Instant) -> Option<Option<i64>> {
        let renewed = self.expiry.as_mut()?.renewed(lease, now);
        (renewed.is_some() || !is_on_its_way(lease, node)).then_some(renewed)
    }

    /// The time of a lease; the inner `None` when there is no such lease, the outer when that is not known.
    pub fn time(&self, lease: LeaseId, node: &Node<Kv>, now: Instant) -> Option<Option<LeaseTime>> {
        let expiry = self.expiry.as_ref()?;
        let time = expiry.granted_s(lease).zip(expiry.remaining(lease, now)).map(|(granted_s, remaining)| LeaseTime {
            granted_s,
            remaining_s: i64::try_from(remaining.as_secs()).unwrap_or(i64::MAX),
        });
        (time.is_some() || !is_on_its_way(lease, node)).then_some(time)
    }

    /// The leases whose term is over and that no order to end is under way for.
    pub fn due(&mut self, now: Instant) -> Vec<LeaseId> {
        if self.looked.replace(now).is_some_and(|looked| now - looked > STILL_MAX) {
            self.expiry = None; // nobody could renew: all have their full term again
        }
        let Some(expiry) = &mut self.expiry else { return Vec::new() };
        let due = expiry.due(now, EXPIRY_LOOKS_MAX);
        due.into_iter().filter(|lease| self.ending.insert(*lease)).collect()
    }

    /// The order to end a lease was carried out or refused.
    pub fn ended(&mut self, lease: LeaseId) {
        self.ending.remove(&lease);
    }
}

/// Whether a grant of the lease is in the log and not applied yet: whoever asks may have its answer from a node that is
/// further along.
fn is_on_its_way(lease: LeaseId, node: &Node<Kv>) -> bool {
    let applied = node.status().committed;
    node.entries()
        .any(|(index, entry)| index > applied && matches!(entry.command, Command::LeaseGrant { id, .. } if id == lease))
}
