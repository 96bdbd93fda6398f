//! An operation as it happens: a frame that is drawn again in place, or one line per event.

use std::collections::BTreeMap;

use holdfast_proto::v1;
use holdfast_types::WallTime;

use super::{
    operation::{head, mark, name_columns, no_return, step_text, time_of},
    text::{Tone, View, clean, columns, cut, pad, took},
    wire::{ended, span, wall},
};

/// Columns kept for the time at the right of a step.
const TIME_COLUMNS: usize = 10;

/// The lines of one frame, none wider than the terminal, so that their number is known. `now` is the coordinator's
/// wall clock, as far as we can tell.
#[must_use]
pub fn frame(op: &v1::Operation, now: WallTime, height: usize, view: &View) -> Vec<String> {
    let width = view.prose();
    let mut steps = Vec::new();
    let names = name_columns(op);
    for step in &op.steps {
        let (sign, tone) = mark(&step.state);
        let lead = format!("  {sign} {}  ", pad(&clean(&step.name), names));
        let time = time_of(step, now).unwrap_or_default();
        let room = width.saturating_sub(columns(&lead) + TIME_COLUMNS + 1);
        let text = pad(&cut(&clean(&step_text(step)), room), room);
        let line = format!("{lead}{text}{time:>width$}", width = TIME_COLUMNS);
        let line = cut(line.trim_end(), width);
        steps.push(line.replacen(sign, &view.paint(tone, sign), 1));
        if step.no_return {
            let tone = if step.state == "done" { Tone::Strong } else { Tone::Dim };
            steps.push(view.paint(tone, &cut(&no_return(width), width)));
        }
    }
    let mut top = vec![view.paint(Tone::Strong, &cut(&clean(&head(op)), width))];
    if !op.reason.is_empty() {
        top.push(cut(&clean(&format!("  reason  {}", op.reason)), width));
    }
    top.push(String::new());
    let mut foot = vec![String::new()];
    foot.extend(footer(op, now, width).into_iter().map(|l| cut(&clean(&l), width)));
    let mut lines = top;
    let head = lines.len();
    lines.extend(steps);
    lines.extend(foot);
    // A frame higher than the terminal could not be drawn over: the steps done longest go first, then the rest, and
    // the head of the frame stays.
    let excess = (lines.len() + 1).saturating_sub(height.max(2));
    let from = if excess <= lines.len() - head { head } else { 1 };
    lines.drain(from..(from + excess).min(lines.len()));
    lines
}

fn footer(op: &v1::Operation, now: WallTime, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(rto) = span(op.rto_measured.as_ref()) {
        lines.push(format!("  writes back after  {}", took(rto)));
    } else if let Some(started) = wall(op.started_at.as_ref()).filter(|_| !ended(op)) {
        lines.push(format!(
            "  {} for  {}",
            if op.state == "unwinding" { "unwinding" } else { "running" },
            took(now.since(started))
        ));
    }
    if !ended(op) {
        let again = format!("again: holdfast operations watch {}", op.number);
        let both = format!("  Ctrl-C detaches; the operation goes on.   {again}");
        if columns(&both) <= width {
            lines.push(both);
        } else {
            lines.push("  Ctrl-C detaches; the operation goes on".to_owned());
            lines.push(format!("  {again}"));
        }
        if op.abortable {
            lines.push(format!("  back out: holdfast operations abort {} --reason \"…\"", op.number));
        }
    }
    lines
}

/// What was last told of an operation, so that an event tells only what is new, also after a reconnect.
#[derive(Debug, Default)]
pub struct Told {
    state: String,
    steps: BTreeMap<u32, (String, String)>,
    parts: BTreeMap<(u32, String), (String, String)>,
}

impl Told {
    /// The lines for an event: one for the operation, each step and each host that has changed.
    pub fn lines(&mut self, event: &v1::OperationEvent, now: WallTime) -> Vec<String> {
        let Some(op) = &event.operation else { return Vec::new() };
        let at = wall(event.at.as_ref()).unwrap_or(now);
        let mut lines = Vec::new();
        let stamp = |at: WallTime| format!("{} op={}", at.clock_millis(), op.number);
        if self.state.is_empty() {
            lines.push(format!(
                "{} kind={} app={} from={} to={} state={}",
                stamp(wall(op.started_at.as_ref()).unwrap_or(at)),
                bare(&op.kind),
                bare(&op.app),
                bare(&op.from_region),
                bare(&op.to_region),
                bare(&op.state)
            ));
            self.state = if ended(op) { "running".to_owned() } else { op.state.clone() };
        }
        for step in &op.steps {
            self.step(&mut lines, &stamp, step, at);
        }
        if self.state != op.state {
            self.state.clone_from(&op.state);
            let mut line = format!("{} state={}", stamp(at), bare(&op.state));
            if ended(op) && op.generation_after > 0 {
                line.push_str(&format!(" generation={}", op.generation_after));
            }
            if let Some(rto) = span(op.rto_measured.as_ref()) {
                line.push_str(&format!(" rto_seconds={}", seconds(rto)));
            }
            line.push_str(&text(&op.text));
            lines.push(line);
        }
        lines
    }

