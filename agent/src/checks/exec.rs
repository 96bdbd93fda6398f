//! What a script of the host's own folder says.

use std::process::ExitStatus;
use std::{os::unix::process::ExitStatusExt as _, time::Duration};

use holdfast_agent_core::duties::Script;
use holdfast_shared::error::Chain;
use holdfast_types::{line::first_line, time::span};

use super::{Evidence, Outcome, TEXT_CHARS_MAX};
use crate::exec::{
    child::ChildError,
    script::{Scripts, keeper},
};

/// From this exit code on a script was not run: the keeper's own, and the shell's two.
const NOT_RUN_FROM: i32 = keeper::COULD_NOT_RUN as i32;
/// The last of them.
const NOT_RUN_TO: i32 = 127;

pub(super) async fn run(scripts: &Scripts, script: &Script, timeout: Duration) -> Outcome {
    match scripts.run(script, timeout).await {
        Ok(ended) => judge(&script.name, ended.status, &ended.stdout, &ended.stderr, timeout),
        Err(e @ ChildError::TimedOut { .. }) => Outcome::failing(Chain(&e).to_string()),
        Err(e) => Outcome::could_not_run(Chain(&e).to_string()),
    }
}

/// 0 is fine, 125 to 127 mean that it was not run, anything else is failing; the first line that it said tells why.
fn judge(name: &str, status: ExitStatus, stdout: &[u8], stderr: &[u8], timeout: Duration) -> Outcome {
    let said = |first: &[u8], second: &[u8]| {
        let line = first_line(first, TEXT_CHARS_MAX);
        if line.is_empty() { first_line(second, TEXT_CHARS_MAX) } else { line }
    };
    match status.code() {
        Some(0) => Outcome::Ok { evidence: Evidence::Script { line: first_line(stdout, TEXT_CHARS_MAX) } },
        // Here the reason stands on the standard error, whoever wrote it.
        Some(code @ NOT_RUN_FROM..=NOT_RUN_TO) => {
            Outcome::could_not_run(with(format!("script {name} exits with {code}"), &said(stderr, stdout)))
        }
        Some(code) => Outcome::failing(with(format!("exits with {code}"), &said(stdout, stderr))),
        None if status.signal() == Some(keeper::TIME_IS_OVER.as_raw()) => {
            let what = format!("had not ended after {}; killed, with all that it had started", span(timeout));
            Outcome::failing(with(what, &said(stdout, stderr)))
        }
        // The keeper was killed: by somebody on this host, or for want of memory.
        None => Outcome::could_not_run(format!("script {name}: its keeper ended with {status}")),
    }
}

fn with(what: String, said: &str) -> String {
    if said.is_empty() { what } else { format!("{what}: {said}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judged(raw: i32, stdout: &[u8], stderr: &[u8]) -> Outcome {
        judge("disk", ExitStatus::from_raw(raw), stdout, stderr, Duration::from_secs(3))
    }

    #[test]
    fn the_exit_code_decides_and_the_first_line_tells_why() {
        let fine = judged(0, b"\n41 % used\nmore\n", b"noise");
        assert_eq!(fine, Outcome::Ok { evidence: Evidence::Script { line: "41 % used".into() } });
        assert_eq!(judged(0, b"", b"").to_string(), "exits with 0");
        assert_eq!(judged(1 << 8, b"97 % used\n", b""), Outcome::failing("exits with 1: 97 % used"));
        assert_eq!(judged(3 << 8, b"", b"df: gone\n"), Outcome::failing("exits with 3: df: gone"));
        assert_eq!(judged(124 << 8, b"", b""), Outcome::failing("exits with 124"));
        // As the keeper and the shell say that a signal ended it.
        assert_eq!(judged(139 << 8, b"", b""), Outcome::failing("exits with 139"));
    }

    #[test]
    fn what_was_not_run_is_no_observation() {
        for code in 125..=127 {
            let outcome = judged(code << 8, b"", b"no such thing\n");
            let expected = format!("script disk exits with {code}: no such thing");
            assert_eq!(outcome, Outcome::could_not_run(expected));
        }
        assert!(matches!(judged(9, b"", b""), Outcome::CouldNotRun { .. }));
    }

    #[test]
    fn a_script_that_was_late_is_failing_whatever_it_said() {
        let late = judged(keeper::TIME_IS_OVER.as_raw(), b"thinking\n", b"");
        let expected = "had not ended after 3 s; killed, with all that it had started: thinking";
        assert_eq!(late, Outcome::failing(expected));
    }

    proptest! {
        #[test]
        fn whatever_it_says_is_one_short_line(raw in 0_i32..65_536, out in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let text = judged(raw, &out, &out).text();
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
            prop_assert!(text.chars().count() <= TEXT_CHARS_MAX + 1, "{text:?}");
        }
    }
}
