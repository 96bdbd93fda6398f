//! Whether everything held, from what was measured: a pure function, so that a test can show that each sentence fails.

use std::{collections::BTreeSet, time::Duration};

use holdfast_types::BootInstant;
use serde::Serialize;

use super::screen::grouped;
use crate::{
    harness::fleet::OUTSIDE,
    measure::{Moment, Operation, Parts, thousandths},
    workload::{Ack, overlaps, rto},
};

/// What was measured of one failover.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The cut.
    pub cut: Moment,
    /// The region that was active.
    pub source: String,
    /// Every acknowledged write of every writer.
    pub acks: Vec<Ack>,
    /// How many of the workload's were looked for in the surviving database.
    pub looked_for: usize,
    /// Those that were not there.
    pub lost: Vec<Ack>,
    /// When the last process of the source's database was gone.
    pub source_gone: Option<BootInstant>,
    /// Whether the source lived on behind the cut; else it was killed.
    pub isolated: bool,
    /// When the first proxy sent writes to another region.
    pub opened: Option<BootInstant>,
    /// The failover.
    pub operation: Option<Operation>,
}

impl Evidence {
    /// From the cut to the first acknowledged write, as the workload saw it.
    #[must_use]
    pub fn rto(&self) -> Option<Duration> {
        let outside: Vec<Ack> = self.acks.iter().filter(|ack| &*ack.writer == OUTSIDE).cloned().collect();
        rto(self.cut.boot, &outside)
    }

    /// The parts of the failover.
    #[must_use]
    pub fn parts(&self) -> Option<Parts> {
        self.operation.as_ref().map(|op| Parts::of(self.cut, op, self.opened, self.rto()))
    }
}

/// The last line of the demonstration. Names and order stay as they are: programs read it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The failover.
    pub failover: Numbers,
}

/// A failover in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Numbers {
    /// Seconds from the cut to the first acknowledged write through a proxy; null when there was none.
    pub rto_seconds: Option<f64>,
    /// Seconds from the cut to the failover's begin; null when none began.
    pub detect_seconds: Option<f64>,
    /// Acknowledged writes of the workload that the surviving database does not have.
    pub lost_acked_writes: usize,
    /// Pairs of generations that both acknowledged writes at once.
    pub overlapping_generations: usize,
}

impl Line {
    /// One line.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers under fixed names")
    }
}

/// What is to be said about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// Each sentence, and whether it holds; `None` is worth saying and promised by nobody.
    pub sentences: Vec<(Option<bool>, String)>,
    /// The last line.
    pub line: Line,
}

impl Judgement {
    /// Whether everything held that was promised.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.sentences.iter().all(|(held, _)| *held != Some(false))
    }
}

/// Judges.
#[must_use]
pub fn judge(evidence: &Evidence) -> Judgement {
    let back = evidence.rto();
    let late = overlaps(&evidence.acks);
    let pairs: BTreeSet<_> = late.iter().map(|o| (&o.late.database, &o.newer.database)).collect();
    let operation = evidence.operation.as_ref();
    let detect = evidence.parts().and_then(|parts| parts.detection);
    let sentences = vec![
        moved(operation),
        returned(evidence, back),
        down_first(evidence),
        (
            Some(late.is_empty()),
            match late.first() {
                None => format!(
                    "no two regions acknowledged writes at once: 0 overlaps in {} writes of {} writers",
                    grouped(evidence.acks.len() as u64),
                    evidence.acks.iter().map(|ack| &ack.writer).collect::<BTreeSet<_>>().len()
                ),
                Some(first) => format!(
                    "{} writes were acknowledged by an older generation after a newer one had; the first by {}, after {}",
                    late.len(),
                    first.late.database,
                    first.newer.database
                ),
            },
        ),
        (None, losses(evidence)),
        (None, stranded(evidence)),
    ];
    let failover = Numbers {
        rto_seconds: back.map(|back| thousandths(back.as_secs_f64())),
        detect_seconds: detect.map(thousandths),
        lost_acked_writes: evidence.lost.len(),
        overlapping_generations: pairs.len(),
    };
    Judgement {
        sentences: sentences.into_iter().filter(|(_, text)| !text.is_empty()).collect(),
        line: Line { failover },
    }
}

fn moved(operation: Option<&Operation>) -> (Option<bool>, String) {
    let Some(op) = operation else { return (Some(false), "no failover began".to_owned()) };
    let good = op.state == "done";
    let text = match (good, &op.to_region, op.generation_after) {
        (true, Some(to), Some(generation)) => {
            format!("{} {} is done: {to} is generation {generation}", op.kind, op.number)
        }
        _ => format!("{} {} is {}: {}", op.kind, op.number, op.state, op.text.as_deref().unwrap_or("no word why")),
    };
    (Some(good), text)
}

fn returned(evidence: &Evidence, back: Option<Duration>) -> (Option<bool>, String) {
    let last = evidence.acks.iter().rfind(|ack| &*ack.writer == OUTSIDE && ack.acked > evidence.cut.boot);
    match (back, last) {
        (Some(back), Some(last)) => {
            let seconds = back.as_secs_f64();
            (
                Some(true),
                format!("writes are back after {seconds:.2} s, through {}, by {}", last.through, last.database),
            )
        }
        _ => (Some(false), "writes have not come back".to_owned()),
    }
}

