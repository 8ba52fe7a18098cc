//! The reference: a store so naive that it can be judged by reading it. It keeps every revision as a whole map.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use bytes::Bytes;

use super::super::*;

type State = BTreeMap<Bytes, KeyValue>;

#[derive(Clone, Debug)]
pub(super) struct Reference {
    /// The state at each revision; index 0 is revision 1.
    pub states: Vec<State>,
    /// What each revision changed.
    pub events: Vec<Vec<Event>>,
    pub compacted: Option<u64>,
    pub leases: BTreeMap<i64, i64>,
    pub alarms: BTreeSet<Alarm>,
}

impl Reference {
    pub fn new() -> Self {
        Self {
            states: alloc::vec![State::new()],
            events: alloc::vec![Vec::new()],
            compacted: None,
            leases: BTreeMap::new(),
            alarms: BTreeSet::new(),
        }
    }

    pub fn revision(&self) -> u64 {
        self.states.len() as u64
    }

    pub fn now(&self) -> &State {
        self.states.last().expect("there is always a state")
    }

    fn alarmed(&self, kind: AlarmKind) -> bool {
        self.alarms.iter().any(|alarm| alarm.kind == kind)
    }

    pub fn apply(&mut self, command: &Command) -> Answer {
        let mut state = self.now().clone();
        let mut events = Vec::new();
        let outcome = self.outcome(command, &mut state, &mut events);
        if outcome.is_ok() && !events.is_empty() {
            self.states.push(state);
            self.events.push(events);
        }
        Answer { revision: Revision(self.revision()), outcome }
    }

    fn outcome(&mut self, command: &Command, state: &mut State, events: &mut Vec<Event>) -> Result<Done, Refused> {
        check::command(command, usize::MAX)?;
        let is_alarm = matches!(command, Command::AlarmRaise(_) | Command::AlarmLower(_));
        if self.alarmed(AlarmKind::Corrupt) && !is_alarm {
            return Err(Refused::Corrupt);
        }
        let grows = match command {
            Command::Put(_) | Command::LeaseGrant { .. } => true,
            Command::Txn(txn) => may_put(txn),
            _ => false,
        };
        if self.alarmed(AlarmKind::NoSpace) && grows {
            return Err(Refused::NoSpace);
        }
        match command {
            Command::Put(put) => {
                self.allow(put)?;
                Ok(Done::Put(self.put(put, state, events)))
            }
            Command::Delete(delete) => {
                let (count, kvs) = self.delete(delete, state, events);
                Ok(Done::Delete(count, kvs))
            }
            Command::Txn(txn) => {
                self.allow_txn(txn)?;
                Ok(Done::Txn(self.txn(txn, state, events)))
            }
            Command::Compact(revision) => {
                if self.compacted.is_some_and(|compacted| revision.0 <= compacted) {
                    return Err(Refused::Compacted);
                }
                if revision.0 > self.revision() {
                    return Err(Refused::FutureRevision);
                }
                self.compacted = Some(revision.0);
                Ok(Done::Compacted)
            }
            Command::LeaseGrant { id, ttl_s } => {
                if self.leases.contains_key(&id.0) {
                    return Err(Refused::LeaseExists);
                }
                self.leases.insert(id.0, *ttl_s);
                Ok(Done::LeaseGranted(*ttl_s))
            }
            Command::LeaseRevoke(id) => {
                self.leases.remove(&id.0).ok_or(Refused::LeaseNotFound)?;
                for key in self.lease_keys(id.0) {
                    self.delete(&Delete { span: Span::Key(key), prev_kv: false }, state, events);
                }
                Ok(Done::LeaseRevoked)
            }
            Command::AlarmRaise(alarm) => {
                self.alarms.insert(*alarm);
                Ok(Done::Alarms(alloc::vec![*alarm]))
            }
            Command::AlarmLower(alarm) => {
                let lowered = self.alarms.remove(alarm);
                Ok(Done::Alarms(if lowered { alloc::vec![*alarm] } else { Vec::new() }))
            }
        }
    }

    pub fn lease_keys(&self, id: i64) -> Vec<Bytes> {
        self.now().values().filter(|kv| kv.lease.0 == id).map(|kv| kv.key.clone()).collect()
    }

    fn allow(&self, put: &Put) -> Result<(), Refused> {
        if (put.ignore_lease || put.ignore_value) && !self.now().contains_key(&put.key) {
            return Err(Refused::KeyNotFound);
        }
        if put.lease.0 != 0 && !self.leases.contains_key(&put.lease.0) {
            return Err(Refused::LeaseNotFound);
        }
        Ok(())
    }

    fn readable(&self, revision: u64) -> Result<(), Refused> {
        if revision > self.revision() {
            return Err(Refused::FutureRevision);
        }
        if revision > 0 && self.compacted.is_some_and(|compacted| revision < compacted) {
            return Err(Refused::Compacted);
        }
        Ok(())
    }

