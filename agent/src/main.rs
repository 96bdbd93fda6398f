//! `holdfast-agent`.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast_agent::command::main(std::convert::identity)
}
