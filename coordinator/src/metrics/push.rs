//! Remote write: the series of `/metrics`, pushed to a Prometheus or whatever understands it. The way past one machine.
//!
//! The page is made and read as a scraper would read it, so what is pushed is what is shown. What cannot be delivered
//! waits in a queue with a bound, the oldest given up first and counted; a receiver that refuses what it was sent is not
//! asked to take it again.

use std::{collections::VecDeque, fmt, path::PathBuf, time::Duration};

use holdfast_shared::{error::Chain, files};
use holdfast_types::{BootInstant, Credential};
use prost::Message;
use rand::Rng as _;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::page;
use crate::api::Api;

/// Series of one request: what receivers take at ease.
const SERIES_AT_ONCE: usize = 5_000;
/// What may wait, in bytes as sent. A quarter of an hour of a small fleet; a large one should mend its receiver sooner.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// Longest wait for an answer.
const SENT_WITHIN: Duration = Duration::from_secs(5);
/// First pause after a failure, and the longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A credential is a line.
const CREDENTIAL_BYTES_MAX: u64 = 4_096;

/// Where to, how often, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// http or https.
    pub url: String,
    /// Name of the bearer token's file; nothing: none is sent.
    pub credential: Option<Credential>,
    /// Between two pushes.
    pub every: Duration,
    /// Where credentials lie; the first folder that has one counts.
    pub credentials: Vec<PathBuf>,
}

/// `prometheus.WriteRequest`, as far as it is used.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// Something to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Batch {
    bytes: Vec<u8>,
    samples: u64,
}

/// What waits.
#[derive(Debug, Default)]
struct Queue {
    batches: VecDeque<Batch>,
    bytes: usize,
}

impl Queue {
    /// Takes one more; answers how many samples were given up for it.
    fn push(&mut self, batch: Batch, room: usize) -> u64 {
        self.bytes += batch.bytes.len();
        self.batches.push_back(batch);
        let mut lost = 0;
        while self.bytes > room
            && let Some(oldest) = self.pop()
        {
            lost += oldest.samples;
        }
        lost
    }

    fn pop(&mut self) -> Option<Batch> {
        let oldest = self.batches.pop_front()?;
        self.bytes -= oldest.bytes.len();
        Some(oldest)
    }
}

/// Why a batch was not delivered.
#[derive(Debug)]
enum Undelivered {
    /// It may be later.
    Later(String),
    /// It never will be.
    Refused(String),
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Later(why) | Self::Refused(why) => f.write_str(why),
        }
    }
}

/// Pushes until cancelled.
pub async fn run(target: Target, api: Api, cancel: CancellationToken) {
    let client = match client() {
        Ok(client) => client,
        Err(e) => {
            tracing::error!(error = %Chain(&e), "remote write cannot begin: no HTTP client; does the host have CA certificates?");
            return cancel.cancelled().await;
        }
    };
    let mut ticks = interval(target.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pusher = Pusher {
        target,
        client,
        api,
        queue: Queue::default(),
        again: BootInstant::default(),
        failures: 0,
        told: false,
    };
    loop {
        // What is cut off by the end was not delivered, and is not told as such.
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            () = pusher.turn() => {}
        }
    }
}

fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(SENT_WITHIN)
        .user_agent(concat!("holdfast-coordinator/", env!("CARGO_PKG_VERSION")))
        .build()
}

struct Pusher {
    target: Target,
    client: reqwest::Client,
    api: Api,
    queue: Queue,
    /// Not before this is it tried again.
    again: BootInstant,
    failures: u32,
    /// The failure has been told.
    told: bool,
}

