//! Auth is off and cannot be turned on in this version. What etcd answers while auth is off is answered; what would make
//! users and roles is refused, since granting rights that nobody checks is worse than none.

use tonic::{Request, Response, Status};

use super::errors::EtcdError;
use super::gateway::Gateway;
use super::generated::etcdserverpb::{self as pb, auth_server};

/// The Auth service.
#[derive(Clone, Debug)]
pub struct Auth(pub Gateway);

fn unsupported() -> Status {
    Status::unimplemented("etcdserver: authentication is not supported in this version")
}

macro_rules! refused {
    ($($method:ident: $request:ident -> $response:ident = $error:expr;)*) => {
        #[tonic::async_trait]
        impl auth_server::Auth for Auth {
            async fn auth_status(
                &self,
                _: Request<pb::AuthStatusRequest>,
            ) -> Result<Response<pb::AuthStatusResponse>, Status> {
                let header = Some(self.0.header(self.0.keyspace.revision()));
                Ok(Response::new(pb::AuthStatusResponse { header, enabled: false, auth_revision: 1 }))
            }

            async fn auth_disable(
                &self,
                _: Request<pb::AuthDisableRequest>,
            ) -> Result<Response<pb::AuthDisableResponse>, Status> {
                let header = Some(self.0.header(self.0.keyspace.revision()));
                Ok(Response::new(pb::AuthDisableResponse { header }))
            }

            async fn user_list(
                &self,
                _: Request<pb::AuthUserListRequest>,
            ) -> Result<Response<pb::AuthUserListResponse>, Status> {
                let header = Some(self.0.header(self.0.keyspace.revision()));
                Ok(Response::new(pb::AuthUserListResponse { header, users: Vec::new() }))
            }

            async fn role_list(
                &self,
                _: Request<pb::AuthRoleListRequest>,
            ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
                let header = Some(self.0.header(self.0.keyspace.revision()));
                Ok(Response::new(pb::AuthRoleListResponse { header, roles: Vec::new() }))
            }

            $(async fn $method(&self, _: Request<pb::$request>) -> Result<Response<pb::$response>, Status> {
                Err($error)
            })*
        }
    };
}

refused! {
    auth_enable: AuthEnableRequest -> AuthEnableResponse = unsupported();
    authenticate: AuthenticateRequest -> AuthenticateResponse = EtcdError::AuthNotEnabled.status();
    user_add: AuthUserAddRequest -> AuthUserAddResponse = unsupported();
    user_get: AuthUserGetRequest -> AuthUserGetResponse = EtcdError::UserNotFound.status();
    user_delete: AuthUserDeleteRequest -> AuthUserDeleteResponse = EtcdError::UserNotFound.status();
    user_change_password: AuthUserChangePasswordRequest -> AuthUserChangePasswordResponse = EtcdError::UserNotFound.status();
    user_grant_role: AuthUserGrantRoleRequest -> AuthUserGrantRoleResponse = EtcdError::UserNotFound.status();
    user_revoke_role: AuthUserRevokeRoleRequest -> AuthUserRevokeRoleResponse = EtcdError::UserNotFound.status();
    role_add: AuthRoleAddRequest -> AuthRoleAddResponse = unsupported();
    role_get: AuthRoleGetRequest -> AuthRoleGetResponse = EtcdError::RoleNotFound.status();
    role_delete: AuthRoleDeleteRequest -> AuthRoleDeleteResponse = EtcdError::RoleNotFound.status();
    role_grant_permission: AuthRoleGrantPermissionRequest -> AuthRoleGrantPermissionResponse = EtcdError::RoleNotFound.status();
    role_revoke_permission: AuthRoleRevokePermissionRequest -> AuthRoleRevokePermissionResponse = EtcdError::RoleNotFound.status();
}
