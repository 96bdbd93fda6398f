//! What an agent may say: each message is looked at before anything of it is kept. Plain functions of plain values.

use holdfast_coordinator_core::verdict::CheckRef;
use holdfast_proto::v1;
use holdfast_shared::{refusals::one_line, span};
use holdfast_types::{HostName, RegionName};

/// Apps that one host can hold leases of, or has proxies for; it has a few dozen.
const APPS_MAX: usize = 1_024;
/// Writers of one app on one host, and lines about them.
const LINES_MAX: usize = 256;
/// Longest word that names a version, a boot or a run of an agent.
const WORD_BYTES_MAX: usize = 64;
/// Starts are the upper half of the numbers of lease requests.
const STARTS_MAX: u64 = u32::MAX as u64;

/// The first message of a session.
pub(crate) fn hello(hello: &v1::Hello) -> Result<(), String> {
    for (what, word) in [("version", &hello.version), ("boot_id", &hello.boot_id), ("instance", &hello.instance)] {
        if word.is_empty() || word.len() > WORD_BYTES_MAX || !word.chars().all(|c| c.is_ascii_graphic()) {
            let instead = format!("one word of 1 to {WORD_BYTES_MAX} printable characters");
            return Err(format!("{what} in Hello is \"{}\"; expected {instead}", shown(word)));
        }
    }
    if hello.starts == 0 || hello.starts > STARTS_MAX {
        return Err(format!("starts in Hello is {}; expected 1 to {STARTS_MAX}", hello.starts));
    }
    if hello.protocol_min > hello.protocol_max {
        return Err(format!(
            "protocol_min in Hello is {}, above protocol_max {}",
            hello.protocol_min, hello.protocol_max
        ));
    }
    Ok(())
}

/// A heartbeat as a whole; each view in it is looked at for itself.
pub(crate) fn heartbeat(beat: &v1::Heartbeat) -> Result<(), String> {
    at_most("leases in a heartbeat", beat.leases.len(), APPS_MAX)
}

/// What a host believes of one lease.
pub(crate) fn view(view: &v1::LeaseView) -> Result<(), String> {
    match v1::LeaseState::try_from(view.state) {
        Ok(v1::LeaseState::Unspecified) | Err(_) => Err(format!("lease state {} is none that is known", view.state)),
        Ok(_) => has_span("left", view.left.as_ref()),
    }
}

/// One probe's result. Its text becomes one short line.
pub(crate) fn observation(seen: &mut v1::Observation) -> Result<(), String> {
    match v1::Outcome::try_from(seen.outcome) {
        Ok(v1::Outcome::Unspecified) | Err(_) => {
            return Err(format!("outcome {} of an observation is none that is known", seen.outcome));
        }
        Ok(v1::Outcome::Ok | v1::Outcome::Failing | v1::Outcome::CouldNotRun) => {}
    }
    // Also what no spec names: every writer is looked at.
    seen.check.parse::<CheckRef>().map_err(|e| format!("check of an observation: {e}"))?;
    RegionName::new(&*seen.region).map_err(|e| format!("region of an observation: {e}"))?;
    if !seen.target.is_empty() {
        HostName::new(&*seen.target).map_err(|e| format!("target of an observation: {e}"))?;
    }
    has_span("age", seen.age.as_ref())?;
    has_span("took", seen.took.as_ref())?;
    if let Some(database) = &mut seen.database {
        has_span("last_message_age", database.last_message_age.as_ref())?;
        database.sender = one_line(&database.sender);
    }
    seen.text = one_line(&seen.text);
    Ok(())
}

/// What the proxies beside an agent do. Texts become short lines.
pub(crate) fn proxies(report: &mut v1::ProxyReport) -> Result<(), String> {
    at_most("proxies in a report", report.proxies.len(), APPS_MAX)?;
    for proxy in &mut report.proxies {
        at_most("open regions of a proxy", proxy.open.len(), LINES_MAX)?;
        proxy.problem = one_line(&proxy.problem);
        proxy.backend = one_line(&proxy.backend);
    }
    Ok(())
}

