//! The tables: hosts, regions, apps, join tokens, contexts.

use std::fmt::Write as _;

use holdfast_proto::v1;
use holdfast_types::WallTime;

use super::{
    metrics::{is_stale, percent},
    status::lease,
    table::{Cell, Column, Table},
    text::{Tone, View, hang_painted, roughly},
    wire::{health_tone, wall},
};

/// `holdfast hosts`.
#[must_use]
pub fn hosts(hosts: &[v1::HostStatus], view: &View) -> String {
    if hosts.is_empty() {
        return "no hosts yet\n  next  holdfast token create --region REGION\n".to_owned();
    }
    let mut table = Table::new([
        Column::new("HOST"),
        Column::new("REGION"),
        Column::breaks("STATE"),
        Column::breaks("RUNS"),
        Column::right("CPU"),
        Column::right("MEMORY"),
        Column::right("DISK"),
        Column::right("PRESSURE"),
        Column::breaks("CERTIFICATE"),
        Column::new("VERSION"),
        Column::new("ADDRESS"),
    ]);
    for host in hosts {
        table.row([
            Cell::toned(Tone::Strong, &host.host),
            Cell::new(&host.region),
            host_state(host, view.now),
            Cell::new(host.roles.join(", ")),
            share(host, |figures| figures.cpu, 0.9),
            share(host, |figures| figures.memory, 0.9),
            share(host, |figures| figures.disk, 0.85),
            pressure(host),
            certificate(host, view.now),
            Cell::new(&host.version),
            Cell::new(&host.address),
        ]);
    }
    // What can wait goes first where the terminal is narrow; a certificate that someone must see to stays.
    let ending = hosts.iter().any(|h| certificate_ends_soon(h, view.now));
    let spared = ["ADDRESS", "VERSION", if ending { "PRESSURE" } else { "CERTIFICATE" }, "PRESSURE"];
    let mut out = table.without(&spared, view).render(view);
    for host in hosts.iter().filter(|h| !h.quarantine.is_empty()) {
        let text = format!("{} is quarantined, it gets no lease and no command: {}", host.host, host.quarantine);
        hang_painted(&mut out, view, "  ", Tone::Bad, &text);
        let _ = writeln!(
            out,
            "    next  holdfast token create --region {} --replaces {}      then join it anew",
            host.region, host.host
        );
    }
    for host in hosts {
        for writer in &host.allows {
            hang_painted(&mut out, view, "  ", Tone::Dim, &format!("{} may run: {writer}", host.host));
        }
        for problem in host.problems.iter().filter(|_| host.live) {
            hang_painted(&mut out, view, "  ", Tone::Bad, &format!("{}: {problem}", host.host));
        }
    }
    out
}

fn host_state(host: &v1::HostStatus, now: WallTime) -> Cell {
    let (word, tone) = match (host.live, host.quarantine.is_empty()) {
        (_, false) => ("quarantined", Tone::Bad),
        (true, true) => ("live", Tone::Good),
        (false, true) => ("silent", Tone::Bad),
    };
    match wall(host.since.as_ref()) {
        Some(since) => Cell::toned(tone, format!("{word} {}", roughly(now.since(since)))),
        None => Cell::toned(tone, word),
    }
}

fn certificate(host: &v1::HostStatus, now: WallTime) -> Cell {
    match wall(host.certificate_until.as_ref()) {
        None => Cell::new(""),
        Some(until) if until > now => Cell::new(format!("{} left", roughly(until.since(now)))),
        Some(until) => Cell::toned(Tone::Bad, format!("expired {} ago", roughly(now.since(until)))),
    }
}

/// Certificates renew themselves at half their life of a week.
fn certificate_ends_soon(host: &v1::HostStatus, now: WallTime) -> bool {
    const SOON: std::time::Duration = std::time::Duration::from_hours(48);
    wall(host.certificate_until.as_ref()).is_some_and(|until| until.since(now) < SOON)
}

/// A share of a host, painted from `much` on. What is old is no figure of now.
fn share(host: &v1::HostStatus, of: fn(&v1::HostFigures) -> Option<f64>, much: f64) -> Cell {
    match host.figures.as_ref().filter(|figures| !is_stale(figures)).and_then(of) {
        Some(share) => Cell::toned(if share >= much { Tone::Warn } else { Tone::Plain }, percent(share)),
        None => Cell::new(""),
    }
}

