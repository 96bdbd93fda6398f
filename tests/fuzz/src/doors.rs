//! Doors that take their bytes as they are.

use std::{path::Path, sync::LazyLock};

use holdfast_agent::doors as agent;
use holdfast_coordinator::doors as coordinator;
use holdfast_shared::{
    contexts::Contexts,
    identity::Bearer,
    pki::{Ca, Pin},
    token::{JoinToken, PersonToken},
};
use holdfast_types::{
    ClusterId, WallTime,
    spec::{self, AppSpec},
};

/// The app that messages may be about.
static APP: LazyLock<AppSpec> =
    LazyLock::new(|| spec::parse("fast.yaml", APP_YAML).expect("an example is a good spec"));
const APP_YAML: &str = include_str!("../../../examples/fast.yaml");

/// Making one takes longer than a message; the same for all of them.
static CA: LazyLock<Ca> = LazyLock::new(|| {
    Ca::generate(&ClusterId::from_random([1; 16]), WallTime(1_795_208_657_532)).expect("this system makes keys")
});

/// An app spec, as an operator or a coordinator sends it.
pub fn spec(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match spec::parse("app.yaml", &text) {
        Ok(spec) => {
            for region in &spec.regions {
                let placed = spec.placed_in(&region.name);
                assert_eq!(placed.hosts(), spec.hosts(), "a host is where it is");
                seen(placed.checks.values().filter_map(|check| check.url(&region.name, None)).collect::<Vec<_>>());
            }
            seen((spec.arithmetic(), spec.timings(), spec.detection(), spec.slowest_check()));
        }
        Err(problems) => assert!(!problems.to_string().is_empty(), "a refusal without a reason"),
    }
}

/// What an agent says in its session.
pub fn from_agent(bytes: &[u8]) {
    coordinator::from_agent(bytes, &APP);
}

/// What a coordinator says in it.
pub fn to_agent(bytes: &[u8]) {
    agent::to_agent(bytes);
}

/// Requests for leases, and answers to them.
pub fn leases(bytes: &[u8]) {
    coordinator::lease_request(bytes);
    agent::lease_replies(bytes, APP_YAML);
}

/// What operators ask.
pub fn operators(bytes: &[u8]) {
    coordinator::operators(bytes);
}

/// What strangers may ask.
pub fn enrol(bytes: &[u8]) {
    coordinator::enrol(bytes, &CA);
}

/// Tokens, pins and the names in certificates: each has one spelling.
pub fn tokens(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(token) = text.parse::<JoinToken>() {
        assert_eq!(token.to_string(), text.trim());
    }
    if let Ok(token) = text.parse::<PersonToken>() {
        assert_eq!(token.to_string(), text.trim());
    }
    if let Ok(pin) = text.parse::<Pin>() {
        assert_eq!(pin.to_string(), text);
    }
    if let Ok((cluster, bearer)) = Bearer::from_uri(text) {
        assert_eq!(bearer.uri(&cluster), text);
    }
}

/// `contexts.toml` of an operator.
pub fn contexts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Contexts::parse(Path::new("/home/ada/contexts.toml"), text) {
        Ok(contexts) => {
            for context in contexts.all() {
                assert!(!context.addresses.is_empty(), "a context that leads nowhere");
                seen(contexts.identity_folder(context));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty(), "a refusal without a reason"),
    }
}

/// `agent.toml` and `coordinator.toml`.
pub fn configs(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    agent::config(text);
    coordinator::config(text);
}

/// What `pg_controldata` prints.
pub fn control_data(bytes: &[u8]) {
    agent::control_data(&String::from_utf8_lossy(bytes));
}

/// HAProxy's answers.
pub fn haproxy(bytes: &[u8]) {
    agent::haproxy(&String::from_utf8_lossy(bytes));
}

/// Docker's answers.
pub fn docker(bytes: &[u8]) {
    agent::docker(bytes);
}

/// Understood; nothing is done with it.
fn seen<T>(_what: T) {}
