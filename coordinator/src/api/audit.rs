//! The audit trail, entry by entry.

use holdfast_proto::v1;
use holdfast_types::{Right, audit::Entry};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Api;
use crate::authorise;

/// Entries that are read from the state at once.
const PAGE: usize = 500;
/// Entries that may wait for a reader.
const WAITING_MAX: usize = 64;

#[tonic::async_trait]
impl v1::audit_server::Audit for Api {
    type TrailStream = ReceiverStream<Result<v1::AuditEntry, Status>>;

    async fn trail(&self, request: Request<v1::TrailRequest>) -> Result<Response<Self::TrailStream>, Status> {
        authorise::operator(&request, &self.replica, Right::Admit)?;
        self.lead().await?;
        let v1::TrailRequest { mut after, newest } = request.into_inner();
        if let Ok(newest @ 1..) = usize::try_from(newest) {
            let from = self.replica.read(|s| s.audit_after(0).rev().take(newest).last().map(|entry| entry.number));
            after = after.max(from.unwrap_or(1).saturating_sub(1));
        }
        let (to, entries) = tokio::sync::mpsc::channel(WAITING_MAX);
        let (this, cancel) = (self.clone(), self.cancel.child_token());
        self.tasks.spawn(async move {
            let send = async {
                loop {
                    let page: Vec<Entry> = this.replica.read(|s| s.audit_after(after).take(PAGE).collect());
                    let Some(last) = page.last() else { return };
                    after = last.number;
                    for entry in page {
                        // Nobody reads any more.
                        if to.send(Ok(wire(entry))).await.is_err() {
                            return;
                        }
                    }
                }
            };
            cancel.run_until_cancelled(send).await;
        });
        Ok(Response::new(ReceiverStream::new(entries)))
    }
}

fn wire(entry: Entry) -> v1::AuditEntry {
    v1::AuditEntry {
        number: entry.number,
        at: entry.at,
        by: entry.by,
        from: entry.from,
        call: entry.call,
        subject: entry.subject,
        why: entry.why,
        done: entry.done,
        outcome: entry.outcome,
        previous: entry.previous.0.to_vec(),
        hash: entry.hash.0.to_vec(),
    }
}