/// An answer to a look. Texts become short lines.
pub(crate) fn look(reply: &mut v1::LookReply) -> Result<(), String> {
    at_most("writers in a look", reply.writers.len(), LINES_MAX)?;
    at_most("problems in a look", reply.problems.len(), LINES_MAX)?;
    for finding in &mut reply.writers {
        finding.text = one_line(&finding.text);
        finding.writer = one_line(&finding.writer);
    }
    for problem in &mut reply.problems {
        *problem = one_line(problem);
    }
    at_most("undeclared writers in a look", reply.undeclared.len(), LINES_MAX)?;
    for undeclared in &mut reply.undeclared {
        at_most("lines for a writer in a look", undeclared.add.len(), LINES_MAX)?;
        for text in [&mut undeclared.writer, &mut undeclared.what, &mut undeclared.file] {
            *text = one_line(text);
        }
        for line in &mut undeclared.add {
            *line = one_line(line);
        }
    }
    Ok(())
}

/// What a host allows and what ails it. Texts become short lines.
pub(crate) fn facts(facts: &mut v1::HostFacts) -> Result<(), String> {
    for (what, lines) in [("writers that a host allows", &mut facts.allows), ("problems", &mut facts.problems)] {
        at_most(what, lines.len(), LINES_MAX)?;
        for line in lines {
            *line = one_line(line);
        }
    }
    Ok(())
}

/// How writers are set up. Texts become short lines.
pub(crate) fn findings(findings: &mut v1::Findings) -> Result<(), String> {
    at_most("writers", findings.writers.len(), LINES_MAX)?;
    for writer in &mut findings.writers {
        at_most("rights", writer.missing_rights.len(), LINES_MAX)?;
        at_most("settings", writer.settings.len(), LINES_MAX)?;
        at_most("slots", writer.slots.len(), LINES_MAX)?;
        let texts = [
            &mut writer.login_problem,
            &mut writer.login_state,
            &mut writer.starts_by_itself,
            &mut writer.starts_by_itself_add,
            &mut writer.problem,
        ];
        let lists = writer.missing_rights.iter_mut().chain(&mut writer.slots).chain(writer.settings.values_mut());
        for text in texts.into_iter().chain(lists) {
            *text = one_line(text);
        }
    }
    Ok(())
}

/// What waited in an agent's outbox: its number and the result.
pub(crate) fn outbox(item: v1::OutboxItem) -> Result<(u64, v1::CommandResult), String> {
    match item.result {
        _ if item.number == 0 => Err("an outbox item without a number".to_owned()),
        Some(result) => Ok((item.number, result)),
        None => Err(format!("outbox item {} without a result", item.number)),
    }
}

fn at_most(what: &str, found: usize, most: usize) -> Result<(), String> {
    if found > most { Err(format!("{found} {what}; {most} is the most")) } else { Ok(()) }
}

/// A span may be left out, but not be negative or beyond what a clock counts.
fn has_span(what: &str, span: Option<&prost_types::Duration>) -> Result<(), String> {
    let Some(span) = span else { return Ok(()) };
    match span::from_wire(span) {
        Some(_) => Ok(()),
        None => Err(format!("{what} is {} s and {} ns; that is no span", span.seconds, span.nanos)),
    }
}

