//! Bad input: each case is refused with an error that says why, nobody else is disturbed, and nothing is lost. Beside the
//! table a healthy app serves writes throughout: no fence, no failover, the same generation.

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures_util::stream;
use holdfast_proto::v1::{
    self, agent_session_client::AgentSessionClient, apps_client::AppsClient, enrol_client::EnrolClient,
    fleet_client::FleetClient, from_agent::Body, operations_client::OperationsClient,
};
use holdfast_shared::{identity::Bearer, pki::KeyAndCsr, refusal::from_status};
use holdfast_tests::{
    harness::{
        Guarded, Settings, Stranger,
        fleet::OUTSIDE,
        now,
        operator::APP,
        stranger::{refused, said},
        wait_asking, wait_until,
    },
    workload::{Ledger, Writer, lost_in, overlaps},
};
use tonic::transport::Channel;

/// Of the preset that these tests use.
const LEASE: Duration = Duration::from_secs(3);
const SOON: Duration = Duration::from_secs(60);
const HUGE: usize = 100 << 20;

/// A healthy app, and somebody who disturbs.
struct World {
    guarded: Guarded,
    stranger: Stranger,
    ledger: Arc<Ledger>,
    writers: Vec<Writer>,
    failed: u64,
}

impl World {
    fn begin(label: &str, settings: Settings) -> Result<Self> {
        let guarded = Guarded::new(label, settings)?;
        let (ledger, writers) = guarded.fleet.writers()?;
        ledger.wait_more(OUTSIDE, 20, SOON)?;
        let stranger = guarded.stranger(&guarded.fleet.client)?;
        let failed = ledger.counters(OUTSIDE).failed;
        Ok(Self { guarded, stranger, ledger, writers, failed })
    }

    /// The app goes on as if nothing had been said.
    fn undisturbed(&self) -> Result<()> {
        self.ledger.wait_more(OUTSIDE, 5, SOON)?;
        let counters = self.ledger.counters(OUTSIDE);
        ensure!(counters.failed == self.failed, "a write failed: {counters:?}");
        let row = self.guarded.app_status(APP)?;
        ensure!(
            row["generation"] == 1 && row["lease"]["state"] == "held" && row["active_region"] == "us-east",
            "{row}"
        );
        ensure!(self.guarded.operations()?.is_empty(), "something was begun");
        self.guarded.wait_hosts(4)
    }

    /// What is committed, without what changes by itself.
    fn committed(&self) -> Result<String> {
        let mut all = String::new();
        for args in [&["apps"][..], &["token", "list"], &["operator", "list"], &["operations", "list"]] {
            let told = self.guarded.json(args)?;
            all.push_str(&bare(told).to_string());
            all.push('\n');
        }
        let hosts = self.guarded.json(&["hosts"])?;
        for host in hosts["hosts"].as_array().into_iter().flatten() {
            all.push_str(&format!("{} {} {}\n", host["host"], host["region"], host["quarantine"]));
        }
        Ok(all)
    }

    /// Nothing that was acknowledged is missing, and nobody wrote where another did.
    fn end(self) -> Result<()> {
        for writer in self.writers {
            writer.stop()?;
        }
        ensure!(overlaps(&self.ledger.acks()).is_empty());
        let lost = lost_in(&self.guarded.fleet.east.pg, &self.ledger.acks())?;
        ensure!(lost.is_empty(), "lost: {lost:?}");
        Ok(())
    }

    fn token(&self, args: &[&str]) -> Result<String> {
        let mut all = vec!["token", "create", "--region"];
        all.extend(args);
        let made = self.guarded.json(&all)?;
        made["token"].as_str().map(str::to_owned).with_context(|| made.to_string())
    }

    fn enrol(&self, token: &str, host: &str) -> Result<Result<v1::EnrolReply, tonic::Status>> {
        let csr = KeyAndCsr::generate()?.csr;
        let request =
            v1::EnrolRequest { token: token.to_owned(), host: host.to_owned(), csr, version: "0.1.0".to_owned() };
        self.stranger.on_host(|| async {
            Ok(EnrolClient::new(self.stranger.nobody()?).enrol(request).await.map(tonic::Response::into_inner))
        })
    }

    /// Asks for the status, as this bearer.
    fn status_as(&self, material: &holdfast_shared::pki::Material) -> Result<String> {
        self.stranger.on_host(|| async {
            let channel = self.stranger.channel(material)?;
            refused(FleetClient::new(channel).status(v1::StatusRequest::default()).await)
        })
    }

