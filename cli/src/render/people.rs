//! The people who may work with a cluster.

use holdfast_proto::v1;
use holdfast_types::WallTime;

use super::{
    table::{Cell, Column, Table},
    text::{Tone, View, hang, roughly},
    wire::wall,
};

/// `holdfast operator list`: those who were put out come last, with the reason.
#[must_use]
pub fn operators(people: &[v1::Person], view: &View) -> String {
    if people.is_empty() {
        return "nobody is written down: there is only the admin that holdfast-coordinator init made\n  next  holdfast operator add NAME --role ROLE\n".to_owned();
    }
    let whole = table(people, true, view.now);
    if !people.iter().any(is_out) {
        return table(people, false, view.now).render(view);
    }
    if whole.fits(view) {
        return whole.render(view);
    }
    let mut text = table(people, false, view.now).render(view);
    for person in people.iter().filter(|p| is_out(p) && !p.revoked_why.is_empty()) {
        hang(&mut text, view, "  ", &format!("why {} is out: {}", person.name, person.revoked_why));
    }
    text
}

fn is_out(person: &v1::Person) -> bool {
    person.state == "revoked"
}

fn table(people: &[v1::Person], why_beside: bool, now: WallTime) -> Table {
    let mut columns = vec![
        Column::new("NAME"),
        Column::new("ROLE"),
        Column::breaks("STATE"),
        Column::breaks("UNTIL"),
        Column::breaks("ADDED BY"),
    ];
    if why_beside {
        columns.push(Column::new("WHY"));
    }
    let mut table = Table::new(columns);
    for person in people.iter().filter(|p| !is_out(p)).chain(people.iter().filter(|p| is_out(p))) {
        let mut row = vec![
            Cell::toned(Tone::Strong, &person.name),
            Cell::new(&person.role),
            state(person, now),
            until(person, now),
            Cell::new(&person.added_by),
        ];
        if why_beside {
            row.push(if is_out(person) { Cell::new(&person.revoked_why) } else { Cell::blank() });
        }
        table.row(row);
    }
    table
}

fn state(person: &v1::Person, now: WallTime) -> Cell {
    let tone = match person.state.as_str() {
        "active" => Tone::Good,
        "invited" => Tone::Plain,
        _ => Tone::Dim,
    };
    match wall(person.revoked_at.as_ref()) {
        Some(at) => Cell::toned(tone, format!("{} {} ago", person.state, roughly(now.since(at)))),
        None => Cell::toned(tone, &person.state),
    }
}

fn until(person: &v1::Person, now: WallTime) -> Cell {
    match wall(person.until.as_ref()) {
        None => Cell::new(""),
        Some(until) if until > now => Cell::new(format!("{} left", roughly(until.since(now)))),
        Some(until) => Cell::toned(Tone::Warn, format!("over {} ago", roughly(now.since(until)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn people_fit_every_terminal_and_those_put_out_come_last() {
        for width in [100, 80, 60] {
            let text = operators(&samples::people(), &samples::view(width));
            samples::assert_fits(&text, width);
            assert!(text.find("\nada").expect("she is there") > text.find("\ncleo").expect("they are there"), "{text}");
        }
        let without_the_longest: Vec<_> = samples::people().into_iter().filter(|p| p.name.len() < 60).collect();
        for width in [160, 100, 80, 60] {
            let text = operators(&without_the_longest, &samples::view(width));
            samples::assert_fits(&text, width);
            insta::assert_snapshot!(format!("people_{width}"), text);
        }
        assert!(operators(&[], &samples::view(80)).contains("\n  next  holdfast operator add"));
    }
}
