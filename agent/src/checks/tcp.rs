//! Whether a port accepts connections.

use tokio::net::{TcpStream, lookup_host};

use super::{Evidence, Outcome, is_ours};

pub(super) async fn run(address: &str, port: u16) -> Outcome {
    // Looked up apart from connecting: a resolver that is down says nothing about the service.
    let found: Vec<_> = match lookup_host((address, port)).await {
        Ok(found) => found.collect(),
        Err(e) => return Outcome::could_not_run(format!("cannot look up {address}: {e}")),
    };
    let mut last = None;
    for at in found {
        match TcpStream::connect(at).await {
            Ok(_) => return Outcome::Ok { evidence: Evidence::Connected },
            Err(e) if is_ours(&e) => return Outcome::could_not_run(format!("cannot connect to {at}: {e}")),
            Err(e) => last = Some(format!("cannot connect to {at}: {e}")),
        }
    }
    match last {
        Some(why) => Outcome::failing(why),
        None => Outcome::could_not_run(format!("{address} has no address")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Check, Runner};
    use super::*;

    async fn check(address: &str, port: u16) -> Outcome {
        Runner::new().run(&Check::Tcp { address: address.into(), port }, Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn an_open_port_is_ok_and_a_closed_one_failing() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        assert_eq!(check("127.0.0.1", port).await, Outcome::Ok { evidence: Evidence::Connected });
        drop(listener);
        let closed = check("127.0.0.1", port).await;
        assert!(matches!(&closed, Outcome::Failing { why, .. } if why.contains("refused")), "{closed:?}");
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_looked_up_is_no_observation() {
        let outcome = check("no such name", 1).await;
        assert!(matches!(outcome, Outcome::CouldNotRun { .. }), "{outcome:?}");
    }
}
