//! Following an operation until it ends, over lost connections, with the progress that was asked for.
//!
//! The operation belongs to the coordinators and goes on whatever happens here.

use std::time::Duration;

use holdfast_proto::v1::{self, operations_client::OperationsClient};
use holdfast_types::{BootInstant, WallTime, time};
use tonic::Streaming;

use super::{Context, failover::usual_progress};
use crate::{
    args::{Output, Progress},
    connect::Client,
    console::Stop,
    errors::{Exit, Failure, Intent},
    render::{
        json, operation,
        progress::{Told, frame},
        wire::{ended, wall},
    },
};

/// Without a coordinator for so long, waiting helps nobody: a takeover takes seconds.
const GIVE_UP_AFTER: Duration = Duration::from_secs(120);

/// Pause before another try, doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(2);

/// Running steps count up this often.
const REDRAW_EVERY: Duration = Duration::from_millis(200);

pub(super) async fn run(
    c: &mut Context<'_, '_>,
    client: &mut Client,
    number: u64,
    progress: Option<Progress>,
) -> Result<Exit, Stop> {
    let progress = progress.unwrap_or_else(|| usual_progress(c));
    let mut screen = Screen { progress, told: Told::default(), drawn: 0, last: None };
    let mut interrupt = (c.interrupt)();
    let followed = tokio::select! {
        biased;
        () = &mut interrupt => None,
        // Dropped when the operator detaches: it only reads, and every frame is written in one piece.
        op = follow(c, client, number, &mut screen) => Some(op?),
    };
    let Some(op) = followed else {
        c.console.say(&format!("\ndetached; op {number} goes on.   again: holdfast operations watch {number}\n"));
        return Ok(Exit::Detached);
    };
    let exit = operation::exit(&op);
    match (progress, c.output) {
        (Progress::Json, _) => {}
        (Progress::Tty | Progress::Plain, Output::Json) => {
            c.console.data(&json::text(json::OneOperation { operation: op.into() }))?;
        }
        (Progress::Tty | Progress::Plain, Output::Table) => {
            if progress == Progress::Tty {
                c.console.say("\n");
            }
            let text = operation::last_lines(&op, &c.view());
            c.console.data(&text)?;
        }
    }
    Ok(exit)
}

/// Watches until the operation has ended; each lost connection is made again.
async fn follow(
    c: &mut Context<'_, '_>,
    client: &mut Client,
    number: u64,
    screen: &mut Screen,
) -> Result<v1::Operation, Stop> {
    let asked = format!("holdfast operations watch {number}");
    let mut lost: Option<BootInstant> = None;
    let mut pause = RETRY_FIRST;
    loop {
        let opened = client
            .stream(
                &asked,
                |ch| async move { OperationsClient::new(ch).watch(v1::WatchOperationRequest { number }).await },
            )
            .await;
        let why = match opened {
            Ok((address, mut events)) => match drain(c, &mut events, screen, &mut lost, &address).await? {
                Drained::Ended(op) => return Ok(*op),
                // An answer was heard: the next loss counts from anew.
                Drained::Lost { why, heard } => {
                    if heard {
                        pause = RETRY_FIRST;
                    }
                    why
                }
            },
            Err(failure) if failure.passing => {
                failure.lines.first().map_or_else(|| failure.what.clone(), |(_, text)| text.clone())
            }
            Err(failure) => return Err(failure.into()),
        };
        client.disconnect();
        let now = c.clock.boot();
        let since = *lost.get_or_insert_with(|| {
            let text = format!(
                "connection lost ({why}); op {number} goes on, trying again for {}\n",
                time::span(GIVE_UP_AFTER)
            );
            screen.aside(c, &text);
            now
        });
        if now.since(since) >= GIVE_UP_AFTER {
            let what =
                format!("no coordinator has answered for {}; op {number} goes on unseen", time::span(GIVE_UP_AFTER));
            let failure = Failure::new(Exit::Unknown, what).line("where", why);
            return Err(failure.next(asked).next("holdfast status").into());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MOST);
    }
}

