//! What etcd's clients are told when something is wrong: they match the code *and* the text, so both are etcd's, to the
//! letter, and stand in one table. What etcd has no word for has etcd's code and a text of ours.

use quorate_machines::kv::Refused;
use tonic::{Code, Status};

use crate::keyspace::Refusal;

macro_rules! table {
    ($($(#[$doc:meta])* $name:ident: $code:ident, $text:literal;)*) => {
        /// Why a request was not served. Nothing changed, unless the variant says otherwise.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum EtcdError { $($(#[$doc])* $name,)* }

        impl EtcdError {
            /// The code and the text on the wire.
            #[must_use]
            pub fn code_and_text(self) -> (Code, &'static str) {
                match self { $(Self::$name => (Code::$code, $text),)* }
            }
        }
    };
}

table! {
    /// A key is empty.
    EmptyKey: InvalidArgument, "etcdserver: key is not provided";
    /// `ignore_value` or `ignore_lease` on a missing key.
    KeyNotFound: InvalidArgument, "etcdserver: key not found";
    /// `ignore_value` with a value.
    ValueProvided: InvalidArgument, "etcdserver: value is provided";
    /// `ignore_lease` with a lease.
    LeaseProvided: InvalidArgument, "etcdserver: lease is provided";
    /// More operations than a transaction may have.
    TooManyOps: InvalidArgument, "etcdserver: too many operations in txn request";
    /// A transaction writes a key twice.
    DuplicateKey: InvalidArgument, "etcdserver: duplicate key given in txn request";
    /// An enum value that has no meaning.
    InvalidSort: InvalidArgument, "etcdserver: invalid sort option";
    /// The revision is forgotten.
    Compacted: OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    /// The revision is not reached.
    FutureRevision: OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    /// Over the quota: only deletions and compactions pass.
    NoSpace: ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    /// No such lease.
    LeaseNotFound: NotFound, "etcdserver: requested lease not found";
    /// The lease's name is taken.
    LeaseExists: FailedPrecondition, "etcdserver: lease already exists";
    /// The term is longer than a lease may have.
    LeaseTtlTooLarge: OutOfRange, "etcdserver: too large lease TTL";
    /// No such member.
    MemberNotFound: NotFound, "etcdserver: member not found";
    /// Another member is found there.
    PeerUrlExists: FailedPrecondition, "etcdserver: Peer URLs already exists";
    /// Who takes part in writes already cannot be promoted.
    MemberNotLearner: FailedPrecondition, "etcdserver: can only promote a learner member";
    /// Who lacks something cannot be promoted.
    LearnerNotReady: FailedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader";
    /// Members that make no cluster.
    Unhealthy: Unavailable, "etcdserver: unhealthy cluster";
    /// The request does not fit the log.
    RequestTooLarge: InvalidArgument, "etcdserver: request is too large";
    /// Overload: ask again later.
    TooManyRequests: ResourceExhausted, "etcdserver: too many requests";
    /// The log of this member, or of one that the chain waits for, is full: ask again when it has room. No text of etcd's.
    LogFull: ResourceExhausted,
        "quorate: no room for writes: a member's disk or log is full, or a member is behind; the members' logs say which";
    /// Auth is off.
    AuthNotEnabled: FailedPrecondition, "etcdserver: authentication is not enabled";
    /// No user named root, whom auth needs.
    RootUserNotExist: FailedPrecondition, "etcdserver: root user does not exist";
    /// A user's name is empty.
    UserEmpty: InvalidArgument, "etcdserver: user name is empty";
    /// No such user.
    UserNotFound: FailedPrecondition, "etcdserver: user name not found";
    /// A role's name is empty.
    RoleEmpty: InvalidArgument, "etcdserver: role name is empty";
    /// No such role.
    RoleNotFound: FailedPrecondition, "etcdserver: role name not found";
    /// Nobody orders writes at present.
    NoLeader: Unavailable, "etcdserver: no leader";
    /// This member does not order writes.
    NotLeader: FailedPrecondition, "etcdserver: not leader";
    /// The member is going down.
    Stopped: Unavailable, "etcdserver: server stopped";
    /// No answer in time: the request may or may not take effect.
    TimedOut: Unavailable, "etcdserver: request timed out";
    /// The member can't do what it is asked in this version.
    NotCapable: Unavailable, "etcdserver: not capable";
    /// Replicas differ.
    Corrupt: DataLoss, "etcdserver: corrupt cluster";
    /// The member to move the lead to is not fit.
    BadTransferee: FailedPrecondition, "etcdserver: bad leader transferee";
    /// The version to go back to is not one.
    WrongDowngradeVersion: InvalidArgument, "etcdserver: wrong downgrade target version format";
    /// The version to go back to is not the one before this.
    InvalidDowngradeTarget: InvalidArgument, "etcdserver: invalid downgrade target version";
    /// Nothing to cancel.
    NoDowngrade: FailedPrecondition, "etcdserver: no inflight downgrade job";
    /// A lock's lease ended while the lock was waited for.
    SessionExpired: Unknown, "mutex: session is expired";
    /// A proclamation or resignation of nobody.
    MissingLeader: Unknown, "\"leader\" field must be provided";
    /// An election that nobody has won.
    ElectionNoLeader: Unknown, "election: no leader";
    /// Who campaigned lost the election's key.
    ElectionNotLeader: Unknown, "election: not leader";
}

impl EtcdError {
    /// The error as gRPC sends it.
    #[must_use]
    pub fn status(self) -> Status {
        let (code, text) = self.code_and_text();
        Status::new(code, text)
    }
}

impl From<EtcdError> for Status {
    fn from(error: EtcdError) -> Self {
        error.status()
    }
}

impl From<Refused> for EtcdError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::EmptyKey => Self::EmptyKey,
            Refused::KeyNotFound => Self::KeyNotFound,
            Refused::ValueProvided => Self::ValueProvided,
            Refused::LeaseProvided => Self::LeaseProvided,
            Refused::TooManyOps => Self::TooManyOps,
            Refused::DuplicateKey => Self::DuplicateKey,
            Refused::Compacted => Self::Compacted,
            Refused::FutureRevision => Self::FutureRevision,
            Refused::LeaseNotFound => Self::LeaseNotFound,
            Refused::LeaseExists => Self::LeaseExists,
            Refused::NoSpace => Self::NoSpace,
            Refused::Corrupt => Self::Corrupt,
        }
    }
}

impl From<Refusal> for EtcdError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Busy => Self::TooManyRequests,
            Refusal::LogFull => Self::LogFull,
            Refusal::KeyTooLong => Self::RequestTooLarge,
            Refusal::Unknown => Self::TimedOut,
            Refusal::Lost => Self::Corrupt,
            Refusal::Empty | Refusal::NotMember => Self::NoLeader,
            Refusal::Unfit => Self::Unhealthy,
            Refusal::Stopped => Self::Stopped,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        EtcdError::from(refusal).status()
    }
}