/// How much of the time something stood still, and for want of what.
fn pressure(host: &v1::HostStatus) -> Cell {
    let figures = host.figures.as_ref().filter(|figures| !is_stale(figures));
    match figures.and_then(|figures| Some((figures.pressure?, &figures.pressure_resource))) {
        Some((share, _)) if share < 0.01 => Cell::new("0 %"),
        Some((share, of)) => {
            let tone = if share >= 0.4 { Tone::Warn } else { Tone::Plain };
            Cell::toned(tone, format!("{} {of}", percent(share)))
        }
        None => Cell::new(""),
    }
}

/// `holdfast regions`.
#[must_use]
pub fn regions(regions: &[v1::RegionStatus], view: &View) -> String {
    if regions.is_empty() {
        return "no regions yet: a region appears with its first host\n  next  holdfast token create --region REGION\n"
            .to_owned();
    }
    super::status::region_table(regions, view)
}

/// `holdfast apps`.
#[must_use]
pub fn apps(apps: &[v1::AppStatus], view: &View) -> String {
    if apps.is_empty() {
        return "no apps yet\n  next  holdfast plan -f APP.yaml\n".to_owned();
    }
    let mut table = Table::new([
        Column::new("APP"),
        Column::new("ACTIVE"),
        Column::right("GEN"),
        Column::right("REVISION"),
        Column::new("HEALTH"),
        Column::right("LEASE"),
        Column::breaks("STANDBY"),
        Column::new("MODE"),
        Column::new("OPERATION"),
    ]);
    for app in apps {
        let running = if app.running_operation == 0 { String::new() } else { format!("op {}", app.running_operation) };
        table.row([
            Cell::toned(Tone::Strong, &app.app),
            Cell::new(&app.active_region),
            Cell::new(app.generation.to_string()),
            Cell::new(app.revision.to_string()),
            Cell::toned(health_tone(&app.health), &app.health),
            lease(app),
            Cell::new(format!("{} {}", app.standby_region, app.standby_state).trim()),
            Cell::new(&app.mode),
            Cell::toned(Tone::Warn, running),
        ]);
    }
    table.render(view)
}

/// `holdfast token list`.
#[must_use]
pub fn tokens(tokens: &[v1::JoinToken], view: &View) -> String {
    if tokens.is_empty() {
        return "no join tokens that could still be used\n  next  holdfast token create --region REGION\n".to_owned();
    }
    let mut table = Table::new([
        Column::new("ID"),
        Column::new("REGION"),
        Column::right("USES LEFT"),
        Column::breaks("VALID FOR"),
        Column::new("CREATED BY"),
    ]);
    for token in tokens {
        let valid = match wall(token.until.as_ref()) {
            Some(until) if until > view.now => roughly(until.since(view.now)),
            Some(_) => "over".to_owned(),
            None => String::new(),
        };
        table.row([
            Cell::toned(Tone::Strong, &token.id),
            Cell::new(&token.region),
            Cell::new(token.uses_left.to_string()),
            Cell::new(valid),
            Cell::new(&token.created_by),
        ]);
    }
    table.render(view)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn hosts_fit_every_terminal() {
        for width in [100, 80, 60] {
            let text = hosts(&samples::hosts(), &samples::view(width));
            samples::assert_fits(&text, width);
            insta::assert_snapshot!(format!("hosts_{width}"), text);
        }
    }

    #[test]
    fn regions_apps_and_tokens_fit_every_terminal() {
        for width in [100, 80, 60] {
            let view = samples::view(width);
            for reply in [samples::bad_day(), samples::nasty()] {
                samples::assert_fits(&regions(&reply.regions, &view), width);
                samples::assert_fits(&apps(&reply.apps, &view), width);
            }
            samples::assert_fits(&tokens(&samples::tokens(), &view), width);
        }
        insta::assert_snapshot!("regions", regions(&samples::bad_day().regions, &samples::view(100)));
        insta::assert_snapshot!("apps", apps(&samples::bad_day().apps, &samples::view(100)));
        insta::assert_snapshot!("tokens", tokens(&samples::tokens(), &samples::view(80)));
    }

    #[test]
    fn an_empty_list_says_how_to_fill_it() {
        let view = samples::view(80);
        for text in [hosts(&[], &view), regions(&[], &view), apps(&[], &view), tokens(&[], &view)] {
            assert!(text.starts_with("no ") && text.contains("\n  next  holdfast "), "{text}");
        }
    }
}