/// The source's database has to be gone before anybody began to promote another.
fn down_first(evidence: &Evidence) -> (Option<bool>, String) {
    let source = &evidence.source;
    let Some(gone) = evidence.source_gone else {
        return (Some(false), format!("the database of {source} still runs"));
    };
    let promotes = evidence.operation.as_ref().and_then(|op| op.step("promote")).and_then(|step| step.began_at);
    let Some(promotes) = promotes else { return (None, format!("the database of {source} is down")) };
    let before = evidence.cut.to_wall(promotes) - evidence.cut.to_boot(gone);
    if before >= 0.0 {
        (Some(true), format!("the database of {source} was down {before:.2} s before another was promoted"))
    } else {
        (Some(false), format!("the database of {source} still ran {:.2} s into the promotion of another", -before))
    }
}

fn losses(evidence: &Evidence) -> String {
    let (looked, lost) = (grouped(evidence.looked_for as u64), evidence.lost.len());
    let mut text =
        format!("{lost} of {looked} acknowledged writes of the workload are missing, each looked for by itself");
    if let Some(first) = evidence.lost.iter().map(|ack| ack.acked).min() {
        let before = -evidence.cut.to_boot(first);
        text.push_str(&format!(
            "; they were acknowledged in the last {:.0} ms before the cut, which asynchronous replication may lose",
            before * 1e3
        ));
    }
    text
}

/// Writes that the source's own writer had acknowledged behind the cut, until its lease was over: nobody outside was
/// told, and they are where they were made.
fn stranded(evidence: &Evidence) -> String {
    let inside = format!("inside-{}", evidence.source);
    let behind =
        |ack: &&Ack| ack.acked > evidence.cut.boot && *ack.writer == *inside && ack.database.server == evidence.source;
    match evidence.acks.iter().filter(behind).count() {
        0 => String::new(),
        _ if !evidence.isolated => String::new(),
        count => format!(
            "{} writes were made inside {} behind the cut while its lease ran; they stay there",
            grouped(count as u64),
            evidence.source
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{measure::tests::sample, workload::Database};

    fn ack(writer: &str, cut: Moment, millis: i64, server: &str, timeline: u32) -> Ack {
        let shift = Duration::from_millis(millis.unsigned_abs());
        let at = if millis < 0 { cut.boot - shift } else { cut.boot + shift };
        Ack {
            writer: writer.into(),
            sequence: 1,
            sent: at,
            acked: at,
            through: "usw-web1".into(),
            database: Database { timeline, server: server.to_owned() },
        }
    }

    fn good() -> Evidence {
        let (cut, operation) = sample();
        let acks = vec![
            ack(OUTSIDE, cut, -5, "us-east", 1),
            ack("inside-us-east", cut, 900, "us-east", 1),
            ack(OUTSIDE, cut, 4_600, "us-west", 2),
        ];
        Evidence {
            cut,
            source: "us-east".to_owned(),
            acks,
            looked_for: 2,
            lost: Vec::new(),
            source_gone: Some(cut.boot + Duration::from_millis(3_900)),
            isolated: true,
            opened: Some(cut.boot + Duration::from_millis(4_390)),
            operation: Some(operation),
        }
    }

    fn broken(evidence: &Evidence) -> Vec<String> {
        let sentences = judge(evidence).sentences.into_iter();
        sentences.filter(|(held, _)| *held == Some(false)).map(|(_, text)| text).collect()
    }

    #[test]
    fn a_good_failover_holds_and_ends_with_its_numbers() {
        let judgement = judge(&good());
        assert!(judgement.holds(), "{judgement:?}");
        let expected = r#"{"failover":{"rto_seconds":4.6,"detect_seconds":3.4,"lost_acked_writes":0,"overlapping_generations":0}}"#;
        assert_eq!(judgement.line.json(), expected);
    }

    #[test]
    fn writes_that_do_not_come_back_are_no_success() {
        let mut evidence = good();
        evidence.acks.pop();
        assert_eq!(broken(&evidence), ["writes have not come back"]);
        assert!(judge(&evidence).line.json().contains(r#""rto_seconds":null"#));
    }

    #[test]
    fn a_write_of_the_old_region_after_the_first_of_the_new_one_is_no_success() {
        let mut evidence = good();
        evidence.acks.push(ack("inside-us-east", evidence.cut, 4_700, "us-east", 1));
        let said = broken(&evidence);
        assert!(said.len() == 1 && said[0].starts_with("1 writes were acknowledged by an older"), "{said:?}");
        assert_eq!(judge(&evidence).line.failover.overlapping_generations, 1);
    }

    #[test]
    fn a_database_that_outlives_the_promotion_is_no_success() {
        let mut evidence = good();
        evidence.source_gone = Some(evidence.cut.boot + Duration::from_millis(4_260));
        assert_eq!(broken(&evidence), ["the database of us-east still ran 0.10 s into the promotion of another"]);
        evidence.source_gone = None;
        assert_eq!(broken(&evidence), ["the database of us-east still runs"]);
    }

    #[test]
    fn a_failover_that_was_taken_back_is_no_success() {
        let mut evidence = good();
        if let Some(operation) = &mut evidence.operation {
            operation.state = "unwound".to_owned();
        }
        assert_eq!(broken(&evidence), ["failover 41 is unwound: no word why"]);
    }

    #[test]
    fn losses_are_counted_and_promised_by_nobody() {
        let mut evidence = good();
        evidence.lost.push(evidence.acks[0].clone());
        let judgement = judge(&evidence);
        assert!(judgement.holds());
        assert_eq!(judgement.line.failover.lost_acked_writes, 1);
    }
}
