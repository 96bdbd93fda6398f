//! Whole commands against a coordinator that is a double: what is asked, what is shown, how it ends.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::FromArgMatches as _;
use holdfast_proto::v1::{
    self,
    apps_server::{Apps, AppsServer},
    audit_server::{Audit, AuditServer},
    fleet_server::{Fleet, FleetServer},
    operations_server::{Operations, OperationsServer},
    people_server::{People, PeopleServer},
};
use holdfast_shared::{
    clock::{Clock, SharedClock, SystemClock},
    refusal,
};
use holdfast_types::{BootId, BootInstant, WallTime, audit::Entry, refusal::Reason};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, transport::Endpoint};

use super::{Context, Interrupt, run_with};
use crate::{
    args::{self, Cli},
    connect::{Client, Connector},
    console::{Console, Stop, Terminal},
    errors::Exit,
    render::{samples, text::View},
};

/// What one watch is sent: its events, and whether the stream then ends or stays open.
#[derive(Clone)]
struct Watched {
    events: Vec<v1::Operation>,
    stays: bool,
}

#[derive(Default)]
struct Script {
    watches: Vec<Watched>,
    failover: Option<Status>,
    apply: Option<Status>,
    plan: v1::PlanReply,
    no_leader: bool,
    trail: Vec<Entry>,
    /// Streams that nobody ends.
    open: Vec<tokio::sync::mpsc::Sender<Result<v1::OperationEvent, Status>>>,
    /// Calls in their order, as `failover dry` or `watch 41`.
    asked: Vec<String>,
}

#[derive(Clone, Default)]
struct Double(Arc<Mutex<Script>>);

impl Double {
    fn asked(&self, what: impl Into<String>) -> std::sync::MutexGuard<'_, Script> {
        let mut script = self.0.lock().expect("no test panics while it holds this");
        script.asked.push(what.into());
        script
    }

    fn calls(&self) -> Vec<String> {
        self.0.lock().expect("no test panics while it holds this").asked.clone()
    }
}

fn no_leader() -> Status {
    refusal::to_status(Reason::NoLeader, "c2 does not lead", vec![], vec![])
}

#[tonic::async_trait]
impl Fleet for Double {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusReply>, Status> {
        let script = self.asked("status");
        if script.no_leader { Err(no_leader()) } else { Ok(Response::new(samples::bad_day())) }
    }
    async fn hosts(&self, _: Request<v1::HostsRequest>) -> Result<Response<v1::HostsReply>, Status> {
        Ok(Response::new(v1::HostsReply { hosts: samples::hosts() }))
    }
    async fn regions(&self, _: Request<v1::RegionsRequest>) -> Result<Response<v1::RegionsReply>, Status> {
        Ok(Response::new(v1::RegionsReply::default()))
    }
    async fn readiness(&self, _: Request<v1::ReadinessRequest>) -> Result<Response<v1::ReadinessReply>, Status> {
        drop(self.asked("readiness"));
        Ok(Response::new(samples::readiness()))
    }
    async fn why(&self, request: Request<v1::WhyRequest>) -> Result<Response<v1::WhyReply>, Status> {
        match request.into_inner().app.as_str() {
            "smellpin" => Ok(Response::new(samples::why())),
            other => Err(refusal::to_status(
                Reason::UnknownApp,
                format!("there is no app {other}"),
                vec![refusal::line("there is", "shop, smellpin")],
                vec!["holdfast apps".to_owned()],
            )),
        }
    }
}

