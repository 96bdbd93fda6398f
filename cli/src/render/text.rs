//! Text for a terminal: measuring, wrapping, painting, and numbers with their units.
//!
//! Everything here is a function of its arguments. Texts from the network pass through [`clean`], so that no message
//! can move the cursor or change what an operator reads.

use std::{fmt::Write as _, time::Duration};

use holdfast_types::{WallTime, time};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Explanations are wrapped here even where the terminal is wider: longer lines are hard to read.
const PROSE_COLUMNS_MAX: usize = 100;

/// How to draw: the width in columns, whether colours are wanted, and what time it is.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Columns of the terminal; [`View::UNLIMITED`] where nobody's eyes are the limit.
    pub width: usize,
    /// Whether to paint.
    pub colour: bool,
    /// The wall clock, for ages where a reply names no time of its own.
    pub now: WallTime,
}

impl View {
    /// The width of a pipe or a file: rows stay on one line there, so that `grep` finds them whole.
    pub const UNLIMITED: usize = usize::MAX;

    /// Columns for sentences.
    #[must_use]
    pub fn prose(&self) -> usize {
        self.width.min(PROSE_COLUMNS_MAX)
    }

    /// The text in its colour, or as it is.
    #[must_use]
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        match tone.code() {
            Some(code) if self.colour && !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            Some(_) | None => text.to_owned(),
        }
    }
}

/// What a piece of text means. Never the only carrier of its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// As the terminal has it.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Someone should look.
    Warn,
    /// Broken, or dangerous.
    Bad,
    /// Less important.
    Dim,
    /// A name or a heading.
    Strong,
}

impl Tone {
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Warn => Some("33"),
            Self::Bad => Some("31"),
            Self::Dim => Some("2"),
            Self::Strong => Some("1"),
        }
    }
}

/// The text without anything that a terminal would obey: controls become spaces, marks that reorder text vanish.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars()
        .filter(|c| !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .trim_end()
        .to_owned()
}

/// Columns that the text takes on a terminal.
#[must_use]
pub fn columns(text: &str) -> usize {
    text.width()
}

/// The text, cut to so many columns, ending in an ellipsis if anything is missing.
#[must_use]
pub fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > width {
            break;
        }
        used += w;
        out.push(c);
    }
    out.push('…');
    out
}

/// The text followed by spaces up to so many columns.
#[must_use]
pub fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// Breaks the text at spaces into lines of at most `width` columns; a longer word is broken where it must be.
/// Runs of spaces inside a line stay as they are.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut gap = 0;
    for word in words(text) {
        if word.is_empty() {
            gap += 1;
            continue;
        }
        if !line.is_empty() && columns(&line) + gap + columns(word) <= width {
            line.push_str(&" ".repeat(gap));
            line.push_str(word);
        } else {
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            for c in word.chars() {
                if columns(&line) + c.width().unwrap_or(0) > width && !line.is_empty() {
                    lines.push(std::mem::take(&mut line));
                }
                line.push(c);
            }
        }
        gap = 1;
    }
    lines.push(line);
    lines
}

/// The words, empty ones between two spaces; a number stays with its unit.
pub(super) fn words(text: &str) -> Vec<&str> {
    const UNITS: [&str; 11] = ["ms", "s", "min", "h", "d", "B", "KiB", "MiB", "GiB", "TiB", "UTC"];
    let mut words = Vec::new();
    let mut from = 0;
    for (at, _) in text.match_indices(' ') {
        let number = text[from..at].ends_with(|c: char| c.is_ascii_digit());
        let next = text[at + 1..].split(' ').next().unwrap_or_default();
        if number && UNITS.contains(&next.trim_end_matches(|c: char| c.is_ascii_punctuation())) {
            continue;
        }
        words.push(&text[from..at]);
        from = at + 1;
    }
    words.push(&text[from..]);
    words
}

/// Appends `head` and the wrapped text, its further lines under its first.
pub fn hang(out: &mut String, view: &View, head: &str, text: &str) {
    hang_painted(out, view, head, Tone::Plain, text);
}