    /// Says these things in a session of this host; how the session ended, or what came last when it did not.
    fn session(&self, bearer: &str, says: Vec<v1::FromAgent>) -> Result<String> {
        let material = self.stranger.as_bearer(bearer)?;
        self.stranger.on_host(|| async {
            let channel = self.stranger.channel(&material)?;
            in_session(channel, says).await
        })
    }

    fn holdfast(&self, args: &[&str]) -> Result<String> {
        let output = self.guarded.holdfast(args)?;
        ensure!(!output.ended.well(), "it was taken: {}", output.stdout);
        ensure!(output.stderr.contains("error: "), "{}", output.stderr);
        Ok(output.stderr)
    }

    fn apply(&self, name: &str, bytes: &[u8]) -> Result<String> {
        let file = self.guarded.fleet.state("operator")?.join(name);
        fs::write(&file, bytes)?;
        let told = self.holdfast(&["apply", "-f", file.to_str().context("a path")?, "-y"])?;
        ensure!(told.len() < 40_000, "an error of {} bytes", told.len());
        Ok(told)
    }

    fn spec(&self, from: &str, to: &str) -> Result<Vec<u8>> {
        let spec = self.guarded.spec();
        ensure!(spec.contains(from), "{from:?} does not stand in {spec}");
        Ok(spec.replacen(from, to, 1).into_bytes())
    }
}

/// Without what changes by itself: ages, evidence, what a host believes right now.
fn bare(mut value: serde_json::Value) -> serde_json::Value {
    match &mut value {
        serde_json::Value::Object(fields) => {
            fields.retain(|name, _| {
                let volatile = ["behind_bytes", "health", "lease", "standby_state", "standby_region", "regions"];
                !volatile.contains(&name.as_str())
            });
            for (_, field) in fields.iter_mut() {
                *field = bare(field.take());
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| *item = bare(item.take())),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
    value
}

async fn in_session(channel: Channel, says: Vec<v1::FromAgent>) -> Result<String> {
    // It stays open: only the coordinator ends it.
    let says = futures_util::StreamExt::chain(stream::iter(says), stream::pending());
    let mut answers = match AgentSessionClient::new(channel).session(says).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return Ok(said(&status)),
    };
    let mut last = String::from("nothing");
    loop {
        match tokio::time::timeout(Duration::from_secs(8), answers.message()).await {
            Ok(Ok(Some(message))) => last = format!("{:?}", message.body).chars().take(60).collect(),
            Ok(Ok(None)) => return Ok("closed".to_owned()),
            Ok(Err(status)) => return Ok(said(&status)),
            Err(_) => return Ok(format!("still open, last came {last}")),
        }
    }
}

fn hello() -> v1::Hello {
    v1::Hello {
        version: "0.1.0".to_owned(),
        protocol_min: 1,
        protocol_max: 1,
        boot_id: "a-boot".to_owned(),
        starts: 1,
        instance: "a-run".to_owned(),
    }
}

fn say(body: Body) -> v1::FromAgent {
    v1::FromAgent { body: Some(body) }
}

fn seen() -> v1::Observation {
    v1::Observation {
        app: APP.to_owned(),
        check: "pg".to_owned(),
        region: "us-east".to_owned(),
        outcome: v1::Outcome::Failing.into(),
        text: "it is down".to_owned(),
        ..<_>::default()
    }
}

type Try = Box<dyn Fn(&World) -> Result<String>>;

struct Case {
    what: &'static str,
    tries: Try,
    /// What the answer says, each of them.
    says: &'static [&'static str],
}