#[tonic::async_trait]
impl Apps for Double {
    async fn list(&self, _: Request<v1::ListAppsRequest>) -> Result<Response<v1::ListAppsReply>, Status> {
        Ok(Response::new(v1::ListAppsReply { apps: samples::bad_day().apps }))
    }
    async fn plan(&self, _: Request<v1::PlanRequest>) -> Result<Response<v1::PlanReply>, Status> {
        Ok(Response::new(self.asked("plan").plan.clone()))
    }
    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Result<Response<v1::ApplyReply>, Status> {
        let script = self.asked(format!("apply {:?}", request.into_inner().if_revision));
        match script.apply.clone() {
            Some(status) => Err(status),
            None => Ok(Response::new(v1::ApplyReply { revision: 5, changed: true, ..<_>::default() })),
        }
    }
    async fn remove(&self, request: Request<v1::RemoveAppRequest>) -> Result<Response<v1::RemoveAppReply>, Status> {
        let request = request.into_inner();
        let dry = if request.dry_run { "remove dry" } else { "remove" };
        drop(self.asked(format!("{dry} {} {:?}", request.app, request.if_revision)));
        Ok(Response::new(samples::removed_app()))
    }
}

#[tonic::async_trait]
impl Operations for Double {
    type WatchStream = ReceiverStream<Result<v1::OperationEvent, Status>>;

    async fn failover(&self, request: Request<v1::FailoverRequest>) -> Result<Response<v1::FailoverReply>, Status> {
        let dry = request.into_inner().dry_run;
        let script = self.asked(if dry { "failover dry" } else { "failover" });
        match script.failover.clone() {
            Some(status) => Err(status),
            None => Ok(Response::new(v1::FailoverReply { operation: if dry { 0 } else { 41 }, ..samples::dry_run() })),
        }
    }
    async fn list(&self, _: Request<v1::ListOperationsRequest>) -> Result<Response<v1::ListOperationsReply>, Status> {
        Ok(Response::new(v1::ListOperationsReply { operations: samples::operations() }))
    }
    async fn get(&self, _: Request<v1::GetOperationRequest>) -> Result<Response<v1::Operation>, Status> {
        Ok(Response::new(samples::failover_ended("done")))
    }
    async fn watch(&self, request: Request<v1::WatchOperationRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let mut script = self.asked(format!("watch {}", request.into_inner().number));
        if script.watches.is_empty() {
            return Err(Status::unavailable("going down"));
        }
        let watched = script.watches.remove(0);
        let (send, receive) = tokio::sync::mpsc::channel(16);
        for operation in watched.events {
            let event = v1::OperationEvent { operation: Some(operation), at: samples::at(12_000), text: String::new() };
            send.try_send(Ok(event)).expect("a test has fewer events than there is room");
        }
        if watched.stays {
            script.open.push(send);
        }
        Ok(Response::new(ReceiverStream::new(receive)))
    }
    async fn abort(&self, _: Request<v1::AbortRequest>) -> Result<Response<v1::AbortReply>, Status> {
        Err(refusal::to_status(Reason::PastNoReturn, "op 41 is past its point of no return", vec![], vec![]))
    }
}

#[tonic::async_trait]
impl People for Double {
    async fn add(&self, request: Request<v1::AddOperatorRequest>) -> Result<Response<v1::AddOperatorReply>, Status> {
        let v1::AddOperatorRequest { name, role, valid } = request.into_inner();
        let seconds = valid.unwrap_or_default().seconds;
        drop(self.asked(format!("add {name} {role} {seconds}")));
        let token = format!("hfp1.{name}.letters");
        let add = format!("holdfast context add c1.example:7443 --token {token}");
        Ok(Response::new(v1::AddOperatorReply { token, add, until: samples::ago(-3_600_000) }))
    }
    async fn list(&self, _: Request<v1::ListOperatorsRequest>) -> Result<Response<v1::ListOperatorsReply>, Status> {
        Ok(Response::new(v1::ListOperatorsReply { people: samples::people() }))
    }
    async fn revoke(
        &self,
        request: Request<v1::RevokeOperatorRequest>,
    ) -> Result<Response<v1::RevokeOperatorReply>, Status> {
        let v1::RevokeOperatorRequest { name, reason } = request.into_inner();
        drop(self.asked(format!("revoke {name} ({reason})")));
        if name == "anna" {
            let next = vec!["holdfast operator list".to_owned()];
            return Err(refusal::to_status(Reason::LastAdmin, "anna is the only admin", vec![], next));
        }
        Ok(Response::new(v1::RevokeOperatorReply { certificates: 1, sessions_cut: 2 }))
    }
}

