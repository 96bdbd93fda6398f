//! Writers that remember every acknowledged write, and the judgement over what they remember.
//!
//! A [`Writer`] runs outside all regions and goes through the proxies, or inside one and goes straight to its database,
//! past HAProxy and past every cut, as a client or as one statement that never ends. All of them stamp with one clock into one [`Ledger`]; [`check`] has the rules.

mod busy;
pub mod check;
mod ledger;
mod route;
mod watched;
mod writer;

use anyhow::Result;

pub use busy::procedure;
pub use check::{Overlap, longest_gap, lost, overlaps, rto};
pub use ledger::{Ack, Counters, Database, Ledger};
pub use route::Route;
pub use watched::Watched;
pub use writer::{BETWEEN_WRITES, Writer, WriterPlan};

use crate::harness::PgNode;

/// What the writers write into.
pub const TABLE: &str = "create table if not exists holdfast_writes (
    writer text not null, sequence bigint not null, at timestamptz not null default clock_timestamp(),
    primary key (writer, sequence))";

/// Looks for each acknowledged write, one by one, in the database that survived, and returns those that are not there.
///
/// # Errors
/// When the database does not answer: then nothing is known about what it holds.
pub fn lost_in(survivor: &PgNode, acks: &[Ack]) -> Result<Vec<Ack>> {
    survivor.with_session(|session| {
        lost(acks, |ack| {
            let found = session.query(&format!(
                "select 1 from holdfast_writes where writer = '{}' and sequence = {}",
                ack.writer, ack.sequence
            ))?;
            Ok(!found.is_empty())
        })
    })
}
