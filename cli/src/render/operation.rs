//! Operations: the list, one in full, the plan of a dry run, and the last lines of one that has ended.

use std::fmt::Write as _;

use holdfast_proto::v1;
use holdfast_types::WallTime;

use super::{
    table::{Cell, Column, Table},
    text::{Tone, View, clean, columns, hang, hang_painted, labelled, pad, roughly, took},
    wire::{OperationState, ended, said, span, wall},
};
use crate::errors::Exit;

/// Narrowest column for the names of steps, so that most plans line up with each other.
pub(super) const STEP_NAME_COLUMNS: usize = 12;

/// `holdfast operations list`.
#[must_use]
pub fn list(operations: &[v1::Operation], view: &View) -> String {
    if operations.is_empty() {
        return "no operations yet\n  next  holdfast status\n".to_owned();
    }
    let mut table = Table::new([
        Column::right("OP"),
        Column::new("KIND"),
        Column::new("APP"),
        Column::breaks("FROM → TO"),
        Column::new("STATE"),
        Column::breaks("STARTED"),
        Column::right("TOOK"),
        Column::breaks("ASKED BY"),
    ]);
    for op in operations {
        let started = wall(op.started_at.as_ref());
        table.row([
            Cell::toned(Tone::Strong, op.number.to_string()),
            Cell::new(&op.kind),
            Cell::new(&op.app),
            Cell::new(if op.to_region.is_empty() {
                String::new()
            } else {
                format!("{} → {}", op.from_region, op.to_region)
            }),
            Cell::toned(OperationState::of(op).tone(), &op.state),
            Cell::new(started.map(|at| format!("{} ago", roughly(view.now.since(at)))).unwrap_or_default()),
            Cell::new(started.zip(wall(op.ended_at.as_ref())).map(|(a, b)| took(b.since(a))).unwrap_or_default()),
            Cell::new(&op.requested_by),
        ]);
    }
    table.render(view)
}

/// What an operator calls this kind of operation.
#[must_use]
pub fn kind(kind: &str) -> &str {
    match kind {
        "failover" => "unplanned failover",
        other => other,
    }
}

/// `op 41 · unplanned failover of smellpin · us-east → us-west · 20:58:05.932 UTC · by admin`.
#[must_use]
pub fn head(op: &v1::Operation) -> String {
    let mut facts = vec![
        format!("op {}", op.number),
        format!("{} of {}", kind(&op.kind), op.app),
        format!("{} → {}", op.from_region, op.to_region),
    ];
    facts.extend(wall(op.started_at.as_ref()).map(|at| format!("{} UTC", at.clock_millis())));
    facts.extend(said(&op.requested_by).map(|who| format!("by {who}")));
    facts.join(" · ")
}

/// `holdfast operations show N`.
#[must_use]
pub fn show(op: &v1::Operation, view: &View) -> String {
    let mut out = String::new();
    hang_painted(&mut out, view, "", Tone::Strong, &head(op));
    if !op.reason.is_empty() {
        hang(&mut out, view, "  reason  ", &op.reason);
    }
    out.push('\n');
    let widest = name_columns(op);
    for step in &op.steps {
        let now = wall(step.ended_at.as_ref()).unwrap_or(view.now);
        let mut body = String::new();
        let time = time_of(step, now);
        // The hosts follow, a line each.
        let said = if step.text.is_empty() { &step.planned } else { &step.text };
        let text = match time {
            Some(time) => format!("{said}  ({time})"),
            None => said.clone(),
        };
        let (mark, tone) = mark(&step.state);
        hang(&mut body, view, &format!("  {mark} {}  ", pad(&clean(&step.name), widest)), text.trim());
        out.push_str(&body.replacen(mark, &view.paint(tone, mark), 1));
        for part in &step.parts {
            let text = format!("{}: {} {}", part.host, part.state, part.text);
            hang_painted(&mut out, view, &" ".repeat(widest + 8), Tone::Dim, text.trim_end());
        }
        if step.no_return {
            let _ = writeln!(out, "{}", view.paint(Tone::Dim, &no_return(view.prose())));
        }
    }
    out.push('\n');
    out.push_str(&if ended(op) { last_lines(op, view) } else { still_running(op, view) });
    out
}

