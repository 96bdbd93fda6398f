//! An agent that is broken on purpose: its fence kills the postmaster and believes that this is all. For tests, which show
//! that they catch it.

use std::{collections::BTreeMap, path::Path, process::ExitCode, sync::Arc, time::Duration};

use async_trait::async_trait;
use holdfast_agent::{
    command,
    executors::{ExecError, Executors, Probed, Seen},
};
use holdfast_agent_core::duties::Probe;
use holdfast_types::spec::Writer;
use rustix::process::{Pid, Signal, kill_process};

#[derive(Debug)]
struct Blunt(Arc<dyn Executors>);

fn postmaster(data_dir: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(data_dir.join("postmaster.pid")).ok()?;
    Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
}

#[async_trait]
impl Executors for Blunt {
    async fn look(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError> {
        self.0.look(writer, within).await
    }

    async fn fence(&self, writer: &Writer, _within: Duration) -> Result<String, ExecError> {
        if let Some(pid) = postmaster(&writer.data_dir) {
            // Gone already is as good.
            let _ = kill_process(pid, Signal::KILL);
        }
        Ok("its postmaster was killed".to_owned())
    }

    async fn start_primary(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError> {
        self.0.start_primary(writer, within).await
    }

    async fn promote(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError> {
        self.0.promote(writer, within).await
    }

    async fn connected_with(&self, writer: &Writer, within: Duration) -> Result<Option<String>, ExecError> {
        self.0.connected_with(writer, within).await
    }

    async fn cut(&self, writer: &Writer, within: Duration) -> Result<Seen, ExecError> {
        self.0.cut(writer, within).await
    }

    async fn reconnect(&self, writer: &Writer, conninfo: &str, within: Duration) -> Result<(), ExecError> {
        self.0.reconnect(writer, conninfo, within).await
    }

    async fn probe(&self, probe: &Probe, timeout: Duration) -> Probed {
        self.0.probe(probe, timeout).await
    }

    async fn servers(
        &self,
        socket: &Path,
        backend: &str,
        within: Duration,
    ) -> Result<BTreeMap<String, bool>, ExecError> {
        self.0.servers(socket, backend, within).await
    }

    async fn open_only(&self, socket: &Path, backend: &str, server: &str, within: Duration) -> Result<(), ExecError> {
        self.0.open_only(socket, backend, server, within).await
    }

    async fn close_all(&self, socket: &Path, backend: &str, within: Duration) -> Result<(), ExecError> {
        self.0.close_all(socket, backend, within).await
    }
}

fn main() -> ExitCode {
    command::main(|real| Arc::new(Blunt(real)))
}
