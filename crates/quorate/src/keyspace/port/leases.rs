//! Leases of users: their time is kept by the head alone, so other ports ask it by notes. A head that may have been put out keeps no
//! time: another may be the head, and count anew.

use tokio::sync::oneshot;

use quorate_machines::kv::LeaseId;
use quorate_model::Pid;
use quorate_runtime::host::PortContext;

use super::super::note::{Note, NoteBody};
use super::super::{LeaseTime, Refusal};
use super::{ChainPort, NodeRole, NoteAsker, Waiting};

impl ChainPort {
    /// Whether this node is the head for sure, so that it may keep the time of leases: its own lease lives.
    pub(super) fn keeps_time(&self, cx: &PortContext<'_, NodeRole>) -> bool {
        self.is_head(cx) && !self.member(cx).right_left(cx.now).is_zero()
    }

    /// Another port's question, or its answer to ours. What is not known here is not answered: it will be asked again.
    pub(super) fn noted(&mut self, from: Pid, note: Note, cx: &mut PortContext<'_, NodeRole>) {
        let now = cx.now;
        let is_question = matches!(note.body, NoteBody::KeepAlive(_) | NoteBody::Remaining(_));
        if is_question && !self.keeps_time(cx) {
            return;
        }
        match note.body {
            NoteBody::KeepAlive(lease) => {
                let node = self.member(cx);
                let Some(term) = self.lessor.renew(lease, node, now) else { return };
                self.send_note(Note { id: note.id, body: NoteBody::KeptAlive(term) }, from.node, cx);
            }
            NoteBody::Remaining(lease) => {
                let Some(time) = self.lessor.time(lease, self.member(cx), now) else { return };
                let body = NoteBody::RemainingIs(time.map(|time| (time.granted_s, time.remaining_s)));
                self.send_note(Note { id: note.id, body }, from.node, cx);
            }
            NoteBody::KeptAlive(term) => {
                if let Some(Waiting { asker: NoteAsker::KeepAlive(sender), .. }) = self.notes.remove(&note.id) {
                    let _ = sender.send(Ok(term)); // whoever asked may have gone
                }
            }
            NoteBody::RemainingIs(time) => {
                if let Some(Waiting { asker: NoteAsker::Remaining(sender), .. }) = self.notes.remove(&note.id) {
                    let time = time.map(|(granted_s, remaining_s)| LeaseTime { granted_s, remaining_s });
                    let _ = sender.send(Ok(time)); // as above
                }
            }
        }
    }

    pub(super) fn keep_alive(
        &mut self,
        lease: LeaseId,
        sender: oneshot::Sender<Result<Option<i64>, Refusal>>,
        cx: &mut PortContext<'_, NodeRole>,
    ) {
        if !self.is_head(cx) {
            return self.note(NoteBody::KeepAlive(lease), NoteAsker::KeepAlive(sender), cx);
        }
        if !self.keeps_time(cx) {
            let _ = sender.send(Err(Refusal::Empty)); // as below
            return;
        }
        let node = self.member(cx);
        let _ = sender.send(self.lessor.renew(lease, node, cx.now).ok_or(Refusal::Empty)); // whoever asked may have gone
    }

    pub(super) fn remaining(
        &mut self,
        lease: LeaseId,
        sender: oneshot::Sender<Result<Option<LeaseTime>, Refusal>>,
        cx: &mut PortContext<'_, NodeRole>,
    ) {
        if !self.is_head(cx) {
            return self.note(NoteBody::Remaining(lease), NoteAsker::Remaining(sender), cx);
        }
        if !self.keeps_time(cx) {
            let _ = sender.send(Err(Refusal::Empty)); // as below
            return;
        }
        let time = self.lessor.time(lease, self.member(cx), cx.now);
        let _ = sender.send(time.ok_or(Refusal::Empty)); // whoever asked may have gone
    }
}
