//! The main job under a simulated network and clock: the real coordinator and agents, a double for PostgreSQL.
//! Replay one seed: HF_SEED=N cargo test -p holdfast-tests --test sim_failover

use std::time::Duration;

use anyhow::{Result, ensure};
use holdfast_tests::sim::{trace::Trace, world::World};

const SOON: Duration = Duration::from_secs(30);

fn seeds() -> Vec<u64> {
    match std::env::var("HF_SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => vec![seed],
        None => (1..=4).collect(),
    }
}

/// One run: a cut, a failover, the heal, and some time after it. Answers its trace.
fn run(seed: u64) -> Result<Vec<String>> {
    let mut world = World::new(seed)?;
    let trace: Trace = world.trace.clone();
    let _collects = tracing::subscriber::set_default(trace.clone());
    let said = |text: &'static str| move |_: &_, trace: &Trace| trace.lines().iter().any(|l| l.contains(text));
    world.run_until("us-west to be able to take over", SOON, said("regions that could take over"))?;
    world.run_for(Duration::from_millis(500 + seed % 1_000))?;
    ensure!(world.systems.writable() == ["us-east"]);
    world.cut("us-east");
    world.run_until("us-west to accept writes", SOON, |systems, _| systems.writable() == ["us-west"])?;
    world.run_until("the operation to end", SOON, said("operation ended"))?;
    world.heal("us-east");
    // The old region learns of it and must not come back.
    world.run_for(Duration::from_secs(15))?;
    ensure!(world.systems.writable() == ["us-west"], "{:?}", world.systems.writable());
    let lines = trace.lines();
    let at = |what: &str| lines.iter().position(|l| l.contains(what));
    ensure!(at("use-db1 fenced") < at("usw-db1 promotes"), "promoted before the fence\n{}", lines.join("\n"));
    Ok(lines)
}

#[test]
fn a_cut_region_is_fenced_before_the_other_is_promoted_for_every_seed() -> Result<()> {
    for seed in seeds() {
        run(seed)
            .map_err(|e| e.context(format!("seed {seed}; replay: HF_SEED={seed} cargo test --test sim_failover")))?;
    }
    Ok(())
}

#[test]
fn one_seed_gives_one_trace() -> Result<()> {
    ensure!(
        cfg!(tokio_unstable),
        "built without the flags of .cargo/config.toml: RUSTFLAGS in the environment replaces them"
    );
    let (one, two) = (run(7)?, run(7)?);
    let differs = one.iter().zip(&two).find(|(a, b)| a != b);
    ensure!(one.len() == two.len() && differs.is_none(), "{differs:?} of {} and {} lines", one.len(), two.len());
    Ok(())
}
