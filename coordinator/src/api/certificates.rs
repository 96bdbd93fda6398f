//! Cuts a host off: all its certificates, and the sessions that it has now; and forgets it, if asked.

use holdfast_coordinator_core::change::{Kind, RemoveHost, Revoke};
use holdfast_proto::v1;
use holdfast_shared::identity::Bearer;
use holdfast_types::{AppName, ClusterId, HostName, RegionName, Right, refusal::Reason};
use tonic::{Request, Response, Status};

use super::{
    Api,
    call::{About, Call},
    not_committed,
    refuse::{self, Refusal},
};

#[tonic::async_trait]
impl v1::certificates_server::Certificates for Api {
    async fn revoke_host(
        &self,
        request: Request<v1::RevokeHostRequest>,
    ) -> Result<Response<v1::RevokeHostReply>, Status> {
        let message = request.get_ref();
        let about = About { call: "hosts revoke", subject: &message.host, why: &message.reason };
        let call = self.begin(&request, Right::Admit, about).await?;
        let done = self.revoke(&call, request.into_inner()).await;
        self.end(call, done).await
    }

    async fn remove_host(
        &self,
        request: Request<v1::RemoveHostRequest>,
    ) -> Result<Response<v1::RemoveHostReply>, Status> {
        let message = request.get_ref();
        let about = About { call: "hosts remove", subject: &message.host, why: &message.reason };
        let call = self.begin(&request, Right::Admit, about).await?;
        let done = self.remove(&call, request.into_inner()).await;
        self.end(call, done).await
    }
}

impl Api {
    async fn revoke(&self, call: &Call, asked: v1::RevokeHostRequest) -> Result<v1::RevokeHostReply, Status> {
        self.lead().await?;
        let v1::RevokeHostRequest { host, reason } = asked;
        let host = HostName::new(&*host).map_err(|e| refuse::bad(e.to_string()))?;
        let (region, cluster) = self
            .replica
            .read(|s| match s.hosts().get(&host) {
                Some(record) => Ok((record.region.clone(), s.cluster().id.clone())),
                None => Err(refuse::unknown_host(&host, s.hosts().keys())),
            })
            .map_err(Refusal::status)?;
        let stored = |what: &str| Status::internal(format!("the record of host {host} holds no {what}"));
        let region = RegionName::new(region).map_err(|_| stored("region"))?;
        let cluster = ClusterId::new(cluster).map_err(|_| stored("cluster"))?;
        let bearer = Bearer::Agent { region: region.clone(), host: host.clone() };
        let was_live = self.fleet.live(&host).is_some();
        let reason = if reason.is_empty() { call.caller.author() } else { reason };
        let change = Revoke { bearer: bearer.uri(&cluster), reason: reason.clone() };
        let next =
            vec!["holdfast hosts".to_owned(), format!("holdfast token create --region {region} --replaces {host}")];
        let revoked = match self.replica.propose(call.author(), Kind::Revoke(change)).await {
            Ok(committed) => committed.number,
            Err(error) => {
                // Somebody revoked it before: whatever is still open is closed all the same.
                self.cut_host(&host, &bearer)?;
                return Err(not_committed(&error, next));
            }
        };
        tracing::warn!(host = %host, certificates = revoked, by = %call.caller.name, reason, "host revoked");
        let cut = self.cut_host(&host, &bearer)?;
        Ok(v1::RevokeHostReply {
            certificates: u32::try_from(revoked).unwrap_or(u32::MAX),
            // The steady upkeep of the list may have been quicker to cut it.
            sessions_cut: u32::try_from(cut).unwrap_or(u32::MAX).max(u32::from(was_live)),
        })
    }

    async fn remove(&self, call: &Call, asked: v1::RemoveHostRequest) -> Result<v1::RemoveHostReply, Status> {
        self.lead().await?;
        let v1::RemoveHostRequest { host, reason, also_live } = asked;
        let host = HostName::new(&*host).map_err(|e| refuse::bad(e.to_string()))?;
        if reason.trim().is_empty() {
            return Err(refuse::bad("removing a host needs a reason"));
        }
        let (region, apps) = self
            .replica
            .read(|s| match s.hosts().get(&host) {
                Some(record) => Ok((record.region.clone(), s.apps_on(&host).cloned().collect::<Vec<AppName>>())),
                None => Err(refuse::unknown_host(&host, s.hosts().keys())),
            })
            .map_err(Refusal::status)?;
        if let Some(app) = apps.first() {
            let what = format!("{host} is named by the spec of {}", refuse::listed(&apps));
            return Err(Refusal::new(Reason::HostInUse, what)
                .line("why", "what runs there would be fenced when its certificate is gone")
                .next(format!("holdfast apply -f {app}.yaml      without {host}"))
                .next(format!("holdfast apps remove {app}"))
                .next(format!("holdfast hosts revoke {host} --reason \"…\"      to cut it off all the same"))
                .status());
        }
        let live = self.fleet.live(&host).is_some();
        if live && !also_live {
            return Err(Refusal::new(
                Reason::HostLive,
                format!("{host} ({region}) is live: its agent is connected now"),
            )
            .next(format!("holdfast hosts remove {host} --reason \"…\" -y"))
            .status());
        }
        let region = RegionName::new(region)
            .map_err(|_| Status::internal(format!("the record of host {host} holds no region")))?;
        let change = RemoveHost { host: host.to_string(), reason: reason.clone() };
        let committed = self
            .replica
            .propose(call.author(), Kind::RemoveHost(change))
            .await
            .map_err(|e| not_committed(&e, vec!["holdfast hosts".to_owned()]))?;
        tracing::warn!(host = %host, certificates = committed.number, by = %call.caller.name, reason, "host removed");
        let cut = self.cut_host(&host, &Bearer::Agent { region: region.clone(), host: host.clone() })?;
        self.fleet.forget(&host);
        self.watch.forget(&host);
        let mut left = vec![format!(
            "its agent is installed and will be refused: on {host}, systemctl disable --now holdfast-agent"
        )];
        left.push(format!("to have it back: holdfast token create --region {region}, then join there anew"));
        Ok(v1::RemoveHostReply {
            region: region.to_string(),
            certificates: u32::try_from(committed.number).unwrap_or(u32::MAX),
            sessions_cut: u32::try_from(cut).unwrap_or(u32::MAX).max(u32::from(live)),
            left,
        })
    }

    fn cut_host(&self, host: &HostName, bearer: &Bearer) -> Result<usize, Status> {
        let cut = self.cut(&format!("host {host}"), bearer);
        self.fleet.close(host);
        cut
    }
}

impl Api {
    /// Closes what the bearer has open, then puts the list in force that keeps it out. A connection that is made in
    /// between is cut by the list.
    pub(super) fn cut(&self, whom: &str, bearer: &Bearer) -> Result<usize, Status> {
        let open = self.hot.cut_bearer(bearer);
        let listed = self.issuer.reload(&self.hot);
        match listed {
            Ok(late) => Ok(open + late),
            Err(error) => {
                tracing::error!(bearer = %bearer, error = %error, "the list of revoked certificates is not in force");
                Err(Status::internal(format!(
                    "{whom} is revoked and its sessions are cut, but the list that keeps it out is not in force: {error}; restart this coordinator"
                )))
            }
        }
    }
}
