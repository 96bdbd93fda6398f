//! The end of a failover on the screen: its timeline, its parts and the judgement.

use std::io::Write;

use super::{
    judge::{Evidence, Judgement, judge},
    observer::Observer,
    screen::{Screen, Tone},
};
use crate::measure::Parts;

/// Shows all of it, and answers with the judgement.
pub fn show<W: Write>(screen: &mut Screen<W>, observer: &Observer, evidence: &Evidence) -> Judgement {
    screen.gap();
    screen.line(Tone::Strong, "timeline: seconds since the cut, and since the line before");
    let mut before = None;
    for entry in observer.story().timeline() {
        let gap = before.map(|before| format!("{:+.2}", entry.at - before)).unwrap_or_default();
        before = Some(entry.at);
        screen.line(entry.tone, &format!("{:>8.2} {gap:>7}  {:<10}  {}", entry.at, entry.word, entry.text));
    }
    if let Some(parts) = evidence.parts() {
        screen.gap();
        screen.line(Tone::Strong, "parts, in seconds");
        parts_table(screen, &parts);
    }
    let judgement = judge(evidence);
    screen.gap();
    for (held, text) in &judgement.sentences {
        let (sign, tone) = match held {
            Some(true) => ("✔", Tone::Good),
            Some(false) => ("✘", Tone::Bad),
            None => ("·", Tone::Plain),
        };
        screen.wrapped(tone, &format!("  {sign} "), text);
    }
    judgement
}

/// Two lines: names above their numbers.
fn parts_table<W: Write>(screen: &mut Screen<W>, parts: &Parts) {
    let mut names = String::new();
    let mut numbers = String::new();
    for (name, seconds) in parts.named() {
        names.push_str(&format!("{name:>13}"));
        numbers.push_str(&format!("{:>13}", seconds.map_or("–".to_owned(), |seconds| format!("{seconds:.2}"))));
    }
    screen.line(Tone::Dim, &names);
    screen.line(Tone::Plain, &numbers);
}