enum Drained {
    Ended(Box<v1::Operation>),
    Lost { why: String, heard: bool },
}

/// Takes events from one connection until the operation or the connection ends.
async fn drain(
    c: &mut Context<'_, '_>,
    events: &mut Streaming<v1::OperationEvent>,
    screen: &mut Screen,
    lost: &mut Option<BootInstant>,
    address: &str,
) -> Result<Drained, Stop> {
    let mut redraw = tokio::time::interval(REDRAW_EVERY);
    redraw.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut heard = false;
    loop {
        let message = tokio::select! {
            biased;
            // Dropping the wait loses no event: what has arrived stays in the stream.
            message = events.message() => message,
            _ = redraw.tick() => {
                screen.redraw(c);
                continue;
            }
        };
        match message {
            Ok(Some(event)) => {
                heard = true;
                if lost.take().is_some() {
                    screen.aside(c, &format!("connected again, to {address}\n"));
                }
                if let Some(op) = screen.event(c, event)? {
                    return Ok(Drained::Ended(Box::new(op)));
                }
            }
            Ok(None) => return Ok(Drained::Lost { why: format!("{address} ended the stream"), heard }),
            Err(status) => {
                let failure = Failure::from_status(&status, "the watch", address, Intent::Read);
                if !failure.passing {
                    return Err(failure.into());
                }
                let why = holdfast_shared::tls::describe_connect_error(&status);
                return Ok(Drained::Lost { why: format!("{address}: {why}"), heard });
            }
        }
    }
}

/// What is on the screen of one watch.
struct Screen {
    progress: Progress,
    told: Told,
    /// Lines of the frame that stands there now.
    drawn: usize,
    /// The last operation seen, the coordinator's time then, and ours.
    last: Option<(v1::Operation, WallTime, BootInstant)>,
}

impl Screen {
    /// Shows an event; gives the operation back when it has ended.
    fn event(&mut self, c: &mut Context<'_, '_>, event: v1::OperationEvent) -> Result<Option<v1::Operation>, Stop> {
        let Some(op) = event.operation.clone() else { return Ok(None) };
        let at = wall(event.at.as_ref()).unwrap_or_else(|| c.clock.wall());
        self.last = Some((op.clone(), at, c.clock.boot()));
        match self.progress {
            Progress::Tty => self.redraw(c),
            Progress::Plain => {
                for line in self.told.lines(&event, at) {
                    if c.output == Output::Json {
                        c.console.say(&format!("{line}\n"));
                    } else {
                        c.console.data(&format!("{line}\n"))?;
                    }
                }
            }
            Progress::Json => c.console.data(&json::line(json::Event::from(event)))?,
        }
        Ok(ended(&op).then_some(op))
    }

    /// Draws the frame over the one before, in one write, so that nothing flickers.
    fn redraw(&mut self, c: &mut Context<'_, '_>) {
        if self.progress != Progress::Tty {
            return;
        }
        let Some((op, at, seen)) = &self.last else { return };
        let passed = i64::try_from(c.clock.boot().since(*seen).as_millis()).unwrap_or(i64::MAX);
        let now = WallTime(at.unix_millis().saturating_add(passed));
        let lines = frame(op, now, c.console.terminal.size().1, &c.view_err());
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        for line in &lines {
            text.push_str(&format!("\r{line}\x1b[K\n"));
        }
        text.push_str("\x1b[J");
        self.drawn = lines.len();
        c.console.say(&text);
    }

    /// Says something above the frame.
    fn aside(&mut self, c: &mut Context<'_, '_>, text: &str) {
        if self.drawn > 0 {
            c.console.say(&format!("\x1b[{}A\r\x1b[J", self.drawn));
            self.drawn = 0;
        }
        c.console.say(text);
        self.redraw(c);
    }
}
