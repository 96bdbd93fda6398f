//! A writer that is a single statement: a procedure inside the database that inserts and commits for ever.
//!
//! An ordinary writer's backend ends by itself when its postmaster is gone, because it waits for its client and notices.
//! This one never waits for anybody, so it goes on committing: the proof that a fence must end every process. Each
//! commit is told by a notice, which PostgreSQL sends at once, and counts as acknowledged when that arrives.

use std::{sync::Arc, thread, time::Duration};

use anyhow::{Context, Result, anyhow};
use futures_util::{StreamExt, stream};
use holdfast_types::BootInstant;
use tokio::{runtime::Builder, time::sleep};
use tokio_postgres::{AsyncMessage, NoTls};
use tokio_util::sync::CancellationToken;

use super::{
    Writer,
    ledger::{Ack, Ledger},
    route::{SAYS_WHO, database},
};
use crate::harness::{PgNode, now};

/// Between attempts: a standby refuses each of them.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// What a notice of the procedure begins with.
const MARK: &str = "holdfast-wrote";

/// The procedure. Its pause is another program's: a backend that sleeps by itself would notice that its postmaster is gone.
#[must_use]
pub fn procedure() -> String {
    format!(
        "create or replace procedure holdfast_write_on(name text, first bigint) language plpgsql as $$
         declare n bigint := first; who text; file text;
         begin loop
             insert into holdfast_writes (writer, sequence) values (name, n) returning {SAYS_WHO} into who, file;
             commit;
             raise notice '{MARK} % % %', n, file, who;
             n := n + 1;
             copy (select 1) to program 'sleep 0.03';
         end loop; end $$"
    )
}

impl Writer {
    /// Inside a region, as one statement that never ends: named `busy-REGION`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn busy(node: &PgNode, ledger: &Arc<Ledger>) -> Result<Self> {
        let name = format!("busy-{}", node.region());
        let mut config = tokio_postgres::Config::new();
        config
            .host_path(node.socket_dir())
            .port(node.port())
            .user("postgres")
            .dbname("postgres")
            .application_name(&name);
        let (stop, ledger) = (CancellationToken::new(), Arc::clone(ledger));
        let busy = Busy { name: name.as_str().into(), through: format!("{}:procedure", node.region()).into(), config };
        let token = stop.clone();
        let thread = thread::Builder::new().name(name.clone()).spawn(move || {
            match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => drop(runtime.block_on(token.run_until_cancelled(busy.run(&ledger)))),
                Err(error) => ledger.failed(&busy.name, format!("the writer ended: {error:#}")),
            }
        })?;
        Ok(Self::of_thread(name, stop, thread))
    }
}

struct Busy {
    name: Arc<str>,
    through: Arc<str>,
    config: tokio_postgres::Config,
}

impl Busy {
    /// May be dropped at any await: what was not told is not remembered.
    async fn run(&self, ledger: &Ledger) {
        let mut next = 1;
        loop {
            let error = self.call(&mut next, ledger).await.err().unwrap_or_else(|| anyhow!("the procedure ended"));
            ledger.failed(&self.name, format!("{error:#}"));
            sleep(AFTER_FAILURE).await;
        }
    }

    async fn call(&self, next: &mut u64, ledger: &Ledger) -> Result<()> {
        let (client, mut connection) = self.config.connect(NoTls).await?;
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        let sql = format!("call holdfast_write_on('{}', {next})", self.name);
        let mut call = std::pin::pin!(client.batch_execute(&sql));
        let mut since = now();
        loop {
            // Neither is lost: the stream is asked again, and the call goes on.
            tokio::select! {
                biased;
                message = messages.next() => {
                    if let AsyncMessage::Notice(notice) = message.context("the connection ended")??
                        && let Some(ack) = self.told(notice.message(), since)?
                    {
                        *next = ack.sequence + 1;
                        since = ack.acked;
                        ledger.record(ack);
                    }
                }
                ended = &mut call => {
                    // What was committed and not told must not be written again.
                    *next += 1;
                    return ended.map_err(|error| match error.as_db_error() {
                        Some(said) => anyhow!("{}", said.message()),
                        None => error.into(),
                    });
                }
            }
        }
    }

    fn told(&self, notice: &str, sent: BootInstant) -> Result<Option<Ack>> {
        let Some(rest) = notice.strip_prefix(MARK) else { return Ok(None) };
        let mut words = rest.trim_start().splitn(3, ' ');
        let mut word = || words.next().with_context(|| format!("notice {notice:?}"));
        let (sequence, file, who) = (word()?.parse()?, word()?, word()?);
        let database = database(who, file)?;
        let (writer, through) = (Arc::clone(&self.name), Arc::clone(&self.through));
        Ok(Some(Ack { writer, sequence, sent, acked: now(), through, database }))
    }
}
