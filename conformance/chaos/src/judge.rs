//! Whether a correct store could have answered so.
//!
//! The watchers make this exact. They hear every revision, and a value names the operation that wrote it; so of each request
//! whose outcome its client does not know, the events tell whether it took effect, and by when. That they heard everything is
//! itself checked: revisions have no gaps, and the stores at the end hold what the events add up to.
//!
//! Two judges then look at the order. One trusts the revisions in the answers and checks all of them; the other one trusts
//! nothing but the times, and searches for an order of each group's operations.

use std::collections::{BTreeMap, BTreeSet};

use quorate_check::linearizable::witness::{self, WitnessError, Witnessed};
use quorate_check::linearizable::{Condition, Store, StoreOp, StoreRet, Timed, Verdict as Order, Write, check_within};

use crate::history::{Ask, Event, Final, History, Key, Operation, SLOTS, Told, Value};

/// What is checked.
pub const CHECKS: [&str; 9] = [
    "every answer and event is well formed",
    "each watcher heard each revision once, in order",
    "all watchers heard the same",
    "each change is one operation's, as it asked, once",
    "nothing acknowledged is lost",
    "nothing refused took effect",
    "all nodes hold what was heard",
    "revisions are a linear order that explains all answers",
    "such an order exists without trusting revisions",
];

/// States that the search may look at for one group.
const STATES_MAX: usize = 50_000_000;
/// Accusations of one kind that are printed.
const PRINTED_MAX: usize = 5;

/// What the judge says.
#[derive(Debug)]
pub struct Verdict {
    /// What is wrong; nothing when all is well.
    pub accusations: Vec<String>,
    /// What was looked at.
    pub summary: String,
    failed: BTreeSet<usize>,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.failed.is_empty()
    }

    /// Each of [`CHECKS`], and whether it passed.
    pub fn checks(&self) -> impl Iterator<Item = (&'static str, bool)> {
        CHECKS.iter().enumerate().map(|(number, check)| (*check, !self.failed.contains(&number)))
    }
}

/// Collects accusations, few of each kind.
#[derive(Default)]
struct Case {
    accusations: Vec<String>,
    counts: BTreeMap<usize, usize>,
}

impl Case {
    fn accuse(&mut self, check: usize, what: String) {
        let count = self.counts.entry(check).or_default();
        *count += 1;
        if *count <= PRINTED_MAX {
            self.accusations.push(format!("{}: {what}", CHECKS[check]));
        }
    }
}

/// Judges a history that began after revision `base` on an empty store that nobody else wrote to.
pub fn judge(history: &History, finals: &[Final], base: i64) -> Verdict {
    let mut case = Case::default();
    for what in &history.malformed {
        case.accuse(0, what.clone());
    }
    let last = finals.iter().map(|state| state.revision).max().unwrap_or(base);
    for (number, events) in history.watchers.iter().enumerate() {
        heard_in_order(&mut case, number, events, base, last);
    }
    let events = heard_by_all(&mut case, &history.watchers);
    let effects = effects(&mut case, &history.operations, &events);
    acknowledged(&mut case, &history.operations, &effects);
    held_at_the_end(&mut case, finals, &events);
    in_order_of_revisions(&mut case, &history.operations, &effects, base);
    in_some_order(&mut case, &history.operations, &effects);
    Verdict {
        summary: summary(history, &effects, last - base),
        failed: case.counts.into_keys().collect(),
        accusations: case.accusations,
    }
}

fn heard_in_order(case: &mut Case, watcher: usize, events: &[Event], base: i64, last: i64) {
    let mut next = base + 1;
    for events in events.chunk_by(|one, other| one.revision == other.revision) {
        let revision = events[0].revision;
        if revision != next {
            case.accuse(1, format!("watcher {watcher} heard revision {revision} where {next} was due"));
        }
        let keys: BTreeSet<_> = events.iter().map(|event| event.key).collect();
        if keys.len() != events.len() {
            case.accuse(1, format!("watcher {watcher} heard of a key twice at revision {revision}"));
        }
        next = revision + 1;
    }
    if next != last + 1 {
        case.accuse(1, format!("watcher {watcher} heard up to {}, the store is at {last}", next - 1));
    }
}