fn case(what: &'static str, says: &'static [&'static str], tries: impl Fn(&World) -> Result<String> + 'static) -> Case {
    Case { what, tries: Box::new(tries), says }
}

const EXTRA: &str = "agent/us-east/use-x1";
const OPEN: &[&str] = &["still open"];

fn certificates() -> Vec<Case> {
    let day = Duration::from_secs(86_400);
    let operator = || Bearer::Operator { name: "admin".parse().expect("a name") };
    vec![
        case("no certificate", &["needs a certificate"], |w| {
            w.stranger.on_host(|| async {
                refused(FleetClient::new(w.stranger.nobody()?).status(v1::StatusRequest::default()).await)
            })
        }),
        case("wrong CA", &["refused the connection"], move |w| w.status_as(&w.stranger.of_another_ca(&operator())?)),
        case("another cluster", &["closed connection"], move |w| {
            w.status_as(&w.stranger.of_another_cluster(&operator())?)
        }),
        case("expired a day ago", &["has expired"], move |w| {
            w.status_as(&w.stranger.dated("operator/admin", day, 2 * day)?)
        }),
        case("expired long ago", &["expired"], move |w| {
            w.status_as(&w.stranger.dated("operator/admin", day, 90 * day)?)
        }),
        case("an agent as operator", &["is no operator"], |w| w.status_as(&w.stranger.as_bearer(EXTRA)?)),
        case("a coordinator as operator", &["is no operator"], |w| {
            w.status_as(&w.stranger.as_bearer("coordinator/7")?)
        }),
        case("an operator as agent", &["is no agent"], |w| {
            w.session("operator/admin", vec![say(Body::Hello(hello()))])
        }),
        case("an operator whom nobody let in", &["nobody let eve in"], |w| {
            w.status_as(&w.stranger.as_bearer("operator/eve")?)
        }),
        case("a host that nobody enrolled", &["no host stray is enrolled"], |w| {
            w.session("agent/us-east/stray", vec![say(Body::Hello(hello()))])
        }),
        case("a host under another region", &["is enrolled in us-east", "us-west"], |w| {
            w.session("agent/us-west/use-x1", vec![say(Body::Hello(hello()))])
        }),
        case("a viewer calling failover", &["val is viewer", "this takes operator"], |w| {
            let material = w.stranger.as_bearer("operator/val")?;
            w.stranger.on_host(|| async {
                let request = v1::FailoverRequest { app: APP.to_owned(), ..<_>::default() };
                refused(OperationsClient::new(w.stranger.channel(&material)?).failover(request).await)
            })
        }),
        case("token used twice", &["used up"], |w| {
            let token = w.token(&["us-east"])?;
            w.enrol(&token, "use-x2")??;
            let again = refused(w.enrol(&token, "use-x3")?);
            w.guarded.holdfast(&["hosts", "revoke", "use-x2", "--reason", "a test", "-y"])?.well()?;
            again
        }),
        case("token for another region", &["join token"], |w| {
            let token = w.token(&["us-east"])?;
            let told = refused(w.enrol(&token.replacen("us-east", "us-west", 1), "use-x3")?);
            w.enrol(&token, "use-x3")?.context("the token was used up by it")?;
            told
        }),
        case("a garbled token", &["token"], |w| {
            let token = w.token(&["us-east"])?;
            refused(w.enrol(&token[..token.len() - 3], "use-x4")?)
        }),
        case("a token that was taken back", &["unknown, used up or taken back"], |w| {
            let made = w.guarded.json(&["token", "create", "--region", "us-east"])?;
            let (id, token) = (made["id"].as_str().unwrap_or_default(), made["token"].as_str().unwrap_or_default());
            w.guarded.holdfast(&["token", "revoke", id])?.well()?;
            refused(w.enrol(token, "use-x4")?)
        }),
        case("an expired token", &["has expired"], |w| {
            let token = w.token(&["us-east", "--valid", "1s"])?;
            let over = now() + Duration::from_millis(1_100);
            wait_until("the token to expire", SOON, || if now() > over { Ok(()) } else { Err("not yet") })?;
            refused(w.enrol(&token, "use-x4")?)
        }),
        case("a name that is no name", &["name"], |w| {
            let token = w.token(&["us-east"])?;
            for name in ["", "a\0b", "a\nb", "🦀", &"x".repeat(10_000)] {
                let told = refused(w.enrol(&token, name)?)?;
                ensure!(told.len() < 2_000 && !told.contains('\n'), "{told:?}");
            }
            refused(w.enrol(&token, "Use_X4")?)
        }),
        case("two agents with one name", &["enrolled in us-east already"], |w| {
            let token = w.token(&["us-east"])?;
            refused(w.enrol(&token, "use-db1")?)
        }),
    ]
}

fn sessions() -> Vec<Case> {
    let after_hello = |body: Option<Body>| vec![say(Body::Hello(hello())), v1::FromAgent { body }];
    let with = move |what, says, body: Body| {
        case(what, says, move |w: &World| w.session(EXTRA, after_hello(Some(body.clone()))))
    };
    let negative = Some(v1_duration(i64::MIN, i32::MIN));
    vec![
        case("no Hello first", &["begins with Hello"], |w| {
            w.session(EXTRA, vec![say(Body::Heartbeat(v1::Heartbeat::default()))])
        }),
        case("a Hello of nonsense", &["version in Hello"], |w| {
            w.session(EXTRA, vec![say(Body::Hello(v1::Hello { version: "\u{1b}[2J".to_owned(), ..hello() }))])
        }),
        case("starts at the limit", &["starts in Hello"], |w| {
            w.session(EXTRA, vec![say(Body::Hello(v1::Hello { starts: u64::MAX, ..hello() }))])
        }),
        with("a second Hello", &["a second Hello"], Body::Hello(hello())),
        case("an empty message", &["without a body"], move |w| w.session(EXTRA, after_hello(None))),
        with("another's observation", OPEN, Body::Observation(seen())),
        with("an unknown outcome", OPEN, Body::Observation(v1::Observation { outcome: 99, ..seen() })),
        with("a negative age", OPEN, Body::Observation(v1::Observation { age: negative, ..seen() })),
        with("a name with NUL", OPEN, Body::Observation(v1::Observation { app: "a\0b".to_owned(), ..seen() })),
        with(
            "a text of 100 MB",
            &["too large"],
            Body::Observation(v1::Observation { text: "x".repeat(HUGE), ..seen() }),
        ),
        with(
            "10 000 apps in a heartbeat",
            &["10000 leases in a heartbeat"],
            Body::Heartbeat(v1::Heartbeat { number: 1, leases: vec![v1::LeaseView::default(); 10_000] }),
        ),
        with(
            "another's lease",
            OPEN,
            Body::Heartbeat(v1::Heartbeat {
                number: 1,
                leases: vec![v1::LeaseView {
                    app: APP.to_owned(),
                    generation: u64::MAX,
                    state: v1::LeaseState::Fenced.into(),
                    fenced: u64::MAX,
                    ..<_>::default()
                }],
            }),
        ),
        with(
            "an outbox item with number 0",
            &["without a number"],
            Body::Outbox(v1::OutboxItem { number: 0, result: Some(v1::CommandResult::default()) }),
        ),
        with("a result without its command", &["without its command"], {
            let result = v1::CommandResult { outcome: 1, ..<_>::default() };
            Body::Outbox(v1::OutboxItem { number: 1, result: Some(result) })
        }),
        with("a result of an unknown operation", &["still open, last came Some(Ack"], {
            let id = Some(v1::CommandId { operation: u64::MAX, step: u32::MAX, part: u32::MAX, attempt: u32::MAX });
            Body::Outbox(v1::OutboxItem {
                number: u64::MAX,
                result: Some(v1::CommandResult { id, outcome: 1, ..<_>::default() }),
            })
        }),
        with("an unknown outcome of a command", &["without an outcome"], {
            let id = Some(v1::CommandId::default());
            Body::Outbox(v1::OutboxItem {
                number: 1,
                result: Some(v1::CommandResult { id, outcome: 77, ..<_>::default() }),
            })
        }),
        case("a lease of an app that is not the bearer's", &["use-x1"], |w| lease(w, APP)),
        case("a lease of an app that there is not", &["nothing"], |w| lease(w, "nothing")),
        case("a lease of no name", &["name"], |w| lease(w, "\0")),
    ]
}

fn v1_duration(seconds: i64, nanos: i32) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos }
}