#[tonic::async_trait]
impl Audit for Double {
    type TrailStream = ReceiverStream<Result<v1::AuditEntry, Status>>;

    /// Two entries at a time: a stream that ended early.
    async fn trail(&self, request: Request<v1::TrailRequest>) -> Result<Response<Self::TrailStream>, Status> {
        let v1::TrailRequest { after, newest } = request.into_inner();
        let script = self.asked(format!("trail {after} {newest}"));
        let (send, receive) = tokio::sync::mpsc::channel(2);
        for entry in script.trail.iter().filter(|e| e.number > after).take(2) {
            send.try_send(Ok(samples::sent(entry.clone()))).expect("there is room for two");
        }
        Ok(Response::new(ReceiverStream::new(receive)))
    }
}

/// A clock on which every look is a minute later.
#[derive(Debug, Default)]
struct Hasty(AtomicU64);

impl Clock for Hasty {
    fn boot(&self) -> BootInstant {
        BootInstant::from_boot(Duration::from_secs(60 * self.0.fetch_add(1, Ordering::Relaxed)))
    }
    fn wall(&self) -> WallTime {
        samples::now()
    }
    fn boot_id(&self) -> BootId {
        BootId("test".into())
    }
}

/// How a command ended, and what it wrote.
struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

struct Setup {
    terminal: bool,
    answer: &'static str,
    clock: SharedClock,
    interrupt: Interrupt,
    /// Addresses tried before the double's.
    before: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            terminal: false,
            answer: "",
            clock: Arc::new(SystemClock::new().expect("a boot id")),
            interrupt: Arc::new(|| Box::pin(std::future::pending())),
            before: vec![],
        }
    }
}

