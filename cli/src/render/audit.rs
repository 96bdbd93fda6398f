//! The audit trail as a table. What was refused is marked, not only painted.

use holdfast_types::{WallTime, audit::Entry};

use super::{
    table::{Cell, Column, Table},
    text::{Tone, View, clean},
};

/// `holdfast audit`: the oldest first, so that the newest stands above the prompt. The reason that was given stands in a
/// column where there is room, else under what was done.
#[must_use]
pub fn trail(entries: &[Entry], view: &View) -> String {
    if entries.is_empty() {
        return "no entries yet: everything that changes something will stand here\n  next  holdfast status\n"
            .to_owned();
    }
    let wide = table(entries, true);
    if wide.fits(view) { wide.render(view) } else { table(entries, false).render(view) }
}

fn table(entries: &[Entry], why_beside: bool) -> Table {
    let mut columns = vec![
        Column::new("TIME"),
        Column::new("WHO"),
        Column::new("WHAT"),
        Column::breaks("ON"),
        Column::breaks("OUTCOME"),
    ];
    if why_beside {
        columns.push(Column::new("WHY"));
    }
    let mut table = Table::new(columns);
    for entry in entries {
        let (mark, tone) = if entry.done { ("✔", Tone::Plain) } else { ("✘", Tone::Bad) };
        let outcome = format!("{mark} {}", entry.outcome);
        let why = clean(&entry.why);
        let outcome = if why_beside || why.is_empty() {
            Cell::toned(tone, outcome)
        } else {
            Cell::lines(tone, [outcome, format!("why: {why}")])
        };
        let mut row = vec![
            if why_beside {
                Cell::toned(Tone::Dim, moment(entry.at))
            } else {
                Cell::lines(Tone::Dim, moment(entry.at).split(' ').map(ToOwned::to_owned))
            },
            Cell::toned(Tone::Strong, &entry.by),
            Cell::toned(tone, &entry.call),
            Cell::new(&entry.subject),
            outcome,
        ];
        if why_beside {
            row.push(Cell::new(why));
        }
        table.row(row);
    }
    table
}

/// `2026-11-20 21:04:17`, UTC; the thousandths are in the JSON.
fn moment(at: i64) -> String {
    let text = WallTime(at).to_string();
    text.split('.').next().unwrap_or_default().replacen('T', " ", 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn the_trail_fits_every_terminal() {
        for width in [160, 100, 80, 60] {
            let text = trail(&samples::trail(), &samples::view(width));
            samples::assert_fits(&text, width);
            insta::assert_snapshot!(format!("trail_{width}"), text);
        }
        assert!(trail(&[], &samples::view(80)).contains("\n  next  holdfast "));
    }

    #[test]
    fn what_was_refused_is_red_and_marked() {
        let text = trail(&samples::trail(), &View { colour: true, ..samples::view(160) });
        assert!(text.contains("\x1b[31m✘ bo is viewer; this takes admin"), "{text}");
        assert!(!text.contains("\x1b[2J"));
    }
}
