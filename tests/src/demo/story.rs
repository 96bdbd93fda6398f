//! What happened since a cut, in the order it is learned for the screen and in the order it happened for the timeline.

use std::{collections::BTreeMap, io::Write};

use super::{
    screen::{Screen, Tone},
    watcher::Verdict,
};
use crate::measure::{Moment, Operation, Step};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Seconds from the cut; negative is before it.
    pub at: f64,
    /// A word: what it is about.
    pub word: String,
    /// A line.
    pub text: String,
    /// How it is painted.
    pub tone: Tone,
    /// Told while it happens, and of no interest afterwards.
    pub passing: bool,
}

impl Entry {
    /// What stands before the text on the screen.
    #[must_use]
    pub fn lead(&self) -> String {
        format!("{:>+8.2} s  {:<10}  ", self.at, self.word)
    }

    /// Shows it.
    pub fn show<W: Write>(&self, screen: &mut Screen<W>) {
        screen.wrapped(self.tone, &self.lead(), &self.text);
    }
}

/// Collects what happened since one cut, each thing once.
#[derive(Debug)]
pub struct Story {
    cut: Moment,
    entries: Vec<Entry>,
    verdict: Option<(String, u32)>,
    steps: BTreeMap<(u64, usize), String>,
    operations: BTreeMap<u64, Operation>,
}

impl Story {
    /// Begins with the cut.
    #[must_use]
    pub const fn new(cut: Moment) -> Self {
        Self { cut, entries: Vec::new(), verdict: None, steps: BTreeMap::new(), operations: BTreeMap::new() }
    }

    /// When the cut was.
    #[must_use]
    pub const fn cut(&self) -> Moment {
        self.cut
    }

    /// The newest operation since the cut.
    #[must_use]
    pub fn operation(&self) -> Option<&Operation> {
        self.operations.values().next_back()
    }

    /// Something that the demo saw for itself.
    pub fn saw(&mut self, at: f64, word: &str, text: String, tone: Tone) -> Entry {
        self.add(Entry { at, word: word.to_owned(), text, tone, passing: false })
    }

    fn add(&mut self, entry: Entry) -> Entry {
        self.entries.push(entry.clone());
        entry
    }

    /// How the active region is judged, when that is news. Ok is none before anything else was said.
    pub fn verdict(&mut self, verdict: &Verdict, seen: Moment) -> Option<Entry> {
        let now = (verdict.verdict.clone(), verdict.failing);
        let good = verdict.verdict == "ok";
        if self.verdict.as_ref() == Some(&now) || (self.verdict.is_none() && good) {
            return None;
        }
        self.verdict = Some(now);
        let why = verdict.reasons.first().map(|why| format!(": {why}")).unwrap_or_default();
        let text = if verdict.verdict == "failing" {
            format!("{} of {}{why}", verdict.failing, verdict.failures)
        } else {
            format!("{} is {}{why}", verdict.region, verdict.verdict)
        };
        let (word, tone) = if verdict.verdict == "failing" { ("failing", Tone::Bad) } else { ("verdict", Tone::Plain) };
        Some(self.saw(self.cut.to_boot(seen.boot), word, text, tone))
    }

    /// An operation as it is now: what is new of it. One that began before the cut is not part of this story.
    pub fn operation_now(&mut self, operation: &Operation) -> Vec<Entry> {
        let Some(started) = operation.started_at.filter(|at| *at >= self.cut.wall) else { return Vec::new() };
        let mut new = Vec::new();
        if !self.operations.contains_key(&operation.number) {
            let reason = operation.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let text = format!("{} {} begins{reason}", operation.kind, operation.number);
            new.push(self.saw(self.cut.to_wall(started), "detected", text, Tone::Strong));
        }
        for (index, step) in operation.steps.iter().enumerate() {
            let before = self.steps.insert((operation.number, index), step.state.clone());
            if before.as_ref() != Some(&step.state) {
                new.extend(self.step(step));
            }
        }
        let before = self.operations.insert(operation.number, operation.clone());
        if let Some(ended) = operation.ended_at.filter(|_| !before.is_some_and(|before| before.ended())) {
            let text = operation.text.clone().unwrap_or_default();
            let tone = if operation.state == "done" { Tone::Good } else { Tone::Bad };
            new.push(self.saw(self.cut.to_wall(ended), &operation.state, text, tone));
        }
        new
    }

    fn step(&mut self, step: &Step) -> Option<Entry> {
        let told = step.told();
        let (at, tone, passing, text) = match (&*step.state, step.began_at, step.ended_at) {
            ("done", _, Some(ended)) => (ended, Tone::Plain, false, told),
            ("failed", _, Some(ended)) => (ended, Tone::Bad, false, format!("failed: {told}")),
            ("running", Some(began), _) => (began, Tone::Dim, true, step.planned.clone().unwrap_or(told)),
            _ => return None,
        };
        let at = self.cut.to_wall(at);
        Some(self.add(Entry { at, word: step.step.clone(), text, tone, passing }))
    }

    /// Everything in the order it happened.
    #[must_use]
    pub fn timeline(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.entries.iter().filter(|entry| !entry.passing).cloned().collect();
        entries.sort_by(|a, b| a.at.total_cmp(&b.at));
        entries
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measure::tests::sample;

    fn failing(count: u32) -> Verdict {
        Verdict {
            region: "us-east".to_owned(),
            active: true,
            verdict: if count == 0 { "ok" } else { "failing" }.to_owned(),
            failing: count,
            failures: 3,
            reasons: vec!["the region is silent".to_owned()],
        }
    }

    #[test]
    fn everything_is_told_once() {
        let (cut, operation) = sample();
        let mut story = Story::new(cut);
        let seen = |seconds| Moment { boot: cut.boot + Duration::from_secs(seconds), wall: cut.wall };
        assert_eq!(story.verdict(&failing(0), seen(0)), None);
        let first = story.verdict(&failing(1), seen(1)).expect("news");
        assert_eq!((&*first.lead(), &*first.text), ("   +1.00 s  failing     ", "1 of 3: the region is silent"));
        assert_eq!(story.verdict(&failing(1), seen(1)), None);

        let mut running = operation.clone();
        running.ended_at = None;
        running.state = "running".to_owned();
        for step in &mut running.steps[1..] {
            (step.state, step.ended_at) = ("planned".to_owned(), None);
        }
        running.steps[1].state = "running".to_owned();
        let told = |entries: Vec<Entry>| entries.into_iter().map(|e| e.word).collect::<Vec<_>>();
        assert_eq!(told(story.operation_now(&running)), ["detected", "hold", "fence"]);
        assert_eq!(told(story.operation_now(&running)), [""; 0]);
        let rest = ["fence", "cut", "candidate", "generation", "promote", "route", "verify", "done"];
        assert_eq!(told(story.operation_now(&operation)), rest);
        assert_eq!(told(story.operation_now(&operation)), [""; 0]);
    }

    #[test]
    fn the_timeline_is_in_the_order_things_happened() {
        let (cut, operation) = sample();
        let mut story = Story::new(cut);
        story.operation_now(&operation);
        story.saw(4.05, "down", "the last process is gone".to_owned(), Tone::Plain);
        let words: Vec<String> = story.timeline().into_iter().map(|entry| entry.word).collect();
        assert_eq!(words[..4], ["detected", "hold", "down", "fence"]);
    }

    #[test]
    fn an_operation_from_before_the_cut_is_another_story() {
        let (mut cut, operation) = sample();
        cut.wall.0 += 60_000;
        assert_eq!(Story::new(cut).operation_now(&operation), []);
    }
}
