//! `holdfast status`: one look at the whole cluster. On a good day five lines; on a bad one what needs a human first.

use std::fmt::Write as _;

use holdfast_proto::v1;
use holdfast_types::WallTime;

use super::{
    table::{Cell, Column, NOTHING, Table},
    text::{Tone, View, bytes, clean, columns as columns_of, count, hang, hang_painted, labelled, pad, roughly},
    wire::{health_tone, lease_word, said, span, wall},
};

/// The whole screen.
#[must_use]
pub fn status(reply: &v1::StatusReply, view: &View) -> String {
    let now = wall(reply.at.as_ref()).unwrap_or(view.now);
    let mut out = String::new();
    hang(&mut out, view, "", &head(reply, now));
    if reply.attention.is_empty() {
        hang_painted(&mut out, view, "  ", Tone::Good, &all_well(reply));
    } else {
        let things = format!("NEEDS YOU: {}, below", count(reply.attention.len(), "thing"));
        out.push('\n');
        hang_painted(&mut out, view, "  ", Tone::Bad, &things);
        out.push('\n');
    }
    if reply.apps.is_empty() {
        let _ = writeln!(out, "{}", first_steps(reply));
    } else {
        out.push_str(&app_table(&reply.apps, now).render(view));
    }
    if !reply.attention.is_empty() {
        if !reply.regions.is_empty() {
            out.push('\n');
            out.push_str(&region_table(&reply.regions, view));
        }
        out.push('\n');
        attention(&mut out, view, &reply.attention);
    }
    for note in &reply.notes {
        hang_painted(&mut out, view, "  note  ", Tone::Warn, note);
    }
    out
}

/// `acme · leader c1 · 5 hosts · 21:04:17 UTC`.
fn head(reply: &v1::StatusReply, now: WallTime) -> String {
    let leader = match (reply.leader.as_str(), reply.coordinators) {
        ("", _) => format!("no leader ({} answers): nothing fails over until there is one", reply.coordinator),
        (leader, 0 | 1) => format!("leader {leader}, alone: nothing fails over while it is down"),
        (leader, n) => format!("leader {leader}, {n} coordinators"),
    };
    let hosts: u32 = reply.regions.iter().map(|r| r.hosts).sum();
    format!("{} · {leader} · {} · {} UTC", reply.cluster, count(hosts as usize, "host"), now.clock())
}

fn all_well(reply: &v1::StatusReply) -> String {
    let apps = reply.apps.len();
    let ready = reply.apps.iter().filter(|a| could_fail_over(a)).count();
    match (apps, ready) {
        (0, _) => "Nothing needs you: no apps yet.".to_owned(),
        (1, 1) => "All well: 1 app served, it could fail over now.".to_owned(),
        (2, 2) => "All well: 2 apps served, both could fail over now.".to_owned(),
        (apps, ready) if apps == ready => format!("All well: {apps} apps served, all could fail over now."),
        (apps, ready) => format!("All well: {} served, {ready} could fail over now.", count(apps, "app")),
    }
}

/// As it was judged; a coordinator that says nothing of that shows at least a standby that follows.
fn could_fail_over(app: &v1::AppStatus) -> bool {
    app.ready.unwrap_or(app.standby_state == "streaming" && app.maintenance.is_none())
}

/// What to do in an empty cluster.
fn first_steps(reply: &v1::StatusReply) -> &'static str {
    if reply.regions.iter().all(|r| r.hosts == 0) {
        "  next  holdfast token create --region REGION      then, on a host of it, the line that this prints"
    } else {
        "  next  holdfast plan -f APP.yaml"
    }
}

fn attention(out: &mut String, view: &View, things: &[v1::Attention]) {
    let digits = things.len().to_string().len();
    for (i, thing) in things.iter().enumerate() {
        let head = format!("  {:>digits$}  ", i + 1);
        hang_painted(out, view, &head, Tone::Strong, &thing.what);
        let lines: Vec<_> = thing.lines.iter().map(|l| (l.label.clone(), l.text.clone())).collect();
        labelled(out, view, head.len(), &lines, &thing.next);
    }
}

/// One row for each app, as it is now.
#[must_use]
pub fn app_table(apps: &[v1::AppStatus], now: WallTime) -> Table {
    let mut table = Table::new([
        Column::new("APP"),
        Column::new("ACTIVE"),
        Column::right("GEN"),
        Column::new("HEALTH"),
        Column::right("LEASE"),
        Column::breaks("STANDBY"),
        Column::breaks("BEHIND"),
        Column::new("MODE"),
        Column::breaks("LAST MOVE"),
    ]);
    for app in apps {
        table.row([
            Cell::toned(Tone::Strong, &app.app),
            Cell::new(&app.active_region),
            Cell::new(if app.generation == 0 { String::new() } else { app.generation.to_string() }),
            Cell::toned(health_tone(&app.health), &app.health),
            lease(app),
            standby(app),
            Cell::new(app.behind_bytes.map(bytes).unwrap_or_default()),
            mode(app),
            Cell::new(last_move(app, now)),
        ]);
    }
    table
}

