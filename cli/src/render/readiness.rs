//! `holdfast readiness`: whether each app could fail over now, a line for each condition, and what to add.

use std::fmt::Write as _;

use holdfast_proto::v1;

use super::text::{Tone, View, clean, columns, count, hang, hang_painted, pad};

/// Every app that was asked for.
#[must_use]
pub fn readiness(reply: &v1::ReadinessReply, view: &View) -> String {
    if reply.apps.is_empty() {
        return "no apps yet\n  next  holdfast plan -f APP.yaml\n".to_owned();
    }
    let each: Vec<String> = reply.apps.iter().map(|app| one(app, view)).collect();
    each.join("\n")
}

fn one(app: &v1::AppReadiness, view: &View) -> String {
    let mut out = String::new();
    let of = |state: &str| app.lines.iter().filter(|line| line.needed && line.state == state).count();
    let (head, tone) = match (app.ready, of("missing")) {
        (true, _) => (format!("{} could fail over from {} now", app.app, app.active_region), Tone::Good),
        (false, 0) => (format!("{} is not known to be able to fail over yet", app.app), Tone::Warn),
        (false, n) => {
            let head = format!(
                "{} could not fail over from {} now: {} missing",
                app.app,
                app.active_region,
                count(n, "thing")
            );
            (head, Tone::Bad)
        }
    };
    hang_painted(&mut out, view, "", tone, &head);
    let widest = app.lines.iter().map(|line| columns(&line.condition)).max().unwrap_or(0);
    for line in &app.lines {
        let (mark, tone) = match line.state.as_str() {
            "holds" => ("✔", Tone::Good),
            "missing" => ("✘", Tone::Bad),
            "advice" => ("!", Tone::Warn),
            _ => ("·", Tone::Dim),
        };
        let lead = format!("  {} {}  ", view.paint(tone, mark), pad(&clean(&line.condition), widest));
        let plain = format!("  {mark} {}  ", pad(&clean(&line.condition), widest));
        let mut body = String::new();
        hang(&mut body, view, &plain, &line.text);
        out.push_str(&body.replacen(&plain, &lead, 1));
        let indent = " ".repeat(columns(&plain));
        for add in &line.add {
            hang_painted(&mut out, view, &indent, Tone::Dim, &format!("{}:", add.label));
            // Never wrapped: a broken line cannot be copied.
            let _ = writeln!(out, "{indent}  {}", clean(&add.text));
        }
        if line.state == "missing" || line.state == "advice" {
            let _ = writeln!(out, "{indent}docs: readiness/{}", clean(&line.condition));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn what_is_missing_is_shown_with_the_very_line() {
        for width in [100, 80, 60] {
            let text = readiness(&samples::readiness(), &samples::view(width));
            let commands: Vec<String> = samples::readiness()
                .apps
                .iter()
                .flat_map(|a| &a.lines)
                .flat_map(|l| &l.add)
                .map(|a| a.text.clone())
                .collect();
            let prose: String = text
                .lines()
                .filter(|l| !commands.iter().any(|c| l.contains(c.as_str())))
                .map(|l| format!("{l}\n"))
                .collect();
            samples::assert_fits(&prose, width);
            insta::assert_snapshot!(format!("readiness_{width}"), text);
        }
    }

    #[test]
    fn colours_change_no_letter() {
        let painted = readiness(&samples::readiness(), &View { colour: true, ..samples::view(80) });
        assert!(painted.contains("\x1b[31m"));
        assert_eq!(samples::unpainted(&painted), readiness(&samples::readiness(), &samples::view(80)));
    }
}
