//! The one place where every call is authorised. Who calls stands in the certificate, never in a message.

use std::sync::Arc;

use holdfast_shared::{
    identity::{Bearer, PeerIdentity},
    refusal::to_status,
    tls::Peer,
};
use holdfast_types::{HostName, OperatorName, RegionName, Right, Role, refusal::Reason};
use tonic::{Request, Status};

use crate::replica::Replica;

/// An operator that calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Their name.
    pub name: OperatorName,
    /// What they may do.
    pub role: Role,
}

impl Caller {
    /// As the author of what they change.
    #[must_use]
    pub fn author(&self) -> String {
        format!("operator {}", self.name)
    }
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

/// The operator that calls, if they may do this.
///
/// # Errors
/// [`Reason::NotPermitted`] for anyone else, and for a role that has not this right.
pub fn operator<T>(request: &Request<T>, replica: &Replica, right: Right) -> Result<Caller, Status> {
    let (identity, _) = identity(request)?;
    let name = match &identity.bearer {
        Bearer::Operator { name } => name.clone(),
        other @ (Bearer::Coordinator { .. } | Bearer::Agent { .. }) => {
            return Err(refused(&format!("{other} is no operator"), vec![]));
        }
    };
    match replica.read(|s| s.role(&name)) {
        Some(role) if role.may(right) => Ok(Caller { name, role }),
        Some(role) => {
            let needs = right.needs();
            let what = match needs {
                Role::Admin => format!("{name} is {role}; this takes {needs}"),
                Role::Viewer | Role::Deployer | Role::Operator => {
                    format!("{name} is {role}; this takes {needs} or more")
                }
            };
            Err(refused(&what, vec!["holdfast operator list".to_owned()]))
        }
        None => Err(refused(&format!("nobody let {name} in, or they were put out"), vec![])),
    }
}
