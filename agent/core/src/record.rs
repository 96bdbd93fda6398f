//! A lease as it is noted in `/run/holdfast/leases/APP`, for the guard and for an agent that starts again.
//!
//! Two slots of fixed size are written in turn; each carries a counter and a checksum, and the valid one with the
//! higher counter is in force. What is always true of reading one, at any moment of any write: the answer is what was
//! in force before the write or what is after it, and bytes that are no record, or are of another boot of the host,
//! never give or extend a lease.

use std::time::Duration;

use holdfast_types::{BootId, BootInstant, Generation};

/// Bytes of one slot.
pub const SLOT_BYTES: usize = 96;
/// Bytes of a whole record: two slots.
pub const RECORD_BYTES: usize = 2 * SLOT_BYTES;

const MAGIC: [u8; 8] = *b"hflease1";
const BOOT_ID_BYTES: usize = 40;
/// Where the checksum stands; what follows it is zero.
const SUM_AT: usize = 8 + 8 + 8 + 8 + 1 + BOOT_ID_BYTES;
/// A deadline that is none.
const NEVER: u64 = u64::MAX;

/// When a lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// At this instant of the host's boot clock.
    At(BootInstant),
    /// Not at all: nobody could take over. Orders after every instant.
    Never,
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Of which generation the lease is.
    pub generation: Generation,
    /// When it ends.
    pub until: Until,
}

/// One write of a slot, at `offset` in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotWrite {
    /// From the start of the file.
    pub offset: u64,
    /// The whole slot.
    pub bytes: [u8; SLOT_BYTES],
}

/// Makes the writes of one app's record.
#[derive(Debug)]
pub struct Writer {
    boot: BootId,
    counter: u64,
    in_force: Option<Record>,
}

impl Writer {
    /// Goes on after what the file holds, so that its counter is never used again.
    #[must_use]
    pub fn after(file: &[u8], boot: &BootId) -> Self {
        let counter = slots(file).filter_map(decode).map(|slot| slot.counter).max().unwrap_or(0);
        Self { boot: boot.clone(), counter, in_force: read(file, boot) }
    }

    /// The writes, in this order, that put `record` in force. One that shortens the lease overwrites both slots:
    /// otherwise damage to the newer one would bring the longer lease back.
    pub fn put(&mut self, record: Record) -> Vec<SlotWrite> {
        let shortens = self.in_force.is_some_and(|old| old.until > record.until);
        self.in_force = Some(record);
        let count = if shortens { 2 } else { 1 };
        (0..count).map(|_| self.slot(record)).collect()
    }

    fn slot(&mut self, record: Record) -> SlotWrite {
        self.counter += 1;
        let place = self.counter % 2;
        SlotWrite { offset: place * SLOT_BYTES as u64, bytes: encode(self.counter, record, &self.boot) }
    }

    /// The file is gone.
    pub fn cleared(&mut self) {
        self.in_force = None;
    }
}

/// What the file says for this boot of the host. `None`: no lease.
#[must_use]
pub fn read(file: &[u8], boot: &BootId) -> Option<Record> {
    let newest = slots(file).filter_map(decode).max_by_key(|slot| slot.counter)?;
    (newest.boot == boot_bytes(boot)).then_some(newest.record)
}

fn slots(file: &[u8]) -> impl Iterator<Item = &[u8; SLOT_BYTES]> {
    file.chunks_exact(SLOT_BYTES).take(2).filter_map(|slot| slot.try_into().ok())
}

struct Slot {
    counter: u64,
    record: Record,
    boot: [u8; BOOT_ID_BYTES],
}

fn boot_bytes(boot: &BootId) -> [u8; BOOT_ID_BYTES] {
    let mut bytes = [0; BOOT_ID_BYTES];
    for (to, from) in bytes.iter_mut().zip(boot.0.as_bytes()) {
        *to = *from;
    }
    bytes
}

fn encode(counter: u64, record: Record, boot: &BootId) -> [u8; SLOT_BYTES] {
    let deadline = match record.until {
        // Rounded down to whole nanoseconds below "never": a deadline that far away (584 years) cannot be told apart.
        Until::At(at) => u64::try_from(at.since_boot().as_nanos()).unwrap_or(NEVER - 1).min(NEVER - 1),
        Until::Never => NEVER,
    };
    let mut body = Vec::with_capacity(SLOT_BYTES);
    body.extend_from_slice(&MAGIC);
    body.extend_from_slice(&counter.to_le_bytes());
    body.extend_from_slice(&record.generation.0.to_le_bytes());
    body.extend_from_slice(&deadline.to_le_bytes());
    body.push(u8::try_from(boot.0.len().min(BOOT_ID_BYTES)).unwrap_or(0));
    body.extend_from_slice(&boot_bytes(boot));
    let sum = crc32fast::hash(&body);
    body.extend_from_slice(&sum.to_le_bytes());
    let mut slot = [0; SLOT_BYTES];
    slot[..body.len()].copy_from_slice(&body);
    slot
}