fn shown(word: &str) -> String {
    one_line(word).chars().take(WORD_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> v1::Observation {
        v1::Observation {
            app: "shop".to_owned(),
            check: "pg".to_owned(),
            region: "us-east".to_owned(),
            outcome: v1::Outcome::Ok.into(),
            ..<_>::default()
        }
    }

    #[test]
    fn an_observation_that_no_agent_makes_is_refused_by_what_is_wrong() {
        assert_eq!(observation(&mut good()), Ok(()));
        assert_eq!(observation(&mut v1::Observation { check: "writer:pg".to_owned(), ..good() }), Ok(()));
        let long = "x".repeat(70_000);
        let negative = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        let least = Some(prost_types::Duration { seconds: i64::MIN, nanos: i32::MIN });
        let cases: [(&str, v1::Observation); 9] = [
            ("outcome 99", v1::Observation { outcome: 99, ..good() }),
            ("outcome 0", v1::Observation { outcome: 0, ..good() }),
            ("check of", v1::Observation { check: String::new(), ..good() }),
            ("check of", v1::Observation { check: long, ..good() }),
            ("region of", v1::Observation { region: "us\0east".to_owned(), ..good() }),
            ("target of", v1::Observation { target: "use-db1\n".to_owned(), ..good() }),
            ("target of", v1::Observation { target: "🦀".to_owned(), ..good() }),
            ("age is -1 s", v1::Observation { age: negative, ..good() }),
            ("took is", v1::Observation { took: least, ..good() }),
        ];
        for (said, mut seen) in cases {
            let why = observation(&mut seen).expect_err(said);
            assert!(why.contains(said) && why.len() < 400, "{said}: {why}");
        }
    }

    #[test]
    fn the_longest_span_and_text_are_taken_and_cut() {
        let most = Some(prost_types::Duration { seconds: i64::MAX, nanos: 999_999_999 });
        let mut seen = v1::Observation { age: most, text: "a\n".repeat(100_000), ..good() };
        assert_eq!(observation(&mut seen), Ok(()));
        assert!(seen.text.len() < 3_000 && !seen.text.contains('\n'));
    }

    #[test]
    fn a_hello_says_who_runs_there_in_plain_words() {
        let good = || v1::Hello {
            version: "0.1.0".to_owned(),
            protocol_min: 1,
            protocol_max: 1,
            boot_id: "b".to_owned(),
            starts: 1,
            instance: "i".to_owned(),
        };
        assert_eq!(hello(&good()), Ok(()));
        for (said, bad) in [
            ("version", v1::Hello { version: "\u{1b}[2J".to_owned(), ..good() }),
            ("boot_id", v1::Hello { boot_id: String::new(), ..good() }),
            ("instance", v1::Hello { instance: "x".repeat(65), ..good() }),
            ("starts", v1::Hello { starts: 0, ..good() }),
            ("starts", v1::Hello { starts: u64::MAX, ..good() }),
            ("protocol_min", v1::Hello { protocol_min: 2, ..good() }),
        ] {
            let why = hello(&bad).expect_err(said);
            assert!(why.starts_with(said) && !why.contains('\u{1b}'), "{why}");
        }
    }

    #[test]
    fn an_outbox_item_has_a_number_and_a_result() {
        let result = Some(v1::CommandResult::default());
        assert!(outbox(v1::OutboxItem { number: 0, result: result.clone() }).is_err());
        assert!(outbox(v1::OutboxItem { number: 1, result: None }).is_err());
        assert!(outbox(v1::OutboxItem { number: u64::MAX, result }).is_ok());
    }

    #[test]
    fn huge_repeated_fields_are_refused_by_their_number() {
        let beat = v1::Heartbeat { number: 1, leases: vec![v1::LeaseView::default(); 10_000] };
        assert_eq!(heartbeat(&beat).expect_err("too many"), "10000 leases in a heartbeat; 1024 is the most");
        assert!(view(&v1::LeaseView::default()).is_err(), "no state");
        assert!(view(&v1::LeaseView { state: 77, ..<_>::default() }).is_err());
        let mut reply = v1::LookReply { problems: vec![String::new(); 257], ..<_>::default() };
        assert!(look(&mut reply).is_err());
        let mut report = v1::ProxyReport { proxies: vec![v1::ProxyState::default(); 1_025] };
        assert!(proxies(&mut report).is_err());
    }
}
