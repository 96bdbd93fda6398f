//! Printing errors: one printer walks the chain of causes.

use std::{error::Error, fmt};

/// Shows an error and all its causes on one line: `what: why: root cause`.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut shown = self.0.to_string();
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // Libraries often repeat their cause in their own text; once is enough.
            if !shown.contains(&text) {
                write!(f, ": {text}")?;
            }
            shown = text;
            next = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_whole_chain_is_shown_once() {
        let e = Outer(std::io::Error::other("disk is gone"));
        assert_eq!(Chain(&e).to_string(), "outer: disk is gone");
    }
}
