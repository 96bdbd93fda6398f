//! The audit trail: who asked for what, and what came of it, each entry bound to the one before it by its hash.
//!
//! An entry that is changed, left out or put in afterwards breaks the chain from there on. Whoever keeps the newest hash
//! elsewhere can tell that the whole trail was written anew.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// SHA-256 of an entry and of the hash before it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Hash(pub [u8; 32]);

/// One call that changes something, allowed or refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts from 1 without a gap.
    pub number: u64,
    /// When, milliseconds since the Unix epoch, by the coordinator that took it.
    pub at: i64,
    /// Who: `operator ada`, `token k7q2`.
    pub by: String,
    /// From where: address and port.
    pub from: String,
    /// What was called: `failover`.
    pub call: String,
    /// On what: an app, a host, a person.
    pub subject: String,
    /// Why, in the caller's words; empty when none were given.
    pub why: String,
    /// Whether it was allowed and done.
    pub done: bool,
    /// What came of it, a line: `operation 7`, or why it was refused.
    pub outcome: String,
    /// Of the entry before it.
    pub previous: Hash,
    /// Of this entry.
    pub hash: Hash,
}

/// Where a trail does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Numbers are missing or out of order.
    #[error("entry {found} comes where entry {expected} should be")]
    Gap {
        /// The number that should come.
        expected: u64,
        /// The number that comes.
        found: u64,
    },
    /// The entry does not name the hash of the one before it.
    #[error("entry {0} does not follow the entry before it: one of the two was changed or put in afterwards")]
    Link(u64),
    /// The entry is not what its hash says.
    #[error("entry {0} is not what its hash says: it was changed afterwards")]
    Content(u64),
}

impl Entry {
    /// The hash that this entry should have. Each text goes in with its length, so that none can flow into the next.
    #[must_use]
    pub fn expected(&self) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(b"holdfast audit 1");
        hasher.update(self.previous.0);
        hasher.update(self.number.to_be_bytes());
        hasher.update(self.at.to_be_bytes());
        hasher.update([u8::from(self.done)]);
        for text in [&self.by, &self.from, &self.call, &self.subject, &self.why, &self.outcome] {
            hasher.update((text.len() as u64).to_be_bytes());
            hasher.update(text.as_bytes());
        }
        Hash(hasher.finalize().into())
    }

    /// With its hash put in.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        self.hash = self.expected();
        self
    }
}

/// Goes along a trail, entry by entry. The first may have any number: older ones are not kept for ever.
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    first: u64,
    last: Option<(u64, Hash)>,
}

impl Verifier {
    /// Takes the next entry.
    ///
    /// # Errors
    /// [`Broken`]; what comes after it says nothing.
    pub fn take(&mut self, entry: &Entry) -> Result<(), Broken> {
        if let Some((number, hash)) = self.last {
            if entry.number != number + 1 {
                return Err(Broken::Gap { expected: number + 1, found: entry.number });
            }
            if entry.previous != hash {
                return Err(Broken::Link(entry.number));
            }
        } else {
            self.first = entry.number;
        }
        if entry.expected() != entry.hash {
            return Err(Broken::Content(entry.number));
        }
        self.last = Some((entry.number, entry.hash));
        Ok(())
    }

    /// Number of the first entry taken; 0 before there is one.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// Number and hash of the last entry taken.
    #[must_use]
    pub const fn last(&self) -> Option<(u64, Hash)> {
        self.last
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl std::str::FromStr for Hash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("\"{}\" is no hash of 64 hexadecimal digits", text.chars().take(80).collect::<String>());
        if text.len() != 64 || !text.is_ascii() {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (n, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[n * 2..n * 2 + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<&[u8]> for Hash {
    type Error = String;

    fn try_from(bytes: &[u8]) -> Result<Self, String> {
        bytes.try_into().map(Self).map_err(|_| format!("a hash of {} bytes, not 32", bytes.len()))
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64, previous: Hash) -> Entry {
        Entry {
            number,
            at: 1_795_208_657_532,
            by: "operator ada".to_owned(),
            from: "10.0.0.9:1".to_owned(),
            call: "failover".to_owned(),
            subject: "shop".to_owned(),
            why: "drill".to_owned(),
            done: true,
            outcome: format!("operation {number}"),
            previous,
            hash: Hash::default(),
        }
        .sealed()
    }

    fn trail(from: u64, count: u64) -> Vec<Entry> {
        let mut previous = Hash::default();
        (from..from + count)
            .map(|number| {
                let entry = entry(number, previous);
                previous = entry.hash;
                entry
            })
            .collect()
    }

    fn verify(trail: &[Entry]) -> Result<Option<(u64, Hash)>, Broken> {
        let mut verifier = Verifier::default();
        trail.iter().try_for_each(|entry| verifier.take(entry))?;
        Ok(verifier.last())
    }

    #[test]
    fn a_trail_holds_until_anything_in_it_is_changed_left_out_put_in_or_swapped() {
        let whole = trail(5, 6);
        assert_eq!(verify(&whole), Ok(Some((10, whole[5].hash))));
        assert_eq!(verify(&[]), Ok(None));
        let changes: [fn(&mut Entry); 9] = [
            |e| e.at += 1,
            |e| e.by = "operator eve".to_owned(),
            |e| e.from.push('1'),
            |e| e.call = "abort".to_owned(),
            |e| e.subject = "shop2".to_owned(),
            |e| e.why.clear(),
            |e| e.done = false,
            |e| e.outcome.push('0'),
            // A text that flows into its neighbour.
            |e| (e.call, e.subject) = ("failovers".to_owned(), "hop".to_owned()),
        ];
        for change in changes {
            let mut trail = whole.clone();
            change(&mut trail[2]);
            assert_eq!(verify(&trail), Err(Broken::Content(7)));
            // Sealed again, it does not fit what follows.
            trail[2] = trail[2].clone().sealed();
            assert_eq!(verify(&trail), Err(Broken::Link(8)));
        }
        let mut left_out = whole.clone();
        left_out.remove(3);
        assert_eq!(verify(&left_out), Err(Broken::Gap { expected: 8, found: 9 }));
        let mut swapped = whole.clone();
        swapped.swap(1, 2);
        assert!(verify(&swapped).is_err());
        let mut put_in = whole;
        put_in.insert(3, entry(8, put_in[2].hash));
        assert!(verify(&put_in).is_err());
    }

    #[test]
    fn an_entry_reads_back_from_its_json() {
        let entry = entry(1, Hash([7; 32]));
        let text = serde_json::to_string(&entry).expect("plain fields");
        assert_eq!(serde_json::from_str::<Entry>(&text).expect("the same"), entry);
        for bad in ["", "00", &"g".repeat(64), &"ä".repeat(32)] {
            assert!(bad.parse::<Hash>().is_err(), "{bad}");
        }
    }
}
