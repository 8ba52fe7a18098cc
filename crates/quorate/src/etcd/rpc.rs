//! All calls of the API: their names on gRPC's wire, their paths on the JSON gateway, and what kind each is.

/// The services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Keys and values.
    Kv,
    /// Watches.
    Watch,
    /// Leases.
    Lease,
    /// Members.
    Cluster,
    /// How a member is.
    Maintenance,
    /// Users and roles.
    Auth,
    /// Locks.
    Lock,
    /// Elections.
    Election,
    /// Health.
    Health,
}

/// How a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request and its answer, soon.
    Unary,
    /// A request and its answer, when it is the client's turn.
    Wait,
    /// Many answers.
    Stream,
}

/// What a path of the JSON gateway begins with: etcd 3.3 said alpha and 3.4 still took beta, and the calls are the same.
const VERSIONS: [&str; 3] = ["/v3/", "/v3beta/", "/v3alpha/"];

macro_rules! table {
    ($($rpc:ident: $service:ident, $kind:ident, $package:literal $method:literal [$($path:literal),*];)*) => {
        /// A call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Rpc { $($rpc,)* }

        impl Rpc {
            /// All calls, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$rpc,)*];

            /// The call at a gRPC path.
            #[must_use]
            pub fn at_grpc_path(path: &str) -> Option<Self> {
                Some(match path {
                    $(concat!("/", $package, "/", $method) => Self::$rpc,)*
                    _ => return None,
                })
            }

            /// The call at a path of the JSON gateway, under the name of any version of the API that etcd served there.
            #[must_use]
            pub fn at_json_path(path: &str) -> Option<Self> {
                let path = VERSIONS.iter().find_map(|version| path.strip_prefix(version))?;
                $($(if path == $path { return Some(Self::$rpc); })*)*
                None
            }

            /// Which service serves it.
            #[must_use]
            pub fn service(self) -> Service {
                match self { $(Self::$rpc => Service::$service,)* }
            }

            /// Whether its client may ask more than once.
            #[must_use]
            pub fn takes_many(self) -> bool {
                matches!(self, Self::Watch | Self::LeaseKeepAlive)
            }

            /// How it goes.
            #[must_use]
            pub fn kind(self) -> Kind {
                match self { $(Self::$rpc => Kind::$kind,)* }
            }

            /// Its service and its method, as gRPC names them.
            #[must_use]
            pub fn names(self) -> (&'static str, &'static str) {
                match self { $(Self::$rpc => ($package, $method),)* }
            }
        }
    };
}

