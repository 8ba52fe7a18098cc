//! Transactions: if all conditions hold then these operations, else those, at one revision.
//!
//! | first                                   | then                       | then                                   |
//! |-----------------------------------------|----------------------------|----------------------------------------|
//! | which branch, of inner transactions too | can every operation of it? | do them in order, each seeing the last |
//!
//! All conditions, those of inner transactions too, are asked of the store as it was before the transaction: the path is
//! fixed before anything is done (as in etcd's `compareToPath`). So a refusal leaves the store exactly as it was.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::command::{Compare, Comparison, KeyValue, Op, OpDone, Operand, Put, Refused, Txn, TxnDone};
use super::mvcc::Step;
use super::range::When;
use super::table::Table;
use super::view::View;

impl Txn {
    /// Whether no branch writes.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            Op::Range(_) => true,
            Op::Put(_) | Op::Delete(_) => false,
            Op::Txn(txn) => txn.is_read_only(),
        })
    }
}

impl<T: Table> View<T> {
    /// What a transaction would answer on this view. What it would write is seen by its own operations and then dropped.
    ///
    /// # Errors
    /// When a range of the branch taken cannot be read, or a put of it would be refused.
    pub fn txn_read(&self, txn: &Txn) -> Result<TxnDone, Refused> {
        self.clone().txn(txn).map(|(done, _)| done)
    }

    /// Runs a transaction. Answers with how many changes it made, too.
    pub(crate) fn txn(&mut self, txn: &Txn) -> Result<(TxnDone, u32), Refused> {
        let mut path = Vec::new();
        self.choose(txn, &mut path);
        self.can(txn, &mut path.iter().copied())?;
        let mut step = Step::begin(self);
        let done = run(&mut step, txn, &mut path.into_iter());
        Ok((done, step.finish()))
    }

    /// Whether a put can be done.
    pub(crate) fn can_put(&self, put: &Put) -> Result<(), Refused> {
        if (put.ignore_value || put.ignore_lease) && self.current(&put.key).is_none() {
            return Err(Refused::KeyNotFound);
        }
        if put.lease.0 != 0 && self.lease(put.lease).is_none() {
            return Err(Refused::LeaseNotFound);
        }
        Ok(())
    }

    /// Appends which branch is taken, of the transaction and of those within the branch, in order.
    fn choose(&self, txn: &Txn, path: &mut Vec<bool>) {
        let holds = txn.compare.iter().all(|compare| self.holds(compare));
        path.push(holds);
        for op in branch(txn, holds) {
            if let Op::Txn(txn) = op {
                self.choose(txn, path);
            }
        }
    }

    /// Whether every operation of the branches taken can be done.
    fn can(&self, txn: &Txn, path: &mut impl Iterator<Item = bool>) -> Result<(), Refused> {
        for op in branch(txn, next(path)) {
            match op {
                Op::Range(range) => self.when(range.revision).map(|_| ())?,
                Op::Put(put) => self.can_put(put)?,
                Op::Delete(_) => {}
                Op::Txn(txn) => self.can(txn, path)?,
            }
        }
        Ok(())
    }

    fn holds(&self, compare: &Compare) -> bool {
        let (mut met, mut all) = (false, true);
        self.visit(&compare.span, When::Now, &mut |key, record| {
            let kv = record.key_value(key.clone()).expect("what is present has a version");
            met = true;
            all = fits(compare, Some(&kv));
            if all { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if met { all } else { fits(compare, None) }
    }
}

fn fits(compare: &Compare, kv: Option<&KeyValue>) -> bool {
    let number = |of: fn(&KeyValue) -> u64| kv.map_or(0, |kv| i64::try_from(of(kv)).unwrap_or(i64::MAX));
    let order = match &compare.operand {
        Operand::Version(operand) => number(|kv| kv.version).cmp(operand),
        Operand::Create(operand) => number(|kv| kv.create_revision.0).cmp(operand),
        Operand::Mod(operand) => number(|kv| kv.mod_revision.0).cmp(operand),
        Operand::Lease(operand) => kv.map_or(0, |kv| kv.lease.0).cmp(operand),
        Operand::Value(operand) => match kv {
            Some(kv) => kv.value.cmp(operand),
            None => return false, // a missing key has no value, not an empty one
        },
    };
    match compare.result {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Greater => order.is_gt(),
        Comparison::Less => order.is_lt(),
    }
}

fn branch(txn: &Txn, holds: bool) -> &[Op] {
    if holds { &txn.success } else { &txn.failure }
}

fn next(path: &mut impl Iterator<Item = bool>) -> bool {
    path.next().expect("the path has a turn for each transaction on it")
}

fn run<T: Table>(step: &mut Step<'_, T>, txn: &Txn, path: &mut impl Iterator<Item = bool>) -> TxnDone {
    let succeeded = next(path);
    let answers = branch(txn, succeeded)
        .iter()
        .map(|op| match op {
            Op::Range(range) => {
                let when = step.view.when(range.revision).expect("every range of the path was found readable");
                OpDone::Range(step.view.range_when(range, when))
            }
            Op::Put(put) => OpDone::Put(step.put_asked(put)),
            Op::Delete(delete) => {
                let (count, kvs) = step.delete_asked(delete);
                OpDone::Delete(count, kvs)
            }
            Op::Txn(txn) => OpDone::Txn(run(step, txn, path)),
        })
        .collect();
    TxnDone { succeeded, answers }
}
