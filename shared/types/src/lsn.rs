//! PostgreSQL's position in its write-ahead log.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A log sequence number: a byte position in the WAL, printed as PostgreSQL prints it (`3A/945A1100`).
/// Positions of different timelines compare only after their timelines do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Bytes from `earlier` to this; zero when `earlier` is further on.
    #[must_use]
    pub const fn bytes_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// Why a text is no LSN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no LSN: expected two hexadecimal numbers, as in 3A/945A1100")]
pub struct BadLsn(String);

impl FromStr for Lsn {
    type Err = BadLsn;

    fn from_str(text: &str) -> Result<Self, BadLsn> {
        let bad = || BadLsn(text.chars().take(80).collect());
        let (high, low) = text.split_once('/').ok_or_else(bad)?;
        let part = |t: &str| {
            if t.is_empty() || !t.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad());
            }
            u32::from_str_radix(t, 16).map_err(|_| bad())
        };
        Ok(Self(u64::from(part(high)?) << 32 | u64::from(part(low)?)))
    }
}

/// Prints a number of bytes as people write it: `0 B`, `41 MiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count;
    let mut unit = 0;
    while value >= 10_240 || (value >= 1_024 && value.is_multiple_of(1_024) && unit + 1 < UNITS.len()) {
        if unit + 1 == UNITS.len() {
            break;
        }
        value /= 1_024;
        unit += 1;
    }
    format!("{value} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lsn_reads_back_what_it_prints() {
        let lsn: Lsn = "3A/945A1100".parse().expect("an LSN");
        assert_eq!(lsn.to_string(), "3A/945A1100");
        assert_eq!("0/0".parse(), Ok(Lsn(0)));
        for bad in ["", "3A", "3A/", "/1", "x/1", "3A/945A1100/1", "123456789/0", "+1/0"] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad:?} was taken as an LSN");
        }
    }

    #[test]
    fn bytes_print_with_a_unit_people_use() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1_023), "1023 B");
        assert_eq!(bytes(41 << 20), "41 MiB");
        assert_eq!(bytes(16 << 20), "16 MiB");
        assert_eq!(bytes(u64::MAX), "16777215 TiB");
    }
}
