//! How containers are, as Docker sees them.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error,
    models::{
        ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as Status, HealthStatusEnum as Health,
    },
    query_parameters::InspectContainerOptions,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_shared::error::Chain;
use holdfast_types::line::first_line;

use super::{Evidence, Outcome};
use crate::exec::container::DOCKER_SOCKET_DEFAULT;

/// Longest wait for one answer, in seconds; each check has its own time limit, which is far shorter.
const ANSWER_SECONDS_MAX: u64 = 120;
/// Questions that are asked side by side, so that many containers take hardly longer than one.
const ASKED_AT_ONCE: usize = 8;
/// Most of what a health check said that is repeated.
const SAID_CHARS_MAX: usize = 80;

/// Asks Docker. A client is kept while it answers: what is looked at is the container behind Docker, so a connection
/// that stays hides nothing.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    socket: PathBuf,
    client: Arc<Mutex<Option<Docker>>>,
}

impl Default for Asker {
    fn default() -> Self {
        Self::new(Path::new(DOCKER_SOCKET_DEFAULT))
    }
}

impl Asker {
    pub(super) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), client: Arc::default() }
    }

    pub(super) async fn run(&self, names: &[String]) -> Outcome {
        // Taken out, not lent: when the time limit ends this, the client goes too, and with it a connection that hangs.
        let kept = self.client.lock().unwrap_or_else(PoisonError::into_inner).take();
        let docker = match kept {
            Some(docker) => Ok(docker),
            None => self.connect().await,
        };
        let asked = async {
            let docker = docker?;
            // Owned names: a borrowed one would tie the future to a lifetime that a task cannot name.
            let names: Vec<String> = names.to_vec();
            let questions = names.into_iter().map(|name| {
                let docker = docker.clone();
                async move {
                    match docker.inspect_container(&name, None::<InspectContainerOptions>).await {
                        Ok(answer) => Ok(judge(&name, Some(&answer))),
                        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(judge(&name, None)),
                        Err(e) => Err(e),
                    }
                }
            });
            let told: Vec<Told> = stream::iter(questions).buffered(ASKED_AT_ONCE).try_collect().await?;
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(docker);
            Ok::<_, Error>(told)
        };
        match asked.await {
            Ok(told) => outcome(told),
            Err(e) => Outcome::could_not_run(format!(
                "docker cannot be asked at {}: {}; does it run, and may the agent's user write to its socket?",
                self.socket.display(),
                Chain(&e)
            )),
        }
    }

    async fn connect(&self) -> Result<Docker, Error> {
        let path = self.socket.to_string_lossy();
        Docker::connect_with_socket(&path, ANSWER_SECONDS_MAX, API_DEFAULT_VERSION)?.negotiate_version().await
    }
}

/// One container, in words.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    fine: bool,
    text: String,
}

/// Fine is one that runs and is healthy, or runs and says nothing of its health. No answer: there is none of this name.
fn judge(name: &str, answer: Option<&ContainerInspectResponse>) -> Told {
    let Some(answer) = answer else {
        return Told { fine: false, text: format!("{name}: there is no such container") };
    };
    let (fine, mut text) = match &answer.state {
        Some(state) => state_of(state),
        None => (false, "docker tells no state".to_owned()),
    };
    // Docker counts those that its restart policy made.
    if let Some(restarts) = answer.restart_count.filter(|restarts| *restarts > 0) {
        text.push_str(&format!(", {restarts} restart{}", if restarts == 1 { "" } else { "s" }));
    }
    Told { fine, text: format!("{name}: {text}") }
}

fn state_of(state: &ContainerState) -> (bool, String) {
    let exit = || {
        let why = if state.oom_killed == Some(true) { ", out of memory" } else { "" };
        format!("exited with {}{why}", state.exit_code.unwrap_or(0))
    };
    match state.status.unwrap_or(Status::EMPTY) {
        Status::RUNNING => health_of(state),
        Status::RESTARTING => (false, format!("restarting, {}", exit())),
        Status::EXITED => (false, exit()),
        status @ (Status::CREATED | Status::PAUSED | Status::REMOVING | Status::DEAD | Status::STOPPING) => {
            (false, status.to_string())
        }
        Status::EMPTY => (false, "in no state that docker names".to_owned()),
    }
}