fn still_running(op: &v1::Operation, view: &View) -> String {
    let mut out = String::new();
    let text = if op.text.is_empty() { op.state.clone() } else { format!("{}: {}", op.state, op.text) };
    hang(&mut out, view, "", &text);
    let mut next = vec![format!("holdfast operations watch {}", op.number)];
    if op.abortable {
        next.push(format!("holdfast operations abort {} --reason \"…\"", op.number));
    }
    labelled(&mut out, view, 2, &[], &next);
    out
}

/// The plan that a dry run printed, which is the plan that would run.
#[must_use]
pub fn plan(app: &str, to: &str, reply: &v1::FailoverReply, view: &View) -> String {
    let mut out = String::new();
    let head = if reply.from_region.is_empty() {
        format!("plan · unplanned failover of {app} · to {to}")
    } else {
        format!("plan · unplanned failover of {app} · {} → {to}", reply.from_region)
    };
    hang_painted(&mut out, view, "", Tone::Strong, &head);
    out.push('\n');
    let widest = reply.steps.iter().map(|s| columns(&clean(&s.name))).max().unwrap_or(0).max(STEP_NAME_COLUMNS);
    for (i, step) in reply.steps.iter().enumerate() {
        let mut text = step.text.clone();
        if let Some(timeout) = span(step.timeout.as_ref()).filter(|t| !t.is_zero()) {
            let _ = write!(text, "; at most {}", holdfast_types::time::span(timeout));
        }
        if !step.undo.is_empty() {
            let _ = write!(text, "; undo: {}", step.undo);
        }
        hang(&mut out, view, &format!("  {:>2} {}  ", i + 1, pad(&clean(&step.name), widest)), &text);
        if step.no_return {
            let _ = writeln!(out, "{}", view.paint(Tone::Dim, &no_return(view.prose())));
        }
    }
    for note in &reply.notes {
        hang_painted(&mut out, view, "  note  ", Tone::Warn, note);
    }
    out
}

/// What became of an operation that has ended, in a few lines.
#[must_use]
pub fn last_lines(op: &v1::Operation, view: &View) -> String {
    let mut out = String::new();
    let state = OperationState::of(op);
    let because = |otherwise: &str| if op.text.is_empty() { otherwise.to_owned() } else { op.text.clone() };
    let (word, text) = match state {
        OperationState::Done => {
            ("done", format!("{} is active in {}, generation {}", op.app, op.to_region, op.generation_after))
        }
        OperationState::Unwound => {
            ("unwound", format!("what had been done for {} was undone: {}", op.app, because("no reason was given")))
        }
        OperationState::Failed => ("failed, nothing was changed", because("no reason was given")),
        OperationState::Partly => ("partly done", because("no reason was given")),
        OperationState::Running | OperationState::Unwinding | OperationState::Other => {
            (op.state.as_str(), because("it goes on"))
        }
    };
    let mut body = String::new();
    hang(&mut body, view, &format!("{word}: "), &text);
    out.push_str(&body.replacen(word, &view.paint(state.tone(), word), 1));
    let mut facts = Vec::new();
    facts.extend(span(op.rto_measured.as_ref()).map(|rto| format!("rto_measured {}", took(rto))));
    facts.extend(op.facts.iter().cloned());
    facts.extend(
        wall(op.started_at.as_ref())
            .zip(wall(op.ended_at.as_ref()))
            .map(|(from, to)| format!("the operation took {}", took(to.since(from)))),
    );
    if !facts.is_empty() {
        hang(&mut out, view, "  ", &facts.join(" · "));
    }
    let mut next = op.next.clone();
    if next.is_empty() && state != OperationState::Done {
        next.push(format!("holdfast operations show {}", op.number));
        next.push(format!("holdfast why {}", op.app));
    }
    if !next.is_empty() {
        labelled(&mut out, view, 2, &[], &next);
    }
    out
}

