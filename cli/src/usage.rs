//! A wrong command line: one error of a few lines that names what is wrong, what would do, and the help to read.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::{
    args,
    errors::{Exit, Failure},
};

/// What is wrong with the command line, in our own words.
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "clap's list; what is left says itself in one line")]
pub fn failure(error: &clap::Error, typed: &[String]) -> Failure {
    let path = path(typed);
    let help = format!("{path} --help");
    let about = |kind| error.get(kind).map(text).unwrap_or_default();
    let (arg, value) = (about(ContextKind::InvalidArg), about(ContextKind::InvalidValue));
    let failure = match error.kind() {
        ErrorKind::MissingRequiredArgument => {
            Failure::usage(format!("{path} needs {}", list(&arg.split('\n').collect::<Vec<_>>(), "and")), help)
        }
        ErrorKind::UnknownArgument => {
            let kind = if arg.starts_with('-') { "flag" } else { "argument" };
            Failure::usage(format!("{path} takes no {kind} {arg}"), help)
        }
        ErrorKind::InvalidSubcommand => {
            Failure::usage(format!("{path} has no command {}", about(ContextKind::InvalidSubcommand)), help)
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let known = subcommands(&path);
            let known = list(&known.iter().map(String::as_str).collect::<Vec<_>>(), "or");
            Failure::usage(format!("{path} needs a command: {known}"), help)
        }
        ErrorKind::InvalidValue if value.is_empty() => Failure::usage(format!("{arg} needs a value"), help),
        ErrorKind::InvalidValue => {
            let known = about(ContextKind::ValidValue);
            let known = list(&known.split('\n').collect::<Vec<_>>(), "or");
            Failure::usage(format!("{arg} cannot be \"{value}\": it is {known}"), help)
        }
        ErrorKind::ValueValidation => {
            let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            if why.contains(&value) {
                Failure::usage(format!("{arg}: {why}"), help)
            } else {
                Failure::usage(format!("{arg} cannot be \"{value}\": {why}"), help)
            }
        }
        ErrorKind::ArgumentConflict => {
            let with = about(ContextKind::PriorArg);
            let what = if with == arg {
                format!("{arg} is there twice")
            } else {
                format!("{arg} does not go together with {}", list(&with.split('\n').collect::<Vec<_>>(), "and"))
            };
            Failure::usage(what, help)
        }
        _ => {
            let rendered = error.render().to_string();
            let first = rendered.lines().next().unwrap_or_default();
            Failure::usage(first.trim_start_matches("error: ").to_owned(), help)
        }
    };
    let meant = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue]
        .iter()
        .filter_map(|kind| error.get(*kind))
        .map(text)
        .find(|t| !t.is_empty());
    match meant {
        Some(meant) => failure.line("meant", list(&meant.split('\n').collect::<Vec<_>>(), "or") + "?"),
        None => failure,
    }
}

/// No command at all: the overview, and a code that no script takes for success.
#[must_use]
pub fn is_bare(error: &clap::Error, typed: &[String]) -> bool {
    typed.len() <= 1
        && matches!(error.kind(), ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand)
}

/// How a failure of usage ends; also what clap would call 2.
pub const EXIT: Exit = Exit::Usage;

/// The command that was typed, as far as it exists: `holdfast operations watch`.
fn path(typed: &[String]) -> String {
    let top = args::command();
    let mut at = &top;
    let mut path = "holdfast".to_owned();
    for word in typed.iter().skip(1) {
        if let Some(sub) = at.find_subcommand(word) {
            path = format!("{path} {word}");
            at = sub;
        }
    }
    path
}

fn subcommands(path: &str) -> Vec<String> {
    let top = args::command();
    let mut at = &top;
    for word in path.split(' ').skip(1) {
        match at.find_subcommand(word) {
            Some(sub) => at = sub,
            None => break,
        }
    }
    at.get_subcommands().map(|c| c.get_name().to_owned()).collect()
}

fn text(value: &ContextValue) -> String {
    if let ContextValue::Strings(all) = value { all.join("\n") } else { value.to_string() }
}

/// `a`, `a and b`, `a, b and c`.
fn list(items: &[&str], last: &str) -> String {
    match items {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [head @ .., end] => format!("{} {last} {end}", head.join(", ")),
    }
}