fn health_of(state: &ContainerState) -> (bool, String) {
    let health = state.health.as_ref();
    match health.and_then(|health| health.status) {
        None | Some(Health::EMPTY | Health::NONE) => (true, "running, no health check".to_owned()),
        Some(Health::HEALTHY) => (true, "healthy".to_owned()),
        Some(Health::STARTING) => (false, "running, not yet healthy".to_owned()),
        Some(Health::UNHEALTHY) => {
            let streak = health.and_then(|health| health.failing_streak).unwrap_or(0);
            let log = health.and_then(|health| health.log.as_ref()).and_then(|log| log.last());
            let said = log.and_then(|entry| entry.output.as_deref()).unwrap_or_default();
            let said = first_line(said.as_bytes(), SAID_CHARS_MAX);
            let said = if said.is_empty() { said } else { format!(": {said}") };
            (false, format!("unhealthy, {streak} failed looks in a row{said}"))
        }
    }
}

/// All of them as one outcome; what is wrong is told first.
fn outcome(mut told: Vec<Told>) -> Outcome {
    told.sort_by_key(|told| told.fine);
    let all_fine = told.iter().all(|told| told.fine);
    let text = told.into_iter().map(|told| told.text).collect::<Vec<_>>().join("; ");
    if all_fine { Outcome::Ok { evidence: Evidence::Containers { text } } } else { Outcome::failing(text) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(json: &str) -> Told {
        judge("api", Some(&serde_json::from_str(json).expect("an answer of docker's")))
    }

    #[test]
    fn what_docker_says_is_told_in_words() {
        let table = [
            (r#"{"RestartCount": 0, "State": {"Status": "running"}}"#, true, "api: running, no health check"),
            (
                r#"{"RestartCount": 3, "State": {"Status": "running", "Health": {"Status": "healthy"}}}"#,
                true,
                "api: healthy, 3 restarts",
            ),
            (
                r#"{"State": {"Status": "running", "Health": {"Status": "starting"}}}"#,
                false,
                "api: running, not yet healthy",
            ),
            (
                r#"{"State": {"Status": "running", "Health": {"Status": "unhealthy", "FailingStreak": 4,
                    "Log": [{"Output": "old"}, {"Output": "\u001b[31mno\ndatabase"}]}}}"#,
                false,
                "api: unhealthy, 4 failed looks in a row: [31mno",
            ),
            (
                r#"{"RestartCount": 1, "State": {"Status": "restarting", "ExitCode": 1}}"#,
                false,
                "api: restarting, exited with 1, 1 restart",
            ),
            (
                r#"{"State": {"Status": "exited", "ExitCode": 137, "OOMKilled": true}}"#,
                false,
                "api: exited with 137, out of memory",
            ),
            (r#"{"State": {"Status": "paused"}}"#, false, "api: paused"),
            (r#"{"State": {}}"#, false, "api: in no state that docker names"),
            ("{}", false, "api: docker tells no state"),
        ];
        for (json, fine, text) in table {
            assert_eq!(told(json), Told { fine, text: text.to_owned() }, "{json}");
        }
        assert_eq!(judge("api", None), Told { fine: false, text: "api: there is no such container".to_owned() });
    }

    #[test]
    fn one_that_is_not_fine_is_told_first_and_decides() {
        let told = |name: &str, fine| Told { fine, text: name.to_owned() };
        assert_eq!(outcome(vec![told("a", true), told("b", false)]), Outcome::failing("b; a"));
        let fine = outcome(vec![told("a", true), told("b", true)]);
        assert_eq!(fine, Outcome::Ok { evidence: Evidence::Containers { text: "a; b".into() } });
    }

    #[tokio::test]
    async fn docker_that_cannot_be_asked_is_no_observation() {
        let outcome = Asker::new(Path::new("/nonexistent/docker.sock")).run(&["api".to_owned()]).await;
        let said = outcome.to_string();
        assert!(matches!(outcome, Outcome::CouldNotRun { .. }) && said.contains("/nonexistent/docker.sock"), "{said}");
    }

    proptest! {
        #[test]
        fn whatever_docker_says_is_no_panic(text in ".{0,300}", code in any::<i64>()) {
            let quoted = serde_json::to_string(&text).expect("text");
            let answer = format!(
                r#"{{"RestartCount": {code}, "State": {{"Status": "running", "ExitCode": {code},
                    "Health": {{"Status": "unhealthy", "FailingStreak": {code}, "Log": [{{"Output": {quoted}}}]}}}}}}"#
            );
            let said = outcome(vec![told(&answer)]).text();
            prop_assert!(!said.chars().any(char::is_control), "{said:?}");
            // What is no answer at all is refused before it comes here.
            drop(serde_json::from_str::<ContainerInspectResponse>(&text));
        }
    }
}