impl Pusher {
    async fn turn(&mut self) {
        let (api, at) = (self.api.clone(), self.api.clock.wall().unix_millis());
        let cluster = api.replica.read(|s| s.cluster().name.clone());
        let outside = [("cluster".to_owned(), cluster), ("coordinator".to_owned(), api.coordinator.clone())];
        let made = tokio::task::spawn_blocking(move || {
            let text = page::openmetrics(&api).and_then(|text| page::classic(&text)).ok()?;
            Some(batches(&text, at, &outside))
        });
        let own = &self.api.metrics.own;
        for batch in made.await.ok().flatten().unwrap_or_default() {
            own.push_dropped.inc_by(self.queue.push(batch, WAITING_BYTES_MAX));
        }
        if self.api.clock.boot() < self.again {
            return;
        }
        while let Some(batch) = self.queue.batches.front() {
            let samples = batch.samples;
            match self.deliver(batch.bytes.clone()).await {
                Ok(()) => {
                    self.api.metrics.own.pushed.inc_by(samples);
                    self.queue.pop();
                    self.failures = 0;
                    if std::mem::take(&mut self.told) {
                        tracing::info!(url = self.target.url, "remote write delivers again");
                    }
                }
                Err(e) => {
                    let own = &self.api.metrics.own;
                    own.push_failed.inc();
                    if !std::mem::replace(&mut self.told, true) {
                        tracing::warn!(url = self.target.url, error = %e, "remote write fails; further failures are counted");
                    }
                    match e {
                        Undelivered::Refused(_) => {
                            own.push_dropped.inc_by(samples);
                            self.queue.pop();
                        }
                        Undelivered::Later(_) => {
                            self.failures = self.failures.saturating_add(1);
                            self.again =
                                self.api.clock.boot() + pause(self.failures, rand::thread_rng().gen_range(0.5..=1.0));
                            return;
                        }
                    }
                }
            }
        }
    }

    async fn deliver(&self, bytes: Vec<u8>) -> Result<(), Undelivered> {
        let mut request = self
            .client
            .post(&self.target.url)
            .header("content-encoding", "snappy")
            .header("content-type", "application/x-protobuf")
            .header("x-prometheus-remote-write-version", "0.1.0")
            .body(bytes);
        if let Some(name) = &self.target.credential {
            request = request.bearer_auth(self.token(name).map_err(Undelivered::Later)?);
        }
        let response = request.send().await.map_err(|e| Undelivered::Later(Chain(&e).to_string()))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let said: String = response.text().await.unwrap_or_default().chars().take(200).collect();
        let why = format!("it answers {status}: {}", said.trim());
        // Who is asked too much, or not let in yet, may take it later.
        if status.is_server_error() || [401, 403, 408, 429].contains(&status.as_u16()) {
            Err(Undelivered::Later(why))
        } else {
            Err(Undelivered::Refused(why))
        }
    }

    /// Read each time: it may have been replaced.
    fn token(&self, name: &Credential) -> Result<String, String> {
        for folder in &self.target.credentials {
            match files::read_text(&folder.join(name.as_str()), CREDENTIAL_BYTES_MAX) {
                Ok(text) => return Ok(text.trim().to_owned()),
                Err(e) if e.is_missing() => {}
                Err(e) => return Err(Chain(&e).to_string()),
            }
        }
        let looked: Vec<_> = self.target.credentials.iter().map(|folder| folder.display().to_string()).collect();
        Err(format!("credential {name} is not on this host; put it into {}", looked.join(" or ")))
    }
}

/// Doubles from one failure to the next; `share` of it is waited, so that many do not come back at once.
fn pause(failures: u32, share: f64) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16)));
    doubled.min(PAUSE_MAX).mul_f64(share)
}

/// The page as requests.
fn batches(page: &str, at: i64, outside: &[(String, String)]) -> Vec<Batch> {
    let series: Vec<TimeSeries> = page.lines().filter_map(|line| series(line, at, outside)).collect();
    let batch = |some: &[TimeSeries]| {
        let request = WriteRequest { timeseries: some.to_vec() };
        // Never more than 4 GiB, the one thing that it refuses.
        let bytes = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).ok()?;
        Some(Batch { bytes, samples: some.len() as u64 })
    };
    series.chunks(SERIES_AT_ONCE).filter_map(batch).collect()
}

