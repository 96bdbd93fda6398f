//! The containers of this host, as Docker tells: state, health, restarts, and what the running ones use.
//!
//! Docker may hang, or be slow for a single container. Every answer has its limit and a few are asked at a time; what
//! did not come in time is not told.

use std::{path::Path, time::Duration};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    models::{ContainerStatsResponse, ContainerSummary},
    query_parameters as query,
};
use futures_util::{StreamExt as _, stream};
use holdfast_proto::v1;

use crate::exec::Until;

/// Containers that are told, by their names. Hosts with more exist; their fleet's metrics must not drown in them.
pub(super) const CONTAINERS_MAX: usize = 64;
/// Containers that are asked at a time: Docker answers them one by one anyway.
const AT_ONCE: usize = 4;
/// Longest wait for one container's figures.
const ONE_WITHIN: Duration = Duration::from_secs(2);
/// Longest wait for one answer, in seconds, for the client itself.
const ANSWER_SECONDS_MAX: u64 = 10;

/// All containers until then; none where there is no Docker.
pub(super) async fn look(socket: &Path, until: Until) -> Vec<v1::Container> {
    match until.limit(list(socket, until)).await {
        Ok(Ok(containers)) => containers,
        Ok(Err(e)) => {
            tracing::debug!(socket = %socket.display(), error = %e, "docker tells no containers");
            Vec::new()
        }
        Err(_) => {
            tracing::debug!(socket = %socket.display(), "docker tells no containers in time");
            Vec::new()
        }
    }
}

async fn list(socket: &Path, until: Until) -> Result<Vec<v1::Container>, bollard::errors::Error> {
    // Where there is none, nothing is logged: that is how most hosts are.
    if !socket.exists() {
        return Ok(Vec::new());
    }
    let path = socket.to_string_lossy();
    let docker = Docker::connect_with_socket(&path, ANSWER_SECONDS_MAX, API_DEFAULT_VERSION)?;
    let docker = docker.negotiate_version().await?;
    let options = query::ListContainersOptions { all: true, ..query::ListContainersOptions::default() };
    let mut listed = docker.list_containers(Some(options)).await?;
    listed.sort_by_key(name);
    listed.truncate(CONTAINERS_MAX);
    // In the order of their names, whoever answers first. What is left of the time is for the slowest.
    let until = until.earlier_by(Duration::from_millis(200));
    Ok(stream::iter(listed).map(|summary| one(&docker, summary, until)).buffered(AT_ONCE).collect().await)
}

/// Without the slash that Docker puts before it.
fn name(summary: &ContainerSummary) -> String {
    let names = summary.names.iter().flatten().map(|name| name.trim_start_matches('/'));
    // A link gives a container further names, with a slash inside.
    let own = names.filter(|name| !name.contains('/')).min().map(str::to_owned);
    own.or_else(|| summary.id.clone()).unwrap_or_default()
}

async fn one(docker: &Docker, summary: ContainerSummary, until: Until) -> v1::Container {
    let id = summary.id.clone().unwrap_or_default();
    let until = until.or_before(Until::after(ONE_WITHIN));
    let state = summary.state.map(|state| state.to_string()).unwrap_or_default();
    let runs = state == "running";
    let inspect = until.limit(docker.inspect_container(&id, None::<query::InspectContainerOptions>));
    let figures = async { if runs { until.limit(use_of(docker, &id)).await.ok().flatten() } else { None } };
    let (inspected, used) = tokio::join!(inspect, figures);
    let inspected = inspected.ok().and_then(Result::ok);
    let restarts = inspected.as_ref().and_then(|i| i.restart_count).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let health = inspected.and_then(|i| i.state?.health?.status).map(|status| status.to_string()).unwrap_or_default();
    v1::Container {
        name: name(&summary),
        image: summary.image.unwrap_or_default(),
        state,
        // Docker's word for a container that has no health check.
        health: if health == "none" { String::new() } else { health },
        restarts,
        r#use: used,
    }
}

async fn use_of(docker: &Docker, id: &str) -> Option<v1::ContainerUse> {
    // One shot: without it Docker waits a second for a second look of its own.
    let options = query::StatsOptions { stream: false, one_shot: true };
    let stats = Box::pin(docker.stats(id, Some(options))).next().await?.ok()?;
    used(&stats)
}

fn used(stats: &ContainerStatsResponse) -> Option<v1::ContainerUse> {
    let cpu = stats.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage? / 1_000;
    let memory = stats.memory_stats.as_ref()?;
    // What the kernel could take back at once is not used: `total_inactive_file` of cgroup 1, `inactive_file` of 2.
    let figures = memory.stats.as_ref();
    let figure = |name: &str| figures.and_then(|figures| figures.get(name)).copied();
    let cached = figure("total_inactive_file").or_else(|| figure("inactive_file")).unwrap_or(0);
    Some(v1::ContainerUse {
        cpu,
        memory: memory.usage.unwrap_or(0).saturating_sub(cached),
        // Without a limit Docker tells the whole memory of the host, or a number near the largest there is.
        memory_limit: memory.limit.filter(|limit| *limit < 1 << 60).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::{ContainerCpuStats, ContainerCpuUsage, ContainerMemoryStats};

    use super::*;

    #[tokio::test]
    async fn a_host_without_docker_has_no_containers_and_a_docker_that_hangs_holds_up_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let within = Duration::from_millis(300);
        assert_eq!(look(&folder.path().join("docker.sock"), Until::after(within)).await, []);
        // Somebody listens and never answers.
        let socket = folder.path().join("hangs.sock");
        let _held = std::os::unix::net::UnixListener::bind(&socket).expect("it listens");
        let looked = tokio::time::timeout(Duration::from_secs(10), look(&socket, Until::after(within))).await;
        assert_eq!(looked.expect("it ends by itself"), []);
    }

    #[test]
    fn what_the_kernel_could_take_back_is_not_used() {
        let mut stats = ContainerStatsResponse {
            cpu_stats: Some(ContainerCpuStats {
                cpu_usage: Some(ContainerCpuUsage { total_usage: Some(5_000_000), ..ContainerCpuUsage::default() }),
                ..ContainerCpuStats::default()
            }),
            memory_stats: Some(ContainerMemoryStats {
                usage: Some(100),
                limit: Some(u64::MAX),
                stats: Some(HashMap::from([("inactive_file".to_owned(), 30)])),
                ..ContainerMemoryStats::default()
            }),
            ..ContainerStatsResponse::default()
        };
        assert_eq!(used(&stats), Some(v1::ContainerUse { cpu: 5_000, memory: 70, memory_limit: 0 }));
        stats.cpu_stats = None;
        assert_eq!(used(&stats), None);
    }

    #[test]
    fn a_container_goes_by_its_own_name() {
        let named = |names: &[&str]| ContainerSummary {
            id: Some("abc".to_owned()),
            names: Some(names.iter().map(ToString::to_string).collect()),
            ..ContainerSummary::default()
        };
        assert_eq!(name(&named(&["/web/db", "/shop-db"])), "shop-db");
        assert_eq!(name(&named(&[])), "abc");
    }
}
