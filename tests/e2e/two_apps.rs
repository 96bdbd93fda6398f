//! Two apps on the same hosts, each with a database and a backend of its own: each is judged, fenced and moved alone.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use holdfast_tests::{
    harness::{
        AppPlan, Guarded, Instance, PgNode, Settings,
        fleet::OUTSIDE,
        haproxy::Backend,
        operator::{APP, gate_line},
        wait_asking, wait_until,
    },
    workload::{Watched, lost_in, rto},
};
use serde_json::Value;

const ORDERS: &str = "orders";
const SECOND: Instance = Instance::named("orders", 5532);
const WRITE: &str = "pg_write";
const ORDERS_WRITE: &str = "orders_write";
const ORDERS_PORT: u16 = 5533;

/// Far above what is promised: these machines are shared. The promise is measured by `make bench`.
const MOVED_WITHIN: Duration = Duration::from_secs(60);

/// The fleet with a second database beside each first one. Dropped in this order, the net last.
struct Both {
    east: PgNode,
    west: PgNode,
    guarded: Guarded,
}

impl Both {
    fn new(label: &str, orders_mode: &str) -> Result<Self> {
        let mut guarded = Guarded::without_app(label, Settings { further: &[SECOND], ..Settings::default() })?;
        let fleet = &mut guarded.fleet;
        let east = PgNode::primary_of(&fleet.net, &fleet.east.db, "us-east", SECOND)?;
        let west = PgNode::standby(&fleet.net, &fleet.west.db, "us-west", &east, "holdfast_us_west")?;
        let backend = Backend::of(ORDERS_WRITE, ORDERS_PORT, [&east, &west]);
        fleet.east.proxy.add(&backend)?;
        fleet.west.proxy.add(&backend)?;
        guarded.apply()?;
        let plan = guarded.app_plan_of(ORDERS, &east, ORDERS_WRITE, ORDERS_PORT);
        let plan = AppPlan { mode: orders_mode.to_owned(), ..plan };
        guarded.apply_text(ORDERS, &guarded.spec_of(&plan))?;
        for app in [APP, ORDERS] {
            guarded.wait_ready(app, "us-west")?;
        }
        Ok(Self { east, west, guarded })
    }

    /// Watches over smellpin and over orders.
    fn watched(&self) -> Result<(Watched, Watched)> {
        let orders = Watched::begin_on(&self.guarded.fleet, &self.east, &self.west, ORDERS_PORT)?;
        Ok((Watched::begin(&self.guarded.fleet)?, orders))
    }

    fn wait_served(&self, app: &str, region: &str) -> Result<Value> {
        wait_asking(&format!("{app} to be served in {region}"), MOVED_WITHIN, || {
            let row = self.guarded.app_status(app).map_err(|e| format!("{e:#}"))?;
            let there = row["active_region"] == region
                && row["health"] == "ok"
                && row["lease"]["hold"] == false
                && row["running_operation"].is_null();
            if there { Ok(row) } else { Err(row.to_string()) }
        })
    }

    /// Waits until both proxies send each app's writes to that region and nowhere else.
    fn wait_routed(&self, smellpin: &str, orders: &str) -> Result<()> {
        let fleet = &self.guarded.fleet;
        for proxy in [&fleet.east.proxy, &fleet.west.proxy] {
            for (backend, region) in [(WRITE, smellpin), (ORDERS_WRITE, orders)] {
                wait_until(&format!("{backend} on {} to lead to {region}", proxy.host()), MOVED_WITHIN, || {
                    let open = proxy.open_regions(backend).map_err(|e| format!("{e:#}"))?;
                    if open == [region] { Ok(()) } else { Err(format!("{open:?}")) }
                })?;
            }
        }
        Ok(())
    }

    /// Asks until there is an answer: beside other families a coordinator may be late for once.
    fn ask<T>(&self, what: &str, ask: impl Fn(&Guarded) -> Result<T>) -> Result<T> {
        wait_asking(what, MOVED_WITHIN, || ask(&self.guarded).map_err(|e| format!("{e:#}")))
    }

    fn row(&self, app: &str) -> Result<Value> {
        self.ask("the row of an app", |guarded| guarded.app_status(app))
    }

    /// All operations of an app.
    fn operations_of(&self, app: &str) -> Result<Vec<Value>> {
        self.ask("operations", |guarded| {
            let all = guarded.operations()?.into_iter().map(|number| guarded.operation(number));
            let all: Vec<Value> = all.collect::<Result<_>>()?;
            Ok(all.into_iter().filter(|op| op["app"] == app).collect())
        })
    }
}

