//! Everything that a test of the promise watches: a writer outside, two inside each region, and both databases.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};

use super::{Ledger, Writer, overlaps};
use crate::harness::{Fleet, PgNode, Primaries, fleet::OUTSIDE};

/// For the first writes.
const BEGUN_WITHIN: Duration = Duration::from_secs(30);

/// A watch from the beginning of a test to its end.
#[derive(Debug)]
pub struct Watched {
    /// What was acknowledged so far.
    pub ledger: Arc<Ledger>,
    writers: Vec<Writer>,
    primaries: Primaries,
}

impl Watched {
    /// Begins, and waits until the app is seen to be served in us-east.
    ///
    /// # Errors
    /// When it is not.
    pub fn begin(fleet: &Fleet) -> Result<Self> {
        Self::begin_on(fleet, &fleet.east.pg, &fleet.west.pg, 5433)
    }

    /// The same for the databases of a further app, behind that port of the proxies.
    ///
    /// # Errors
    /// When it is not.
    pub fn begin_on(fleet: &Fleet, east: &PgNode, west: &PgNode, port: u16) -> Result<Self> {
        let ledger = Ledger::new();
        let proxies = [&fleet.east.proxy, &fleet.west.proxy];
        let writers = vec![
            Writer::outside(OUTSIDE, &fleet.client, proxies, port, &ledger)?,
            Writer::inside(east, &ledger)?,
            Writer::inside(west, &ledger)?,
            Writer::busy(east, &ledger)?,
            Writer::busy(west, &ledger)?,
        ];
        let primaries = Primaries::watch(east, west)?;
        for writer in [OUTSIDE, "inside-us-east", "busy-us-east"] {
            ledger.wait_more(writer, 10, BEGUN_WITHIN)?;
        }
        Ok(Self { ledger, writers, primaries })
    }

    /// Ends all of it. Nobody wrote where another already did, and us-east was down before us-west rose; answers whether
    /// us-west rose at all.
    ///
    /// # Errors
    /// With what was seen of the promise being broken.
    pub fn end(self) -> Result<(Arc<Ledger>, bool)> {
        let Self { ledger, writers, primaries } = self;
        for writer in writers {
            writer.stop()?;
        }
        let (rose, both) = primaries.end()?;
        let found = overlaps(&ledger.acks());
        ensure!(
            found.is_empty(),
            "two regions acknowledged writes at once, {} times, {} beyond doubt: {:?} …",
            found.len(),
            found.iter().filter(|o| o.beyond_doubt()).count(),
            found.first()
        );
        ensure!(
            both.is_empty(),
            "us-east lived when us-west was primary, in {} looks: {:?} …",
            both.len(),
            both.first()
        );
        Ok((ledger, rose.is_some()))
    }

    /// Ends all of it without a judgement: every overlap, and whether both databases were seen at once.
    ///
    /// # Errors
    /// When a writer or the watch broke.
    pub fn end_unjudged(self) -> Result<(Vec<super::Overlap>, bool)> {
        let Self { ledger, writers, primaries } = self;
        for writer in writers {
            writer.stop()?;
        }
        let (_, both) = primaries.end()?;
        Ok((overlaps(&ledger.acks()), !both.is_empty()))
    }
}