/// What was heard, and when first.
fn heard_by_all(case: &mut Case, watchers: &[Vec<Event>]) -> Vec<Event> {
    let mut heard: BTreeMap<(i64, Key), (Value, u64)> = BTreeMap::new();
    for event in watchers.iter().flatten() {
        let first = heard.entry((event.revision, event.key)).or_insert((event.value, event.heard));
        first.1 = first.1.min(event.heard);
        if first.0 != event.value {
            case.accuse(2, format!("{:?} at {} is {} and {}", event.key, event.revision, first.0, event.value));
        }
    }
    for (number, events) in watchers.iter().enumerate() {
        let distinct: BTreeSet<_> = events.iter().map(|event| (event.revision, event.key)).collect();
        if distinct.len() != heard.len() {
            case.accuse(2, format!("watcher {number} heard {} of {} changes", distinct.len(), heard.len()));
        }
    }
    heard.into_iter().map(|((revision, key), (value, heard))| Event { revision, key, value, heard }).collect()
}

/// That an operation took effect: where, and when at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Effect {
    revision: i64,
    heard: u64,
}

fn effects(case: &mut Case, operations: &[Operation], events: &[Event]) -> BTreeMap<Value, Effect> {
    let asked: BTreeMap<Value, &Operation> = operations.iter().map(|operation| (operation.number, operation)).collect();
    let mut changes: BTreeMap<Value, Vec<&Event>> = BTreeMap::new();
    for event in events {
        changes.entry(event.value).or_default().push(event);
    }
    let mut effects = BTreeMap::new();
    for (number, events) in changes {
        let Some(operation) = asked.get(&number) else {
            case.accuse(3, format!("nobody wrote {number}, heard at revision {}", events[0].revision));
            continue;
        };
        let revisions: BTreeSet<_> = events.iter().map(|event| event.revision).collect();
        let keys: BTreeSet<_> = events.iter().map(|event| event.key).collect();
        if revisions.len() != 1 || keys.len() != events.len() {
            case.accuse(3, format!("operation {number} took effect at {revisions:?}"));
        } else if keys != operation.ask.writes().into_iter().collect() {
            case.accuse(3, format!("operation {number}, {:?}, changed {keys:?}", operation.ask));
        }
        let heard = events.iter().map(|event| event.heard).min().unwrap_or(u64::MAX);
        effects.insert(number, Effect { revision: events[0].revision, heard });
    }
    effects
}

fn acknowledged(case: &mut Case, operations: &[Operation], effects: &BTreeMap<Value, Effect>) {
    for operation in operations {
        let (number, effect) = (operation.number, effects.get(&operation.number));
        match (&operation.told, effect) {
            (Told::Done { held: true, revision, .. }, effect) if !operation.ask.writes().is_empty() => match effect {
                None => case.accuse(4, format!("operation {number} was acknowledged at revision {revision}")),
                Some(effect) if effect.revision != *revision => {
                    case.accuse(4, format!("operation {number}: revision {revision}, heard at {}", effect.revision));
                }
                Some(_) => {}
            },
            (Told::Done { held: false, .. }, Some(effect)) => {
                case.accuse(5, format!("operation {number}, whose condition did not hold, at {}", effect.revision));
            }
            (Told::Refused(why), Some(effect)) => {
                case.accuse(5, format!("operation {number}, refused with `{why}`, at {}", effect.revision));
            }
            _ => {}
        }
    }
}

fn held_at_the_end(case: &mut Case, finals: &[Final], events: &[Event]) {
    // In the order of revisions, so that the last change of a key stays.
    let held: BTreeMap<Key, (Value, i64)> =
        events.iter().map(|event| (event.key, (event.value, event.revision))).collect();
    for state in finals {
        let holds: BTreeMap<Key, (Value, i64)> =
            state.keys.iter().map(|&(key, value, revision)| (key, (value, revision))).collect();
        for key in held.keys().chain(holds.keys()).collect::<BTreeSet<_>>() {
            if held.get(key) != holds.get(key) {
                let (holds, heard) = (holds.get(key), held.get(key));
                case.accuse(6, format!("{} has {holds:?} at {key:?}, heard was {heard:?}", state.endpoint));
            }
        }
    }
}

/// An operation as the spec has it. `seen` is left out where the client was not told.
fn spec_op(ask: Ask, number: Value, looks: bool) -> StoreOp<Key, Value> {
    let conditions = match ask {
        Ask::Cas(key, holds) => vec![Condition { key, holds }],
        _ => Vec::new(),
    };
    let then = ask.writes().into_iter().map(|key| Write { key, value: Some(number) }).collect();
    let keys = (0..SLOTS).map(|slot| Key { group: ask.group(), slot });
    StoreOp { conditions, then, otherwise: Vec::new(), looks: if looks { keys.collect() } else { Vec::new() } }
}

