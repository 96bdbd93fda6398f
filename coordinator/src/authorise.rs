//! The one place where every call is authorised. Who calls stands in the certificate, never in a message.

use std::sync::Arc;

use holdfast_shared::{
    identity::{Bearer, PeerIdentity},
    refusal::to_status,
    tls::Peer,
};
use holdfast_types::{HostName, RegionName, refusal::Reason};
use tonic::{Request, Status};

/// What a call needs its bearer to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Look at the fleet.
    Read,
    /// Declare apps.
    Declare,
    /// Move apps.
    Move,
    /// Let hosts in and out.
    Admit,
}

/// An agent that calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentCaller {
    /// Its host.
    pub host: HostName,
    /// Its region.
    pub region: RegionName,
    /// Serial of the certificate it shows.
    pub serial: String,
    /// Where from; shown only.
    pub address: String,
}

/// Who calls.
///
/// # Errors
/// [`Reason::NotPermitted`] without a certificate, or with an expired one.
pub fn identity<T>(request: &Request<T>) -> Result<(&PeerIdentity, &str), Status> {
    let peer = request.extensions().get::<Arc<Peer>>().ok_or_else(|| Status::internal("a call without its peer"))?;
    let Some(identity) = &peer.identity else {
        return Err(refused(
            "this call needs a certificate",
            vec!["holdfast context show".to_owned(), "holdfast-agent join ADDRESS --token TOKEN".to_owned()],
        ));
    };
    if identity.expired {
        return Err(refused(
            &format!("the certificate of {} has expired; only its renewal is taken", identity.bearer),
            vec![],
        ));
    }
    Ok((identity, &peer.address))
}

fn refused(what: &str, next: Vec<String>) -> Status {
    to_status(Reason::NotPermitted, what, vec![], next)
}

/// The agent that calls.
///
/// # Errors
/// [`Reason::NotPermitted`] for anyone else.
pub fn agent<T>(request: &Request<T>) -> Result<AgentCaller, Status> {
    let (identity, address) = identity(request)?;
    match &identity.bearer {
        Bearer::Agent { region, host } => Ok(AgentCaller {
            host: host.clone(),
            region: region.clone(),
            serial: identity.serial.clone(),
            address: address.to_owned(),
        }),
        other @ (Bearer::Coordinator { .. } | Bearer::Operator { .. }) => {
            Err(refused(&format!("{other} is no agent"), vec![]))
        }
    }
}

/// The operator that calls, by name, if they may do this. Every operator holds every right so far: the first and only
/// one is the admin that `init` made.
///
/// # Errors
/// [`Reason::NotPermitted`] for anyone else.
pub fn operator<T>(request: &Request<T>, right: Right) -> Result<String, Status> {
    let (identity, _) = identity(request)?;
    match (&identity.bearer, right) {
        (Bearer::Operator { name }, Right::Read | Right::Declare | Right::Move | Right::Admit) => Ok(name.to_string()),
        (other @ (Bearer::Coordinator { .. } | Bearer::Agent { .. }), _) => {
            Err(refused(&format!("{other} is no operator"), vec![]))
        }
    }
}
