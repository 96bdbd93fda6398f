//! `metrics`: the course of one host's or one app's figures, as far as this coordinator kept them. It changes nothing
//! and decides nothing, so it is answered by every coordinator, with or without a quorum.

use std::time::Duration;

use holdfast_proto::v1;
use holdfast_types::{AppName, HostName, Right, WallTime, refusal::Reason, spec::suggest::nearest};
use tonic::{Request, Response, Status};

use super::{
    Api,
    refuse::{self, Refusal, listed},
    wire,
};
use crate::{
    authorise,
    metrics::{
        Subject,
        history::{self, POINTS_MAX},
    },
};

/// How far back unless asked otherwise.
const SINCE: Duration = Duration::from_hours(1);
/// The longest: so far back nothing is kept.
const SINCE_MAX: Duration = Duration::from_hours(366 * 24);
/// The shortest: three looks.
const SINCE_MIN: Duration = Duration::from_secs(30);
/// Points unless asked otherwise.
const POINTS: u32 = 60;
/// Names that a refusal lists.
const LISTED_MAX: usize = 30;

#[tonic::async_trait]
impl v1::metrics_server::Metrics for Api {
    async fn history(&self, request: Request<v1::HistoryRequest>) -> Result<Response<v1::HistoryReply>, Status> {
        authorise::operator(&request, &self.replica, Right::Read)?;
        let asked = request.into_inner();
        let since = match &asked.since {
            Some(since) => Duration::try_from(*since).map_err(|_| refuse::bad("a negative span"))?,
            None => SINCE,
        };
        if !(SINCE_MIN..=SINCE_MAX).contains(&since) {
            return Err(refuse::bad(format!(
                "--since {}: from 30s to 366d can be asked for",
                holdfast_types::time::span(since)
            )));
        }
        let points = if asked.points == 0 { POINTS } else { asked.points };
        if points > POINTS_MAX {
            return Err(refuse::bad(format!("{points} points; at most {POINTS_MAX} can be asked for")));
        }
        let (hosts, apps): (Vec<HostName>, Vec<AppName>) =
            self.replica.read(|s| (s.hosts().keys().cloned().collect(), s.apps().keys().cloned().collect()));
        let subject = history::subject(&asked.name, |host| hosts.contains(host), |app| apps.contains(app));
        let subject = subject.ok_or_else(|| unknown(&asked.name, &hosts, &apps).status())?;
        let until = self.clock.wall().unix_millis().div_euclid(1_000) + 1;
        let from = until - i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let unwritten = self.metrics.unwritten(&subject);
        let course = self.metrics.history.course(&subject, from, until, points, unwritten).await;
        let now = self.metrics.values(&subject, self.clock.boot());
        let mut notes = course.notes;
        if course.block.is_empty() {
            notes.push(format!("nothing was measured of {} in this time", asked.name));
        }
        let kind = match subject {
            Subject::Host(_) => "host",
            Subject::App(_) => "app",
        };
        Ok(Response::new(v1::HistoryReply {
            name: asked.name,
            kind: kind.to_owned(),
            from: Some(wire::timestamp(WallTime(from.saturating_mul(1_000)))),
            until: Some(wire::timestamp(WallTime(until.saturating_mul(1_000)))),
            step: wire::span(Duration::from_secs(u64::from(course.block.step))),
            series: history::series(&course.block, &now),
            notes,
        }))
    }
}

fn unknown(name: &str, hosts: &[HostName], apps: &[AppName]) -> Refusal {
    let shown: String = name.chars().take(80).collect();
    let names = || hosts.iter().map(HostName::as_str).chain(apps.iter().map(AppName::as_str));
    let refusal = Refusal::new(Reason::UnknownSubject, format!("no host and no app is called {shown}"));
    let refusal = match nearest(name, names()) {
        Some(near) => refusal.line("meant", format!("{near}?")).next(format!("holdfast metrics {near}")),
        None => refusal,
    };
    let list = |names: Vec<&str>| match names.len().checked_sub(LISTED_MAX) {
        Some(more @ 1..) => format!("{} and {more} more", listed(names.into_iter().take(LISTED_MAX))),
        Some(0) | None => listed(names),
    };
    refusal
        .line("hosts", list(hosts.iter().map(HostName::as_str).collect()))
        .line("apps", list(apps.iter().map(AppName::as_str).collect()))
        .next("holdfast hosts")
        .next("holdfast apps")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_is_refused_with_the_nearest() {
        let hosts = ["use-db1", "usw-db1"].map(|name| HostName::new(name).expect("a name"));
        let apps = [AppName::new("smellpin").expect("a name")];
        let refused = unknown("smelpin", &hosts, &apps);
        assert_eq!(refused.reason, Reason::UnknownSubject);
        assert_eq!(refused.what, "no host and no app is called smelpin");
        assert_eq!(refused.next, ["holdfast metrics smellpin", "holdfast hosts", "holdfast apps"]);
        assert_eq!(refused.lines.len(), 3);
        let many: Vec<HostName> = (0..40).map(|n| HostName::new(format!("h{n}")).expect("a name")).collect();
        let refused = unknown("quite-something-else", &many, &[]);
        assert!(refused.lines[0].text.ends_with(" and 10 more"), "{:?}", refused.lines);
        assert_eq!(refused.lines[1].text, "none yet");
    }
}
