//! The app spec: what an operator declares of one app, read from YAML (`spec: 1`) and checked whole.
//!
//! [`parse`] turns text into an [`AppSpec`] in which every reference leads somewhere and every timing can hold, or
//! into [`Problems`]: all of them at once, each with file, line, key, value and what would do. Nothing is guessed: an
//! unknown key is a problem, and so is a key that a later version will know.
//!
//! What is stored and replicated is the YAML text. Reading the same text again gives an equal value, on every host.
//!
//! | file | owns |
//! |---|---|
//! | `app` | the checked values, and questions about them |
//! | `tree` | YAML to a bounded tree with line numbers: size, depth, duplicate keys, no anchors |
//! | `walk` | taking values out of the tree, and noting what is wrong with them |
//! | `read` | each section of the format: keys, defaults |
//! | `relate` | rules between sections: references, hosts, writers |
//! | `timing` | rules between spans of time |
//! | `arithmetic` | the lines that `plan` and `apply` print |
//! | `later` | keys and values that this version refuses by name |
//! | `values` | single values: names, numbers, spans, paths |
//! | `suggest` | "did you mean" |
//! | `build` | from what was read to the checked values |
//! | `problem` | how a problem reads |

mod app;
mod arithmetic;
mod build;
mod later;
mod problem;
mod read;
mod relate;
pub mod suggest;
#[cfg(test)]
mod tests;
mod timing;
mod tree;
mod values;
mod walk;

pub use app::{
    AppSpec, Check, CheckKind, Failover, FencedBy, Fencing, Login, Mode, MongodbExpect, Of, OnIsolation, Place,
    Placement, PostgresExpect, Proxy, RedisExpect, Region, Replication, ReplicationMode, RunBy, TlsCheck, Writer,
    WriterKind,
};
pub use arithmetic::ArithmeticLine;
pub use problem::{Problem, Problems};

use walk::Notes;

/// Longest spec that is read at all, in bytes. A large app's spec has a few KiB.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// Deepest nesting that is read. The format itself needs seven levels.
pub const DEPTH_MAX: usize = 64;

/// Reads and checks a spec. `file_name` only stands in front of each problem.
///
/// # Errors
/// Every [`Problem`] found, in the order of their lines. Text that is no YAML, too long or too deep is one problem.
pub fn parse(file_name: &str, text: &str) -> Result<AppSpec, Problems> {
    let mut notes = Notes::default();
    if let Some(spec) = read_all(text, &mut notes)
        && notes.count() == 0
    {
        return Ok(spec);
    }
    if notes.count() == 0 {
        // A reader gave up without saying why. Absent is better than wrong, and silent is worse than both.
        notes.whole(1, "cannot be read, and the reason was lost", "report this with the file");
    }
    let (found, dropped) = notes.into_found();
    Err(Problems::new(file_name, found, dropped))
}

fn read_all(text: &str, notes: &mut Notes) -> Option<AppSpec> {
    let root = tree::read(text, notes)?;
    let draft = read::draft(&root, notes)?;
    relate::check(&draft, notes);
    timing::check(draft.failover.as_ref(), &draft.fencing, &draft.checks, notes);
    build::app(draft)
}
