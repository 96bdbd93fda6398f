//! What people see: plain lines of at most a hundred columns, and one block that is drawn again in place on a terminal.

use std::io::{self, IsTerminal, Write};

/// No line is longer.
pub const COLUMNS: usize = 100;

/// How a line is painted on a terminal; nowhere else is there any colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// A heading, or what everything is about.
    Strong,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// Beside the point.
    Dim,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "\x1b[1m",
            Self::Good => "\x1b[32m",
            Self::Bad => "\x1b[1;31m",
            Self::Dim => "\x1b[2m",
        }
    }
}

/// Standard output, or anything else that lines go to.
pub struct Screen<W: Write = io::Stdout> {
    out: W,
    /// A terminal, on which lines can be drawn over.
    redraws: bool,
    colour: bool,
    /// Lines of the block that stands at the end.
    block: usize,
}

impl Screen {
    /// Standard output; colour only on a terminal, and only where NO_COLOR is not set.
    #[must_use]
    pub fn stdout() -> Self {
        let terminal = io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { out: io::stdout(), redraws: terminal, colour, block: 0 }
    }
}

impl<W: Write> Screen<W> {
    /// Plain lines into anything.
    pub const fn plain(out: W) -> Self {
        Self { out, redraws: false, colour: false, block: 0 }
    }

    /// Whether the block is drawn again in place.
    #[must_use]
    pub const fn redraws(&self) -> bool {
        self.redraws
    }

    /// One line, cut where it would be too long.
    pub fn line(&mut self, tone: Tone, text: &str) {
        self.unblock();
        let text = cut(text, COLUMNS);
        if self.colour && tone != Tone::Plain {
            self.write(&format!("{}{text}\x1b[0m\n", tone.code()));
        } else {
            self.write(&format!("{text}\n"));
        }
    }

    /// A lead and a text that goes on below itself where the line is full.
    pub fn wrapped(&mut self, tone: Tone, lead: &str, text: &str) {
        let room = COLUMNS.saturating_sub(lead.chars().count()).max(20);
        let mut lead = lead.to_owned();
        for part in wrap(text, room) {
            self.line(tone, &format!("{lead}{part}"));
            lead = " ".repeat(lead.chars().count());
        }
    }

    /// A line as it is, however long: for what other programs read.
    pub fn data(&mut self, text: &str) {
        self.unblock();
        self.write(&format!("{text}\n"));
    }

    /// An empty line.
    pub fn gap(&mut self) {
        self.line(Tone::Plain, "");
    }

    /// Lines that stand at the end until other lines or the next block replace them. Not on a terminal: just lines.
    pub fn block(&mut self, lines: &[String]) {
        self.unblock();
        let text: String = lines.iter().map(|line| format!("{}\n", cut(line, COLUMNS))).collect();
        if self.redraws {
            // Without the terminal's own line breaks: on a narrow one the block would be higher than it has lines.
            self.write(&format!("\x1b[?7l{text}\x1b[?7h"));
            self.block = lines.len();
        } else {
            self.write(&text);
        }
    }

    fn unblock(&mut self) {
        if self.block > 0 {
            // Up so many lines, and clear from there to the end of the screen.
            self.write(&format!("\x1b[{}A\x1b[J", self.block));
            self.block = 0;
        }
    }

    /// Nobody reading is no reason to leave a demonstration half done: what was started must still be taken down.
    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// At most so many columns, without line feeds and other control characters; what is cut off shows as `…`.
#[must_use]
pub fn cut(text: &str, columns: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    if text.chars().count() <= columns {
        return text.chars().map(clean).collect::<String>().trim_end().to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(1)).map(clean).collect();
    format!("{}…", kept.trim_end())
}

/// Lines of at most so many columns, broken at blanks where there are some.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let long = word.chars().count();
        if used > 0 && used + 1 + long > columns {
            lines.push(String::new());
            used = 0;
        }
        let Some(line) = lines.last_mut() else { break };
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += long;
    }
    lines
}

/// `12345` → `12,345`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_text_goes_to_what_is_no_terminal() {
        let mut out = Vec::new();
        let mut screen = Screen::plain(&mut out);
        screen.block(&["one".to_owned(), "two".to_owned()]);
        screen.line(Tone::Bad, "three\x1b[31m\nfour");
        assert_eq!(String::from_utf8(out).expect("text"), "one\ntwo\nthree [31m four\n");
    }

    #[test]
    fn a_block_on_a_terminal_is_drawn_over() {
        let mut out = Vec::new();
        let mut screen = Screen { out: &mut out, redraws: true, colour: false, block: 0 };
        screen.block(&["one".to_owned(), "two".to_owned()]);
        screen.line(Tone::Plain, "three");
        screen.block(&["four".to_owned()]);
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "\x1b[?7lone\ntwo\n\x1b[?7h\x1b[2A\x1b[Jthree\n\x1b[?7lfour\n\x1b[?7h"
        );
    }

    #[test]
    fn no_line_is_longer_than_a_hundred_columns() {
        let long = "é".repeat(101);
        assert_eq!(cut(&long, COLUMNS).chars().count(), COLUMNS);
        assert!(cut(&long, COLUMNS).ends_with('…'));
        assert_eq!(cut("short ", COLUMNS), "short");
    }

    #[test]
    fn a_long_text_goes_on_below_itself() {
        let mut out = Vec::new();
        Screen::plain(&mut out).wrapped(Tone::Plain, "  lead  ", &"word ".repeat(20));
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[1].starts_with("        word") && lines.iter().all(|l| l.chars().count() <= COLUMNS), "{text}");
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
