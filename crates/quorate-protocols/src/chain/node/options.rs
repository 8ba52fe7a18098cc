//! What a member is told when it is made: how to behave where the protocol leaves it free, and, in tests, which rule to
//! break.

use core::time::Duration;

/// How a member behaves where the protocol leaves it free.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeOptions {
    /// Whether the head gathers what waits into one batch, or orders each command as it comes.
    pub batching: bool,
    /// The weight, about bytes, of the entries of one message and one record.
    pub batch_weight_max: usize,
    /// How long to wait before saying again what was not answered: at least this, at most twice this.
    pub retry_after: Duration,
    /// The same, when nothing was committed however often it was said: the pause doubles up to this.
    pub retry_after_max: Duration,
    /// How many commands the head may have taken that are not committed.
    pub uncommitted_len_max: usize,
    /// Their weight, about bytes. A single command may weigh more.
    pub uncommitted_weight_max: usize,
    /// The weight, about bytes, of the committed commands that the tail keeps for a joiner that is copied to. Should more be
    /// written during the copy, it begins anew: at least what is written in the time that a copy takes.
    pub copied_weight_max: usize,
    /// The term of the right to read that is asked for, every third of it. Without a term no right is needed: for a chain
    /// whose members are fixed.
    pub lease_term: Option<Duration>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            batching: true,
            batch_weight_max: 1 << 20,
            retry_after: Duration::from_millis(50),
            retry_after_max: Duration::from_millis(1_600),
            uncommitted_len_max: 64 << 10,
            uncommitted_weight_max: 32 << 20,
            copied_weight_max: 256 << 20,
            lease_term: None,
        }
    }
}

/// One rule broken on purpose, to prove that breaking it is noticed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mutant {
    /// Says `Durable` ahead of writing.
    AcknowledgesBeforeDurable,
    /// Applies an entry when it comes, not when it is committed.
    ReadsUncommitted,
    /// Reads at once though something uncommitted touches the question.
    IgnoresDirty,
    /// Applies an operation again when it was proposed again.
    ForgetsSessions,
    /// Takes resent entries for new ones.
    ReordersOnResend,
    /// Applies each committed entry once more.
    AppliesTwice,
    /// Replays only the first entry of each record.
    ReplaysOneOfBatch,
    /// Takes the tail's answer to a question of an earlier life.
    TakesLateAnswers,
    /// Takes entries that an earlier life of the predecessor sent.
    TakesStaleForwards,
    /// Orders before it knows what its successor has.
    OrdersBeforeJoined,
    /// Answers as the tail before it has committed again what it found in its log.
    AnswersBeforeFloor,
    /// Commits what the tail has without asking whether the members before have it.
    CommitsAtTailAlone,
    /// Takes entries though there is no room for them.
    TakesWithoutRoom,
    /// Takes nothing without room, the entries that reads wait for included.
    DropsBelowFloor,
    /// Does not hear that there is room again.
    StaysFull,
    /// Orders however much is not committed.
    OrdersWithoutBound,
    /// Goes on hearing, and saying, what belongs to the configuration that it was made with.
    HearsOldConfigurations,
    /// Writes no configuration down that it acts on.
    ForgetsConfiguration,
    /// Forgets what is committed though a joiner does not have it.
    KeepsNothingForJoiner,
    /// Says that the joiner may be admitted while it is copied to.
    AdmitsEarly,
    /// Does not know after a restart that it commits nothing without the joiner.
    ForgetsInStep,
    /// Begins to join with what it has of an earlier membership.
    JoinsWithOldLog,
    /// Puts its machine aside for a blank one that is made beside a blank one, which deletes what was put aside.
    ForgetsAside,
    /// Begins from a copy though entries that are not in it came in the meantime.
    BeginsBehindLog,
    /// Answers reads though its right to has run out.
    ReadsAfterLease,
    /// Counts a right from when it hears that it was granted.
    CountsFromGrant,
    /// Takes a right that it asked for before it gave all rights up.
    TakesRetiredRight,
}