table! {
    Range: Kv, Unary, "etcdserverpb.KV" "Range" ["kv/range"];
    RangeStream: Kv, Stream, "etcdserverpb.KV" "RangeStream" [];
    Put: Kv, Unary, "etcdserverpb.KV" "Put" ["kv/put"];
    DeleteRange: Kv, Unary, "etcdserverpb.KV" "DeleteRange" ["kv/deleterange"];
    Txn: Kv, Unary, "etcdserverpb.KV" "Txn" ["kv/txn"];
    Compact: Kv, Unary, "etcdserverpb.KV" "Compact" ["kv/compaction"];
    Watch: Watch, Stream, "etcdserverpb.Watch" "Watch" ["watch"];
    LeaseGrant: Lease, Unary, "etcdserverpb.Lease" "LeaseGrant" ["lease/grant"];
    LeaseRevoke: Lease, Unary, "etcdserverpb.Lease" "LeaseRevoke" ["lease/revoke", "kv/lease/revoke"];
    LeaseKeepAlive: Lease, Stream, "etcdserverpb.Lease" "LeaseKeepAlive" ["lease/keepalive"];
    LeaseTimeToLive: Lease, Unary, "etcdserverpb.Lease" "LeaseTimeToLive" ["lease/timetolive", "kv/lease/timetolive"];
    LeaseLeases: Lease, Unary, "etcdserverpb.Lease" "LeaseLeases" ["lease/leases", "kv/lease/leases"];
    MemberAdd: Cluster, Unary, "etcdserverpb.Cluster" "MemberAdd" ["cluster/member/add"];
    MemberRemove: Cluster, Unary, "etcdserverpb.Cluster" "MemberRemove" ["cluster/member/remove"];
    MemberUpdate: Cluster, Unary, "etcdserverpb.Cluster" "MemberUpdate" ["cluster/member/update"];
    MemberList: Cluster, Unary, "etcdserverpb.Cluster" "MemberList" ["cluster/member/list"];
    MemberPromote: Cluster, Unary, "etcdserverpb.Cluster" "MemberPromote" ["cluster/member/promote"];
    Alarm: Maintenance, Unary, "etcdserverpb.Maintenance" "Alarm" ["maintenance/alarm"];
    Status: Maintenance, Unary, "etcdserverpb.Maintenance" "Status" ["maintenance/status"];
    Defragment: Maintenance, Unary, "etcdserverpb.Maintenance" "Defragment" ["maintenance/defragment"];
    Hash: Maintenance, Unary, "etcdserverpb.Maintenance" "Hash" ["maintenance/hash"];
    HashKv: Maintenance, Unary, "etcdserverpb.Maintenance" "HashKV" ["maintenance/hashkv"];
    Snapshot: Maintenance, Stream, "etcdserverpb.Maintenance" "Snapshot" ["maintenance/snapshot"];
    MoveLeader: Maintenance, Unary, "etcdserverpb.Maintenance" "MoveLeader" ["maintenance/transfer-leadership"];
    Downgrade: Maintenance, Unary, "etcdserverpb.Maintenance" "Downgrade" ["maintenance/downgrade"];
    AuthEnable: Auth, Unary, "etcdserverpb.Auth" "AuthEnable" ["auth/enable"];
    AuthDisable: Auth, Unary, "etcdserverpb.Auth" "AuthDisable" ["auth/disable"];
    AuthStatus: Auth, Unary, "etcdserverpb.Auth" "AuthStatus" ["auth/status"];
    Authenticate: Auth, Unary, "etcdserverpb.Auth" "Authenticate" ["auth/authenticate"];
    UserAdd: Auth, Unary, "etcdserverpb.Auth" "UserAdd" ["auth/user/add"];
    UserGet: Auth, Unary, "etcdserverpb.Auth" "UserGet" ["auth/user/get"];
    UserList: Auth, Unary, "etcdserverpb.Auth" "UserList" ["auth/user/list"];
    UserDelete: Auth, Unary, "etcdserverpb.Auth" "UserDelete" ["auth/user/delete"];
    UserChangePassword: Auth, Unary, "etcdserverpb.Auth" "UserChangePassword" ["auth/user/changepw"];
    UserGrantRole: Auth, Unary, "etcdserverpb.Auth" "UserGrantRole" ["auth/user/grant"];
    UserRevokeRole: Auth, Unary, "etcdserverpb.Auth" "UserRevokeRole" ["auth/user/revoke"];
    RoleAdd: Auth, Unary, "etcdserverpb.Auth" "RoleAdd" ["auth/role/add"];
    RoleGet: Auth, Unary, "etcdserverpb.Auth" "RoleGet" ["auth/role/get"];
    RoleList: Auth, Unary, "etcdserverpb.Auth" "RoleList" ["auth/role/list"];
    RoleDelete: Auth, Unary, "etcdserverpb.Auth" "RoleDelete" ["auth/role/delete"];
    RoleGrantPermission: Auth, Unary, "etcdserverpb.Auth" "RoleGrantPermission" ["auth/role/grant"];
    RoleRevokePermission: Auth, Unary, "etcdserverpb.Auth" "RoleRevokePermission" ["auth/role/revoke"];
    Lock: Lock, Wait, "v3lockpb.Lock" "Lock" ["lock/lock"];
    Unlock: Lock, Unary, "v3lockpb.Lock" "Unlock" ["lock/unlock"];
    Campaign: Election, Wait, "v3electionpb.Election" "Campaign" ["election/campaign"];
    Proclaim: Election, Unary, "v3electionpb.Election" "Proclaim" ["election/proclaim"];
    Leader: Election, Unary, "v3electionpb.Election" "Leader" ["election/leader"];
    Observe: Election, Stream, "v3electionpb.Election" "Observe" ["election/observe"];
    Resign: Election, Unary, "v3electionpb.Election" "Resign" ["election/resign"];
    HealthCheck: Health, Unary, "grpc.health.v1.Health" "Check" [];
    HealthWatch: Health, Stream, "grpc.health.v1.Health" "Watch" [];
}
