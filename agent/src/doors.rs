//! Where bytes from others come in, one function each, as a test that throws garbage at them calls it. None of them does
//! anything but read; what was understood is checked as far as it can be, and dropped.

use std::{path::Path, sync::OnceLock, time::Duration};

use holdfast_agent_core::lease::{Holder, Kept, Taken};
use holdfast_proto::v1;
use holdfast_types::{AppName, BootInstant, Generation, HostName, RegionName, spec};
use prost::Message as _;
use tokio::io::AsyncWriteExt as _;

use crate::{
    apps::{App, Me},
    config::{Config, check_address},
    exec::{
        Until,
        container::{Known, said},
        haproxy::parse,
        postgres::{Login, control, sql::Session},
    },
    wire,
};

/// Everything comes at once, so this is for what hangs.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// A message of a session, from a coordinator.
pub fn to_agent(bytes: &[u8]) {
    let Ok(message) = v1::ToAgent::decode(bytes) else { return };
    let region = RegionName::new("us-east").expect("a name");
    match message.body {
        None | Some(v1::to_agent::Body::Ack(v1::OutboxAck { .. })) => {}
        Some(v1::to_agent::Body::Welcome(welcome)) => seen(welcome.heartbeat.as_ref().map(wire::duration)),
        Some(v1::to_agent::Body::Desired(desired)) => {
            seen(wire::token(desired.token.as_ref()));
            for app in desired.apps.iter().filter_map(|app| wire::app(app, &region).ok()) {
                assert_eq!(app.name, app.spec.app, "an app came with another one's spec");
            }
        }
        Some(v1::to_agent::Body::Command(command)) => {
            if let Ok(command) = wire::command(&command) {
                seen(format!("{command:?}"));
            }
        }
        Some(v1::to_agent::Body::Look(look)) => {
            if let Ok(spec) = spec::parse(&format!("{}.yaml", look.app), &look.spec_yaml) {
                seen(spec.placed_in(&region).hosts());
            }
        }
        Some(v1::to_agent::Body::Pace(pace)) => {
            seen((AppName::new(pace.app), pace.every.as_ref().map(wire::duration)));
        }
    }
}

/// Answers to requests for a lease, each with a length before it, taken by a holder that has asked. The spec is of app
/// shop, whose database is on use-db1 in us-east.
pub fn lease_replies(mut bytes: &[u8], spec_yaml: &str) {
    let region = RegionName::new("us-east").expect("a name");
    let desired = v1::DesiredApp {
        app: "shop".to_owned(),
        spec_yaml: spec_yaml.to_owned(),
        generation: 7,
        active_region: region.to_string(),
        active_since: 7,
        lease_ends: true,
        token: Some(v1::Token::default()),
        ..<_>::default()
    };
    // Read once: that is another door.
    static APP: OnceLock<App> = OnceLock::new();
    let app = APP.get_or_init(|| wire::app(&desired, &region).expect("a good spec"));
    let wish = app.wish(&Me { host: HostName::new("use-db1").expect("a name"), region }, true);
    let mut now = BootInstant::from_boot(Duration::from_secs(1_000));
    let (mut holder, _) = Holder::start(Kept::default(), None, false, 0, now);
    holder.desired(wish, now);
    for _ in 0..8 {
        let Ok(reply) = v1::LeaseReply::decode_length_delimited(&mut bytes) else { return };
        holder.ask_now(now);
        now = now + Duration::from_millis(10);
        let Ok(Ok(terms)) = wire::lease(reply.answer) else { continue };
        let (taken, _) = holder.grant(reply.number, Generation(reply.generation), terms, now);
        assert!(taken != Taken::Yes || holder.generation() >= Generation(7), "an old generation was taken");
        seen((holder.state(now), holder.next_wake()));
    }
}

/// HAProxy's answer to `show servers state` and to `show stat`.
pub fn haproxy(answer: &str) {
    if let Ok(servers) = parse::parse_servers(answer, "pg_write") {
        for server in servers {
            parse::name(&server.name).expect("a name that goes into the next command is one");
        }
    }
    seen(parse::parse_sessions(answer));
}

/// What `pg_controldata` prints.
pub fn control_data(text: &str) {
    seen(control::parse(text));
}

/// Docker's answer about a container, and the note that is made of it.
pub fn docker(answer: &[u8]) {
    if let Ok(inspected) = serde_json::from_slice(answer) {
        let (first, mounts) = said(inspected);
        let known = Known { first, cgroups: vec![], mounts };
        let written = serde_json::to_vec(&known).expect("a note can be written");
        assert_eq!(serde_json::from_slice::<Known>(&written).ok(), Some(known), "a note reads back");
    }
    if let Ok(known) = serde_json::from_slice::<Known>(answer) {
        seen(known.on_host(Path::new("/var/lib/postgresql/data")));
    }
}

/// Everything that a PostgreSQL sends, from the login on, while it is looked at.
pub async fn postgres(answer: &[u8]) {
    let (ours, mut theirs) = tokio::io::duplex(1 << 20);
    let login = Login {
        socket: None,
        address: None,
        port: 5432,
        user: "holdfast".to_owned(),
        database: "postgres".to_owned(),
        password: None,
    };
    // Longer answers would wait for a reader that has gone.
    let sent = theirs.write_all(&answer[..answer.len().min(1 << 19)]).await;
    seen((sent, theirs.shutdown().await));
    let until = Until::after(ANSWERED_WITHIN);
    if let Ok(session) = Session::over(ours, &login, until).await {
        if let Ok(look) = session.look(until).await {
            seen((look.to_string(), look.accepts_writes()));
        }
        seen(session.commit_marker("a look", until).await);
    }
}

/// `agent.toml`, and an address as `join` takes it.
pub fn config(text: &str) {
    match Config::parse(Path::new("agent.toml"), text) {
        Ok(config) => assert!(config.state_dir().is_absolute() && config.run_dir().is_absolute()),
        Err(problems) => assert!(!problems.to_string().is_empty(), "a refusal without a reason"),
    }
    seen(check_address(text));
}

/// Understood; nothing is done with it.
fn seen<T>(_what: T) {}
