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

            /// The call at a path of the JSON gateway.
            #[must_use]
            pub fn at_json_path(path: &str) -> Option<Self> {
                $($(if path == $path { return Some(Self::$rpc); })*)*
                None
            }

            /// Which service serves it.
            #[must_use]
            pub fn service(self) -> Service {
                match self { $(Self::$rpc => Service::$service,)* }
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
    Range: Kv, Unary, "etcdserverpb.KV" "Range" ["/v3/kv/range"];
    RangeStream: Kv, Stream, "etcdserverpb.KV" "RangeStream" [];
    Put: Kv, Unary, "etcdserverpb.KV" "Put" ["/v3/kv/put"];
    DeleteRange: Kv, Unary, "etcdserverpb.KV" "DeleteRange" ["/v3/kv/deleterange"];
    Txn: Kv, Unary, "etcdserverpb.KV" "Txn" ["/v3/kv/txn"];
    Compact: Kv, Unary, "etcdserverpb.KV" "Compact" ["/v3/kv/compaction"];
    Watch: Watch, Stream, "etcdserverpb.Watch" "Watch" ["/v3/watch"];
    LeaseGrant: Lease, Unary, "etcdserverpb.Lease" "LeaseGrant" ["/v3/lease/grant"];
    LeaseRevoke: Lease, Unary, "etcdserverpb.Lease" "LeaseRevoke" ["/v3/lease/revoke", "/v3/kv/lease/revoke"];
    LeaseKeepAlive: Lease, Stream, "etcdserverpb.Lease" "LeaseKeepAlive" ["/v3/lease/keepalive"];
    LeaseTimeToLive: Lease, Unary, "etcdserverpb.Lease" "LeaseTimeToLive" ["/v3/lease/timetolive", "/v3/kv/lease/timetolive"];
    LeaseLeases: Lease, Unary, "etcdserverpb.Lease" "LeaseLeases" ["/v3/lease/leases", "/v3/kv/lease/leases"];
    MemberAdd: Cluster, Unary, "etcdserverpb.Cluster" "MemberAdd" ["/v3/cluster/member/add"];
    MemberRemove: Cluster, Unary, "etcdserverpb.Cluster" "MemberRemove" ["/v3/cluster/member/remove"];
    MemberUpdate: Cluster, Unary, "etcdserverpb.Cluster" "MemberUpdate" ["/v3/cluster/member/update"];
    MemberList: Cluster, Unary, "etcdserverpb.Cluster" "MemberList" ["/v3/cluster/member/list"];
    MemberPromote: Cluster, Unary, "etcdserverpb.Cluster" "MemberPromote" ["/v3/cluster/member/promote"];
    Alarm: Maintenance, Unary, "etcdserverpb.Maintenance" "Alarm" ["/v3/maintenance/alarm"];
    Status: Maintenance, Unary, "etcdserverpb.Maintenance" "Status" ["/v3/maintenance/status"];
    Defragment: Maintenance, Unary, "etcdserverpb.Maintenance" "Defragment" ["/v3/maintenance/defragment"];
    Hash: Maintenance, Unary, "etcdserverpb.Maintenance" "Hash" ["/v3/maintenance/hash"];
    HashKv: Maintenance, Unary, "etcdserverpb.Maintenance" "HashKV" ["/v3/maintenance/hashkv"];
    Snapshot: Maintenance, Stream, "etcdserverpb.Maintenance" "Snapshot" ["/v3/maintenance/snapshot"];
    MoveLeader: Maintenance, Unary, "etcdserverpb.Maintenance" "MoveLeader" ["/v3/maintenance/transfer-leadership"];
    Downgrade: Maintenance, Unary, "etcdserverpb.Maintenance" "Downgrade" ["/v3/maintenance/downgrade"];
    AuthEnable: Auth, Unary, "etcdserverpb.Auth" "AuthEnable" ["/v3/auth/enable"];
    AuthDisable: Auth, Unary, "etcdserverpb.Auth" "AuthDisable" ["/v3/auth/disable"];
    AuthStatus: Auth, Unary, "etcdserverpb.Auth" "AuthStatus" ["/v3/auth/status"];
    Authenticate: Auth, Unary, "etcdserverpb.Auth" "Authenticate" ["/v3/auth/authenticate"];
    UserAdd: Auth, Unary, "etcdserverpb.Auth" "UserAdd" ["/v3/auth/user/add"];
    UserGet: Auth, Unary, "etcdserverpb.Auth" "UserGet" ["/v3/auth/user/get"];
    UserList: Auth, Unary, "etcdserverpb.Auth" "UserList" ["/v3/auth/user/list"];
    UserDelete: Auth, Unary, "etcdserverpb.Auth" "UserDelete" ["/v3/auth/user/delete"];
    UserChangePassword: Auth, Unary, "etcdserverpb.Auth" "UserChangePassword" ["/v3/auth/user/changepw"];
    UserGrantRole: Auth, Unary, "etcdserverpb.Auth" "UserGrantRole" ["/v3/auth/user/grant"];
    UserRevokeRole: Auth, Unary, "etcdserverpb.Auth" "UserRevokeRole" ["/v3/auth/user/revoke"];
    RoleAdd: Auth, Unary, "etcdserverpb.Auth" "RoleAdd" ["/v3/auth/role/add"];
    RoleGet: Auth, Unary, "etcdserverpb.Auth" "RoleGet" ["/v3/auth/role/get"];
    RoleList: Auth, Unary, "etcdserverpb.Auth" "RoleList" ["/v3/auth/role/list"];
    RoleDelete: Auth, Unary, "etcdserverpb.Auth" "RoleDelete" ["/v3/auth/role/delete"];
    RoleGrantPermission: Auth, Unary, "etcdserverpb.Auth" "RoleGrantPermission" ["/v3/auth/role/grant"];
    RoleRevokePermission: Auth, Unary, "etcdserverpb.Auth" "RoleRevokePermission" ["/v3/auth/role/revoke"];
    Lock: Lock, Wait, "v3lockpb.Lock" "Lock" ["/v3/lock/lock"];
    Unlock: Lock, Unary, "v3lockpb.Lock" "Unlock" ["/v3/lock/unlock"];
    Campaign: Election, Wait, "v3electionpb.Election" "Campaign" ["/v3/election/campaign"];
    Proclaim: Election, Unary, "v3electionpb.Election" "Proclaim" ["/v3/election/proclaim"];
    Leader: Election, Unary, "v3electionpb.Election" "Leader" ["/v3/election/leader"];
    Observe: Election, Stream, "v3electionpb.Election" "Observe" ["/v3/election/observe"];
    Resign: Election, Unary, "v3electionpb.Election" "Resign" ["/v3/election/resign"];
    HealthCheck: Health, Unary, "grpc.health.v1.Health" "Check" [];
    HealthWatch: Health, Stream, "grpc.health.v1.Health" "Watch" [];
}