#[test]
fn two_apps_of_one_region_fail_over_at_once() -> Result<()> {
    let both = Both::new("two-apps-cut", "automatic")?;
    let (smellpin, orders) = both.watched()?;
    let cut_at = both.guarded.fleet.cut_region("us-east")?;
    for (app, watched) in [(APP, &smellpin), (ORDERS, &orders)] {
        both.wait_served(app, "us-west")?;
        for writer in [OUTSIDE, "inside-us-west", "busy-us-west"] {
            watched.ledger.wait_more(writer, 5, MOVED_WITHIN)?;
        }
    }
    // Fenced by the host that is cut off, each on its own.
    ensure!(both.guarded.fleet.east.pg.processes().is_empty(), "smellpin's old primary still runs");
    ensure!(both.east.processes().is_empty(), "the old primary of orders still runs");
    // Back in the net, the old region's proxy is told where writes go now, and no database there rises again.
    both.guarded.fleet.net.heal()?;
    both.wait_routed("us-west", "us-west")?;
    for (app, watched, west) in [(APP, smellpin, &both.guarded.fleet.west.pg), (ORDERS, orders, &both.west)] {
        let (ledger, rose) = watched.end().context(app)?;
        ensure!(rose, "{app}: us-west was never seen as primary");
        let outside = ledger.acks_of(OUTSIDE);
        ensure!(rto(cut_at, &outside).is_some(), "{app}: no write after the cut");
        // Asynchronous replication, and the cut drops what was on its way: at most what the writer had in flight.
        let lost = lost_in(west, &outside)?;
        ensure!(lost.len() <= 1, "{app}: {lost:?}");
        ensure!(both.row(app)?["generation"] == 2);
    }
    // Neither waited for the other: each began before the other had ended.
    let (of_smellpin, of_orders) = (both.operations_of(APP)?, both.operations_of(ORDERS)?);
    let ([of_smellpin], [of_orders]) = (&of_smellpin[..], &of_orders[..]) else {
        bail!("one operation for each: {of_smellpin:?} {of_orders:?}");
    };
    let at = |op: &Value, key: &str| op[key].as_str().map(str::to_owned).with_context(|| format!("{key} in {op}"));
    for (one, other) in [(of_smellpin, of_orders), (of_orders, of_smellpin)] {
        ensure!(one["state"] == "done" && one["requested_by"] == "automatic", "{one}");
        ensure!(at(one, "started_at")? < at(other, "ended_at")?, "one after the other: {one}\n{other}");
    }
    both.guarded.every_command_ran_once()?;
    both.guarded.no_errors_logged()
}

#[test]
fn an_app_that_is_only_observed_stays_where_it_is_while_its_neighbour_moves() -> Result<()> {
    let both = Both::new("two-apps-observe", "observe")?;
    let (smellpin, orders) = both.watched()?;
    both.guarded.fleet.cut_region("us-east")?;
    both.wait_served(APP, "us-west")?;
    smellpin.ledger.wait_more(OUTSIDE, 5, MOVED_WITHIN)?;
    // It is as unhealthy as its neighbour was, and its gate says why it stays.
    let why = wait_asking("orders to be unhealthy", MOVED_WITHIN, || {
        let why = both.guarded.json(&["why", ORDERS]).map_err(|e| format!("{e:#}"))?;
        if gate_line(&why, "unhealthy")["holds"] == true { Ok(why) } else { Err(why.to_string()) }
    })?;
    ensure!(gate_line(&why, "mode")["holds"] == false, "{why}");
    let row = both.row(ORDERS)?;
    ensure!(row["active_region"] == "us-east" && row["generation"] == 1 && row["lease"]["hold"] == false, "{row}");
    ensure!(both.operations_of(ORDERS)?.is_empty(), "nobody asked for it");
    ensure!(!both.west.accepts_writes(), "the standby of orders was promoted");
    // It lost its lease all the same: its host is cut off, and nobody there knows what the others decide.
    wait_until("the database of orders to be fenced", MOVED_WITHIN, || {
        let left = both.east.processes();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })?;
    // Its region is back: so is orders, in it, under a generation of its own.
    both.guarded.fleet.net.heal()?;
    let row = both.wait_served(ORDERS, "us-east")?;
    ensure!(row["generation"] == 2, "{row}");
    both.wait_routed("us-west", "us-east")?;
    orders.ledger.wait_more(OUTSIDE, 5, MOVED_WITHIN)?;
    ensure!(smellpin.end()?.1, "us-west was never seen as primary of smellpin");
    ensure!(!orders.end()?.1, "us-west was seen as primary of orders");
    ensure!(both.guarded.fleet.east.pg.processes().is_empty(), "smellpin's old primary runs again");
    both.guarded.every_command_ran_once()
}

#[test]
fn an_app_that_moves_takes_not_one_write_from_its_neighbour() -> Result<()> {
    let both = Both::new("two-apps-kill", "automatic")?;
    let (smellpin, orders) = both.watched()?;
    let before = orders.ledger.counters(OUTSIDE);
    both.guarded.fleet.east.pg.kill_postmaster()?;
    both.wait_served(APP, "us-west")?;
    smellpin.ledger.wait_more(OUTSIDE, 5, MOVED_WITHIN)?;
    orders.ledger.wait_more(OUTSIDE, 5, MOVED_WITHIN)?;
    both.wait_routed("us-west", "us-east")?;
    let after = orders.ledger.counters(OUTSIDE);
    ensure!(after.failed == before.failed, "writes of orders failed: {after:?}, before: {before:?}");
    ensure!(smellpin.end()?.1, "us-west was never seen as primary of smellpin");
    ensure!(!orders.end()?.1, "us-west was seen as primary of orders");
    ensure!(both.guarded.fleet.east.pg.processes().is_empty(), "backends of smellpin outlived their postmaster");
    ensure!(both.east.accepts_writes() && both.row(ORDERS)?["generation"] == 1);
    both.guarded.every_command_ran_once()
}