/// As [`hang`], with the text in a colour.
pub fn hang_painted(out: &mut String, view: &View, head: &str, tone: Tone, text: &str) {
    let indent = columns(head);
    // On a terminal so narrow that nothing is left beside the head, the terminal itself must wrap.
    let width = view.prose().saturating_sub(indent).max(20);
    for (i, line) in wrap(&clean(text), width).iter().enumerate() {
        let lead = if i == 0 { head.to_owned() } else { " ".repeat(indent) };
        let _ = writeln!(out, "{}", format!("{lead}{}", view.paint(tone, line)).trim_end());
    }
}

/// Appends labelled lines, their texts under each other; an empty label, or the one before again, is left blank.
/// `commands` come last, under `next`, and are never wrapped: a broken line cannot be copied.
pub fn labelled(out: &mut String, view: &View, indent: usize, lines: &[(String, String)], commands: &[String]) {
    const LABEL_MIN: usize = 4;
    let widest = lines.iter().map(|(label, _)| columns(label)).max().unwrap_or(0).max(LABEL_MIN);
    let mut before: Option<&str> = None;
    for (label, text) in lines {
        let shown = if before == Some(label) { "" } else { label };
        before = Some(label);
        hang(out, view, &format!("{}{}  ", " ".repeat(indent), pad(&clean(shown), widest)), text);
    }
    for (i, command) in commands.iter().enumerate() {
        let label = pad(if i == 0 { "next" } else { "" }, widest);
        let _ = writeln!(out, "{}{label}  {}", " ".repeat(indent), clean(command));
    }
}

/// `0 B`, `41 MiB`, `1.5 GiB`.
#[must_use]
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    // In tenths, so that no float decides what is shown.
    let mut tenths = u128::from(n) * 10;
    let mut unit = "B";
    for u in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = u;
    }
    if tenths >= 100 || tenths.is_multiple_of(10) {
        format!("{} {unit}", tenths / 10)
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

/// How long a step took: `0.02 s`, `5.1 s`, `2 min 5 s`.
#[must_use]
pub fn took(span: Duration) -> String {
    let millis = span.as_millis();
    match millis {
        0..1_000 => format!("0.{:02} s", millis / 10),
        1_000..60_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        60_000.. => time::span(Duration::from_secs(span.as_secs())),
    }
}

/// A span with one unit, for ages: `42 s`, `6 min`, `3 h`, `12 d`.
#[must_use]
pub fn roughly(span: Duration) -> String {
    match span.as_secs() {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3_600 => format!("{} min", s / 60),
        s @ 3_600..86_400 => format!("{} h", s / 3_600),
        s @ 86_400.. => format!("{} d", s / 86_400),
    }
}

/// The word with its number: `1 host`, `5 hosts`.
#[must_use]
pub fn count(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_move_the_cursor() {
        assert_eq!(clean("a\x1b[2Jb\r\nc\u{202e}d\t"), "a [2Jb  cd");
    }

    #[test]
    fn sizes_have_their_unit() {
        for (n, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (41 << 20, "41 MiB"),
            (16 << 30, "16 GiB"),
            (u64::MAX, "15 EiB"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn spans_of_steps_have_the_digits_that_matter() {
        for (millis, text) in
            [(0, "0.00 s"), (20, "0.02 s"), (190, "0.19 s"), (600, "0.60 s"), (5_100, "5.1 s"), (125_000, "2 min 5 s")]
        {
            assert_eq!(took(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn wrapped_lines_fit_and_lose_nothing() {
        let text = "start use-db1, then  holdfast why smellpin 面面面面面面面面面面面面面面面面面面面面 end";
        for width in 1..60 {
            let lines = wrap(text, width);
            // A wide character cannot be broken.
            assert!(lines.iter().all(|l| columns(l) <= width.max(2)), "{width}: {lines:?}");
            assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
        }
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("it took 12 min (2.2 s), so", 12), ["it took", "12 min", "(2.2 s), so"]);
    }

    #[test]
    fn what_is_cut_fits_and_says_so() {
        assert_eq!(cut("smellpin", 8), "smellpin");
        assert_eq!(cut("smellpin", 5), "smel…");
        assert_eq!(cut("面面面", 4), "面…");
    }
}
