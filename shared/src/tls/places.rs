//! Who may make a handshake right now, and who must go when there is no place for another.
//!
//! One address never has more than half of the places. When there is none left, a handshake that has taken longer than a
//! healthy one ever does gives way; otherwise a newcomer waits, or is closed when its own address has taken its share.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use holdfast_types::BootInstant;

/// How many handshakes are under way at once. When full, further connections wait in the listener's queue: ten thousand
/// agents that come back together are taken in at the pace of the processor, not all at once.
pub const HANDSHAKES_MAX: usize = 256;
/// How many of them from one address. A site behind address translation has more hosts than that only for a moment.
pub(super) const OF_ONE_ADDRESS_MAX: usize = HANDSHAKES_MAX / 2;
/// Two round trips to the other side of the world and the work of both ends. One that takes longer may go on as long as
/// nobody else needs its place.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// An address without its port; of IPv6 the network of one site, which has as many addresses as it likes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin(String);

impl Origin {
    pub(super) fn of(address: &str) -> Self {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        Self(match bare.parse() {
            Ok(IpAddr::V6(v6)) => match v6.to_ipv4_mapped() {
                Some(v4) => v4.to_string(),
                None => format!("{:x}/64", v6.to_bits() >> 64),
            },
            Ok(IpAddr::V4(v4)) => v4.to_string(),
            Err(_) => host.to_owned(),
        })
    }
}

/// What becomes of a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It has this place.
    Place(u64),
    /// It has the first place; whoever had the second gives way.
    Instead(u64, u64),
    /// Its address has its share.
    Closed,
}

#[derive(Debug)]
struct Place {
    of: Origin,
    since: BootInstant,
}

/// The handshakes under way, by the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: BTreeMap<u64, Place>,
    next: u64,
}

impl Places {
    /// Whether another connection may be taken from the listener.
    pub(super) fn open(&self, now: BootInstant) -> bool {
        self.taken.len() < HANDSHAKES_MAX || self.oldest(|_| true, now).is_some()
    }

    /// Gives a newcomer a place. Only while [`Places::open`].
    pub(super) fn take(&mut self, of: Origin, now: BootInstant) -> Taken {
        let is_same = |place: &Place| place.of == of;
        let same = self.taken.values().filter(|place| is_same(place)).count();
        let gives_way = if same >= OF_ONE_ADDRESS_MAX {
            match self.oldest(is_same, now) {
                Some(oldest) => Some(oldest),
                None => return Taken::Closed,
            }
        } else if self.taken.len() >= HANDSHAKES_MAX {
            match self.oldest(|_| true, now) {
                Some(oldest) => Some(oldest),
                None => return Taken::Closed,
            }
        } else {
            None
        };
        let number = self.next;
        self.next += 1;
        self.taken.insert(number, Place { of, since: now });
        match gives_way {
            Some(old) => {
                self.taken.remove(&old);
                Taken::Instead(number, old)
            }
            None => Taken::Place(number),
        }
    }

    /// A handshake has ended.
    pub(super) fn leave(&mut self, number: u64) {
        self.taken.remove(&number);
    }

    /// The oldest of those that have had their time.
    fn oldest(&self, of: impl Fn(&Place) -> bool, now: BootInstant) -> Option<u64> {
        let mut places = self.taken.iter().filter(|(_, place)| of(place));
        places.next().filter(|(_, place)| now.since(place.since) >= PATIENCE).map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> BootInstant {
        BootInstant::from_boot(Duration::from_millis(millis))
    }

    fn from(n: usize) -> Origin {
        Origin::of(&format!("10.0.{}.{}:4000", n / 250, n % 250))
    }

    #[test]
    fn one_address_has_half_of_the_places_and_then_its_oldest_gives_way() {
        let mut places = Places::default();
        for _ in 0..OF_ONE_ADDRESS_MAX {
            assert!(matches!(places.take(from(1), at(0)), Taken::Place(_)));
        }
        assert_eq!(places.take(from(1), at(999)), Taken::Closed, "they may all be healthy");
        assert!(matches!(places.take(from(2), at(999)), Taken::Place(_)), "others are not concerned");
        assert_eq!(places.take(from(1), at(1_000)), Taken::Instead(OF_ONE_ADDRESS_MAX as u64 + 1, 0));
        places.leave(1);
        assert!(matches!(places.take(from(1), at(1_000)), Taken::Place(_)));
    }

    #[test]
    fn when_all_places_are_taken_the_listener_waits_until_one_has_had_its_time() {
        let mut places = Places::default();
        for n in 0..HANDSHAKES_MAX {
            assert!(places.open(at(0)));
            assert!(matches!(places.take(from(n), at(n as u64)), Taken::Place(_)));
        }
        assert!(!places.open(at(999)));
        assert!(places.open(at(1_000)));
        assert_eq!(places.take(from(900), at(1_000)), Taken::Instead(HANDSHAKES_MAX as u64, 0));
        assert!(!places.open(at(1_000)), "the next has a millisecond left");
        places.leave(7);
        assert!(places.open(at(1_000)));
    }

    #[test]
    fn an_address_counts_without_its_port_and_a_site_of_ipv6_as_one() {
        assert_eq!(Origin::of("10.0.0.1:1"), Origin::of("10.0.0.1:65535"));
        assert_eq!(Origin::of("[2001:db8::1]:1"), Origin::of("[2001:db8::ffff:2]:2"));
        assert_ne!(Origin::of("[2001:db8::1]:1"), Origin::of("[2001:db8:0:1::1]:1"));
        assert_eq!(Origin::of("[::ffff:10.0.0.1]:1"), Origin::of("10.0.0.1:2"));
        assert_ne!(Origin::of("10.0.0.1:1"), Origin::of("10.0.0.2:1"));
    }
}
