//! Where a command reads and writes: data to stdout, everything else to stderr, and what kind of terminal that is.

use std::io::{self, BufRead, IsTerminal as _, Write};

use crate::{
    errors::{Exit, Failure},
    render::text::View,
};
use holdfast_types::WallTime;

/// Why a command ends early.
#[derive(Debug)]
pub enum Stop {
    /// It failed; the operator is told.
    Failed(Failure),
    /// Nobody reads stdout any more. That is no error.
    PipeClosed,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What stands at the other ends of stdin, stdout and stderr.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// A person may answer.
    pub stdin: bool,
    /// A person reads the data.
    pub stdout: bool,
    /// A person reads the rest.
    pub stderr: bool,
    /// Colours are not refused by NO_COLOR or a dumb terminal.
    pub colours: bool,
    /// The cursor can be moved.
    pub cursor: bool,
    /// It has more letters than ASCII.
    pub letters: bool,
    /// Columns and rows, where they are fixed; asked of the terminal otherwise.
    pub size: Option<(usize, usize)>,
}

impl Terminal {
    /// The terminal this process runs in.
    #[must_use]
    pub fn of_process() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self {
            stdin: io::stdin().is_terminal(),
            stdout: io::stdout().is_terminal(),
            stderr: io::stderr().is_terminal(),
            colours: !dumb && !no_color,
            cursor: !dumb,
            letters: locale_has_letters(|name| std::env::var(name).ok()),
            size: None,
        }
    }

    /// Columns and rows now; a window may change them at any time.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        const USUAL: (usize, usize) = (80, 24);
        self.size
            .or_else(|| {
                use terminal_size::terminal_size_of;
                let (w, h) = terminal_size_of(io::stdout()).or_else(|| terminal_size_of(io::stderr()))?;
                Some((usize::from(w.0), usize::from(h.0)))
            })
            .filter(|(w, h)| *w > 0 && *h > 0)
            .unwrap_or(USUAL)
    }

    /// Whether somebody can be asked: they read the question and can answer it.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        self.stdin && self.stderr
    }
}

/// Whether the locale is one of UTF-8: the first variable that is set says so, as everywhere.
fn locale_has_letters(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| variable(name).filter(|v| !v.is_empty()));
    set.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// The three streams of a command.
pub struct Console<'a> {
    /// Data.
    pub out: &'a mut dyn Write,
    /// The rest.
    pub err: &'a mut dyn Write,
    /// Answers.
    pub input: &'a mut dyn BufRead,
    /// What they are.
    pub terminal: Terminal,
}

impl Console<'_> {
    /// How to draw on stdout.
    #[must_use]
    pub fn view(&self, now: WallTime) -> View {
        let width = if self.terminal.stdout { self.terminal.size().0 } else { View::UNLIMITED };
        View { width, colour: self.terminal.stdout && self.terminal.colours, now }
    }

    /// How to draw on stderr.
    #[must_use]
    pub fn view_err(&self, now: WallTime) -> View {
        let width = if self.terminal.stderr { self.terminal.size().0 } else { View::UNLIMITED };
        View { width, colour: self.terminal.stderr && self.terminal.colours, now }
    }

    /// Writes data.
    ///
    /// # Errors
    /// [`Stop`] when it cannot be written; a closed pipe is no failure.
    pub fn data(&mut self, text: &str) -> Result<(), Stop> {
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Stop::PipeClosed),
            Err(e) => {
                let failure = Failure::new(Exit::Usage, format!("cannot write the output: {e}"));
                Err(failure.next("write it to somewhere with room").into())
            }
        }
    }

    /// Says something beside the data. That nobody hears it stops nothing.
    pub fn say(&mut self, text: &str) {
        let said = self.err.write_all(text.as_bytes()).and_then(|()| self.err.flush());
        drop(said);
    }

    /// Asks for a yes. Whatever cannot be read is a no.
    pub fn confirm(&mut self, question: &str) -> bool {
        self.say(&format!("{question} [y/N] "));
        let mut answer = String::new();
        let read = self.input.read_line(&mut answer);
        if !answer.ends_with('\n') {
            self.say("\n");
        }
        read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed(io::ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn terminal() -> Terminal {
        Terminal {
            stdin: true,
            stdout: true,
            stderr: true,
            colours: true,
            cursor: true,
            letters: true,
            size: Some((100, 30)),
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure_but_a_full_disk_is() {
        let (mut err, mut input) = (Vec::new(), io::empty());
        for (kind, failed) in [(io::ErrorKind::BrokenPipe, false), (io::ErrorKind::StorageFull, true)] {
            let mut out = Closed(kind);
            let mut console = Console { out: &mut out, err: &mut err, input: &mut input, terminal: terminal() };
            match console.data("x").expect_err("nothing can be written") {
                Stop::Failed(failure) => assert!(failed && failure.exit == Exit::Usage),
                Stop::PipeClosed => assert!(!failed),
            }
        }
    }

    #[test]
    fn letters_are_what_the_first_locale_variable_says() {
        let set = |pairs: &'static [(&'static str, &'static str)]| {
            locale_has_letters(move |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
        };
        assert!(set(&[("LANG", "de_DE.UTF-8")]) && set(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]));
        assert!(!set(&[]) && !set(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]));
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, yes) in
            [("y\n", true), ("YES\n", true), ("n\n", false), ("\n", false), ("", false), ("yo\n", false)]
        {
            let (mut out, mut err, mut input) = (Vec::new(), Vec::new(), io::Cursor::new(answer));
            let mut console = Console { out: &mut out, err: &mut err, input: &mut input, terminal: terminal() };
            assert_eq!(console.confirm("really?"), yes, "{answer:?}");
            assert!(err.starts_with(b"really? [y/N] "));
        }
    }
}
