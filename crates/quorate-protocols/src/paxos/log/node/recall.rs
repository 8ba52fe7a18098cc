//! A member without memory: it has lost its disk, or was never told that it had nothing to remember.
//!
//! | at      | hears                                   | does                      | tells                        |
//! |---------|-----------------------------------------|---------------------------|------------------------------|
//! | amnesic | Start, alarm; Prepare, Confirm          | nothing that decides      | the others: Recall, a nonce  |
//! | member  | Recall                                  |                           | amnesic: Recalled, its promise and votes, or Snapshot |
//! | amnesic | Recalled with the nonce, from all others | append all of that       | leader: Nudge                |
//! | amnesic | Accept, Chosen                          | append the items, to learn | leader: Held, which is no vote |
//!
//! It promises nothing, votes for nothing, confirms nobody, grants no lease, and leads nobody until then. It learns what is
//! chosen like anyone who is no member.
//!
//! **Why it must hear all others, and more than n - quorum.** What is at stake are the quorums that its earlier lives were part
//! of: what those had promised or voted for must be held by the rest of each of them, or by itself again.
//! 1. To whom it promised a ballot had promised that itself before it asked, on disk. He is one of the others: who is no
//!    member leads nobody (`campaign`). So the highest promise of all others is no lower than any that it gave.
//! 2. What it voted for had been put to the vote by the leader of that ballot, who voted for it himself. He is one of the
//!    others and says so; or he has lost that vote in a crash, but then he leads in that ballot no more, and told nobody that
//!    anything was chosen by it. Nobody else counts votes of that ballot.
//! 3. All of that is so from before the disk was lost, and each answer is from after that: the nonce is of this life alone.
//! 4. Alone it would have heard all of nobody. More than n - quorum is that every quorum that it was part of has somebody
//!    else, who was heard.
//! 5. Those who have no memory do not answer. A change of members that somebody voted for and nobody knows to be chosen must
//!    be decided first: in what those members decided it may have taken part, and not all of them were asked.
//!
//! More than n - quorum alone is what one finds in books, and is all others where n is 3. Where it is fewer it is not enough:
//! one who was asked may promise or vote after he has answered, and whoever counts that may count it together with what an
//! earlier life had said (see `specs/consensus.md` for the history). To refuse that, each message would have to tell of
//! which lives its sender has heard.
//!
//! Source: Liskov and Cowling, "Viewstamped Replication Revisited", 2012, section 4.3 (the nonce); Chandra, Griesemer and
//! Redstone, "Paxos Made Live", 2007, section 5.1 (a replica that lost its disk does not vote); Michael et al., "Recovering
//! Shared Objects Without Stable Storage", DISC 2017 (why a majority of answers is not enough).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use quorate_model::{Context, Machine, NodeId, Pid};

use super::super::super::ballot::Ballot;
use super::super::message::{Message, Record, Vote, Votes};
use super::{Mutant, Node};

/// What others have told a member that has no memory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Recall<C> {
    /// Names this life: no other of the member has it.
    nonce: u64,
    /// It was told that it has nothing to recall.
    is_new: bool,
    heard: BTreeMap<NodeId, (Ballot, Votes<C>)>,
}

impl<C> Recall<C> {
    pub fn new() -> Self {
        Self { nonce: 0, is_new: false, heard: BTreeMap::new() }
    }
}

impl<M: Machine> Node<M> {
    /// Names the life that begins: by `nonce` it knows which answers are to its own questions. It must differ from those of
    /// all lives whose disk was lost; one that is drawn from all numbers does.
    #[must_use]
    pub fn with_nonce(mut self, nonce: u64) -> Self {
        self.recall.nonce = nonce;
        self
    }

    /// Says that it is new: it never was a member, so that it has nothing to recall. That is written down when it starts.
    #[must_use]
    pub fn begun_anew(mut self) -> Self {
        self.recall.is_new = true;
        self
    }

    /// Writes down that it has nothing to recall, if it was told so.
    pub(super) fn mind_beginning(&mut self, cx: &mut Context<'_, Self>) {
        if self.recall.is_new && !self.remembers() {
            self.append(Self::nothing_to_recall(), cx);
        }
    }

