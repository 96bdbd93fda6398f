//! The commands of the README, taken from it, so that what is tested is what people are told to type.

use std::fs;

use anyhow::{Context, Result, ensure};

/// A line that somebody types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typed {
    /// Where: `c1`, or `use-*` for every host whose name begins so.
    pub on: String,
    /// What.
    pub command: String,
}

impl Typed {
    /// Whether it is typed on the host of that name.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        self.on.strip_suffix('*').map_or(self.on == host, |begins| host.starts_with(begins))
    }
}

/// The first block of commands below a heading.
///
/// # Errors
/// When there is none.
pub fn commands_below(heading: &str) -> Result<Vec<Typed>> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).context("the README")?;
    commands_in(&text, heading)
}

fn commands_in(text: &str, heading: &str) -> Result<Vec<Typed>> {
    let section = text.split_once(&format!("## {heading}\n")).with_context(|| format!("no heading {heading}"))?.1;
    let section = section.split("\n## ").next().unwrap_or(section);
    let block = section.split("```\n").nth(1).with_context(|| format!("no commands below {heading}"))?;
    let typed = block.lines().filter_map(|line| {
        let (on, rest) = line.split_once('$')?;
        let command = rest.split("   #").next().unwrap_or(rest).split(" # ").next()?.trim();
        Some(Typed { on: on.to_owned(), command: command.to_owned() })
    });
    let typed: Vec<_> = typed.collect();
    ensure!(!typed.is_empty(), "no commands below {heading}");
    Ok(typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_from_who_types_it_and_from_what_is_said_about_it() {
        let text = "# A\n\n## First\n\n```\nc1$     holdfast hosts     # all\nuse-*$  a && b\n```\n\n```\nc1$ other\n```\n## B\n";
        let found = commands_in(text, "First").expect("two");
        let typed = |on: &str, command: &str| Typed { on: on.to_owned(), command: command.to_owned() };
        assert_eq!(found, [typed("c1", "holdfast hosts"), typed("use-*", "a && b")]);
        assert!(found[1].is_for("use-db1") && !found[1].is_for("usw-db1") && !found[0].is_for("c12"));
        assert!(commands_in(text, "B").is_err());
    }
}