/// `name{label="value"} 1.5`
fn series(line: &str, at: i64, outside: &[(String, String)]) -> Option<TimeSeries> {
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = vec![Label { name: "__name__".to_owned(), value: name.to_owned() }];
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = unquoted(after)?;
            // A label without a value is one that is not there.
            if !value.is_empty() {
                labels.push(Label { name: label.trim_start_matches(',').to_owned(), value });
            }
            rest = after;
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = match rest.trim() {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        value => value.parse().ok()?,
    };
    let more = outside.iter().filter(|(name, _)| labels.iter().all(|label| label.name != *name));
    let more: Vec<Label> = more.map(|(name, value)| Label { name: name.clone(), value: value.clone() }).collect();
    labels.extend(more);
    // As the protocol wants them.
    labels.sort();
    Some(TimeSeries { labels, samples: vec![Sample { value, timestamp: at }] })
}

/// The text up to the closing quote, and what follows that.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_page_becomes_a_series() {
        let outside = [("cluster".to_owned(), "acme".to_owned())];
        let read =
            series(r#"holdfast_host_up{host="a\"b\\c\n,}",region="us-east",target=""} 1.0"#, 7, &outside).expect("one");
        let labels: Vec<(&str, &str)> = read.labels.iter().map(|l| (&*l.name, &*l.value)).collect();
        let expected =
            [("__name__", "holdfast_host_up"), ("cluster", "acme"), ("host", "a\"b\\c\n,}"), ("region", "us-east")];
        assert_eq!(labels, expected);
        assert_eq!(read.samples, [Sample { value: 1.0, timestamp: 7 }]);
        let bare = series("holdfast_sessions 4", 7, &[]).expect("one");
        assert_eq!((bare.labels.len(), bare.samples[0].value), (1, 4.0));
        let bucket = series(r#"x_bucket{le="+Inf"} 3"#, 7, &[]).expect("one");
        assert_eq!(bucket.labels[1].value, "+Inf");
        for none in ["# HELP x y", "", "x", "x{", "x{a=\"b} 1", "x{a=\"b\"} nothing"] {
            assert_eq!(series(none, 7, &[]), None, "{none:?}");
        }
    }

    #[test]
    fn what_waits_has_a_bound_and_the_oldest_goes_first() {
        let batch = |samples| Batch { bytes: vec![0; 10], samples };
        let mut queue = Queue::default();
        assert_eq!((queue.push(batch(1), 25), queue.push(batch(2), 25)), (0, 0));
        assert_eq!(queue.push(batch(3), 25), 1);
        assert_eq!(queue.pop().map(|b| b.samples), Some(2));
        assert_eq!(queue.push(Batch { bytes: vec![0; 30], samples: 9 }, 25), 3 + 9, "one that never fits");
        assert_eq!((queue.bytes, queue.batches.len()), (0, 0));
    }

    #[test]
    fn a_page_is_cut_into_requests_that_read_back() {
        let page: String = (0..SERIES_AT_ONCE + 1).map(|n| format!("x{{n=\"{n}\"}} {n}\n")).collect();
        let batches = batches(&page, 7, &[]);
        assert_eq!(batches.iter().map(|b| b.samples).collect::<Vec<_>>(), [SERIES_AT_ONCE as u64, 1]);
        let bytes = snap::raw::Decoder::new().decompress_vec(&batches[1].bytes).expect("snappy");
        let request = WriteRequest::decode(&*bytes).expect("a request");
        assert_eq!(request.timeseries[0].labels[1].value, SERIES_AT_ONCE.to_string());
    }

    #[test]
    fn pauses_grow_to_a_minute() {
        assert_eq!(pause(1, 1.0), PAUSE_MIN);
        assert_eq!(pause(3, 0.5), Duration::from_secs(2));
        assert_eq!(pause(u32::MAX, 1.0), PAUSE_MAX);
    }
}
