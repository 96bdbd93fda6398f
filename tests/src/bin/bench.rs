//! `make bench`: how long the parts of a failover take, beside the floor.

use std::process::ExitCode;

use clap::Parser;
use holdfast_tests::bench::{Options, run};

/// Times failovers on this machine, part by part
#[derive(Debug, Parser)]
struct Arguments {
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
    run(Options { runs: if arguments.quick { 1 } else { arguments.runs }, json: arguments.json })
}
