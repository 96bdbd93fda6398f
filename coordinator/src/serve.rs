//! The services behind the one port, and how much anybody may ask of them.
//!
//! Every limit stands where it costs nothing to refuse: a message by its announced length, before any of it is kept.

use std::time::Duration;

use anyhow::Context as _;
use holdfast_proto::v1;
use tonic::transport::{Server, server::Router};
use tonic_health::pb::health_server::HealthServer;
use tower::layer::util::{Identity, Stack};

use crate::{
    api::Api,
    calls::CountCalls,
    describe::{self, Health},
    issue::Issuer,
    session::Sessions,
};

/// A token and a signing request; whoever sends them may be anybody.
const STRANGER_BYTES_MAX: usize = 64 << 10;
/// What an agent says at once: its leases, one observation or result, what its proxies do.
const AGENT_BYTES_MAX: usize = 1 << 20;
/// An app spec has 1 MiB at most; beyond that the parser says so itself, up to here.
const SPEC_BYTES_MAX: usize = 2 << 20;
/// Every other call of an operator: names, numbers, a reason.
const CALL_BYTES_MAX: usize = 64 << 10;

/// Streams of one connection that are open at once. An agent has two, a person's scripts a few.
const STREAMS_MAX: u32 = 128;
/// All headers of one call together.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// Streams that one end opened and took back at once, and that nobody has looked at: more is a flood, and ends the
/// connection.
const RESETS_PENDING_MAX: usize = 20;
/// Streams that we had to reset for errors of the other end before the connection is ended.
const RESETS_LOCAL_MAX: usize = 100;
/// A call that has not been answered by then is given up: its end does not send what it announced. Streams are answered
/// when they begin.
const CALL_WITHIN: Duration = Duration::from_secs(30);
/// How a broken connection is noticed: pings, also on an idle one.
const PING_EVERY: Duration = Duration::from_secs(2);
/// How long a ping may go unanswered.
const PING_WITHIN: Duration = Duration::from_secs(4);

/// Whose calls are counted.
pub type Counted = Router<Stack<CountCalls, Identity>>;

/// Everything that is served, each with its limits.
///
/// # Errors
/// When the contract that this was built with cannot be described.
pub fn router(
    sessions: Sessions,
    api: Api,
    issuer: Issuer,
    health: Health,
    count: CountCalls,
) -> anyhow::Result<Counted> {
    macro_rules! bounded {
        ($service:expr, $bytes:expr) => {
            $service.max_decoding_message_size($bytes)
        };
    }
    let (reflection, older_reflection) = describe::reflection().context("the contract cannot be described")?;
    let router = Server::builder()
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_WITHIN))
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESETS_PENDING_MAX))
        .http2_max_local_error_reset_streams(Some(RESETS_LOCAL_MAX))
        .timeout(CALL_WITHIN)
        .layer(count)
        .add_service(bounded!(v1::enrol_server::EnrolServer::new(issuer), STRANGER_BYTES_MAX))
        .add_service(bounded!(v1::agent_session_server::AgentSessionServer::new(sessions), AGENT_BYTES_MAX))
        .add_service(bounded!(v1::fleet_server::FleetServer::new(api.clone()), CALL_BYTES_MAX))
        .add_service(bounded!(v1::apps_server::AppsServer::new(api.clone()), SPEC_BYTES_MAX))
        .add_service(bounded!(v1::operations_server::OperationsServer::new(api.clone()), CALL_BYTES_MAX))
        .add_service(bounded!(v1::tokens_server::TokensServer::new(api.clone()), CALL_BYTES_MAX))
        .add_service(bounded!(v1::certificates_server::CertificatesServer::new(api.clone()), CALL_BYTES_MAX))
        .add_service(bounded!(v1::people_server::PeopleServer::new(api.clone()), CALL_BYTES_MAX))
        .add_service(bounded!(v1::maintenance_server::MaintenanceServer::new(api.clone()), CALL_BYTES_MAX))
        .add_service(bounded!(v1::metrics_server::MetricsServer::new(api.clone()), CALL_BYTES_MAX))
        .add_service(bounded!(v1::audit_server::AuditServer::new(api), CALL_BYTES_MAX))
        .add_service(bounded!(HealthServer::new(health), CALL_BYTES_MAX))
        .add_service(reflection)
        .add_service(older_reflection);
    Ok(router)
}
