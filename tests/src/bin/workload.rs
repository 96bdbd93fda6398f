//! The write workload as a program: writes through the given addresses in turn and prints its counters once a second.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;
use holdfast_tests::{
    harness::now,
    workload::{Ledger, Route, Writer, WriterPlan, check},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

/// Writes a row every few milliseconds and remembers every acknowledgement; ends on Ctrl-C.
#[derive(Debug, Parser)]
struct Arguments {
    /// A proxy or database as NAME=ADDRESS:PORT; several are tried in turn
    #[arg(long = "through", required = true, value_parser = route)]
    through: Vec<Route>,
    /// Name of this writer in the table
    #[arg(long, default_value = "outside")]
    writer: String,
    /// Network namespace to connect from, as `ip netns` lists it
    #[arg(long)]
    namespace: Option<String>,
    /// Milliseconds between acknowledged writes
    #[arg(long, default_value_t = 5)]
    pause_ms: u64,
}

fn route(text: &str) -> Result<Route> {
    let (name, address) = text.split_once('=').context("write NAME=ADDRESS:PORT")?;
    let address: SocketAddr = address.parse().with_context(|| format!("{address} is no ADDRESS:PORT"))?;
    Ok(Route::Address { name: name.into(), address })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let ledger = Ledger::new();
    let plan = WriterPlan {
        name: arguments.writer.clone(),
        namespace: arguments.namespace.map(|name| PathBuf::from("/run/netns").join(name)),
        routes: arguments.through,
        pause: Duration::from_millis(arguments.pause_ms),
    };
    let writer = Writer::start(plan, &ledger)?;
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        // Each branch only waits; nothing is lost with the ones that are dropped.
        tokio::select! {
            biased;
            _ = interrupted.recv() => break,
            _ = terminated.recv() => break,
            _ = tick.tick() => print(&ledger, &arguments.writer)?,
        }
    }
    writer.stop()?;
    print(&ledger, &arguments.writer)?;
    Ok(())
}

/// One JSON object on a line of its own.
fn print(ledger: &Ledger, writer: &str) -> Result<()> {
    let counters = ledger.counters(writer);
    let last = counters.last.as_ref();
    let line = serde_json::json!({
        "schema": 1,
        "acknowledged": counters.acknowledged,
        "failed": counters.failed,
        "last_failure": counters.last_failure,
        "through": last.map(|ack| &*ack.through),
        "server": last.map(|ack| &ack.database.server),
        "timeline": last.map(|ack| ack.database.timeline),
        "since_last_seconds": last.map(|ack| now().since(ack.acked).as_secs_f64()),
        "longest_gap_seconds": check::longest_gap(&ledger.acks_of(writer)).as_secs_f64(),
    });
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
