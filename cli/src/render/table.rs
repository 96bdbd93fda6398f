//! A table without lines between its cells. Where it would be wider than the terminal, cells that may break are
//! wrapped; where even that is not enough, every row becomes a small paragraph. Nothing is cut: operators type names.

use std::fmt::Write as _;

use super::text::{Tone, View, clean, columns, words, wrap};

const GAP: usize = 2;

/// Holds a place where there is nothing to say.
pub const NOTHING: &str = "–";

/// A column: its heading and how its cells behave.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    head: &'static str,
    right: bool,
    breaks: bool,
}

impl Column {
    /// A column of names: never broken.
    pub const fn new(head: &'static str) -> Self {
        Self { head, right: false, breaks: false }
    }

    /// A column of numbers, at the right.
    pub const fn right(head: &'static str) -> Self {
        Self { head, right: true, breaks: false }
    }

    /// A column of words that may stand on several lines.
    pub const fn breaks(head: &'static str) -> Self {
        Self { head, right: false, breaks: true }
    }
}

/// A cell: its text, each line of its own kept, and how it is painted.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    lines: Vec<String>,
    tone: Tone,
}

impl Cell {
    /// A plain cell; an empty text shows as [`NOTHING`].
    pub fn new(text: impl AsRef<str>) -> Self {
        Self::toned(Tone::Plain, text)
    }

    /// A cell in a colour.
    pub fn toned(tone: Tone, text: impl AsRef<str>) -> Self {
        let text = clean(text.as_ref());
        let lines = vec![if text.is_empty() { NOTHING.to_owned() } else { text }];
        Self { lines, tone }
    }

    /// A cell that stays empty.
    pub fn blank() -> Self {
        Self { lines: vec![String::new()], tone: Tone::Plain }
    }

    /// A cell with a line for each text.
    pub fn lines(tone: Tone, lines: impl IntoIterator<Item = String>) -> Self {
        let lines: Vec<String> = lines.into_iter().map(|l| clean(&l)).collect();
        if lines.is_empty() { Self::toned(tone, "") } else { Self { lines, tone } }
    }

    fn widest(&self) -> usize {
        self.lines.iter().map(|l| columns(l)).max().unwrap_or(0)
    }

    fn longest_word(&self) -> usize {
        self.lines.iter().flat_map(|l| words(l)).map(columns).max().unwrap_or(0)
    }
}

/// Rows under headings.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    indent: usize,
}

