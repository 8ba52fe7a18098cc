//! What goes wrong in a simulated run, and how it is put right.

use std::time::Duration;

use quorate_model::trace::What;
use quorate_model::{Event, Outbox};

use super::super::disk::Disk;
use super::{Happening, World, node_ids};
use crate::cast::View;
use crate::simulate::plan::Fault;
use crate::simulate::{Links, Simulated};

impl<P: Simulated> World<'_, P> {
    pub(super) fn fault(&mut self, index: usize) {
        if self.healed {
            return;
        }
        match &self.plan.faults[index].1 {
            Fault::Crash { node, down, tears } => {
                self.counts.crashes += 1;
                self.crash(*node, *down, *tears);
            }
            Fault::LoseDisk { node, down } => self.lose_disk(*node, *down),
            Fault::SyncFails { node, down } => self.nodes[*node].sync_fails_for = Some(*down),
            Fault::Pause { node, lasts } => {
                self.counts.pauses += 1;
                let pause = index as u64;
                self.nodes[*node].paused = Some(pause);
                self.after(*lasts, Happening::Resume { node: *node, pause });
            }
            Fault::Partition { side, out, back, lasts } => {
                self.counts.partitions += 1;
                self.network.wall(side, *out, *back, true);
                self.after(*lasts, Happening::FaultEnds { index });
            }
            Fault::SlowDisk { node, factor, lasts } => {
                self.counts.slow_disks += 1;
                self.nodes[*node].slow_factor = *factor;
                self.after(*lasts, Happening::FaultEnds { index });
            }
        }
    }

    pub(super) fn fault_ends(&mut self, index: usize) {
        match &self.plan.faults[index].1 {
            _ if self.healed => {} // all walls are down already
            Fault::Partition { side, out, back, .. } => self.network.wall(side, *out, *back, false),
            Fault::SlowDisk { node, .. } => self.nodes[*node].slow_factor = 1,
            // end by events of their own
            Fault::Crash { .. } | Fault::SyncFails { .. } | Fault::Pause { .. } | Fault::LoseDisk { .. } => {}
        }
    }

    fn lose_disk(&mut self, node: usize, down: Duration) {
        let id = node_ids(self.cast)[node];
        if !self.cast.losable.as_ref().is_some_and(|it| (it.may_lose)(&View::new(self), id)) {
            return;
        }
        self.counts.lost_disks += 1;
        self.crash(node, down, false);
        for seat in 0..self.seats.len() {
            if self.seats[seat].node == node {
                let begun = self.cast.begins(seat, self.counts.lost_disks);
                let it = &mut self.seats[seat];
                (it.disk, it.opened, it.durable) = (Disk::default(), begun.clone(), begun);
            }
        }
    }

    pub(super) fn crash(&mut self, node: usize, down: Duration, tears: bool) {
        self.nodes[node].paused = None;
        self.deferred.retain(|(other, _)| *other != node);
        for seat in 0..self.seats.len() {
            if self.seats[seat].node != node || self.seats[seat].live.is_none() {
                continue;
            }
            self.keep(seat);
            let it = &mut self.seats[seat];
            it.live = None;
            it.outbox = Outbox::new();
            it.alarms.clear();
            it.syncing = false;
            it.life += 1;
            let left = it.disk.crash(&mut self.draw, tears);
            self.counts.torn += u64::from(left.torn);
            let pid = it.pid;
            self.note(pid, 11, left.kept as u64, || What::Crash { kept: left.kept });
            for asker in 0..self.askers.len() {
                if self.cast.askers[asker].to == pid
                    && let Some(at) = self.askers[asker].open
                {
                    self.done[at].unknown = true;
                    self.close(asker);
                }
            }
        }
        self.after(down, Happening::Restart { node });
    }

    /// What a process that dies keeps beside its log is what it starts from.
    fn keep(&mut self, seat: usize) {
        let it = &mut self.seats[seat];
        if let (Some(reopen), Some(dead)) = (&self.cast.reopen, &it.live) {
            it.opened = reopen(it.pid, dead, &mut self.draw);
        }
    }

    /// What comes of the log, over what was kept beside it.
    fn recovered(&mut self, seat: usize) -> Option<P> {
        let it = &mut self.seats[seat];
        let mut process = it.opened.clone();
        match it.disk.recover::<P::Record>() {
            Ok(records) => records.into_iter().for_each(|record| process.replay(record)),
            Err(error) => {
                self.failure = Some(format!("a log is read back after a crash ({error})"));
                return None;
            }
        }
        Some(process)
    }

    pub(super) fn restart(&mut self, node: usize) {
        for seat in 0..self.seats.len() {
            if self.seats[seat].node != node || self.seats[seat].live.is_some() {
                continue;
            }
            let Some(mut process) = self.recovered(seat) else { return };
            // Sometimes from a snapshot, as after a compaction.
            if self.draw.per_mille(300) {
                self.seats[seat].disk.compact(process.compact());
                self.seats[seat].live = Some(process);
                self.keep(seat);
                let Some(compacted) = self.recovered(seat) else { return };
                process = compacted;
            }
            let it = &mut self.seats[seat];
            it.durable = process.clone();
            it.live = Some(process);
            let pid = it.pid;
            self.note(pid, 12, 0, || What::Start);
            self.step(seat, Event::Start);
        }
    }

    pub(super) fn resume(&mut self, node: usize) {
        self.nodes[node].paused = None;
        let (mine, others) = std::mem::take(&mut self.deferred).into_iter().partition(|(other, _)| *other == node);
        self.deferred = others;
        let mine: Vec<_> = mine;
        for (_, happening) in mine {
            self.at(self.now, happening);
        }
    }

    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.network.heal();
        self.links = Links::good();
        for node in 0..self.nodes.len() {
            self.nodes[node].slow_factor = 1;
            self.nodes[node].sync_fails_for = None;
            if self.nodes[node].paused.is_some() {
                self.resume(node);
            }
            self.restart(node);
        }
    }
}
