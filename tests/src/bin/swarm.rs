//! Plays hosts at a coordinator until it is interrupted, for a look at one that has many:
//! `swarm --address c1.example:7443 --hosts 200 --token TOKEN --token TOKEN`, a token for us-east and one for us-west,
//! each good for half of the hosts.

use std::{process::ExitCode, thread, time::Duration};

use clap::Parser;
use holdfast_shared::token::JoinToken;
use holdfast_tests::{
    demo::screen::{Screen, Tone},
    harness::clock_shared,
    swarm::Swarm,
};

/// Plays hosts at a coordinator
#[derive(Debug, Parser)]
struct Arguments {
    /// The coordinator, HOST:PORT
    #[arg(long)]
    address: String,
    /// How many hosts, a multiple of four
    #[arg(long, default_value_t = 200)]
    hosts: usize,
    /// A join token, first for us-east, then for us-west
    #[arg(long, required = true)]
    token: Vec<JoinToken>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut screen = Screen::stdout();
    let Ok(tokens) = <[JoinToken; 2]>::try_from(arguments.token) else {
        screen.line(Tone::Bad, "two tokens, please: one for us-east and one for us-west");
        return ExitCode::FAILURE;
    };
    let swarm = match Swarm::begin(&arguments.address, &tokens, arguments.hosts, &clock_shared()) {
        Ok(swarm) => swarm,
        Err(error) => {
            screen.line(Tone::Bad, &format!("{error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let mut told = None;
    loop {
        let standing = swarm.standing();
        if told != Some(standing) {
            let (all, up) = (swarm.hosts(), standing.up);
            screen.line(
                Tone::Plain,
                &format!("{up} of {all} up, {} enrolled, {} lost", standing.enrolled, standing.lost),
            );
            told = Some(standing);
        }
        thread::sleep(Duration::from_secs(1));
    }
}
