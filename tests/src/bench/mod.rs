//! `make bench`: how long the parts of a failover take, each beside the floor that this very machine has; what an agent
//! takes, beside Prometheus' node exporter; and a coordinator with ten times as many hosts beside itself.
//!
//! Every run has a fleet of its own. A *cut* takes the active region's network away, so that nobody can say that it has
//! stopped and the wait is real; a *kill* ends PostgreSQL alone, and its fence is confirmed. The *floor* is what is left
//! when nothing has to be found out: kill, `pg_promote()`, and the proxies switched by hand.

mod agent;
mod crowd;
mod process;
mod runs;
mod table;

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

pub use runs::{Fault, Run};

use crate::{
    demo::{
        complain,
        screen::{Screen, Tone},
    },
    measure::{median, thousandths},
};

/// What is promised of the median from a cut to the first acknowledged write, seconds.
pub const RTO_MOST: f64 = 6.0;

/// One of the benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// How long a failover takes.
    Failover,
    /// What an agent takes.
    Agent,
    /// A coordinator with few and with many hosts.
    Crowd,
}

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Which of them; none = all.
    pub parts: Vec<Part>,
    /// How often a failover is timed.
    pub runs: u32,
    /// How long the agent is watched.
    pub minutes: u32,
    /// Sizes of the crowds: memory for each host is what lies between the first and the last.
    pub hosts: Vec<usize>,
    /// End with a line for programs.
    pub json: bool,
}

/// The last line for programs, all in seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Line {
    bench: Measured,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct Measured {
    #[serde(flatten)]
    failover: Option<Medians>,
    agent: Option<agent::Footprint>,
    crowds: Vec<crowd::Crowd>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Medians {
    runs: usize,
    cut_rto_seconds: Option<f64>,
    kill_rto_seconds: Option<f64>,
    floor_seconds: Option<f64>,
    cut: Vec<Run>,
    kill: Vec<Run>,
}

/// Measures and prints. The exit status is 0 when every run came through and the median is within what is promised.
pub fn run(options: Options) -> ExitCode {
    let mut screen = Screen::stdout();
    match measure(&mut screen, &options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(screen: &mut Screen, options: &Options) -> Result<bool> {
    let wants = |part| options.parts.is_empty() || options.parts.contains(&part);
    let mut measured = Measured::default();
    let mut good = true;
    if wants(Part::Failover) {
        let medians = failovers(screen, options)?;
        good &= medians.good();
        measured.failover = Some(medians);
        screen.gap();
    }
    if wants(Part::Agent) {
        let footprint = agent::measure(screen, options.minutes)?;
        good &= footprint.good();
        measured.agent = Some(footprint);
        screen.gap();
    }
    if wants(Part::Crowd) {
        screen.line(
            Tone::Strong,
            "a coordinator with few and with many hosts, played over the real protocol and real TLS",
        );
        for hosts in &options.hosts {
            measured.crowds.push(crowd::measure(screen, *hosts)?);
        }
        crowd::show(screen, &measured.crowds);
        good &= measured.crowds.iter().all(crowd::Crowd::good);
    }
    if options.json {
        screen.data(&serde_json::to_string(&Line { bench: measured })?);
    }
    Ok(good)
}

fn failovers(screen: &mut Screen, options: &Options) -> Result<Medians> {
    screen.line(Tone::Strong, "failover, timed by a workload outside both regions that tries the proxies in turn");
    screen.line(Tone::Plain, "interval 1 s, recheck 1 s, 3 failures, lease 3 s; seconds, each run on hosts of its own");
    let mut series: Vec<(Fault, Vec<Run>)> = Vec::new();
    for fault in [Fault::Cut, Fault::Kill] {
        screen.gap();
        screen.line(Tone::Strong, fault.heading());
        screen.line(Tone::Dim, &table::head());
        let mut runs = Vec::new();
        for number in 1..=options.runs {
            let run = runs::measure(fault, number, options.runs)?;
            screen.line(Tone::Plain, &table::row(&number.to_string(), &run));
            runs.push(run);
        }
        let middle = table::middle(&runs);
        screen.line(Tone::Strong, &table::row("median", &middle));
        screen.line(Tone::Plain, &format!("  acknowledged writes lost in all of them: {}", middle.lost));
        series.push((fault, runs));
    }
    let of = |fault: Fault, value: fn(&Run) -> Option<f64>| {
        let runs = series.iter().filter(|(f, _)| *f == fault).flat_map(|(_, runs)| runs);
        median(runs.filter_map(value)).map(thousandths)
    };
    let floors = series.iter().flat_map(|(_, runs)| runs).filter_map(|run| run.floor);
    let floor = median(floors).map(thousandths);
    let (cut, kill) = (of(Fault::Cut, |run| run.parts.rto), of(Fault::Kill, |run| run.parts.rto));
    let good = is_good(cut, kill);
    screen.gap();
    for text in [
        "routing: until the first proxy sends writes there; client: until the workload has found that",
        "verify: from the open proxy until writes were seen and every proxy was told or given up",
        "floor: kill, pg_promote() and the proxies by hand, until the workload's first acknowledged write",
    ] {
        screen.line(Tone::Dim, text);
    }
    let verdict = if good { Tone::Good } else { Tone::Bad };
    let shown = cut.map_or("none came back".to_owned(), |cut| format!("{cut:.2} s"));
    screen.line(verdict, &format!("median from a cut to the first write: {shown}; promised: {RTO_MOST:.0} s at most"));
    let take = |fault| series.iter().find(|(f, _)| *f == fault).map(|(_, runs)| runs.clone()).unwrap_or_default();
    Ok(Medians {
        runs: usize::try_from(options.runs).unwrap_or(usize::MAX),
        cut_rto_seconds: cut,
        kill_rto_seconds: kill,
        floor_seconds: floor,
        cut: take(Fault::Cut),
        kill: take(Fault::Kill),
    })
}

impl Medians {
    fn good(&self) -> bool {
        is_good(self.cut_rto_seconds, self.kill_rto_seconds)
    }
}

fn is_good(cut: Option<f64>, kill: Option<f64>) -> bool {
    cut.is_some_and(|cut| cut <= RTO_MOST) && kill.is_some()
}
