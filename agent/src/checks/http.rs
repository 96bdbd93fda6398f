//! Whether a GET is answered as expected.

use std::{error::Error, sync::Arc};

use holdfast_shared::error::Chain;

use super::{Evidence, Outcome, io_cause, is_ours};
use crate::exec::names::{NameError, Names};

/// Most of a body that is read. A status without the body it promised is no answer; more than this is not waited for.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A client that does nothing on its own: no redirects, no proxy from the environment, no connection kept.
pub(super) fn client(names: &Names) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .dns_resolver(Arc::new(names.clone()))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        // A kept connection would prove that a server once accepted it, not that it accepts now.
        .pool_max_idle_per_host(0)
        .user_agent(concat!("holdfast-agent/", env!("CARGO_PKG_VERSION")))
        .build()
}

pub(super) async fn run(client: &Result<reqwest::Client, String>, url: &str, expect: u16) -> Outcome {
    let url = match reqwest::Url::parse(url) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
        Ok(url) => return Outcome::could_not_run(format!("{url} is no http or https URL")),
        Err(e) => return Outcome::could_not_run(format!("{url:?} is no URL: {e}")),
    };
    let client = match client {
        Ok(client) => client,
        Err(e) => return Outcome::could_not_run(format!("no HTTP client: {e}; does the host have CA certificates?")),
    };
    let mut response = match client.get(url).send().await {
        Ok(response) => response,
        Err(e) => return failed(&e),
    };
    let mut read = 0;
    while read < BODY_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => read += chunk.len(),
            Ok(None) => break,
            Err(e) => return failed(&e),
        }
    }
    let status = response.status().as_u16();
    let evidence = Evidence::Http { status };
    if status == expect {
        return Outcome::Ok { evidence };
    }
    Outcome::Failing { why: format!("answers {status}, expected {expect}"), evidence: Some(evidence) }
}

fn failed(error: &reqwest::Error) -> Outcome {
    // A resolver that is down says nothing about the service.
    if let Some(e) = name_error(error) {
        return Outcome::could_not_run(e.to_string());
    }
    let why = Chain(error).to_string();
    if error.is_builder() || io_cause(error).is_some_and(is_ours) {
        return Outcome::could_not_run(why);
    }
    Outcome::failing(why)
}

fn name_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a NameError> {
    let mut next = Some(error);
    while let Some(e) = next {
        if let Some(found) = e.downcast_ref::<NameError>() {
            return Some(found);
        }
        next = e.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinSet,
    };

    use super::super::{Check, Runner};
    use super::*;

    /// Answers every connection with these bytes, then keeps it open or closes it.
    async fn server(answer: &'static str, keep_open: bool) -> (JoinSet<()>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/health", listener.local_addr().expect("bound"));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                if stream.read(&mut request).await.unwrap_or(0) == 0 {
                    continue;
                }
                stream.write_all(answer.as_bytes()).await.ok();
                if keep_open {
                    kept.push(stream);
                }
            }
        });
        (tasks, url)
    }

    async fn check(url: &str) -> Outcome {
        Runner::new().run(&Check::Http { url: url.into(), expect: 200 }, Duration::from_millis(1_500)).await
    }

    #[tokio::test]
    async fn the_expected_status_is_ok_and_another_failing_with_evidence() {
        let (_tasks, url) = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false).await;
        assert_eq!(check(&url).await, Outcome::Ok { evidence: Evidence::Http { status: 200 } });
        let (_tasks, url) = server("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", false).await;
        let failing = Outcome::Failing {
            why: "answers 503, expected 200".into(),
            evidence: Some(Evidence::Http { status: 503 }),
        };
        assert_eq!(check(&url).await, failing);
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let (_tasks, url) =
            server("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", false).await;
        let outcome = check(&url).await;
        assert!(
            matches!(&outcome, Outcome::Failing { evidence: Some(Evidence::Http { status: 302 }), .. }),
            "{outcome:?}"
        );
    }

    #[tokio::test]
    async fn a_server_that_hangs_in_head_or_body_is_failing_at_the_timeout() {
        for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"] {
            let (_tasks, url) = server(answer, true).await;
            let outcome = check(&url).await;
            assert!(matches!(&outcome, Outcome::Failing { why, .. } if why.contains("within 1.5 s")), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn nobody_listening_is_failing_and_a_bad_url_no_observation() {
        let refused = check("http://127.0.0.1:1/").await;
        assert!(matches!(&refused, Outcome::Failing { why, .. } if why.contains("refused")), "{refused:?}");
        for bad in ["", "::", "ftp://127.0.0.1/", "http://", "http://no such name/"] {
            let outcome = check(bad).await;
            assert!(matches!(outcome, Outcome::CouldNotRun { .. }), "{bad:?}: {outcome:?}");
        }
    }
}
