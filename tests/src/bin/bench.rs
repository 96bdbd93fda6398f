//! `make bench`: failovers beside their floor, an agent beside another program, few hosts beside many.

use std::process::ExitCode;

use clap::Parser;
use holdfast_tests::bench::{Options, Part, run};

/// Times failovers on this machine, part by part, and weighs agents and coordinators
#[derive(Debug, Parser)]
struct Arguments {
    /// Which benchmarks; all by default
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// How long the agent is watched, minutes
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_440))]
    minutes: u32,
    /// How many hosts a coordinator gets, one coordinator for each number; multiples of four
    #[arg(long, value_delimiter = ',', default_values_t = [200, 2_000])]
    hosts: Vec<usize>,
    /// How many failovers of each kind
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// One of each kind
    #[arg(long, conflicts_with = "runs")]
    quick: bool,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(Options {
        parts: arguments.only,
        runs: if arguments.quick { 1 } else { arguments.runs },
        minutes: arguments.minutes,
        hosts: arguments.hosts,
        json: arguments.json,
    })
}
