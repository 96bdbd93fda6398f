//! `holdfast why APP`: the evidence behind each verdict, signal by signal, and the gate.

use std::fmt::Write as _;

use holdfast_proto::v1;

use super::{
    table::{Cell, Column, Table},
    text::{Tone, View, bytes, clean, columns, hang, hang_painted, labelled, pad, took},
    wire::{health_tone, lease_word, span, wall},
};

/// The whole screen.
#[must_use]
pub fn why(reply: &v1::WhyReply, view: &View) -> String {
    let mut out = String::new();
    let now = wall(reply.at.as_ref()).unwrap_or(view.now);
    if let Some(app) = &reply.app {
        let mut facts = vec![app.app.clone()];
        facts.push(if app.active_region.is_empty() {
            "active nowhere".to_owned()
        } else {
            format!("active in {}", app.active_region)
        });
        facts.push(format!("generation {}", app.generation));
        facts.push(match (app.held, span(app.lease_left.as_ref())) {
            (true, _) => "hold: no lease is granted".to_owned(),
            (false, Some(left)) if app.lease() == v1::LeaseState::Ended => format!("lease {}", took(left)),
            (false, Some(_) | None) => format!("lease {}", lease_word(app.lease())),
        });
        facts.extend(app.behind_bytes.map(|b| format!("{} {} behind", app.standby_region, bytes(b))));
        facts.push(format!("mode {}", app.mode));
        facts.push(format!("{} UTC", now.clock()));
        hang(&mut out, view, "", &facts.join(" · "));
    }
    if !reply.decision.is_empty() {
        hang_painted(&mut out, view, "  ", Tone::Strong, &reply.decision);
    }
    for region in &reply.regions {
        out.push('\n');
        region_why(&mut out, view, region);
    }
    if !reply.gate.is_empty() {
        out.push('\n');
        gate(&mut out, view, &reply.gate);
    }
    if !reply.next.is_empty() {
        out.push('\n');
        labelled(&mut out, view, 2, &[], &reply.next);
    }
    out
}

fn region_why(out: &mut String, view: &View, region: &v1::RegionWhy) {
    let role = if region.active { "active" } else { "standby" };
    let counter = if region.unhealthy {
        format!("unhealthy, {} of {} good", region.good, region.successes)
    } else if region.failing > 0 {
        format!("{} of {} failing", region.failing, region.failures)
    } else {
        "healthy".to_owned()
    };
    let _ = writeln!(
        out,
        "{} · {role} · {} · {counter}",
        view.paint(Tone::Strong, &clean(&region.region)),
        view.paint(health_tone(&region.verdict), &clean(&region.verdict)),
    );
    for reason in &region.reasons {
        hang(out, view, "  why  ", reason);
    }
    if region.signals.is_empty() {
        let _ = writeln!(out, "  no check has reported");
        return;
    }
    let mut table = Table::new([
        Column::new("CHECK"),
        Column::new("FROM"),
        Column::breaks("AT"),
        Column::breaks("SAYS"),
        Column::right("AGE"),
        Column::breaks("COUNTS AS"),
    ])
    .indented(2);
    for signal in &region.signals {
        let says = if signal.text.is_empty() {
            signal.outcome.clone()
        } else {
            format!("{}: {}", signal.outcome, signal.text)
        };
        let mut counts = Vec::new();
        if signal.vital {
            counts.push("vital");
        }
        if signal.proof {
            counts.push("proof of writes");
        }
        table.row([
            Cell::new(&signal.check),
            Cell::new(&signal.observer),
            Cell::new(&signal.target),
            Cell::toned(health_tone(&signal.outcome), says),
            Cell::new(span(signal.age.as_ref()).map(took).unwrap_or_default()),
            Cell::new(counts.join(", ")),
        ]);
    }
    out.push_str(&table.render(view));
}

fn gate(out: &mut String, view: &View, lines: &[v1::GateLine]) {
    let closed = lines.iter().filter(|l| !l.holds).count();
    let head = if closed == 0 {
        "gate open: every condition holds".to_owned()
    } else {
        format!("gate closed: {closed} of {} conditions do not hold", lines.len())
    };
    hang_painted(out, view, "", if closed == 0 { Tone::Good } else { Tone::Warn }, &head);
    let widest = lines.iter().map(|l| columns(&clean(&l.condition))).max().unwrap_or(0);
    for line in lines {
        let (mark, tone) = if line.holds { ("✔", Tone::Good) } else { ("✘", Tone::Bad) };
        let mut body = String::new();
        hang(&mut body, view, &format!("  {mark} {}  ", pad(&clean(&line.condition), widest)), &line.text);
        out.push_str(&body.replacen(mark, &view.paint(tone, mark), 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn the_evidence_fits_every_terminal() {
        for width in [100, 80, 60] {
            let text = why(&samples::why(), &samples::view(width));
            samples::assert_fits(&text, width);
            insta::assert_snapshot!(format!("why_{width}"), text);
        }
    }

    #[test]
    fn a_closed_gate_names_what_does_not_hold() {
        let mut reply = samples::why();
        reply.gate[4].holds = false;
        let text = why(&reply, &samples::view(100));
        assert!(text.contains("gate closed: 1 of 5 conditions do not hold"), "{text}");
        assert!(text.contains("✘ lag"), "{text}");
    }

    #[test]
    fn an_empty_reply_is_no_panic() {
        for width in [0, 1, 60, View::UNLIMITED] {
            let _ = why(&v1::WhyReply::default(), &samples::view(width));
            let _ = why(&v1::WhyReply { regions: vec![<_>::default()], ..<_>::default() }, &samples::view(width));
        }
    }
}
