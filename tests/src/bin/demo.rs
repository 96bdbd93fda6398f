//! `make demo`: shows a failover on this machine. `make demo KEEP=1` leaves it running, to be broken by hand.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use holdfast_tests::demo::{
    Options, complain,
    control::{Request, tell},
    run,
};

/// Two regions on this machine: one is cut off, and its app moves to the other
#[derive(Debug, Parser)]
struct Arguments {
    /// Leave it running, unharmed; then cut, kill and heal it
    #[arg(long)]
    keep: bool,
    /// Hosts are loopback addresses, as where network namespaces are not allowed
    #[arg(long)]
    loopback: bool,
    #[command(subcommand)]
    tell: Option<Tell>,
}

/// Told to a demo that was left running.
#[derive(Debug, Clone, Subcommand)]
enum Tell {
    /// Take a region's network away
    Cut {
        /// us-east or us-west
        region: String,
    },
    /// Give every network back and start what was killed
    Heal,
    /// Kill everything on a host, as a power cut does
    Kill {
        /// use-db1, use-web1, usw-db1, usw-web1 or eu-c1
        host: String,
    },
    /// The workload's counters and `holdfast status`
    Status,
    /// End it and remove everything
    Down,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let request = match arguments.tell {
        None => return run(Options { keep: arguments.keep, loopback: arguments.loopback }),
        Some(Tell::Cut { region }) => Request::Cut(region),
        Some(Tell::Heal) => Request::Heal,
        Some(Tell::Kill { host }) => Request::Kill(host),
        Some(Tell::Status) => Request::Status,
        Some(Tell::Down) => Request::Down,
    };
    match tell(&request) {
        Ok(answer) => {
            // Nobody reading is no error.
            let _ = writeln!(io::stdout(), "{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