fn decode(slot: &[u8; SLOT_BYTES]) -> Option<Slot> {
    let number = |at: usize| Some(u64::from_le_bytes(slot.get(at..at + 8)?.try_into().ok()?));
    let sum = u32::from_le_bytes(slot.get(SUM_AT..SUM_AT + 4)?.try_into().ok()?);
    if slot[..8] != MAGIC || sum != crc32fast::hash(&slot[..SUM_AT]) {
        return None;
    }
    let deadline = number(24)?;
    let until = if deadline == NEVER {
        Until::Never
    } else {
        Until::At(BootInstant::from_boot(Duration::from_nanos(deadline)))
    };
    Some(Slot {
        counter: number(8)?,
        record: Record { generation: Generation(number(16)?), until },
        boot: slot.get(33..33 + BOOT_ID_BYTES)?.try_into().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn boot(name: &str) -> BootId {
        BootId(name.to_owned())
    }

    fn apply(file: &mut [u8], write: &SlotWrite, bytes: usize) {
        let at = usize::try_from(write.offset).expect("a small offset");
        file[at..at + bytes].copy_from_slice(&write.bytes[..bytes]);
    }

    fn record() -> impl Strategy<Value = Record> {
        (0u64..9, prop_oneof![3 => (0u64..1_000_000).prop_map(Some), 1 => Just(None)]).prop_map(|(generation, at)| {
            Record {
                generation: Generation(generation),
                until: at.map_or(Until::Never, |at| Until::At(BootInstant::from_boot(Duration::from_micros(at)))),
            }
        })
    }

    proptest! {
        #[test]
        fn a_record_reads_back_and_a_torn_write_gives_the_one_before_or_after(
            records in proptest::collection::vec((record(), 0..=SLOT_BYTES), 1..12),
        ) {
            let mut file = [0; RECORD_BYTES];
            let me = boot("one");
            let mut writer = Writer::after(&file, &me);
            let mut before = None;
            for (record, torn) in records {
                for write in writer.put(record) {
                    let mut half = file;
                    apply(&mut half, &write, torn);
                    let seen = read(&half, &me);
                    prop_assert!(seen == before || seen == Some(record), "{seen:?}, expected {before:?} or {record:?}");
                    apply(&mut file, &write, SLOT_BYTES);
                    prop_assert_eq!(read(&file, &me), Some(record));
                    before = Some(record);
                }
            }
        }

        #[test]
        fn damage_to_one_slot_never_extends_the_lease(
            records in proptest::collection::vec(record(), 1..12), slot in 0..2usize, at in 0..SUM_AT, flip in 1u8..,
        ) {
            let mut file = [0; RECORD_BYTES];
            let me = boot("one");
            let mut writer = Writer::after(&file, &me);
            for record in &records {
                for write in writer.put(*record) {
                    apply(&mut file, &write, SLOT_BYTES);
                }
            }
            let in_force = read(&file, &me).expect("a record").until;
            file[slot * SLOT_BYTES + at] ^= flip;
            if let Some(seen) = read(&file, &me) {
                prop_assert!(seen.until <= in_force, "{seen:?} after damage, {in_force:?} was in force");
            }
        }

        #[test]
        fn garbage_is_no_lease(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert_eq!(read(&bytes, &boot("one")), None);
        }
    }

    #[test]
    fn a_record_of_another_boot_is_no_lease() {
        let mut file = [0; RECORD_BYTES];
        let record = Record { generation: Generation(3), until: Until::Never };
        for write in Writer::after(&file, &boot("one")).put(record) {
            apply(&mut file, &write, SLOT_BYTES);
        }
        assert_eq!(read(&file, &boot("one")), Some(record));
        assert_eq!(read(&file, &boot("two")), None);
    }

    #[test]
    fn a_writer_that_starts_again_goes_on_counting() {
        let mut file = [0; RECORD_BYTES];
        let me = boot("one");
        for generation in 1..6 {
            let record = Record { generation: Generation(generation), until: Until::Never };
            for write in Writer::after(&file, &me).put(record) {
                apply(&mut file, &write, SLOT_BYTES);
            }
            assert_eq!(read(&file, &me), Some(record));
        }
    }
}
