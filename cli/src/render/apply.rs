//! `holdfast plan` and `holdfast apply`: what a spec would change, the arithmetic, and what was found running.

use std::{fmt::Write as _, path::Path};

use holdfast_proto::v1;

use super::text::{Tone, View, clean, count, hang, hang_painted};
use crate::errors::{Exit, Failure, UNCHANGED};

/// The plan as it is shown before anything is asked.
#[must_use]
pub fn plan(reply: &v1::PlanReply, cluster: &str, view: &View) -> String {
    let mut out = String::new();
    let head = match (reply.revision, reply.diff.is_empty()) {
        (0, _) => format!("{} is new in {cluster}", reply.app),
        (n, false) => format!("{} in {cluster}: revision {n} → {}", reply.app, n + 1),
        (n, true) => format!("{} in {cluster}: nothing would change, it is at revision {n}", reply.app),
    };
    hang_painted(&mut out, view, "", Tone::Strong, &head);
    for line in &reply.diff {
        let tone = match line.chars().next() {
            Some('+') => Tone::Good,
            Some('-') => Tone::Bad,
            Some(_) | None => Tone::Plain,
        };
        // A changed line is shown as it is: a break would read as two lines of the file.
        let _ = writeln!(out, "  {}", view.paint(tone, &clean(line)));
    }
    section(&mut out, view, "arithmetic", Tone::Plain, &reply.arithmetic);
    section(&mut out, view, "found", Tone::Plain, &reply.found);
    section(&mut out, view, "notes", Tone::Warn, &reply.notes);
    if !reply.active_region.is_empty() {
        let verb = if reply.revision == 0 { "becomes" } else { "stays" };
        section(&mut out, view, "active", Tone::Plain, &[format!("{} {verb} the active region", reply.active_region)]);
    }
    out
}

fn section(out: &mut String, view: &View, head: &str, tone: Tone, lines: &[String]) {
    for (i, line) in lines.iter().enumerate() {
        let lead = format!("  {:<10}  ", if i == 0 { head } else { "" });
        if tone == Tone::Plain { hang(out, view, &lead, line) } else { hang_painted(out, view, &lead, tone, line) }
    }
}

/// Why the plan cannot be applied, if it cannot: all problems of the spec, or the refusal.
#[must_use]
pub fn refused(reply: &v1::PlanReply, file: &Path) -> Option<Failure> {
    if !reply.problems.is_empty() {
        let what = format!("{} has {}", shown(file), count(reply.problems.len(), "problem"));
        let mut failure = Failure::new(Exit::Refused, what).closing(UNCHANGED);
        failure.lines = reply.problems.iter().map(|p| (String::new(), p.clone())).collect();
        return Some(failure.line("docs", "refusals/bad-spec").next(command("plan", file, None)));
    }
    reply.refusal.clone().map(|refusal| Failure::refused(refusal, crate::errors::Intent::Change))
}

/// The command that would put the plan in force, or show it again.
#[must_use]
pub fn command(verb: &str, file: &Path, if_revision: Option<u64>) -> String {
    let file = file.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let (file, from) = match &*file {
        "-" => ("-".to_owned(), " < FILE"),
        text if !text.is_empty() && text.chars().all(plain) => (text.to_owned(), ""),
        text => (format!("'{}'", text.replace('\'', "'\\''")), ""),
    };
    let revision = if_revision.map(|n| format!(" --if-revision {n}")).unwrap_or_default();
    format!("holdfast {verb} -f {file}{revision}{from}")
}

/// The file as it is named in messages.
#[must_use]
pub fn shown(file: &Path) -> String {
    if file == Path::new("-") { "stdin".to_owned() } else { clean(&file.display().to_string()) }
}

/// What came of an apply.
#[must_use]
pub fn applied(app: &str, reply: &v1::ApplyReply, view: &View) -> String {
    let mut out = String::new();
    let text = if reply.changed {
        format!(
            "{app} is at revision {}, active in {}, generation {}",
            reply.revision, reply.active_region, reply.generation
        )
    } else {
        format!("nothing changed, {app} is at revision {}", reply.revision)
    };
    hang(&mut out, view, "applied: ", &text);
    for note in &reply.notes {
        hang_painted(&mut out, view, "  note  ", Tone::Warn, note);
    }
    let _ = writeln!(out, "  next  holdfast why {app}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn the_plan_fits_every_terminal() {
        for width in [100, 80, 60] {
            let text = plan(&samples::plan(), "acme", &samples::view(width));
            samples::assert_fits(&text, width);
            insta::assert_snapshot!(format!("plan_{width}"), text);
        }
    }

    #[test]
    fn problems_are_shown_all_at_once() {
        let reply = v1::PlanReply {
            problems: vec![
                "smellpin.yaml:14: failover.lease.duration is 9s; shorter than 2 × renew (5 s) + drift (1 s); write 11s"
                    .to_owned(),
                "smellpin.yaml:20: unknown key sucesses; did you mean successes?".to_owned(),
            ],
            ..<_>::default()
        };
        let failure = refused(&reply, Path::new("smellpin.yaml")).expect("refused");
        assert_eq!(failure.exit, Exit::Refused);
        insta::assert_snapshot!(failure.render(&samples::view(100)));
    }

    #[test]
    fn the_next_command_can_be_pasted() {
        assert_eq!(command("apply", Path::new("a/b.yaml"), Some(4)), "holdfast apply -f a/b.yaml --if-revision 4");
        assert_eq!(command("apply", Path::new("it's.yaml"), None), "holdfast apply -f 'it'\\''s.yaml'");
        assert_eq!(command("apply", Path::new("-"), Some(0)), "holdfast apply -f - --if-revision 0 < FILE");
    }

    #[test]
    fn what_was_applied_is_said() {
        let reply = v1::ApplyReply {
            revision: 5,
            changed: true,
            active_region: "us-east".into(),
            generation: 1,
            notes: vec![],
        };
        assert_eq!(
            applied("shop", &reply, &samples::view(100)),
            "applied: shop is at revision 5, active in us-east, generation 1\n  next  holdfast why shop\n"
        );
    }
}
