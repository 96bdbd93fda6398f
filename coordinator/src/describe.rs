//! What any gRPC client expects of a server: reflection, by which it needs no copy of the contract, and the standard
//! health service.
//!
//! Both answer whoever shows a certificate of this cluster; nothing is told to strangers.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use holdfast_proto::DESCRIPTORS;
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, service::interceptor::InterceptedService};
use tonic_health::pb::{
    self, HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server,
};
use tonic_reflection::server::{
    Builder, Error, v1::ServerReflection, v1::ServerReflectionServer, v1alpha::ServerReflection as OlderReflection,
    v1alpha::ServerReflectionServer as OlderReflectionServer,
};

use crate::{authorise, replica::Replica};

/// Changes of health that may wait for one watcher. One that has not read the last is told the next after it.
const CHANGES_MAX: usize = 1;
/// How often a watcher's answer is looked at anew: a leader that lost its quorum is not told so by anybody.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A service that answers bearers of a certificate.
type Inside<S> = InterceptedService<S, fn(Request<()>) -> Result<Request<()>, Status>>;

fn bearers_only(request: Request<()>) -> Result<Request<()>, Status> {
    authorise::identity(&request)?;
    Ok(request)
}

fn inside<S>(service: S) -> Inside<S> {
    InterceptedService::new(service, bearers_only)
}

/// The contract as gRPC reflection tells it, comments included: as of today, and as many clients still ask.
///
/// # Errors
/// When the descriptors that this was built with cannot be read.
pub fn reflection() -> Result<
    (Inside<ServerReflectionServer<impl ServerReflection>>, Inside<OlderReflectionServer<impl OlderReflection>>),
    Error,
> {
    let contract = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
    };
    Ok((inside(contract().build_v1()?), inside(contract().build_v1alpha()?)))
}

/// The standard health service: serving is who leads, confirmed by a round with the quorum that began after the question
/// came in. It answers for the whole coordinator (no name) and for each of its services, which come and go together.
#[derive(Clone)]
pub struct Health {
    replica: Replica,
    services: Arc<BTreeSet<String>>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Health {
    /// Every stream to a watcher runs in `tasks` until cancelled.
    #[must_use]
    pub fn new(replica: Replica, tasks: TaskTracker, cancel: CancellationToken) -> Self {
        Self { replica, services: Arc::new(services()), tasks, cancel }
    }

    fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.services.contains(service)
    }

    async fn now(&self) -> ServingStatus {
        match self.replica.consensus().confirm_leader().await {
            Ok(_) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        }
    }

    async fn tell(&self, known: bool, to: &mpsc::Sender<Result<HealthCheckResponse, Status>>) {
        let mut leadership = self.replica.consensus().leadership();
        let mut told = None;
        loop {
            leadership.mark_unchanged();
            let now = if known { self.now().await } else { ServingStatus::ServiceUnknown };
            if told != Some(now) && to.send(Ok(answer(now))).await.is_err() {
                return;
            }
            told = Some(now);
            // All only wake the loop.
            tokio::select! {
                biased;
                () = to.closed() => return,
                changed = leadership.changed() => if changed.is_err() { return },
                () = sleep(LOOK_AGAIN) => {}
            }
        }
    }
}

/// The services of the contract by their full names.
fn services() -> BTreeSet<String> {
    let all = FileDescriptorSet::decode(DESCRIPTORS).expect("our own build wrote it");
    let of = |file: FileDescriptorProto| {
        let package = file.package().to_owned();
        file.service.into_iter().map(move |service| format!("{package}.{}", service.name()))
    };
    all.file.into_iter().flat_map(of).collect()
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = ReceiverStream<Result<HealthCheckResponse, Status>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        authorise::identity(&request)?;
        let service = &request.get_ref().service;
        if !self.knows(service) {
            return Err(Status::not_found(format!("no service {service} is here")));
        }
        Ok(Response::new(answer(self.now().await)))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        authorise::identity(&request)?;
        let known = self.knows(&request.get_ref().service);
        let (to, changes) = mpsc::channel(CHANGES_MAX);
        let (this, cancel) = (self.clone(), self.cancel.child_token());
        self.tasks.spawn(async move {
            if cancel.run_until_cancelled(this.tell(known, &to)).await.is_none() {
                // As the standard has it: the watcher takes the end of the stream for "not serving" and asks again.
                drop(to.try_send(Err(Status::unavailable("this coordinator stops"))));
            }
        });
        Ok(Response::new(ReceiverStream::new(changes)))
    }
}