async fn run(double: &Double, setup: Setup, line: &str) -> Ran {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let server = tonic::transport::Server::builder()
        .add_service(FleetServer::new(double.clone()))
        .add_service(AppsServer::new(double.clone()))
        .add_service(OperationsServer::new(double.clone()))
        .add_service(PeopleServer::new(double.clone()))
        .add_service(AuditServer::new(double.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let connector: Connector = Arc::new(|address| {
        Endpoint::from_shared(format!("http://{address}")).expect("an address is a URI").connect_lazy()
    });
    let mut addresses = setup.before;
    addresses.push(address);
    let client = Client::new("acme", addresses, connector);
    let words = line.split_whitespace().map(|w| w.replace('_', " "));
    let mut matches = args::command().try_get_matches_from(words).expect("a command line");
    let cli = Cli::from_arg_matches_mut(&mut matches).expect("a command line");
    let (mut out, mut err, mut input) = (Vec::new(), Vec::new(), io::Cursor::new(setup.answer));
    let terminal = Terminal {
        stdin: setup.terminal,
        stdout: setup.terminal,
        stderr: setup.terminal,
        colours: false,
        cursor: true,
        letters: true,
        size: Some((100, 40)),
    };
    let mut console = Console { out: &mut out, err: &mut err, input: &mut input, terminal };
    let mut context =
        Context { console: &mut console, clock: setup.clock, interrupt: setup.interrupt, output: cli.global.output };
    let ended = tokio::select! {
        served = server => panic!("the double stopped: {served:?}"),
        ended = tokio::time::timeout(Duration::from_secs(60), run_with(cli.command, &mut context, client)) => ended,
    };
    let mut told = String::new();
    let exit = match ended.expect("the command ends in time") {
        Ok(exit) => exit,
        Err(Stop::PipeClosed) => Exit::Done,
        Err(Stop::Failed(failure)) => {
            told = failure.render(&View { width: 100, colour: false, now: samples::now() });
            failure.exit
        }
    };
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ran { exit, out: text(out), err: text(err) + &told }
}

fn watched(states: &[&str], stays: bool) -> Watched {
    let op = |s: &&str| if *s == "running" { samples::failover_running() } else { samples::failover_ended(s) };
    Watched { events: states.iter().map(op).collect(), stays }
}

fn with_watches(watches: Vec<Watched>) -> Double {
    Double(Arc::new(Mutex::new(Script { watches, ..Script::default() })))
}

const MOVE: &str = "holdfast failover smellpin --to us-west";

#[tokio::test]
async fn an_operation_ends_with_the_code_that_tells_how() {
    for (state, exit) in
        [("done", Exit::Done), ("unwound", Exit::Unwound), ("failed", Exit::Failed), ("partly", Exit::Partly)]
    {
        let double = with_watches(vec![watched(&["running", state], false)]);
        let ran = run(&double, Setup::default(), &format!("{MOVE} -y")).await;
        assert_eq!(ran.exit, exit, "{}", ran.err);
        assert_eq!(double.calls(), ["status", "failover", "watch 41"]);
        assert!(ran.out.contains("op=41 step=fence state=done"), "{}", ran.out);
    }
}

#[tokio::test]
async fn without_a_terminal_nobody_is_moved_unless_told_to() {
    let double = Double::default();
    let ran = run(&double, Setup::default(), MOVE).await;
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("next  holdfast failover smellpin --to us-west -y"), "{}", ran.err);
    assert_eq!(double.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn a_terminal_is_asked_once_and_the_cluster_is_named() {
    for (answer, exit, calls) in [
        ("n\n", Exit::Failed, vec!["failover dry", "status"]),
        ("y\n", Exit::Done, vec!["failover dry", "status", "status", "failover", "watch 41"]),
    ] {
        let double = with_watches(vec![watched(&["running", "done"], false)]);
        let ran = run(&double, Setup { terminal: true, answer, ..Setup::default() }, MOVE).await;
        assert_eq!(ran.exit, exit, "{}", ran.err);
        assert_eq!(ran.err.matches("fail over smellpin to us-west in cluster acme? [y/N]").count(), 1, "{}", ran.err);
        assert_eq!(double.calls(), calls);
    }
}

#[tokio::test]
async fn a_closed_gate_answers_before_the_operator_is_asked() {
    let double = Double::default();
    double.asked("").failover = Some(refusal::to_status(
        Reason::LifeSeen,
        "smellpin will not move to us-west: us-east is still alive",
        vec![refusal::line("where", "usw-db1 received WAL 0.4 s ago")],
        vec!["holdfast why smellpin".to_owned()],
    ));
    let ran = run(&double, Setup { terminal: true, answer: "y\n", ..Setup::default() }, MOVE).await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(!ran.err.contains("[y/N]"), "{}", ran.err);
    assert!(ran.err.contains("\nnothing was changed (exit 7)\n"), "{}", ran.err);
}

#[tokio::test]
async fn a_dry_run_only_shows_the_plan() {
    let double = Double::default();
    let ran = run(&double, Setup::default(), &format!("{MOVE} --dry-run")).await;
    assert_eq!(ran.exit, Exit::Done);
    assert_eq!(double.calls(), ["failover dry"]);
    assert!(ran.out.starts_with("plan · unplanned failover of smellpin · us-east → us-west\n"), "{}", ran.out);
}

#[tokio::test]
async fn detached_it_prints_the_number_and_does_not_wait() {
    let double = Double::default();
    let ran = run(&double, Setup::default(), &format!("{MOVE} -y --detach")).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Done, "41\n"));
    assert!(ran.err.contains("holdfast operations watch 41"), "{}", ran.err);
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_nothing_is_told_twice() {
    let double = with_watches(vec![watched(&["running"], false), watched(&["running", "done"], false)]);
    let ran = run(&double, Setup::default(), "holdfast operations watch 41").await;
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    assert_eq!(double.calls(), ["watch 41", "watch 41"]);
    assert!(ran.err.contains("connection lost (") && ran.err.contains("op 41 goes on"), "{}", ran.err);
    assert!(ran.err.contains("connected again"), "{}", ran.err);
    assert_eq!(ran.out.matches("step=promote state=done").count(), 1, "{}", ran.out);
}

#[tokio::test]
async fn without_any_coordinator_watching_ends_after_two_minutes_with_6() {
    let double = with_watches(vec![watched(&["running"], false)]);
    let setup = Setup { clock: Arc::new(Hasty::default()), ..Setup::default() };
    let ran = run(&double, setup, "holdfast operations watch 41").await;
    assert_eq!(ran.exit, Exit::Unknown, "{}", ran.err);
    assert!(ran.err.contains("no coordinator has answered for 2 min; op 41 goes on unseen"), "{}", ran.err);
}

#[tokio::test]
async fn ctrl_c_detaches_and_says_how_to_watch_again() {
    let double = with_watches(vec![watched(&["running"], true)]);
    let seen = double.clone();
    // Pressed as soon as the watch has begun.
    let interrupt: Interrupt = Arc::new(move || {
        let seen = seen.clone();
        Box::pin(async move {
            while !seen.calls().iter().any(|c| c.starts_with("watch")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    });
    let ran = run(&double, Setup { interrupt, ..Setup::default() }, "holdfast operations watch 41").await;
    assert_eq!(ran.exit, Exit::Detached);
    assert!(ran.err.contains("detached; op 41 goes on.   again: holdfast operations watch 41"), "{}", ran.err);
}

#[tokio::test]
async fn on_a_terminal_the_frame_is_drawn_in_place() {
    let double = with_watches(vec![watched(&["running", "done"], false)]);
    let ran = run(&double, Setup { terminal: true, ..Setup::default() }, "holdfast operations watch 41").await;
    assert_eq!(ran.exit, Exit::Done);
    assert!(ran.err.contains("\x1b[K\n") && ran.err.contains('A'), "{:?}", ran.err);
    assert!(!ran.err.contains("\x1b[2J"), "the whole screen is never cleared");
    assert!(ran.out.starts_with("done: smellpin is active in us-west, generation 9\n"), "{}", ran.out);
}

#[tokio::test]
async fn json_progress_is_one_object_for_each_event() {
    let double = with_watches(vec![watched(&["running", "done"], false)]);
    let ran = run(&double, Setup::default(), "holdfast operations watch 41 --progress json").await;
    assert_eq!(ran.out.lines().count(), 2, "{}", ran.out);
    for line in ran.out.lines() {
        assert!(line.starts_with("{\"schema\":1,\"at\":\"") && line.contains("\"number\":41"), "{line}");
    }
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_cannot_be_reached() {
    let setup = || Setup { before: vec!["127.0.0.1:1".into()], ..Setup::default() };
    let ran = run(&Double::default(), setup(), "holdfast status --exit-code").await;
    assert_eq!(ran.exit, Exit::Changes, "{}", ran.err);
    let double = with_watches(vec![watched(&["done"], false)]);
    let ran = run(&double, setup(), &format!("{MOVE} -y")).await;
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
}

#[tokio::test]
async fn without_a_leader_a_command_ends_with_8_and_names_each_address() {
    let double = Double::default();
    double.asked("").no_leader = true;
    let ran = run(&double, Setup { before: vec!["127.0.0.1:1".into()], ..Setup::default() }, "holdfast status").await;
    assert_eq!(ran.exit, Exit::NoLeader);
    assert!(ran.err.contains("127.0.0.1:1: ") && ran.err.contains(": c2 does not lead"), "{}", ran.err);
}

#[tokio::test]
async fn a_refusal_shows_its_facts_and_ends_with_7() {
    let ran = run(&Double::default(), Setup::default(), "holdfast why nothing").await;
    assert_eq!(ran.exit, Exit::Refused);
    assert_eq!(
        ran.err,
        "error: there is no app nothing\n  there is  shop, smellpin\n  docs      refusals/unknown-app\n  next      holdfast apps\n"
    );
    let ran = run(&Double::default(), Setup::default(), "holdfast operations abort 41 --reason no").await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.err.ends_with("nothing was changed (exit 7)\n"), "{}", ran.err);
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_ends_with_6() {
    let double = Double::default();
    double.asked("").failover = Some(Status::unavailable("connection reset"));
    let ran = run(&double, Setup::default(), &format!("{MOVE} -y")).await;
    assert_eq!(ran.exit, Exit::Unknown, "{}", ran.err);
    assert!(ran.err.contains("whether it was done is not known (exit 6)"), "{}", ran.err);
}

fn spec() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::with_suffix(".yaml").expect("a file");
    std::fs::write(file.path(), "spec: 1\n").expect("written");
    file
}

#[tokio::test]
async fn apply_shows_the_plan_and_sends_its_revision() {
    let file = spec();
    let double = Double::default();
    double.asked("").plan = samples::plan();
    let line = format!("holdfast apply -f {}", file.path().display());
    for (answer, exit, last) in [("n\n", Exit::Failed, "status"), ("y\n", Exit::Done, "apply Some(4)")] {
        let ran = run(&double, Setup { terminal: true, answer, ..Setup::default() }, &line).await;
        assert_eq!(ran.exit, exit, "{}", ran.err);
        assert!(ran.err.contains("arithmetic  lease 3 s ≥ 2 × renew") && ran.err.contains("[y/N]"), "{}", ran.err);
        assert_eq!(double.calls().last().map(String::as_str), Some(last));
    }
    let ran = run(&double, Setup::default(), &format!("{line} -y --if-revision 3")).await;
    assert_eq!(double.calls().last().map(String::as_str), Some("apply Some(3)"), "{}", ran.err);
}

#[tokio::test]
async fn plan_ends_with_2_only_when_asked_to_and_with_7_when_it_could_not_be_applied() {
    let file = spec();
    let double = Double::default();
    double.asked("").plan = samples::plan();
    let line = format!("holdfast plan -f {}", file.path().display());
    let ran = run(&double, Setup::default(), &line).await;
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    assert!(ran.out.contains("--if-revision 4"), "{}", ran.out);
    assert_eq!(run(&double, Setup::default(), &format!("{line} --exit-code")).await.exit, Exit::Changes);
    double.asked("").plan.problems = vec!["smellpin.yaml:3: unknown key ap".into()];
    let ran = run(&double, Setup::default(), &line).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Refused, ""));
    assert!(ran.err.contains("smellpin.yaml:3: unknown key ap"), "{}", ran.err);
}

#[tokio::test]
async fn letting_somebody_in_prints_their_line_alone_on_stdout() {
    let double = Double::default();
    let ran = run(&double, Setup::default(), "holdfast operator add ada --role operator --valid 2h").await;
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    assert_eq!(ran.out, "holdfast context add c1.example:7443 --token hfp1.ada.letters\n");
    assert!(ran.err.contains("for ada as operator, once until 2026-11-20T22:04:17.000Z"), "{}", ran.err);
    assert_eq!(double.calls().last().map(String::as_str), Some("add ada operator 7200"));
    let ran = run(&double, Setup::default(), "holdfast operator list -o json").await;
    assert!(ran.out.starts_with("{\n  \"schema\": 1,\n  \"operators\": ["), "{}", ran.out);
}

#[tokio::test]
async fn somebody_is_put_out_only_after_a_yes() {
    let double = Double::default();
    let line = "holdfast operator revoke ada --reason left_the_team";
    for (answer, exit, last) in [("n\n", Exit::Failed, "status"), ("y\n", Exit::Done, "revoke ada (left the team)")] {
        let ran = run(&double, Setup { terminal: true, answer, ..Setup::default() }, line).await;
        assert_eq!(ran.exit, exit, "{}", ran.err);
        assert!(ran.err.contains("put out ada of cluster acme?"), "{}", ran.err);
        assert_eq!(double.calls().last().map(String::as_str), Some(last));
    }
    let ran = run(&double, Setup::default(), line).await;
    assert_eq!(ran.exit, Exit::Usage, "{}", ran.err);
    let ran = run(&double, Setup::default(), &format!("{line} -y")).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Done, "ada is out: 1 certificate revoked, 2 connections cut\n"));
    let ran = run(&double, Setup::default(), "holdfast operator revoke anna -y").await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.err.contains("docs  refusals/last-admin") && ran.err.ends_with("(exit 7)\n"), "{}", ran.err);
}

