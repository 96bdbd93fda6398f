//! `holdfast-helper`.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast_agent::helper::command::main()
}