/// The exit code that tells how an operation ended.
#[must_use]
pub fn exit(op: &v1::Operation) -> Exit {
    match OperationState::of(op) {
        OperationState::Done => Exit::Done,
        OperationState::Unwound => Exit::Unwound,
        OperationState::Failed => Exit::Failed,
        OperationState::Partly => Exit::Partly,
        OperationState::Running | OperationState::Unwinding | OperationState::Other => Exit::Unknown,
    }
}

/// Columns for the names of this operation's steps.
pub(super) fn name_columns(op: &v1::Operation) -> usize {
    op.steps.iter().map(|s| columns(&clean(&s.name))).max().unwrap_or(0).max(STEP_NAME_COLUMNS)
}

/// The sign in front of a step.
pub(super) fn mark(state: &str) -> (&'static str, Tone) {
    match state {
        "done" => ("✔", Tone::Good),
        "running" => ("▸", Tone::Strong),
        "failed" => ("✘", Tone::Bad),
        "skipped" => ("–", Tone::Dim),
        "undone" => ("↩", Tone::Warn),
        _ => ("·", Tone::Dim),
    }
}

/// What a step says of itself: what happened, else how its hosts do, else what is planned.
pub(super) fn step_text(step: &v1::OperationStep) -> String {
    if !step.text.is_empty() {
        return step.text.clone();
    }
    let parts: Vec<String> = step
        .parts
        .iter()
        .map(|p| format!("{} {}", p.host, if p.text.is_empty() { &p.state } else { &p.text }))
        .collect();
    if step.state != "planned" && !parts.is_empty() { parts.join(" · ") } else { step.planned.clone() }
}

/// How long a step has taken, at `now`.
pub(super) fn time_of(step: &v1::OperationStep, now: WallTime) -> Option<String> {
    let began = wall(step.began_at.as_ref())?;
    Some(took(wall(step.ended_at.as_ref()).unwrap_or(now).since(began)))
}

/// The line behind the step after which there is no way back.
pub(super) fn no_return(width: usize) -> String {
    const TEXT: &str = " point of no return: this can no longer be aborted ";
    let dashes = width.min(90).saturating_sub(columns(TEXT) + 8).min(30) / 2;
    let rule = "─".repeat(dashes);
    if dashes == 0 { format!("    {}", TEXT.trim()) } else { format!("    {rule}{TEXT}{rule}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn the_list_fits_every_terminal() {
        let nasty = samples::operations();
        let usual = nasty[..2].to_vec();
        for width in [100, 80, 60] {
            let text = list(&usual, &samples::view(width));
            samples::assert_fits(&text, width);
            insta::assert_snapshot!(format!("operations_{width}"), text);
            let text = list(&nasty, &samples::view(width));
            samples::assert_fits(&text, width);
            insta::assert_snapshot!(format!("nasty_operations_{width}"), text);
        }
        assert!(list(&[], &samples::view(80)).starts_with("no operations yet\n"));
    }

    #[test]
    fn one_in_full_fits_every_terminal() {
        for width in [100, 80, 60] {
            let text = show(&samples::failover_running(), &samples::view(width));
            samples::assert_fits(&text, width);
            insta::assert_snapshot!(format!("show_{width}"), text);
        }
    }

    #[test]
    fn the_last_lines_say_what_became_of_it() {
        let mut all = String::new();
        for (state, exit_code) in [("done", 0), ("unwound", 4), ("failed", 3), ("partly", 5)] {
            let op = samples::failover_ended(state);
            assert_eq!(exit(&op).code(), exit_code);
            all.push_str(&last_lines(&op, &samples::view(100)));
        }
        insta::assert_snapshot!(all);
    }

    #[test]
    fn the_plan_of_a_dry_run_shows_where_there_is_no_way_back() {
        for width in [100, 60] {
            let text = plan("smellpin", "us-west", &samples::dry_run(), &samples::view(width));
            samples::assert_fits(&text, width);
            insta::assert_snapshot!(format!("dry_run_{width}"), text);
        }
    }
}
