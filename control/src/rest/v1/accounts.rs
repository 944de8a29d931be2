//! `/v1/accounts`: SIP registrations.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::broadcast::Broadcasts;
use crate::view::AccountView;

/// All registrations.
#[derive(Serialize, ToSchema)]
pub(super) struct AccountList {
    /// Those that calls use, and those that failed lately.
    accounts: Vec<AccountView>,
}

/// List the registrations of SIP accounts.
///
/// An account is registered while a live call uses it with `sipRegisterRequired`; calls share its registration.
#[utoipa::path(
    get,
    path = "/v1/accounts",
    tag = "accounts",
    responses((status = 200, description = "May be empty", body = AccountList)),
)]
pub(super) async fn list(State(broadcasts): State<Broadcasts>) -> Json<AccountList> {
    Json(AccountList { accounts: broadcasts.accounts() })
}
