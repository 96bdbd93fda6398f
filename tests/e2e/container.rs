//! PostgreSQL in a container in each region. Docker is asked, but what counts is what the kernel says: a fence must not
//! depend on a daemon that may be dead.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use holdfast_tests::{
    harness::{
        AppPlan, Contained, Docker, Guarded, Image, Settings,
        fleet::OUTSIDE,
        operator::{APP, step_of},
        wait_asking, wait_until,
    },
    workload::{Watched, lost_in, rto},
};
use serde_json::Value;

/// Far above what is promised: these machines are shared. The promise is measured by `make bench`.
const MOVED_WITHIN: Duration = Duration::from_secs(60);

/// The fleet with its databases in containers. Dropped in this order, the net last.
struct Boxed {
    east: Docker,
    _west: Docker,
    guarded: Guarded,
}

impl Boxed {
    /// `how` the container of us-east is made; the other is as the guide says.
    fn new(label: &str, how: Contained) -> Result<Self> {
        let guarded = Guarded::without_app(label, Settings::default())?;
        let fleet = &guarded.fleet;
        let image = Image::make(&fleet.net)?;
        let docker = |host: &holdfast_tests::harness::Host| {
            let socket = fleet.state(&format!("agent-{}", host.name))?.join("docker.sock");
            Docker::start(&fleet.net, host, &socket, &image)
        };
        let (east, west) = (docker(&fleet.east.db)?, docker(&fleet.west.db)?);
        Contained::default().move_in(&fleet.west.pg, &west, &image)?;
        how.move_in(&fleet.east.pg, &east, &image)?;
        fleet.west.pg.wait_streaming()?;
        let plan = AppPlan {
            run_by: format!("{{container: \"{}\"}}", Contained::name("{region}")),
            data_dir: "/data".to_owned(),
            ..guarded.app_plan()
        };
        guarded.apply_text(APP, &guarded.spec_of(&plan))?;
        guarded.wait_ready(APP, "us-west")?;
        Ok(Self { east, _west: west, guarded })
    }

    fn wait_moved(&self, watched: &Watched) -> Result<()> {
        self.guarded.wait_served_in("us-west", MOVED_WITHIN)?;
        for writer in [OUTSIDE, "inside-us-west", "busy-us-west"] {
            watched.ledger.wait_more(writer, 5, MOVED_WITHIN)?;
        }
        Ok(())
    }

    /// The operation that moved the app. Beside other families a coordinator may be late for once: it is asked again.
    fn moved(&self) -> Result<Value> {
        wait_asking("the operation", MOVED_WITHIN, || self.guarded.operation(1).map_err(|e| format!("{e:#}")))
    }

    /// Nothing of the container in us-east lives: not PostgreSQL, and nothing beside it.
    fn nothing_left(&self) -> Result<()> {
        let (database, container) = (self.guarded.fleet.east.pg.processes(), self.east.processes()?);
        ensure!(database.is_empty(), "PostgreSQL of us-east still runs: {database:?}");
        ensure!(container.is_empty(), "processes of the container in us-east still run: {container:?}");
        Ok(())
    }

    fn state_of_east(&self) -> Result<String> {
        let format = "{{.State.Status}} {{.RestartCount}}";
        Ok(self.east.run(&["inspect", "--format", format, &Contained::name("us-east")])?.trim().to_owned())
    }
}

#[test]
fn a_container_of_a_cut_region_is_fenced_to_its_last_process_and_its_app_moves() -> Result<()> {
    // As an operator would have it by mistake: the fence must not be undone by Docker.
    let boxed = Boxed::new("container-cut", Contained { restart: Some("always"), ..Contained::default() })?;
    let watched = Watched::begin(&boxed.guarded.fleet)?;
    // The processes of PostgreSQL, and the one beside it that only the cgroup tells. Two looks are not one: backends come
    // and go in between.
    wait_until("PostgreSQL and something beside it in the container", MOVED_WITHIN, || {
        let database = boxed.guarded.fleet.east.pg.processes();
        let container = boxed.east.processes().map_err(|e| format!("{e:#}"))?;
        let whole = !database.is_empty() && container.is_superset(&database) && container.len() > database.len();
        if whole { Ok(()) } else { Err(format!("{database:?} in {container:?}")) }
    })?;
    let cut_at = boxed.guarded.fleet.cut_region("us-east")?;
    boxed.wait_moved(&watched)?;
    boxed.nothing_left()?;
    let state = boxed.state_of_east()?;
    ensure!(state == "exited 0", "docker has started the container again, or still means to: {state}");
    let (ledger, rose) = watched.end()?;
    ensure!(rose, "us-west was never seen as primary");
    let outside = ledger.acks_of(OUTSIDE);
    let lost = lost_in(&boxed.guarded.fleet.west.pg, &outside)?;
    ensure!(lost.len() <= 1, "{lost:?}");
    ensure!(rto(cut_at, &outside).is_some(), "no write after the cut");
    let op = boxed.moved()?;
    ensure!(op["state"] == "done" && op["generation_after"] == 2, "{op}");
    boxed.guarded.every_command_ran_once()?;
    boxed.guarded.no_errors_logged()?;
    // Back in the net it stays down; one that somebody starts without a lease is stopped again, and said aloud.
    boxed.guarded.fleet.net.heal()?;
    boxed.nothing_left()?;
    boxed.east.run(&["start", &Contained::name("us-east")])?;
    let log = boxed.guarded.fleet.net.log("agent-use-db1");
    wait_until("the container that has no lease to be stopped", MOVED_WITHIN, || {
        let text = fs::read_to_string(&log).map_err(|e| e.to_string())?;
        let after = text.split_once("without a lease").map(|(_, after)| after);
        let stopped = after.is_some_and(|after| after.contains("fenced: pg"));
        if stopped { Ok(()) } else { Err(text.lines().last().unwrap_or_default().to_owned()) }
    })?;
    boxed.nothing_left()?;
    ensure!(boxed.state_of_east()?.starts_with("exited"), "{}", boxed.state_of_east()?);
    Ok(())
}

