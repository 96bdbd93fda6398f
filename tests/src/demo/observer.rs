//! Follows one failover from its cut: what the product says, and what can be seen without asking it.

use std::time::Duration;

use anyhow::Result;
use holdfast_types::BootInstant;

use super::{
    judge::Evidence,
    screen::{Tone, grouped},
    story::{Entry, Story},
    watcher::Sight,
};
use crate::{
    harness::{Fleet, fleet::OUTSIDE, now},
    measure::Moment,
    workload::{Ack, Database, Ledger, lost_in},
};

/// Without an acknowledged write for so long, the last one was the last.
const NO_WRITES: Duration = Duration::from_millis(400);

/// What is watched of one cut.
#[derive(Debug)]
pub struct Observer {
    story: Story,
    source: String,
    /// The database that served before the cut.
    before: Option<Database>,
    gone: Option<BootInstant>,
    opened: Option<BootInstant>,
    last_told: bool,
    back: Option<u64>,
}

impl Observer {
    /// Begins with a cut (or kill) of the region that takes the app's writes.
    #[must_use]
    pub fn new(cut: Moment, source: &str, ledger: &Ledger) -> Self {
        Self {
            story: Story::new(cut),
            source: source.to_owned(),
            before: ledger.counters(OUTSIDE).last.map(|ack| ack.database),
            gone: None,
            opened: None,
            last_told: false,
            back: None,
        }
    }

    /// What happened.
    #[must_use]
    pub const fn story(&self) -> &Story {
        &self.story
    }

    /// Something that the demo did itself.
    pub fn did(&mut self, at: BootInstant, word: &str, text: String) -> Entry {
        let at = self.story.cut().to_boot(at);
        self.story.saw(at, word, text, Tone::Strong)
    }

    /// Looks around; what is new.
    pub fn look(&mut self, fleet: &Fleet, ledger: &Ledger, sights: impl Iterator<Item = Sight>) -> Vec<Entry> {
        let mut new = self.look_itself(fleet, ledger);
        for sight in sights {
            match sight {
                // Two regions may be told of; the one that was cut is what this is about.
                Sight::Verdict(verdict, at) if verdict.region == self.source => {
                    new.extend(self.story.verdict(&verdict, at));
                }
                Sight::Verdict(..) => {}
                Sight::Operation(operation) => new.extend(self.story.operation_now(&operation)),
            }
        }
        new
    }

    fn look_itself(&mut self, fleet: &Fleet, ledger: &Ledger) -> Vec<Entry> {
        let mut new = Vec::new();
        let cut = self.story.cut();
        let source = fleet.region(&self.source).ok();
        if self.gone.is_none() && source.is_some_and(|region| region.pg.processes().is_empty()) {
            let at = now();
            self.gone = Some(at);
            let text = format!("{}'s database: no process of it is left", self.source);
            new.push(self.story.saw(cut.to_boot(at), "down", text, Tone::Plain));
        }
        if self.opened.is_none()
            && self.story.operation().is_some()
            && let Some((proxy, region)) = fleet.opened_elsewhere(&self.source)
        {
            let at = now();
            self.opened = Some(at);
            let text = format!("{proxy} sends writes to {region}");
            new.push(self.story.saw(cut.to_boot(at), "proxy", text, Tone::Plain));
        }
        let counters = ledger.counters(OUTSIDE);
        let Some(last) = counters.last else { return new };
        let other = self.before.as_ref() != Some(&last.database);
        if !self.last_told && !other && now().since(last.acked) > NO_WRITES {
            self.last_told = true;
            let text =
                format!("last acknowledged write, through {}; {} so far", last.through, grouped(counters.acknowledged));
            new.push(self.story.saw(cut.to_boot(last.acked), "workload", text, Tone::Plain));
        }
        if self.back.is_none()
            && other
            && let Some(first) = self.first_back(ledger)
        {
            self.back = Some(counters.acknowledged);
            let text = format!("writes are back, through {}, by {}", first.through, first.database);
            new.push(self.story.saw(cut.to_boot(first.acked), "workload", text, Tone::Good));
        }
        new
    }

    fn first_back(&self, ledger: &Ledger) -> Option<Ack> {
        let acks = ledger.acks_of(OUTSIDE).into_iter();
        acks.filter(|ack| ack.acked > self.story.cut().boot && self.before.as_ref() != Some(&ack.database))
            .min_by_key(|ack| ack.acked)
    }

    /// Whether the failover has ended, and if it ended well, everything else too that follows from it, with so many
    /// writes of the workload after it.
    #[must_use]
    pub fn complete(&self, ledger: &Ledger, writes: u64) -> bool {
        let Some(operation) = self.story.operation().filter(|operation| operation.ended()) else { return false };
        let enough = self.back.is_some_and(|at_back| ledger.counters(OUTSIDE).acknowledged >= at_back + writes);
        operation.state != "done" || (self.gone.is_some() && enough)
    }

    /// What was measured. Looks for the workload's last `most` acknowledged writes in the surviving database, one by one.
    ///
    /// # Errors
    /// When the surviving database does not answer.
    pub fn evidence(&self, fleet: &Fleet, ledger: &Ledger, most: usize) -> Result<Evidence> {
        let acks = ledger.acks();
        let outside: Vec<Ack> = acks.iter().filter(|ack| &*ack.writer == OUTSIDE).cloned().collect();
        let outside = &outside[outside.len().saturating_sub(most)..];
        let survivor = self.story.operation().and_then(|op| op.to_region.clone()).filter(|_| self.back.is_some());
        let survivor = fleet.region(survivor.as_deref().unwrap_or(&self.source))?;
        let (looked_for, lost) = if survivor.pg.processes().is_empty() {
            // Nobody serves: nothing can be looked for, and that writes are not back says it all.
            (0, Vec::new())
        } else {
            (outside.len(), lost_in(&survivor.pg, outside)?)
        };
        Ok(Evidence {
            cut: self.story.cut(),
            source: self.source.clone(),
            acks,
            looked_for,
            lost,
            source_gone: self.gone,
            isolated: fleet.net.isolates(),
            opened: self.opened,
            operation: self.story.operation().cloned(),
        })
    }
}