fn with_trail(trail: Vec<Entry>) -> Double {
    Double(Arc::new(Mutex::new(Script { trail, ..Script::default() })))
}

#[tokio::test]
async fn a_trail_whose_stream_ends_early_is_read_to_its_end() {
    let double = with_trail(samples::trail());
    let ran = run(&double, Setup::default(), "holdfast audit verify").await;
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let hash = samples::trail()[4].hash;
    assert_eq!(ran.out, format!("411 to 415 hold; newest hash {hash}\n"));
    assert!(ran.err.contains("410 entries before them are no longer there"), "{}", ran.err);
    assert!(ran.err.contains("only a newest hash kept elsewhere proves"), "{}", ran.err);
    assert_eq!(double.calls().last().map(String::as_str), Some("trail 415 0"));
    let ran = run(&double, Setup::default(), "holdfast audit verify -o json").await;
    assert!(ran.out.contains("\"holds\": true") && ran.out.contains(&format!("\"newest_hash\": \"{hash}\"")));
    let ran = run(&double, Setup::default(), "holdfast audit --newest 2").await;
    assert_eq!(ran.out.lines().count(), 3, "{}", ran.out);
    assert_eq!(double.calls().last().map(String::as_str), Some("trail 0 2"));
}

#[tokio::test]
async fn a_trail_that_was_changed_ends_with_7_and_names_the_entry() {
    let mut trail = samples::trail();
    trail[2].outcome = "operation 42".to_owned();
    let ran = run(&with_trail(trail), Setup::default(), "holdfast audit verify").await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Refused, ""));
    assert!(ran.err.contains("entry 413 is not what its hash says"), "{}", ran.err);
    assert!(ran.err.contains("411 to 412; what comes after says nothing"), "{}", ran.err);
    assert_eq!(run(&Double::default(), Setup::default(), "holdfast audit verify").await.exit, Exit::Refused);
}

