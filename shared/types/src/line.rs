//! Text of strangers as one line for people: whatever a service, a script or a daemon said, it moves no cursor, hides
//! nothing and has a bounded length.

/// Characters that reorder or hide what stands around them.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The text on one line, of at most `chars_max` characters: runs of white space and control characters become one
/// space, invisible ones go, and `…` stands where it was cut.
#[must_use]
pub fn one_line(text: &str, chars_max: usize) -> String {
    let mut line = String::new();
    let mut count = 0;
    let mut gap = false;
    for c in text.chars() {
        if c.is_control() || c.is_whitespace() {
            gap = count > 0;
            continue;
        }
        if is_invisible(c) {
            continue;
        }
        if count + usize::from(gap) >= chars_max {
            line.push('…');
            return line;
        }
        if gap {
            line.push(' ');
            count += 1;
            gap = false;
        }
        line.push(c);
        count += 1;
    }
    line
}

/// The first line that says anything, of bytes that may be anything; empty when none does.
#[must_use]
pub fn first_line(bytes: &[u8], chars_max: usize) -> String {
    let said = |line: &[u8]| one_line(&String::from_utf8_lossy(line), chars_max);
    bytes.split(|b| matches!(b, b'\n' | b'\r')).map(said).find(|line| !line.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_moves_a_cursor_or_hides_text_is_gone() {
        assert_eq!(one_line("a\u{1b}[31mb\r\n\tc\u{202e}d\u{0}", 40), "a [31mb cd");
        assert_eq!(one_line("  only words  ", 40), "only words");
        assert_eq!(one_line("abcdef", 3), "abc…");
        assert_eq!(one_line("abc  d", 4), "abc…");
        assert_eq!(one_line("abc  ", 3), "abc");
        assert_eq!(first_line(b"\n \x07\r\n90 % used\nmore", 40), "90 % used");
        assert_eq!(first_line(b"\xff\xfe", 40), "\u{fffd}\u{fffd}");
    }

    proptest! {
        #[test]
        fn whatever_was_said_is_one_short_visible_line(bytes in proptest::collection::vec(any::<u8>(), 0..400), max in 1_usize..60) {
            for line in [one_line(&String::from_utf8_lossy(&bytes), max), first_line(&bytes, max)] {
                prop_assert!(line.chars().count() <= max + 1, "{line:?}");
                prop_assert!(!line.chars().any(|c| c.is_control() || is_invisible(c)), "{line:?}");
                prop_assert_eq!(line.trim(), line.as_str());
            }
        }
    }
}
