//! Counts every call: by name, how it ended, how long it took, and why it was refused.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use holdfast_shared::{clock::SharedClock, refusal::from_status};
use holdfast_types::refusal::Reason;
use tonic::{Code, Status, codegen::http};
use tower::{Layer, Service};

use crate::metrics::own::{CallLabels, CallName, Own, ReasonLabels};

/// Calls that last as long as an agent does: how long says nothing.
const LASTING: &str = "AgentSession/";
/// Stands for every name that is none of ours: a stranger must not make up series.
const OTHER: &str = "other";

/// Counts what passes.
#[derive(Debug, Clone)]
pub struct CountCalls {
    own: Own,
    clock: SharedClock,
}

impl CountCalls {
    /// Counts into `own`.
    #[must_use]
    pub const fn new(own: Own, clock: SharedClock) -> Self {
        Self { own, clock }
    }

    fn note<B>(&self, path: &str, response: &http::Response<B>, took: std::time::Duration) {
        // Refusals come in the headers. A stream that fails later has begun well.
        let status = Status::from_header_map(response.headers());
        let code = status.as_ref().map_or(Code::Ok, Status::code);
        let known = path.strip_prefix("/holdfast.v1.").filter(|_| code != Code::Unimplemented);
        let call = known.unwrap_or(OTHER).to_owned();
        self.own.calls.get_or_create(&CallLabels { call: call.clone(), code: format!("{code:?}") }).inc();
        if known.is_some_and(|name| !name.starts_with(LASTING)) {
            self.own.call_seconds.get_or_create(&CallName { call }).observe(took.as_secs_f64());
        }
        let refused = status.as_ref().and_then(from_status);
        if let Some(reason) = refused.and_then(|refused| Reason::from_number(refused.reason)) {
            self.own.refusals.get_or_create(&ReasonLabels { reason: reason.slug().to_owned() }).inc();
        }
    }
}

impl<S> Layer<S> for CountCalls {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, count: self.clone() }
    }
}

/// A service whose calls are counted.
#[derive(Debug, Clone)]
pub struct Counted<S> {
    inner: S,
    count: CountCalls,
}

impl<S, A, B> Service<http::Request<A>> for Counted<S>
where
    S: Service<http::Request<A>, Response = http::Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<A>) -> Self::Future {
        let (path, count) = (request.uri().path().to_owned(), self.count.clone());
        let began = count.clock.boot();
        let called = self.inner.call(request);
        Box::pin(async move {
            let response = called.await?;
            count.note(&path, &response, count.clock.boot().since(began));
            Ok(response)
        })
    }
}