    fn branch<'t>(&self, txn: &'t Txn) -> (bool, &'t [Op]) {
        let holds = txn.compare.iter().all(|compare| {
            let mut met = self.now().values().filter(|kv| compare.span.contains(&kv.key)).peekable();
            if met.peek().is_none() {
                let absent = KeyValue::default();
                return !matches!(compare.operand, Operand::Value(_)) && holds(compare, &absent);
            }
            met.all(|kv| holds(compare, kv))
        });
        (holds, if holds { &txn.success } else { &txn.failure })
    }

    fn allow_txn(&self, txn: &Txn) -> Result<(), Refused> {
        self.branch(txn).1.iter().try_for_each(|op| match op {
            Op::Range(range) => self.readable(range.revision.0),
            Op::Put(put) => self.allow(put),
            Op::Delete(_) => Ok(()),
            Op::Txn(txn) => self.allow_txn(txn),
        })
    }

    fn txn(&self, txn: &Txn, state: &mut State, events: &mut Vec<Event>) -> TxnDone {
        let (succeeded, ops) = self.branch(txn);
        let mut answers = Vec::new();
        for op in ops {
            answers.push(match op {
                Op::Range(range) if range.revision.0 == 0 => OpDone::Range(find(state, range)),
                Op::Range(range) => OpDone::Range(find(&self.states[range.revision.0 as usize - 1], range)),
                Op::Put(put) => OpDone::Put(self.put(put, state, events)),
                Op::Delete(delete) => {
                    let (count, kvs) = self.delete(delete, state, events);
                    OpDone::Delete(count, kvs)
                }
                Op::Txn(txn) => OpDone::Txn(self.txn(txn, state, events)),
            });
        }
        TxnDone { succeeded, answers }
    }

    fn put(&self, put: &Put, state: &mut State, events: &mut Vec<Event>) -> Option<KeyValue> {
        let revision = Revision(self.revision() + 1);
        let old = state.get(&put.key).cloned();
        let kv = KeyValue {
            key: put.key.clone(),
            create_revision: old.as_ref().map_or(revision, |old| old.create_revision),
            mod_revision: revision,
            version: old.as_ref().map_or(1, |old| old.version + 1),
            value: match &old {
                Some(old) if put.ignore_value => old.value.clone(),
                _ => put.value.clone(),
            },
            lease: match &old {
                Some(old) if put.ignore_lease => old.lease,
                _ => put.lease,
            },
        };
        state.insert(put.key.clone(), kv.clone());
        events.push(Event { kind: EventKind::Put, kv, prev_kv: old.clone() });
        old.filter(|_| put.prev_kv)
    }

    fn delete(&self, delete: &Delete, state: &mut State, events: &mut Vec<Event>) -> (u64, Vec<KeyValue>) {
        let gone: Vec<KeyValue> = state.values().filter(|kv| delete.span.contains(&kv.key)).cloned().collect();
        for old in &gone {
            state.remove(&old.key);
            let kv =
                KeyValue { key: old.key.clone(), mod_revision: Revision(self.revision() + 1), ..KeyValue::default() };
            events.push(Event { kind: EventKind::Delete, kv, prev_kv: Some(old.clone()) });
        }
        (gone.len() as u64, if delete.prev_kv { gone } else { Vec::new() })
    }

    pub fn range(&self, range: &Range) -> Result<Found, Refused> {
        self.readable(range.revision.0)?;
        let revision = if range.revision.0 == 0 { self.revision() } else { range.revision.0 };
        Ok(find(&self.states[revision as usize - 1], range))
    }

    /// The changes from a revision on that is not compacted, each event with what was there before, if that is readable.
    pub fn changes(&self, from: u64) -> Result<Vec<Change>, Refused> {
        let compacted = self.compacted.unwrap_or(0);
        let from = if from == 0 { compacted } else { from };
        if from < compacted {
            return Err(Refused::Compacted);
        }
        let mut changes = Vec::new();
        for revision in from.max(2)..=self.revision() {
            let mut events = self.events[revision as usize - 1].clone();
            if self.compacted.is_some_and(|compacted| revision <= compacted) {
                events.iter_mut().for_each(|event| event.prev_kv = None);
            }
            changes.push(Change { revision: Revision(revision), events });
        }
        Ok(changes)
    }
}

fn may_put(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Put(_) => true,
        Op::Txn(txn) => may_put(txn),
        _ => false,
    })
}

fn holds(compare: &Compare, kv: &KeyValue) -> bool {
    let order = match &compare.operand {
        Operand::Version(operand) => (kv.version as i64).cmp(operand),
        Operand::Create(operand) => (kv.create_revision.0 as i64).cmp(operand),
        Operand::Mod(operand) => (kv.mod_revision.0 as i64).cmp(operand),
        Operand::Lease(operand) => kv.lease.0.cmp(operand),
        Operand::Value(operand) => kv.value.cmp(operand),
    };
    match compare.result {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => !order.is_eq(),
        Comparison::Greater => order.is_gt(),
        Comparison::Less => order.is_lt(),
    }
}

fn find(state: &State, range: &Range) -> Found {
    let all: Vec<KeyValue> = state.values().filter(|kv| range.span.contains(&kv.key)).cloned().collect();
    let count = all.len() as u64;
    if range.count_only {
        return Found { kvs: Vec::new(), more: false, count };
    }
    let mut kvs = all;
    kvs.retain(|kv| range.min_mod_revision.0 == 0 || kv.mod_revision >= range.min_mod_revision);
    kvs.retain(|kv| range.max_mod_revision.0 == 0 || kv.mod_revision <= range.max_mod_revision);
    kvs.retain(|kv| range.min_create_revision.0 == 0 || kv.create_revision >= range.min_create_revision);
    kvs.retain(|kv| range.max_create_revision.0 == 0 || kv.create_revision <= range.max_create_revision);
    kvs.sort_by(|a, b| {
        let order = match range.sort_target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        };
        if range.sort_order == SortOrder::Descend { order.reverse() } else { order }
    });
    let more = range.limit > 0 && kvs.len() as u64 > range.limit;
    if more {
        kvs.truncate(range.limit as usize);
    }
    if range.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    Found { kvs, more, count }
}
