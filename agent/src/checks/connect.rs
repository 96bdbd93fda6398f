//! Opening a connection for one look.
//!
//! Each look opens its own. A kept one would prove that a server once accepted it: a full backlog, a reached limit of
//! clients, a dead listener behind live sessions would stay unseen.

use tokio::net::TcpStream;

use super::{Outcome, is_ours};
use crate::exec::names::Names;

/// A connection to the first of the name's addresses that takes one.
///
/// # Errors
/// What that means for the look: a resolver that is down or a fault of this host is no observation.
pub(super) async fn connect(names: &Names, address: &str, port: u16) -> Result<TcpStream, Outcome> {
    // Looked up apart from connecting: a resolver that is down says nothing about the service.
    let found = names.addresses(address).await.map_err(|e| Outcome::could_not_run(e.to_string()))?;
    let mut last = None;
    for at in found.iter().map(|address| (*address, port)) {
        let at = std::net::SocketAddr::from(at);
        match TcpStream::connect(at).await {
            Ok(stream) => return Ok(stream),
            Err(e) if is_ours(&e) => return Err(Outcome::could_not_run(format!("cannot connect to {at}: {e}"))),
            Err(e) => last = Some(format!("cannot connect to {at}: {e}")),
        }
    }
    Err(match last {
        Some(why) => Outcome::failing(why),
        None => Outcome::could_not_run(format!("{address} has no address")),
    })
}
