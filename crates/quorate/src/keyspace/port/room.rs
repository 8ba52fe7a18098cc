//! Room: the port tells the member of the chain whether the log has room, and says when writes are refused and why.

use std::time::Duration;

use quorate_model::{Instant, Pid};
use quorate_protocols::chain::NodeStatus;
use quorate_runtime::host::PortContext;

use super::{ChainPort, KvMessage, NodeRole};

/// How long the head may be crowded without anything being committed before new work is refused: some member keeps the
/// chain from going on, and what is taken now would only wait to be called unknown.
const STUCK_AFTER: Duration = Duration::from_secs(1);

impl ChainPort {
    /// Tells the member whether the log has room.
    pub(super) fn mind_room(&mut self, cx: &mut PortContext<'_, NodeRole>) {
        let full = cx.wal().is_full();
        if full == self.full {
            return;
        }
        let told = if full { KvMessage::NoRoom } else { KvMessage::RoomAgain };
        if cx.push(self.outside(), Pid::chain(self.options.me.0, 0), told).is_err() {
            return; // too much waits: the next batch tells it
        }
        self.full = full;
        if full && cx.wal().is_short_of_room() {
            tracing::warn!("the log has no room on its disk: this node takes no new work until the disk has room");
        } else if full {
            tracing::warn!(
                "the log has no room within `log_bytes`: this node takes no new work until a checkpoint of the store has cut \
                 it; should that last, set a larger `log_bytes` and start the node again"
            );
        } else {
            tracing::info!("the log has room again");
        }
    }

    /// Sees since when the head has been crowded without anything being committed.
    pub(super) fn mind_crowd(&mut self, status: NodeStatus, now: Instant) {
        let moved = |(committed, _): (u64, Instant)| committed != status.committed;
        if !status.crowded {
            self.crowded = None;
        } else if self.crowded.is_none_or(moved) {
            self.crowded = Some((status.committed, now));
        }
    }

    /// Says when the head begins to refuse for a member that is behind, and when that is over.
    pub(super) fn say_behind(&mut self, cx: &PortContext<'_, NodeRole>) {
        let behind = !self.full && self.is_stuck(cx);
        if behind == self.said_behind {
            return;
        }
        self.said_behind = behind;
        let successor = self.member(cx).configuration().successor(self.options.me);
        match successor {
            Some(successor) if behind => tracing::warn!(
                "node {} or one after it is behind: this node, the head, refuses writes until it goes on; look for a full \
                 disk, a slow one or a node that is down",
                successor.0
            ),
            _ if behind => tracing::warn!("this node's disk is behind: it refuses writes until it goes on"),
            _ => tracing::info!("nothing is refused for a member that is behind any more"),
        }
    }

    /// Whether a command that is taken now would only wait: there is no room here, or some other member has none.
    pub(super) fn is_stuck(&self, cx: &PortContext<'_, NodeRole>) -> bool {
        self.full || self.crowded.is_some_and(|(_, since)| cx.now - since >= STUCK_AFTER)
    }
}