#[test]
fn a_fence_needs_no_docker_and_a_docker_that_comes_back_starts_nothing() -> Result<()> {
    // Without a process namespace of its own, nothing in the container ends because its first process did.
    let mut boxed = Boxed::new("container-no-docker", Contained { host_pids: true, ..Contained::default() })?;
    let watched = Watched::begin(&boxed.guarded.fleet)?;
    boxed.east.kill9()?;
    ensure!(boxed.east.run(&["version"]).is_err(), "docker was killed and answers");
    // The app does not notice: docker is not in the way of a write.
    for writer in [OUTSIDE, "inside-us-east", "busy-us-east"] {
        watched.ledger.wait_more(writer, 5, MOVED_WITHIN)?;
    }
    boxed.guarded.fleet.cut_region("us-east")?;
    boxed.wait_moved(&watched)?;
    boxed.nothing_left()?;
    boxed.east.begin()?;
    let state = boxed.state_of_east()?;
    ensure!(state.starts_with("exited"), "{state}");
    boxed.nothing_left()?;
    let (_, rose) = watched.end()?;
    ensure!(rose, "us-west was never seen as primary");
    let op = boxed.moved()?;
    ensure!(step_of(&op, "fence")["state"] == "done", "{op}");
    boxed.guarded.every_command_ran_once()
}

/// Docker and then the agent are killed on the active host; the agent starts again. `forget` takes the notes away that
/// the old one left for it.
fn agent_starts_without_docker(label: &str, forget: bool) -> Result<(Boxed, Watched)> {
    let mut boxed = Boxed::new(label, Contained { host_pids: true, ..Contained::default() })?;
    let watched = Watched::begin(&boxed.guarded.fleet)?;
    boxed.east.kill9()?;
    let host = boxed.guarded.fleet.east.db.clone();
    boxed.guarded.fleet.agent(&host)?.kill9()?;
    if forget {
        fs::remove_dir_all(boxed.guarded.fleet.state(&format!("agent-{}", host.name))?.join("run/containers"))?;
    }
    boxed.guarded.start_agent(&host)?;
    let log = boxed.guarded.fleet.net.log(&format!("agent-{}", host.name));
    wait_until("the agent to be back", MOVED_WITHIN, || {
        let text = fs::read_to_string(&log).map_err(|e| e.to_string())?;
        let back = text.matches("session is up").count() >= 2;
        if back { Ok(()) } else { Err(text.lines().last().unwrap_or_default().to_owned()) }
    })?;
    Ok((boxed, watched))
}

#[test]
fn without_docker_an_agent_knows_from_its_notes_where_backends_go_on_writing() -> Result<()> {
    let (boxed, watched) = agent_starts_without_docker("container-notes", false)?;
    // Nobody listens any more, and one backend goes on committing: nothing but the notes leads to it.
    boxed.east.kill9_shims()?;
    boxed.guarded.fleet.east.pg.kill_postmaster()?;
    watched.ledger.wait_more("busy-us-east", 5, MOVED_WITHIN)?;
    boxed.wait_moved(&watched)?;
    boxed.nothing_left()?;
    ensure!(watched.end()?.1, "us-west was never seen as primary");
    let op = boxed.moved()?;
    let fence = step_of(&op, "fence");
    ensure!(fence["text"].as_str().is_some_and(|text| text.contains("generation 1 is fenced")), "{fence}");
    boxed.guarded.every_command_ran_once()
}

#[test]
fn without_docker_and_notes_an_agent_finds_the_container_by_its_socket() -> Result<()> {
    let (boxed, watched) = agent_starts_without_docker("container-socket", true)?;
    boxed.guarded.fleet.cut_region("us-east")?;
    boxed.wait_moved(&watched)?;
    boxed.nothing_left()?;
    ensure!(watched.end()?.1, "us-west was never seen as primary");
    boxed.guarded.every_command_ran_once()
}