    fn step(
        &mut self,
        lines: &mut Vec<String>,
        stamp: &dyn Fn(WallTime) -> String,
        step: &v1::OperationStep,
        at: WallTime,
    ) {
        let mut hosts = Vec::new();
        for part in &step.parts {
            let now = (part.state.clone(), part.text.clone());
            let before = self.parts.insert((step.index, part.host.clone()), now.clone());
            if before.as_ref() != Some(&now) {
                hosts.push(format!(
                    "{} step={} host={} state={}{}",
                    stamp(at),
                    bare(&step.name),
                    bare(&part.host),
                    bare(&part.state),
                    text(&part.text)
                ));
            }
        }
        let now = (step.state.clone(), step.text.clone());
        let before = self.steps.insert(step.index, now.clone());
        if step.state == "planned" || before.as_ref() == Some(&now) {
            lines.extend(hosts);
            return;
        }
        let began = wall(step.began_at.as_ref());
        let finished = wall(step.ended_at.as_ref());
        let mut line = format!(
            "{} step={} state={}",
            stamp(finished.or(began).unwrap_or(at)),
            bare(&step.name),
            bare(&step.state)
        );
        if let Some((began, finished)) = began.zip(finished) {
            line.push_str(&format!(" seconds={}", seconds(finished.since(began))));
        }
        if step.no_return && step.state == "done" {
            line.push_str(" abortable=false");
        }
        line.push_str(&text(if step.text.is_empty() { &step.planned } else { &step.text }));
        // A step begins before its hosts do, and ends after them.
        let ends = finished.is_some();
        let (first, then) = if ends { (hosts, vec![line]) } else { (vec![line], hosts) };
        lines.extend(first);
        lines.extend(then);
    }
}

/// A value without quotes where that is clear, quoted otherwise.
fn bare(value: &str) -> String {
    let value = clean(value);
    let plain = !value.is_empty() && value.chars().all(|c| c.is_alphanumeric() || "-_./:".contains(c));
    if plain { value } else { format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")) }
}

fn text(value: &str) -> String {
    if value.is_empty() {
        return String::new();
    }
    format!(" text=\"{}\"", clean(value).replace('\\', "\\\\").replace('"', "\\\""))
}

fn seconds(span: std::time::Duration) -> String {
    format!("{}.{:02}", span.as_secs(), span.subsec_millis() / 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn a_frame_is_never_wider_or_higher_than_the_terminal() {
        for width in [100, 80, 60, 30] {
            for height in [2, 8, 12, 40] {
                for op in [samples::failover_running(), samples::failover_ended("done")] {
                    let lines = frame(&op, samples::now(), height, &samples::view(width));
                    assert!(lines.len() < height, "{} lines of {height}", lines.len());
                    assert!(lines.iter().all(|l| columns(l) <= width), "{width}: {lines:#?}");
                }
            }
        }
    }

    #[test]
    fn a_frame_shows_each_step_with_its_time() {
        for width in [100, 80, 60] {
            let text = frame(&samples::failover_running(), samples::now(), 40, &samples::view(width)).join("\n");
            insta::assert_snapshot!(format!("frame_{width}"), text);
        }
    }

    #[test]
    fn plain_progress_tells_each_change_once() {
        let mut told = Told::default();
        let event = |op| v1::OperationEvent { operation: Some(op), at: samples::at(12_000), text: String::new() };
        let mut all = told.lines(&event(samples::failover_running()), samples::now());
        assert_eq!(told.lines(&event(samples::failover_running()), samples::now()), Vec::<String>::new());
        all.extend(told.lines(&event(samples::failover_ended("done")), samples::now()));
        assert_eq!(told.lines(&event(samples::failover_ended("done")), samples::now()), Vec::<String>::new());
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn values_are_quoted_where_they_must_be() {
        assert_eq!(bare("us-west"), "us-west");
        assert_eq!(bare(""), "\"\"");
        assert_eq!(bare("a \"b\"\n"), "\"a \\\"b\\\"\"");
    }
}
