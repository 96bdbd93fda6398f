//! The lease file: whatever happens to it on the disk, it gives no lease that was not taken, and none that ends later.

use std::time::Duration;

use holdfast_agent_core::record::{RECORD_BYTES, Record, SLOT_BYTES, Until, Writer, read};
use holdfast_types::{BootId, BootInstant, Generation};

/// How much of the input says which leases are written, three bytes each; the rest is damage.
const LEASES_MAX: usize = 8;

/// First byte: how many leases. Then each of them, then what is done to the file: a place and what is laid over it.
pub fn lease_record(bytes: &[u8]) {
    let boot = BootId("0f8b1f5e-8a3f-4a53-9d0d-6f3f1b8d9c11".to_owned());
    // Nothing that is not our own is a lease. A file that somebody made for this very boot would be one.
    if !bytes.windows(8).any(|eight| eight == b"hflease1") {
        assert_eq!(read(bytes, &boot), None, "garbage gave a lease");
    }
    drop(Writer::after(bytes, &boot));
    let Some((count, bytes)) = bytes.split_first() else { return };
    let (leases, mut damage) = bytes.split_at((usize::from(*count) % LEASES_MAX * 3).min(bytes.len()));
    let mut file = [0; RECORD_BYTES];
    let mut writer = Writer::after(&file, &boot);
    let mut taken = Vec::new();
    for lease in leases.chunks_exact(3) {
        let until = match lease[1] {
            255 => Until::Never,
            seconds => Until::At(BootInstant::from_boot(Duration::from_millis(
                u64::from(seconds) * 1_000 + u64::from(lease[2]),
            ))),
        };
        let record = Record { generation: Generation(lease[0].into()), until };
        for write in writer.put(record) {
            let at = usize::try_from(write.offset).expect("small");
            file[at..at + SLOT_BYTES].copy_from_slice(&write.bytes);
        }
        taken.push(record);
    }
    let in_force = read(&file, &boot);
    assert_eq!(in_force, taken.last().copied(), "the newest lease is the one in force");
    while let [place, over, rest @ ..] = damage {
        file[usize::from(*place) % RECORD_BYTES] ^= over;
        damage = rest;
    }
    if let Some(seen) = read(&file, &boot) {
        assert!(taken.contains(&seen), "{seen:?} was never taken");
        let in_force = in_force.expect("something was taken");
        assert!(seen.until <= in_force.until, "{seen:?} after damage, {in_force:?} was in force");
    }
    let cut = usize::from(*count).min(RECORD_BYTES);
    if let Some(seen) = read(&file[..cut], &boot) {
        assert!(taken.contains(&seen), "{seen:?} in a file cut short was never taken");
    }
}
