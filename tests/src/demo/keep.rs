//! The demo that stays: the workload's counters on the screen, and whoever likes may break it.

use std::{path::Path, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use holdfast_types::BootInstant;

use super::{
    APP, SOURCE,
    control::{PLACE, Place, Request, folder, refuse_if_running},
    heading, interrupt,
    observer::Observer,
    report,
    screen::{Screen, Tone, grouped},
    stage::{self, Options},
    watcher::{Asker, Watcher},
};
use crate::{
    harness::{Guarded, Host, fleet::OUTSIDE, now},
    measure::Moment,
    workload::Ledger,
};

/// The writers of a demo that runs for hours write less often, and what they remember stays small.
const BETWEEN_WRITES: Duration = Duration::from_millis(50);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The counters on a terminal, and as lines where they cannot be drawn over.
const REDRAW_EVERY: Duration = Duration::from_millis(500);
const LINE_EVERY: Duration = Duration::from_secs(5);
/// So many writes after a failover before it is judged.
const WRITES_AFTER: u64 = 40;
/// Of hours of writing these are looked for, the newest; each takes a tenth of a millisecond.
const LOOKED_FOR_MAX: usize = 20_000;

/// Builds, and stays until it is told to end. The answer is that it ended as it was told.
///
/// # Errors
/// What did not come up; when another demo stays already.
pub fn keep(screen: &mut Screen, options: Options) -> Result<bool> {
    refuse_if_running()?;
    screen.line(Tone::Strong, "Holdfast: two regions on this machine, to be broken by you");
    let mut place = None;
    let guarded = stage::build(screen, options, None, |net| {
        place = Some(Place::take(net)?);
        Ok(())
    })?;
    let mut place = place.context("a net was made without a place")?;
    let (ledger, writers) = guarded.fleet.writers_every(BETWEEN_WRITES)?;
    place.command("holdfast", &holdfast(&guarded)?)?;
    let (own, at) = (std::env::current_exe()?, folder());
    place.command("demo", &format!("#!/bin/sh\n{PLACE}={} exec {} \"$@\"\n", quoted(&at), quoted(&own)))?;
    place.open()?;
    interrupt::ends_well();
    introduce(screen, &place);
    let asker = Asker::new(&guarded)?;
    let watcher = Watcher::start(asker.clone(), APP)?;
    let mut kept = Kept { guarded, ledger, asker, watcher, observer: None, active: SOURCE.to_owned() };
    kept.stay(screen, &place)?;
    screen.line(Tone::Plain, "taking everything down");
    drop(writers);
    Ok(true)
}

/// The demo's own `holdfast`: beside its coordinator, with the first admin's context.
fn holdfast(guarded: &Guarded) -> Result<String> {
    let fleet = &guarded.fleet;
    let contexts = fleet.state("operator")?.join(".config/holdfast/contexts.toml");
    let program = guarded.binaries.path("holdfast");
    let enter = match fleet.third.namespace_file() {
        Some(file) => format!("nsenter --net={} -- ", quoted(&file)),
        None => String::new(),
    };
    Ok(format!(
        "#!/bin/sh\n# The demo's own: on the coordinator's host, as its first admin.\n\
         [ \"$(id -u)\" = 0 ] || exec sudo -- \"$0\" \"$@\"\n\
         HOLDFAST_CONTEXTS_FILE={} exec {enter}{} \"$@\"\n",
        quoted(&contexts),
        quoted(&program)
    ))
}

/// As a shell takes it for one word.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

fn introduce(screen: &mut Screen, place: &Place) {
    heading(screen, "it runs; in another terminal:");
    for line in [
        format!("  export PATH={}:$PATH", place.bin().display()),
        "  holdfast status".to_owned(),
        format!("  holdfast why {APP}"),
        "  holdfast hosts".to_owned(),
        format!("  holdfast failover {APP} --to us-west --dry-run"),
        "  holdfast operations list".to_owned(),
    ] {
        screen.line(Tone::Plain, &line);
    }
    heading(screen, "ways to break it:");
    for (command, what) in [
        ("demo cut us-east", "takes the network of a region away"),
        ("demo kill use-db1", "kills everything on a host, as a power cut does; eu-c1 is the coordinator's"),
        ("demo heal", "gives every network back and starts what was killed"),
        ("demo status", "the workload's counters and `holdfast status`"),
        ("demo down", "ends it and removes everything; so does Ctrl-C here"),
    ] {
        screen.line(Tone::Plain, &format!("  {command:<19}{what}"));
    }
    screen.gap();
}

struct Kept {
    // Dropped in this order: who asks first, the fleet last.
    watcher: Watcher,
    asker: Asker,
    observer: Option<Observer>,
    active: String,
    ledger: std::sync::Arc<Ledger>,
    guarded: Guarded,
}

impl Kept {
    /// Until it is told to end.
    fn stay(&mut self, screen: &mut Screen, place: &Place) -> Result<()> {
        let every = if screen.redraws() { REDRAW_EVERY } else { LINE_EVERY };
        let mut next = now();
        loop {
            self.watch(screen)?;
            while let Some((request, caller)) = place.next() {
                let down = matches!(request, Ok(Request::Down));
                let answer = request.and_then(|request| self.obey(screen, &request));
                caller.answer(&answer);
                if down {
                    return Ok(());
                }
            }
            if now() >= next {
                next = now() + every;
                let lines = self.counters();
                if screen.redraws() { screen.block(&lines) } else { screen.line(Tone::Plain, &lines[0]) }
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// What happens, line by line; and the end of a failover.
    fn watch(&mut self, screen: &mut Screen) -> Result<()> {
        let Some(observer) = &mut self.observer else {
            // Nobody looks: the channel must not fill up with what is old.
            self.watcher.sights().for_each(drop);
            return Ok(());
        };
        for entry in observer.look(&self.guarded.fleet, &self.ledger, self.watcher.sights()) {
            entry.show(screen);
        }
        if !observer.complete(&self.ledger, WRITES_AFTER) {
            return Ok(());
        }
        let evidence = observer.evidence(&self.guarded.fleet, &self.ledger, LOOKED_FOR_MAX)?;
        let judgement = report::show(screen, observer, &evidence);
        screen.data(&judgement.line.json());
        screen.gap();
        if let Some(to) = evidence.operation.filter(|op| op.state == "done").and_then(|op| op.to_region) {
            self.active = to;
        }
        self.observer = None;
        self.watcher.set_alert(false);
        Ok(())
    }

    fn obey(&mut self, screen: &mut Screen, request: &Request) -> Result<String> {
        match request {
            Request::Cut(region) => {
                let region = self.region(region)?;
                let at = self.guarded.fleet.cut_region(&region)?;
                Ok(self.broke(screen, at, "cut", format!("{region} is cut off from everybody")))
            }
            Request::Kill(host) => {
                let host = self.host(host)?;
                let at = self.guarded.fleet.kill_host(&host)?;
                Ok(self.broke(screen, at, "kill", format!("everything on {} is killed", host.name)))
            }
            Request::Heal => {
                let at = now();
                if self.guarded.fleet.net.isolates() {
                    self.guarded.fleet.net.heal()?;
                }
                let notes = self.guarded.revive()?;
                for note in &notes {
                    screen.line(Tone::Plain, &format!("            {:<10}  {note}", "heal"));
                }
                if let Some(observer) = &mut self.observer {
                    let entry = observer.did(at, "heal", "every network is back".to_owned());
                    entry.show(screen);
                }
                let mut lines = vec!["every network is back".to_owned()];
                lines.extend(notes);
                Ok(lines.join("\n"))
            }
            Request::Status => {
                let status = self.asker.text(&["status"]).unwrap_or_else(|error| format!("holdfast status: {error:#}"));
                Ok(format!("{}\n\n{status}", self.counters().join("\n")))
            }
            Request::Down => Ok("it takes everything down".to_owned()),
        }
    }

    /// Follows what was just broken, from the first of several cuts on.
    fn broke(&mut self, screen: &mut Screen, at: BootInstant, word: &str, text: String) -> String {
        let moment = Moment::at(at);
        let ledger = &self.ledger;
        let active = &self.active;
        let observer = self.observer.get_or_insert_with(|| Observer::new(moment, active, ledger));
        self.watcher.set_alert(true);
        let entry = observer.did(at, word, text.clone());
        entry.show(screen);
        format!("{text}, at {} UTC; what follows is on the demo's own screen", moment.wall.clock_millis())
    }

    fn region(&self, name: &str) -> Result<String> {
        let names = [&self.guarded.fleet.east.name, &self.guarded.fleet.west.name];
        ensure!(names.into_iter().any(|n| n == name), "no region {name} here; there are {} and {}", names[0], names[1]);
        Ok(name.to_owned())
    }

    fn host(&self, name: &str) -> Result<Host> {
        let hosts = self.guarded.fleet.hosts();
        let found = hosts.into_iter().find(|host| host.name == name);
        let names: Vec<&str> = hosts.iter().map(|host| &*host.name).collect();
        found.cloned().with_context(|| format!("no host {name} here; there are {}", names.join(", ")))
    }

    /// The block on the screen: each writer a line.
    fn counters(&self) -> Vec<String> {
        let writers = [
            (OUTSIDE.to_owned(), "workload"),
            (format!("inside-{}", self.guarded.fleet.east.name), "inside us-east"),
            (format!("inside-{}", self.guarded.fleet.west.name), "inside us-west"),
        ];
        writers.into_iter().map(|(writer, name)| fares(&self.ledger, &writer, name)).collect()
    }
}

/// `workload            1,234 acknowledged, last 0.0 s ago: usw-web1 → us-west, timeline 2 · 12 failed`
fn fares(ledger: &Ledger, writer: &str, name: &str) -> String {
    let counters = ledger.counters(writer);
    let mut line = format!("{name:<14}  {:>9} acknowledged", grouped(counters.acknowledged));
    if let Some(last) = &counters.last {
        let ago = now().since(last.acked).as_secs_f64();
        let (server, timeline) = (&last.database.server, last.database.timeline);
        // Straight to its database: the way says nothing more than the name.
        let through = if last.through.ends_with(":socket") { "" } else { &*last.through };
        line.push_str(&format!(", last {ago:.1} s ago: {through} → {server}, timeline {timeline}"));
    }
    if counters.failed > 0 {
        line.push_str(&format!(" · {} failed", grouped(counters.failed)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word_for_a_shell() {
        assert_eq!(quoted(Path::new("/a b/it's")), "'/a b/it'\\''s'");
    }
}