/// Asks for a lease as the extra host.
fn lease(w: &World, app: &str) -> Result<String> {
    let material = w.stranger.as_bearer(EXTRA)?;
    let request = v1::LeaseRequest { app: app.to_owned(), number: 1, instance: "a-run".to_owned(), ..<_>::default() };
    w.stranger.on_host(|| async {
        let channel = w.stranger.channel(&material)?;
        let asks = futures_util::StreamExt::chain(stream::iter([request]), stream::pending());
        let mut replies = AgentSessionClient::new(channel).leases(asks).await?.into_inner();
        match replies.message().await?.and_then(|reply| reply.answer) {
            Some(v1::lease_reply::Answer::Refused(why)) => Ok(why.what),
            other => bail!("{other:?}"),
        }
    })
}

fn connections() -> Vec<Case> {
    let garbage = |what, bytes: &'static [u8]| {
        case(what, &["closed"], move |w: &World| {
            let (answer, closed) = w.stranger.raw(bytes, Duration::from_secs(10))?;
            ensure!(answer.len() < 1_000, "{} bytes came back", answer.len());
            Ok(if closed { "closed" } else { "still open" }.to_owned())
        })
    };
    vec![
        garbage("HTTP in the clear", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        garbage("another protocol", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
        garbage("zeros", &[0; 4_096]),
        garbage("a handshake that never ends", &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
        case("600 connections that say nothing", &["in time"], |w| {
            let silent = w.stranger.silent(600)?;
            // From the same host, and from the coordinator's own.
            let began = now();
            let material = w.stranger.as_bearer("operator/val")?;
            w.stranger.on_host(|| async {
                let channel = w.stranger.channel(&material)?;
                let mut fleet = FleetClient::new(channel);
                while let Err(status) = fleet.status(v1::StatusRequest::default()).await {
                    ensure!(now().since(began) < Duration::from_secs(10), "{}", said(&status));
                }
                Ok(())
            })?;
            w.guarded.json(&["status"])?;
            drop(silent);
            Ok("in time".to_owned())
        }),
        case("a spec of 100 MB", &["too large"], |w| {
            let material = w.stranger.as_bearer("operator/admin")?;
            w.stranger.on_host(|| async {
                let request = v1::PlanRequest { file: "x".to_owned(), spec_yaml: "x".repeat(HUGE) };
                refused(AppsClient::new(w.stranger.channel(&material)?).plan(request).await)
            })
        }),
        case("a token of 100 MB from nobody", &["too large"], |w| refused(w.enrol(&"x".repeat(HUGE), "use-x5")?)),
    ]
}

fn specs() -> Vec<Case> {
    let text = |what, says, bytes: Vec<u8>| case(what, says, move |w: &World| w.apply("bad.yaml", &bytes));
    let swap = |what, says, from: &'static str, to: &'static str| {
        case(what, says, move |w: &World| w.apply("bad.yaml", &w.spec(from, to)?))
    };
    let laughs: String =
        (1..12).fold("a0: &a0 [x, x]\n".to_owned(), |all, n| format!("{all}a{n}: &a{n} [*a{}, *a{0}]\n", n - 1));
    vec![
        swap("an unknown key", &["bad.yaml:", "unknown key"], "failover:\n", "failover:\n  colour: red\n"),
        swap("a key twice", &["already", "once"], "failover:\n", "failover:\n  mode: observe\n  mode: observe\n"),
        swap(
            "impossible timings",
            &["bad.yaml:"],
            "  preset: fast\n",
            "  preset: fast\n  lease: {duration: 1s, renew: 1s}\n",
        ),
        swap("a word for no", &["bad.yaml:"], "mode: automatic", "mode: no"),
        text("50 MB", &["larger than 1 MiB"], vec![b'#'; 50 << 20]),
        text("10 000 deep", &["nested deeper than 64 levels"], "[".repeat(10_000).into_bytes()),
        text("aliases that multiply", &["an anchor", "an alias"], laughs.into_bytes()),
        text("no UTF-8", &["bad.yaml:2", "not UTF-8"], b"spec: 1\napp: \xff\xfe\n".to_vec()),
        text("nothing", &["is empty"], Vec::new()),
        text("a byte of 0", &["bad.yaml"], b"spec: 1\napp: a\0b\n".to_vec()),
        text("a number of 400 digits", &["bad.yaml:1"], format!("spec: {}\n", "9".repeat(400)).into_bytes()),
        case("an unknown region", &["declares no region mars"], |w| {
            w.holdfast(&["failover", APP, "--to", "mars", "-y"])
        }),
    ]
}

#[test]
fn every_bad_input_is_refused_with_its_reason_and_a_healthy_app_beside_it_never_notices() -> Result<()> {
    let w = World::begin("bad-input", Settings::default())?;
    // A host and a person of their own, so that what they say of others can be seen to count for nothing.
    w.enrol(&w.token(&["us-east"])?, "use-x1")??;
    w.guarded.json(&["operator", "add", "val", "--role", "viewer"])?;
    let mut wrong: Vec<String> = Vec::new();
    for of in [certificates(), sessions(), connections(), specs()] {
        let before = w.committed()?;
        let tokens_may_change = of.iter().any(|case| case.what.contains("token"));
        for Case { what, tries, says } in of {
            match tries(&w) {
                Ok(told) if says.iter().all(|part| told.contains(part)) => {}
                Ok(told) => {
                    wrong.push(format!("{what}: said {:?}, not {says:?}", told.chars().take(300).collect::<String>()))
                }
                Err(e) => wrong.push(format!("{what}: {e:#}")),
            }
            w.undisturbed().with_context(|| format!("after: {what}"))?;
        }
        if !tokens_may_change {
            let after = w.committed()?;
            if before != after {
                wrong.push(format!("what is committed has changed:\n{before}\n{after}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Byte order marks and line ends of other systems are no mistake.
    let spec = w.guarded.spec();
    let file = w.guarded.fleet.state("operator")?.join("dos.yaml");
    fs::write(&file, format!("\u{feff}{}", spec.replace('\n', "\r\n")))?;
    w.guarded.holdfast(&["plan", "-f", file.to_str().context("a path")?])?.well()?;
    // Told once a minute and kind, whoever says what how often.
    let log = fs::read_to_string(w.guarded.fleet.net.log("coordinator"))?;
    let lines = log.lines().filter(|line| line.contains("connection refused at the handshake")).count();
    ensure!((1..=6).contains(&lines), "{lines} lines about handshakes");
    ensure!(!log.contains("panicked"), "something panicked");
    w.guarded.no_errors_logged()?;
    w.end()
}

#[test]
fn a_host_that_is_revoked_is_cut_off_while_it_speaks_and_one_that_was_cloned_with_its_keys_is_quarantined() -> Result<()>
{
    let w = World::begin("bad-clone", Settings::default())?;
    w.enrol(&w.token(&["us-east"])?, "use-x1")??;
    let material = w.stranger.as_bearer(EXTRA)?;
    let told = w.stranger.on_host(|| async {
        let open = |hello: v1::Hello| {
            let (channel, says) = (w.stranger.channel(&material), [say(Body::Hello(hello))]);
            async move {
                let says = futures_util::StreamExt::chain(stream::iter(says), stream::pending());
                anyhow::Ok(AgentSessionClient::new(channel?).session(says).await?.into_inner())
            }
        };
        let mut first = open(v1::Hello { starts: 5, ..hello() }).await?;
        first.message().await?.context("a welcome")?;
        // The same keys, the same number of starts, another run.
        let mut clone = open(v1::Hello { starts: 5, instance: "a-copy".to_owned(), ..hello() }).await?;
        let told = loop {
            match clone.message().await {
                Ok(Some(_)) => {}
                Ok(None) => bail!("closed without a word"),
                Err(status) => break said(&status),
            }
        };
        while first.message().await.is_ok_and(|message| message.is_some()) {}
        Ok(told)
    })?;
    ensure!(told.contains("quarantined") && told.contains("two agents use its name at once"), "{told}");
    w.undisturbed()?;
    w.guarded.holdfast(&["hosts", "revoke", "use-x1", "--reason", "cloned", "-y"])?.well()?;

    // Revoked while it is connected.
    let reply = w.enrol(&w.token(&["us-east"])?, "use-x9")??;
    let credentials = reply.credentials.context("credentials")?;
    ensure!(!credentials.chain.is_empty());
    let material = w.stranger.as_bearer("agent/us-east/use-x9")?;
    let ended = w.stranger.on_host(|| async {
        let channel = w.stranger.channel(&material)?;
        let says = futures_util::StreamExt::chain(stream::iter([say(Body::Hello(hello()))]), stream::pending());
        let mut session = AgentSessionClient::new(channel).session(says).await?.into_inner();
        session.message().await?.context("a welcome")?;
        w.guarded.holdfast(&["hosts", "revoke", "use-x9", "--reason", "a test", "-y"])?.well()?;
        loop {
            match session.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok("closed".to_owned()),
                Err(status) => return Ok(from_status(&status).map_or_else(|| status.to_string(), |r| r.what)),
            }
        }
    })?;
    ensure!(!ended.is_empty());
    let again = w.session("agent/us-east/use-x9", vec![say(Body::Hello(hello()))])?;
    ensure!(again.contains("no host use-x9") || again.contains("revoked"), "{again}");
    w.undisturbed()?;
    w.end()
}

#[test]
fn a_full_disk_refuses_new_work_keeps_leases_loses_nothing_and_recovers_by_itself() -> Result<()> {
    let mut w = World::begin("bad-disk", Settings { mode: "assist", disk: Some(128), ..Settings::default() })?;
    let before = w.committed()?;
    let eu = w.guarded.fleet.third.name.clone();
    w.guarded.disk(&eu)?.fill()?;
    for args in [&["token", "create", "--region", "us-east"][..], &["operator", "add", "nora", "--role", "viewer"]] {
        let told = w.holdfast(args)?;
        ensure!(told.contains("no room on the disk: ") && told.contains("df -h "), "{told}");
    }
    ensure!(w.guarded.json(&["status"])?["attention"].to_string().contains("disk is nearly full"));
    // Leases need no disk.
    let until = now() + 3 * LEASE;
    while now() < until {
        w.undisturbed()?;
    }
    ensure!(w.committed()? == before, "what is committed has changed");
    // What must be written has the reserve: an agent that starts again counts its starts.
    let web = w.guarded.fleet.east.web.clone();
    w.guarded.fleet.agent(&web)?.kill9()?;
    w.guarded.start_agent(&web)?;
    w.undisturbed()?;
    w.guarded.disk(&eu)?.empty()?;
    wait_asking("new work to be taken again", SOON, || w.token(&["us-east"]).map(drop).map_err(|e| e.to_string()))?;

    // The agents' disks, holder and candidate.
    let (east, west) = (w.guarded.fleet.east.db.clone(), w.guarded.fleet.west.db.clone());
    for host in [&east, &west] {
        w.guarded.disk(&host.name)?.fill()?;
    }
    let until = now() + 2 * LEASE;
    while now() < until {
        w.undisturbed()?;
    }
    w.guarded.fleet.agent(&east)?.kill9()?;
    w.guarded.start_agent(&east)?;
    w.undisturbed()?;
    // The region dies, and the only candidate has no room to begin anything.
    w.guarded.fleet.cut_region("us-east")?;
    wait_asking("us-west to be asked for", SOON, || {
        let status = w.guarded.json(&["status"]).map_err(|e| e.to_string())?;
        if status["attention"].to_string().contains("us-east is unhealthy") { Ok(()) } else { Err(status.to_string()) }
    })?;
    let refused = w.guarded.holdfast(&["failover", APP, "--to", "us-west", "-y", "--reason", "a test"])?;
    let op = w.guarded.operation(1)?;
    ensure!(!refused.ended.well() && op.to_string().contains("no room on the disk: "), "{refused:?} {op}");
    w.guarded.disk(&west.name)?.empty()?;
    wait_asking("it to go once there is room", SOON, || {
        let moved = w.guarded.holdfast(&["failover", APP, "--to", "us-west", "-y", "--reason", "a test"]);
        let moved = moved.map_err(|e| e.to_string())?;
        if moved.ended.well() { Ok(()) } else { Err(moved.stderr) }
    })?;
    w.ledger.wait_more(OUTSIDE, 20, SOON)?;

    // Filled again, faster than the reserve can help: it stops rather than be wrong, and has lost nothing.
    let before = w.committed()?;
    w.guarded.disk(&eu)?.fill()?;
    let web = w.guarded.fleet.west.web.clone();
    for _ in 0..20 {
        w.guarded.disk(&eu)?.fill()?;
        w.guarded.fleet.agent(&web)?.kill9()?;
        w.guarded.start_agent(&web)?;
        let ended = wait_until("the coordinator to end or the agent to be there", SOON, || {
            if w.guarded.fleet.coordinator().is_ok_and(|c| c.ended().is_some()) {
                return Ok(true);
            }
            w.guarded.wait_hosts(2).map(|()| false).map_err(|e| e.to_string())
        })?;
        if ended {
            break;
        }
    }
    let coordinator = w.guarded.fleet.coordinator()?;
    ensure!(coordinator.ended().is_some(), "it wrote on a full disk");
    let told = coordinator.tail();
    ensure!(told.contains("no room on the disk for database") && told.contains("raft.db"), "{told}");
    w.guarded.disk(&eu)?.empty()?;
    w.guarded.start_coordinator()?;
    w.guarded.wait_served_in("us-west", SOON)?;
    let (was, is) = (before.lines().nth(1), w.committed()?);
    ensure!(is.lines().nth(1) == was, "tokens: {was:?} {is}");
    for writer in w.writers {
        writer.stop()?;
    }
    ensure!(overlaps(&w.ledger.acks()).is_empty());
    Ok(())
}