/// Answered operations, and those of unknown outcome that took effect; the others did nothing.
fn happened<'a>(
    operations: &'a [Operation],
    effects: &'a BTreeMap<Value, Effect>,
) -> impl Iterator<Item = (&'a Operation, Option<Effect>)> {
    operations.iter().filter_map(|operation| match operation.told {
        Told::Done { .. } => Some((operation, None)),
        Told::Unknown(_) => effects.get(&operation.number).map(|effect| (operation, Some(*effect))),
        Told::Refused(_) => None,
    })
}

fn timed(operation: &Operation, effect: Option<Effect>) -> Timed<StoreOp<Key, Value>, StoreRet<Value>> {
    let invoked = operation.invoked;
    match (&operation.told, effect) {
        (Told::Done { held, seen, .. }, _) => {
            let ret = StoreRet { held: *held, seen: seen.map_or_else(Vec::new, Vec::from) };
            let op = spec_op(operation.ask, operation.number, seen.is_some());
            Timed { op, ret: Some(ret), invoked, returned: operation.returned }
        }
        // It took effect, so its condition held, and it did so before the first watcher heard of it.
        (_, effect) => Timed {
            op: spec_op(operation.ask, operation.number, false),
            ret: Some(StoreRet { held: true, seen: Vec::new() }),
            invoked,
            returned: effect.map_or(u64::MAX, |effect| effect.heard),
        },
    }
}

fn in_order_of_revisions(case: &mut Case, operations: &[Operation], effects: &BTreeMap<Value, Effect>, base: i64) {
    let mut numbers = Vec::new();
    let mut calls = Vec::new();
    for (operation, effect) in happened(operations, effects) {
        let (revision, wrote) = match (&operation.told, effect) {
            (Told::Done { revision, held, .. }, _) => (*revision, *held && !operation.ask.writes().is_empty()),
            (_, effect) => (effect.map_or(0, |effect| effect.revision), true),
        };
        numbers.push(operation.number);
        calls.push(Witnessed { timed: timed(operation, effect), revision: revision.unsigned_abs(), wrote });
    }
    let name = |index: usize| numbers[index];
    let Err(error) = witness::check(&Store::new(), base.unsigned_abs(), &calls) else { return };
    let what = match error {
        WitnessError::Twice { revision, first, second } => {
            format!("operations {} and {} both made revision {revision}", name(first), name(second))
        }
        WitnessError::Missing { revision } => format!("nobody made revision {revision}"),
        WitnessError::Answer { revision, index } => {
            let told = operations.iter().find(|operation| operation.number == name(index));
            format!("the answer is wrong at revision {revision}: {told:?}")
        }
        WitnessError::Order { earlier, later } => {
            format!("operation {} was answered before {} was asked, and follows it", name(earlier), name(later))
        }
    };
    case.accuse(7, what);
}

fn in_some_order(case: &mut Case, operations: &[Operation], effects: &BTreeMap<Value, Effect>) {
    let mut groups: BTreeMap<u32, (Vec<Value>, Vec<_>)> = BTreeMap::new();
    for (operation, effect) in happened(operations, effects) {
        let (numbers, calls) = groups.entry(operation.ask.group()).or_default();
        numbers.push(operation.number);
        calls.push(timed(operation, effect));
    }
    for (group, (numbers, calls)) in groups {
        match check_within(&Store::new(), &calls, STATES_MAX) {
            Order::Linearizable(_) => {}
            Order::Not { stuck, .. } => {
                case.accuse(8, format!("group {group} has none: see operation {}", numbers[stuck]))
            }
            Order::Unfinished => case.accuse(8, format!("group {group}: not found among {STATES_MAX} states")),
        }
    }
}

fn summary(history: &History, effects: &BTreeMap<Value, Effect>, revisions: i64) -> String {
    let mut told = [0_usize; 3];
    for operation in &history.operations {
        told[match operation.told {
            Told::Done { .. } => 0,
            Told::Refused(_) => 1,
            Told::Unknown(_) => 2,
        }] += 1;
    }
    let unknown_effects = happened(&history.operations, effects).filter(|(_, effect)| effect.is_some()).count();
    let events: usize = history.watchers.iter().map(Vec::len).sum();
    format!(
        "{} operations: {} answered, {} refused, {} unknown of which {unknown_effects} took effect; {revisions} revisions, \
         {events} events at {} watchers",
        history.operations.len(),
        told[0],
        told[1],
        told[2],
        history.watchers.len(),
    )
}

#[cfg(test)]
mod tests;
