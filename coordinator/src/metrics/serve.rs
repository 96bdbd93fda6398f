//! The coordinator's second listener, for machines that watch it: `/metrics`, `/healthz`, `/readyz`. Plain HTTP on the
//! loopback unless configured otherwise; it answers GETs and changes nothing.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use holdfast_types::time::span;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

use super::page;
use crate::{api::Api, consensus::ConsensusError};

/// Rounds that nobody looks at for so long stand still: the loop turns four times a second.
const ROUNDS_STAND_MAX: Duration = Duration::from_secs(15);
/// A question to the quorum that takes longer has no answer for who asks for readiness.
const CONFIRM_WITHIN: Duration = Duration::from_secs(3);

/// Serves until cancelled.
///
/// # Errors
/// When the listener fails.
pub async fn run(listener: TcpListener, api: Api, cancel: CancellationToken) -> io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .with_state(Arc::new(api));
    axum::serve(listener, router).with_graceful_shutdown(cancel.cancelled_owned()).await
}

async fn metrics(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    let wanted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let openmetrics = wanted.into_iter().any(|value| value.contains("application/openmetrics-text"));
    // A page of a large fleet takes a while to write, and nobody else should wait for it.
    let made = tokio::task::spawn_blocking(move || {
        let text = page::openmetrics(&api)?;
        if openmetrics { Ok(text) } else { page::classic(&text) }
    })
    .await;
    match made {
        Ok(Ok(text)) => {
            let kind = if openmetrics { page::OPENMETRICS } else { page::CLASSIC };
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Ok(Err(e)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the page: {e}\n")).into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the page: {e}\n")).into_response(),
    }
}

/// Whether this process should be left alone.
async fn health(State(api): State<Arc<Api>>) -> Response {
    answer(match api.metrics.own.rounds_stand_for(api.clock.boot()) {
        Some(still) if still > ROUNDS_STAND_MAX => {
            Err(format!("this coordinator leads, and has looked at no round for {}", span(still)))
        }
        Some(_) => Ok("lives, and looks at the rounds".to_owned()),
        None => Ok("lives".to_owned()),
    })
}

/// Whether this coordinator serves its part.
async fn ready(State(api): State<Arc<Api>>) -> Response {
    let asked = timeout(CONFIRM_WITHIN, api.replica.consensus().confirm_leader()).await;
    answer(match asked {
        Ok(Ok(_)) => Ok("ready: leads, and the quorum has just confirmed it".to_owned()),
        Ok(Err(ConsensusError::NotLeader { leader: Some(leader) })) => Ok(format!("ready: follows c{leader}")),
        Ok(Err(
            e @ (ConsensusError::NotLeader { leader: None } | ConsensusError::TimedOut | ConsensusError::Stopped(_)),
        )) => Err(e.to_string()),
        Err(_) => Err(format!("no quorum confirmed within {} that this coordinator leads", span(CONFIRM_WITHIN))),
    })
}

fn answer(said: Result<String, String>) -> Response {
    match said {
        Ok(text) => (StatusCode::OK, format!("{text}\n")).into_response(),
        Err(text) => (StatusCode::SERVICE_UNAVAILABLE, format!("{text}\n")).into_response(),
    }
}