#[tokio::test]
async fn an_export_is_verified_by_itself_until_somebody_changes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("trail.jsonl");
    let double = with_trail(samples::trail());
    let ran = run(&double, Setup::default(), &format!("holdfast audit export {}", file.display())).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Done, ""), "{}", ran.err);
    assert!(ran.err.contains("5 entries in ") && ran.err.contains("; newest hash "), "{}", ran.err);
    let text = std::fs::read_to_string(&file).expect("written");
    let ran = run(&double, Setup::default(), "holdfast audit export").await;
    assert_eq!(ran.out, text, "stdout gets the same");
    let verify = format!("holdfast audit verify --file {}", file.display());
    let asked = double.calls().len();
    let ran = run(&double, Setup::default(), &verify).await;
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    assert!(ran.out.starts_with("411 to 415 hold; newest hash "), "{}", ran.out);
    let whole: &'static str = text.clone().leak();
    let ran = run(&double, Setup { answer: whole, ..Setup::default() }, "holdfast audit verify --file -").await;
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let lines: Vec<&str> = text.lines().collect();
    for (changed, exit, says) in [
        (text.replace("fire brigade", "ire brigade"), Exit::Refused, "entry 413 is not what its hash says"),
        ([lines[0], lines[2], lines[3]].join("\n"), Exit::Refused, "entry 413 comes where entry 412 should be"),
        (text[..text.len() - 9].to_owned(), Exit::Usage, "line 5 is no entry"),
        (String::new(), Exit::Usage, "it holds no entries"),
    ] {
        std::fs::write(&file, changed).expect("written");
        let ran = run(&double, Setup::default(), &verify).await;
        assert_eq!(ran.exit, exit, "{}", ran.err);
        assert!(ran.err.contains(says), "{}", ran.err);
    }
    assert_eq!(double.calls().len(), asked, "no coordinator is asked");
}