/// What is left of the lease, or what stands in its place.
#[must_use]
pub fn lease(app: &v1::AppStatus) -> Cell {
    if app.held {
        return Cell::toned(Tone::Warn, "hold");
    }
    let state = app.lease();
    match state {
        v1::LeaseState::Unspecified | v1::LeaseState::None => Cell::new(NOTHING),
        v1::LeaseState::Ended => match span(app.lease_left.as_ref()) {
            Some(left) if left.is_zero() => Cell::toned(Tone::Bad, "over"),
            Some(left) => Cell::new(roughly(left)),
            None => Cell::new(lease_word(state)),
        },
        v1::LeaseState::Sole => Cell::toned(Tone::Warn, lease_word(state)),
        v1::LeaseState::Fencing | v1::LeaseState::Fenced | v1::LeaseState::Released => {
            Cell::toned(Tone::Bad, lease_word(state))
        }
    }
}

/// Who decides; in maintenance nobody does.
fn mode(app: &v1::AppStatus) -> Cell {
    match &app.maintenance {
        Some(_) => Cell::toned(Tone::Warn, "maintenance"),
        None => Cell::new(&app.mode),
    }
}

fn standby(app: &v1::AppStatus) -> Cell {
    let tone = match app.standby_state.as_str() {
        "streaming" => Tone::Good,
        "absent" | "failing" | "fenced" => Tone::Bad,
        _ => Tone::Plain,
    };
    Cell::toned(tone, format!("{} {}", app.standby_region, app.standby_state).trim())
}

fn last_move(app: &v1::AppStatus, now: WallTime) -> String {
    match (wall(app.last_move_at.as_ref()), said(&app.last_move)) {
        (Some(at), Some(what)) => format!("{} ago, {what}", roughly(now.since(at))),
        (Some(at), None) => format!("{} ago", roughly(now.since(at))),
        (None, what) => what.unwrap_or_default(),
    }
}

/// One row for each region: its hosts, and how its apps do there.
#[must_use]
pub fn region_table(regions: &[v1::RegionStatus], view: &View) -> String {
    let columns = [Column::new("REGION"), Column::new("HOSTS"), Column::breaks("APPS")];
    // Side by side, the n-th app of each region stands under that of the others.
    let texts: Vec<Vec<String>> = regions.iter().map(|r| r.apps.iter().map(region_app).collect()).collect();
    let slot = |n: usize| texts.iter().filter_map(|t| t.get(n)).map(|t| columns_of(t)).max().unwrap_or(0);
    let side_by_side = |apps: &[String]| {
        let padded: Vec<String> = apps.iter().enumerate().map(|(n, app)| pad(app, slot(n))).collect();
        padded.join("   ").trim_end().to_owned()
    };
    let build = |beside: bool| {
        let mut table = Table::new(columns);
        for (region, apps) in regions.iter().zip(&texts) {
            let tone = if region.apps.iter().any(|a| a.health == "failing") { Tone::Bad } else { Tone::Plain };
            let apps = if beside { vec![side_by_side(apps)] } else { apps.clone() };
            table.row([
                Cell::toned(Tone::Strong, &region.region),
                hosts(region),
                if apps.iter().all(String::is_empty) { Cell::new("") } else { Cell::lines(tone, apps) },
            ]);
        }
        table
    };
    let beside = build(true);
    if beside.fits(view) { beside.render(view) } else { build(false).render(view) }
}

fn hosts(region: &v1::RegionStatus) -> Cell {
    let tone = match region.hosts_live {
        live if live == region.hosts => Tone::Plain,
        0 => Tone::Bad,
        _ => Tone::Warn,
    };
    Cell::toned(tone, format!("{} of {}", region.hosts_live, region.hosts))
}

fn region_app(app: &v1::RegionApp) -> String {
    let role = if app.active { "active" } else { "standby" };
    let health = if app.health.is_empty() { "unknown" } else { &app.health };
    if app.why.is_empty() {
        format!("{} {health} ({role})", app.app)
    } else {
        clean(&format!("{} {health} ({role}): {}", app.app, app.why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn a_good_day_takes_five_lines() {
        let text = status(&samples::good_day(), &samples::view(100));
        assert_eq!(text.lines().count(), 5);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_bad_day_says_what_needs_a_human() {
        for width in [100, 80, 60] {
            let text = status(&samples::bad_day(), &samples::view(width));
            samples::assert_fits(&text, width);
            insta::assert_snapshot!(format!("bad_day_{width}"), text);
        }
    }

    #[test]
    fn nasty_names_break_no_line_and_no_escape_gets_through() {
        for width in [100, 80, 60] {
            let text = status(&samples::nasty(), &samples::view(width));
            samples::assert_fits(&text, width);
            assert!(!text.contains('\x1b'), "{text}");
            insta::assert_snapshot!(format!("nasty_{width}"), text);
        }
    }

    #[test]
    fn an_empty_cluster_says_where_to_begin() {
        let empty = v1::StatusReply { cluster: "acme".into(), leader: "c1".into(), coordinators: 1, ..<_>::default() };
        insta::assert_snapshot!(status(&empty, &samples::view(100)));
        let text = status(&v1::StatusReply::default(), &samples::view(60));
        assert!(text.contains("no leader"), "{text}");
    }

    #[test]
    fn a_pipe_gets_each_app_on_one_line() {
        let text = status(&samples::nasty(), &samples::view(View::UNLIMITED));
        assert!(text.lines().any(|l| l.contains(&"x".repeat(63)) && l.contains("automatic")), "{text}");
    }

    #[test]
    fn colours_change_no_letter() {
        let painted = status(&samples::bad_day(), &View { colour: true, ..samples::view(100) });
        assert!(painted.contains("\x1b[31m"));
        assert_eq!(samples::unpainted(&painted), status(&samples::bad_day(), &samples::view(100)));
    }
}
