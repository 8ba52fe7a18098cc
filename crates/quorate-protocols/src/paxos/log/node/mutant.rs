//! Broken rules.

/// One rule broken on purpose, to prove that breaking it is noticed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mutant {
    /// Promises, and votes in lower ballots all the same.
    ForgetsPromise,
    /// Says that it voted ahead of writing.
    SaysBeforeDurable,
    /// Goes on in its old ballot after a restart.
    SkipsPhaseOne,
    /// Puts its own commands where a quorum may have voted already.
    IgnoresVotes,
    /// One vote is quorum enough.
    DecidesAlone,
    /// Grants a lease for no longer than it is asked for.
    IgnoresDrift,
    /// Counts its lease from when it was granted.
    CountsLeaseFromGrant,
    /// Promises anew after a restart, whomever it had granted a lease.
    ForgetsGrant,
    /// Answers reads without asking whether it still leads.
    ReadsUnconfirmed,
    /// Answers reads before what earlier leaders ordered is applied.
    ReadsBeforeFloor,
    /// Answers reads before it has heard the members who decide now.
    ReadsDuringChange,
    /// Counts the votes of new members before the change is chosen.
    UsesMembersEarly,
    /// Orders behind a change of members before it is chosen.
    OrdersBehindChange,
    /// Takes the machine from a snapshot, but not the sessions.
    DropsSessions,
    /// Applies an operation again when it was ordered again.
    ForgetsSessions,
    /// Promises and votes without a memory.
    AnswersBeforeRecall,
    /// Takes answers to an earlier life for answers to this one.
    CountsOldAnswers,
    /// Recalls from no more than share a member with each quorum.
    RecallsFromFew,
}