    /// What a member that is new has to remember: nothing. Whoever says this of a member must know that it never was one.
    #[must_use]
    pub fn nothing_to_recall() -> Record<M> {
        Record::Recalled { promised: Ballot::default(), votes: Vec::new() }
    }

    /// Whether it remembers all that it promised and voted for.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.acceptor.remembers()
    }

    /// Whether it may take part where it is a member.
    pub(super) fn may_decide(&self) -> bool {
        self.remembers() || self.breaks(Mutant::AnswersBeforeRecall)
    }

    /// Whether it is a member that has to ask the others what it promised and voted for.
    pub(super) fn is_amnesic(&self) -> bool {
        !self.may_decide() && self.replica.members.contains(self.me)
    }

    fn others(&self) -> impl Iterator<Item = NodeId> {
        self.replica.members.nodes().iter().copied().filter(|node| *node != self.me)
    }

    fn question(&self) -> Message<M> {
        Message::Recall { nonce: self.recall.nonce, applied: self.replica.applied }
    }

    /// Asks all who have not answered.
    pub(super) fn ask_to_recall(&mut self, cx: &mut Context<'_, Self>) {
        for node in self.others().filter(|node| !self.recall.heard.contains_key(node)) {
            cx.send(Self::member(node, cx), self.question());
        }
        self.recall_if_told(cx);
    }

    /// Somebody takes us for a member that remembers: he knows more of the members than we do, or we should have asked.
    pub(super) fn asked_of_amnesic(&mut self, from: Pid, ballot: Ballot, cx: &mut Context<'_, Self>) {
        self.seen = self.seen.max(ballot);
        if !self.recall.heard.contains_key(&from.node) {
            cx.send(from, self.question());
        }
    }

    /// A member asks what it may have forgotten.
    pub(super) fn asked_to_recall(&mut self, from: Pid, nonce: u64, applied: u64, cx: &mut Context<'_, Self>) {
        if !self.may_decide() {
            return;
        }
        if applied < self.acceptor.base().max(self.replica.members.since()) {
            return self.send_snapshot(from, Ballot::default(), cx); // it asks again, from there
        }
        let promised = self.acceptor.promised();
        let votes = self.acceptor.after(applied).map(|(slot, vote)| (slot, vote.clone())).collect();
        cx.send(from, Message::Recalled { nonce, promised, votes });
    }

    /// Somebody says what he promised and voted for.
    pub(super) fn told_to_recall(
        &mut self,
        from: NodeId,
        nonce: u64,
        promised: Ballot,
        votes: Votes<M::Command>,
        cx: &mut Context<'_, Self>,
    ) {
        let is_ours = nonce == self.recall.nonce || self.breaks(Mutant::CountsOldAnswers);
        if !self.may_decide() && is_ours {
            self.recall.heard.insert(from, (promised, votes));
            self.recall_if_told(cx);
        }
    }

    /// Takes all that was heard for its own memory, when that is enough.
    pub(super) fn recall_if_told(&mut self, cx: &mut Context<'_, Self>) {
        let members = &self.replica.members;
        let heard = self.others().filter(|node| self.recall.heard.contains_key(node)).count();
        let more_than = members.nodes().len() - members.quorum();
        let has_enough = heard == self.others().count() || self.breaks(Mutant::RecallsFromFew);
        if !self.is_amnesic() || heard <= more_than || !has_enough {
            return;
        }
        let mut promised = Ballot::default();
        let mut highest = BTreeMap::<u64, &Vote<M::Command>>::new();
        for (theirs, votes) in self.others().filter_map(|node| self.recall.heard.get(&node)) {
            promised = promised.max(*theirs);
            for (slot, vote) in votes.iter().filter(|(slot, _)| *slot > self.replica.applied) {
                let known = highest.entry(*slot).or_insert(vote);
                *known = if known.ballot < vote.ballot { vote } else { *known };
            }
        }
        if highest.values().any(|vote| vote.item.changes_members()) {
            // Answers from before it is decided say nothing of what comes after.
            self.recall.heard.clear();
            return;
        }
        let votes = highest.into_iter().map(|(slot, vote)| (slot, vote.clone())).collect();
        self.recall.heard.clear();
        self.append(Record::Recalled { promised, votes }, cx);
        self.seen = self.seen.max(promised);
        self.behind = true;
        self.nudge(cx);
    }
}