impl Table {
    /// A table with these columns and no rows yet.
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new(), indent: 0 }
    }

    /// The same table, so many columns further to the right.
    #[must_use]
    pub fn indented(mut self, indent: usize) -> Self {
        self.indent = indent;
        self
    }

    /// Adds a row; its cells belong to the columns in their order.
    pub fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        let mut cells = cells.into();
        cells.resize_with(self.columns.len(), Cell::default);
        self.rows.push(cells);
    }

    /// The table as text, a line feed at each end of line.
    #[must_use]
    pub fn render(&self, view: &View) -> String {
        let mut out = String::new();
        match self.widths(view.width.saturating_sub(self.indent)) {
            Some(widths) => self.draw(&mut out, view, &widths),
            None => self.paragraphs(&mut out, view),
        }
        out
    }

    /// Whether all fits without a break.
    #[must_use]
    pub fn fits(&self, view: &View) -> bool {
        let natural: usize = (0..self.columns.len()).map(|i| self.natural(i)).sum();
        natural + self.gaps() + self.indent <= view.width
    }

    /// The table without as many of these columns, the first first, as it takes to fit without a break. Where it would
    /// be paragraphs without all of them too, it keeps them: those have room for everything.
    #[must_use]
    pub fn without(self, heads: &[&str], view: &View) -> Self {
        let mut fewer = Self { columns: self.columns.clone(), rows: self.rows.clone(), indent: self.indent };
        for head in heads {
            if fewer.fits(view) {
                break;
            }
            let Some(at) = fewer.columns.iter().position(|column| column.head == *head) else { continue };
            fewer.columns.remove(at);
            for row in &mut fewer.rows {
                row.remove(at);
            }
        }
        if fewer.widths(view.width.saturating_sub(self.indent)).is_some() { fewer } else { self }
    }

    fn gaps(&self) -> usize {
        GAP * self.columns.len().saturating_sub(1)
    }

    fn natural(&self, column: usize) -> usize {
        let head = self.columns.get(column).map_or(0, |c| columns(c.head));
        self.rows.iter().filter_map(|r| r.get(column)).map(Cell::widest).fold(head, usize::max)
    }

    fn least(&self, column: usize) -> usize {
        let head = self.columns.get(column).map_or(0, |c| columns(c.head));
        self.rows.iter().filter_map(|r| r.get(column)).map(Cell::longest_word).fold(head, usize::max)
    }

    /// The width of each column, the widest breakable one narrowed first; none when the table cannot fit.
    fn widths(&self, available: usize) -> Option<Vec<usize>> {
        let available = available.checked_sub(self.gaps())?;
        let mut widths: Vec<usize> = (0..self.columns.len()).map(|i| self.natural(i)).collect();
        let least: Vec<usize> = (0..self.columns.len()).map(|i| self.least(i)).collect();
        while widths.iter().sum::<usize>() > available {
            let widest = (0..widths.len())
                .filter(|i| self.columns[*i].breaks && widths[*i] > least[*i])
                .max_by_key(|i| widths[*i])?;
            widths[widest] -= 1;
        }
        Some(widths)
    }

    fn draw(&self, out: &mut String, view: &View, widths: &[usize]) {
        let heads: Vec<Cell> = self.columns.iter().map(|c| Cell::toned(Tone::Dim, c.head)).collect();
        self.draw_row(out, view, widths, &heads);
        for row in &self.rows {
            self.draw_row(out, view, widths, row);
        }
    }

    fn draw_row(&self, out: &mut String, view: &View, widths: &[usize], cells: &[Cell]) {
        let broken: Vec<Vec<String>> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| cell.lines.iter().flat_map(|line| wrap(line, *width)).collect())
            .collect();
        let height = broken.iter().map(Vec::len).max().unwrap_or(0);
        for y in 0..height {
            let mut line = " ".repeat(self.indent);
            for (x, (cell, width)) in cells.iter().zip(widths).enumerate() {
                let text = broken[x].get(y).map_or("", String::as_str);
                let room = " ".repeat(width.saturating_sub(columns(text)));
                let text = view.paint(cell.tone, text);
                if self.columns.get(x).is_some_and(|c| c.right) {
                    line.push_str(&room);
                    line.push_str(&text);
                } else {
                    line.push_str(&text);
                    line.push_str(&room);
                }
                line.push_str(&" ".repeat(GAP));
            }
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }

    fn paragraphs(&self, out: &mut String, view: &View) {
        let lead = " ".repeat(self.indent);
        let body = format!("{lead}  ");
        let width = view.width.saturating_sub(columns(&body)).max(20);
        for row in &self.rows {
            let mut cells = row.iter().zip(&self.columns);
            if let Some((title, column)) = cells.next() {
                // A number says nothing without its heading.
                let word = if column.right { format!("{} ", column.head.to_lowercase()) } else { String::new() };
                for part in wrap(&format!("{word}{}", title.lines.join(", ")), width) {
                    let _ = writeln!(out, "{lead}{}", view.paint(Tone::Strong, &part));
                }
            }
            let mut line = String::new();
            let mut used = 0;
            let mut flush = |line: &mut String| {
                if !line.is_empty() {
                    let _ = writeln!(out, "{body}{line}");
                    line.clear();
                }
            };
            for (cell, column) in cells.filter(|(cell, _)| cell.lines.iter().any(|l| l != NOTHING && !l.is_empty())) {
                let item = format!("{} {}", column.head.to_lowercase(), cell.lines.join(", "));
                for (i, part) in wrap(&item, width).into_iter().enumerate() {
                    let separator = if i == 0 && used > 0 { " · " } else { "" };
                    if used > 0 && (i > 0 || used + columns(separator) + columns(&part) > width) {
                        flush(&mut line);
                        used = 0;
                    } else {
                        line.push_str(separator);
                        used += columns(separator);
                    }
                    line.push_str(&view.paint(cell.tone, &part));
                    used += columns(&part);
                }
            }
            flush(&mut line);
        }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_types::WallTime;

    use super::*;

    fn view(width: usize) -> View {
        View { width, colour: false, now: WallTime(0) }
    }

    fn table() -> Table {
        let mut t = Table::new([Column::new("APP"), Column::right("GEN"), Column::breaks("LAST MOVE")]);
        t.row([Cell::new("shop"), Cell::new("3"), Cell::new("12 d ago, switchover")]);
        t.row([Cell::new("smellpin"), Cell::new("1024"), Cell::new("")]);
        t
    }

    #[test]
    fn a_table_that_fits_is_drawn_as_it_is() {
        insta::assert_snapshot!(table().render(&view(80)), @r"
        APP        GEN  LAST MOVE
        shop         3  12 d ago, switchover
        smellpin  1024  –
        ");
    }

    #[test]
    fn a_narrower_table_breaks_words_not_names() {
        insta::assert_snapshot!(table().render(&view(28)), @r"
        APP        GEN  LAST MOVE
        shop         3  12 d ago,
                        switchover
        smellpin  1024  –
        ");
    }

    #[test]
    fn the_narrowest_table_becomes_paragraphs() {
        insta::assert_snapshot!(table().render(&view(24)), @r"
        shop
          gen 3
          last move 12 d ago,
          switchover
        smellpin
          gen 1024
        ");
    }

    #[test]
    fn columns_that_matter_least_go_first_and_only_where_they_must() {
        assert_eq!(table().without(&["GEN"], &view(80)).columns.len(), 3);
        insta::assert_snapshot!(table().without(&["GEN", "LAST MOVE"], &view(34)).render(&view(34)), @r"
        APP       LAST MOVE
        shop      12 d ago, switchover
        smellpin  –
        ");
    }

    #[test]
    fn no_width_loses_a_name() {
        for width in 0..100 {
            let text = table().render(&view(width));
            assert!(text.contains("smellpin") && text.contains("1024"), "{width}: {text}");
            assert!(text.lines().all(|l| columns(l) <= width.max(24) && !l.ends_with(' ')), "{width}: {text}");
        }
    }
}
