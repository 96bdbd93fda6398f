//! What a shell needs to complete the commands of this release. Made from the same tree as `--help`, so that it names
//! what exists and nothing else.

use super::Context;
use crate::{
    args::{self, Shell},
    console::Stop,
    errors::Exit,
};

pub(super) fn run(c: &mut Context<'_, '_>, shell: Shell) -> Result<Exit, Stop> {
    c.console.data(&script(shell))?;
    Ok(Exit::Done)
}

fn script(shell: Shell) -> String {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "holdfast", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_learns_every_command_and_is_sent_nothing_that_paints() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for word in args::GROUPS.iter().flat_map(|(_, e)| e.iter()).flat_map(|e| e.commands) {
                let last = word.rsplit(' ').next().unwrap_or(word);
                assert!(script.contains(last), "{shell:?} does not know {word}");
            }
            assert!(script.contains("holdfast") && !script.contains('\x1b'), "{shell:?}");
        }
    }
}
