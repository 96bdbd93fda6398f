//! Whether a port accepts connections.

use super::{Evidence, Outcome, connect::connect};
use crate::exec::names::Names;

pub(super) async fn run(names: &Names, address: &str, port: u16) -> Outcome {
    match connect(names, address, port).await {
        Ok(_) => Outcome::Ok { evidence: Evidence::Connected },
        Err(outcome) => outcome,
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
