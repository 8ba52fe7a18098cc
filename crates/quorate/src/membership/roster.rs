//! The roster: who is there and how they stand, as far as this node knows, and what changed in it.

use std::collections::VecDeque;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use quorate_model::{Instant, NodeId};
use quorate_protocols::gossip::{self, Fact, Incarnation, Profile};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// How a node stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It is there.
    Alive,
    /// It did not answer, and has time to say that it is there.
    Suspected,
    /// It did not answer for long.
    Dead,
    /// It said that it leaves.
    Left,
    /// It is configured, and nothing was heard of it, or not for very long.
    Unknown,
}

impl Standing {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Alive, Self::Suspected, Self::Dead, Self::Left, Self::Unknown];

    /// Its name, in metrics and for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspected => "suspected",
            Self::Dead => "dead",
            Self::Left => "left",
            Self::Unknown => "unknown",
        }
    }
}

impl From<&gossip::Standing> for Standing {
    fn from(standing: &gossip::Standing) -> Self {
        match standing {
            gossip::Standing::Alive(_) => Self::Alive,
            gossip::Standing::Suspected { .. } => Self::Suspected,
            gossip::Standing::Dead => Self::Dead,
            gossip::Standing::Left => Self::Left,
        }
    }
}

/// What is known of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// How it stands.
    pub standing: Standing,
    /// As of which incarnation.
    pub incarnation: Incarnation,
    /// What it said of itself last; nothing if it never did.
    pub profile: Option<Arc<Profile>>,
    /// When this node heard the last news of it: a reading of this node's clock.
    pub news_at: Instant,
}

/// All nodes by their numbers: those that are configured, and those that were heard of. A copy costs nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Roster(OrdMap<NodeId, Known>);

impl Roster {
    /// A roster of nodes of which nothing was heard.
    pub(super) fn of(configured: impl IntoIterator<Item = NodeId>, now: Instant) -> Self {
        Self(configured.into_iter().map(|node| (node, unknown(now))).collect())
    }

    /// What is known of `node`.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Known> {
        self.0.get(&node)
    }

    /// All nodes, by their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Known)> {
        self.0.iter().map(|(node, known)| (*node, known))
    }

    /// How many stand like this.
    #[must_use]
    pub fn count(&self, standing: Standing) -> usize {
        self.0.values().filter(|known| known.standing == standing).count()
    }

    pub(super) fn learn(&mut self, fact: &Fact, now: Instant) {
        let before = self.0.get(&fact.node).and_then(|known| known.profile.clone());
        let profile = fact.profile().cloned().or(before);
        let standing = Standing::from(&fact.standing);
        self.0.insert(fact.node, Known { standing, incarnation: fact.incarnation, profile, news_at: now });
    }

    pub(super) fn forget(&mut self, node: NodeId, is_configured: bool, now: Instant) {
        if is_configured {
            self.0.insert(node, unknown(now));
        } else {
            self.0.remove(&node);
        }
    }
}

fn unknown(now: Instant) -> Known {
    Known { standing: Standing::Unknown, incarnation: Incarnation::default(), profile: None, news_at: now }
}

/// A node stands another way now, or as before in a later life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Which node.
    pub node: NodeId,
    /// How it stands now.
    pub standing: Standing,
    /// As of which incarnation.
    pub incarnation: Incarnation,
}

/// Follows the changes of a roster, from all nodes that are known at first. Who looks seldom sees the last of several changes of
/// a node: nothing is queued for whoever does not look.
pub struct Changes {
    roster: watch::Receiver<Roster>,
    seen: Roster,
    found: VecDeque<Change>,
}

impl Changes {
    pub(super) fn of(roster: watch::Receiver<Roster>) -> Self {
        let mut changes = Self { roster, seen: Roster::default(), found: VecDeque::new() };
        changes.look();
        changes
    }

    /// Waits for the next change; nothing once membership has ended.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            if let Some(change) = self.found.pop_front() {
                return Some(change);
            }
            self.roster.changed().await.ok()?;
            self.look();
        }
    }

    fn look(&mut self) {
        let now = self.roster.borrow_and_update().clone();
        for item in self.seen.0.diff(&now.0) {
            let (node, known) = match item {
                DiffItem::Add(node, known) => (*node, known),
                DiffItem::Update { old: (_, old), new: (node, new) } if is_change(old, new) => (*node, new),
                DiffItem::Update { .. } => continue, // it said something of itself, or refuted what nobody saw
                DiffItem::Remove(..) => continue,    // it is as dead or gone as it was
            };
            self.found.push_back(Change { node, standing: known.standing, incarnation: known.incarnation });
        }
        self.seen = now;
    }
}

fn is_change(old: &Known, new: &Known) -> bool {
    (old.standing, old.incarnation.life) != (new.standing, new.incarnation.life)
}

#[cfg(test)]
mod tests {
    use quorate_protocols::gossip::Addresses;

    use super::*;

    fn fact(node: u32, life: u64, count: u64, standing: gossip::Standing) -> Fact {
        Fact { node: NodeId(node), incarnation: Incarnation { life, count }, standing }
    }

    fn alive() -> gossip::Standing {
        gossip::Standing::Alive(Arc::new(Profile::at(Addresses::all(([10, 0, 0, 1], 1).into()))))
    }

    fn found(changes: &mut Changes) -> Vec<(u32, Standing, u64)> {
        changes.look();
        changes.found.drain(..).map(|change| (change.node.0, change.standing, change.incarnation.life)).collect()
    }

    #[test]
    fn each_change_of_standing_or_life_is_followed_and_nothing_else() {
        let (sender, receiver) = watch::channel(Roster::of([NodeId(1), NodeId(2)], Instant(0)));
        let mut changes = Changes::of(receiver);
        assert_eq!(found(&mut changes), [(1, Standing::Unknown, 0), (2, Standing::Unknown, 0)]);
        let learn = |fact: Fact| sender.send_modify(|roster| roster.learn(&fact, Instant(1)));
        learn(fact(1, 1, 0, alive()));
        learn(fact(3, 1, 0, alive()));
        assert_eq!(found(&mut changes), [(1, Standing::Alive, 1), (3, Standing::Alive, 1)]);
        learn(fact(1, 1, 1, alive()));
        assert_eq!(found(&mut changes), [], "it only said something of itself");
        learn(fact(1, 1, 1, gossip::Standing::Dead));
        learn(fact(1, 2, 0, alive()));
        assert_eq!(found(&mut changes), [(1, Standing::Alive, 2)], "the last of several");
        learn(fact(3, 1, 1, gossip::Standing::Left));
        assert_eq!(found(&mut changes), [(3, Standing::Left, 1)]);
    }

    #[test]
    fn whoever_fell_is_remembered_with_what_it_said_until_it_is_forgotten() {
        let mut roster = Roster::of([NodeId(1)], Instant(0));
        for node in [1, 2] {
            roster.learn(&fact(node, 1, 0, alive()), Instant(1));
            roster.learn(&fact(node, 1, 0, gossip::Standing::Dead), Instant(2));
            assert!(roster.get(NodeId(node)).is_some_and(|known| known.profile.is_some()));
        }
        assert_eq!(roster.count(Standing::Dead), 2);
        roster.forget(NodeId(1), true, Instant(3));
        roster.forget(NodeId(2), false, Instant(3));
        assert_eq!(roster.get(NodeId(1)).map(|known| known.standing), Some(Standing::Unknown));
        assert_eq!(roster.iter().count(), 1);
    }
}
