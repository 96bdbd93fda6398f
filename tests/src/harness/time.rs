//! The one clock of the tests, and waiting for a condition instead of for a time.

use std::{
    fmt::Display,
    sync::{Arc, LazyLock},
    thread,
    time::Duration,
};

use anyhow::{Result, bail};
use holdfast_shared::clock::{Clock, SharedClock, SystemClock};
use holdfast_types::BootInstant;

/// Short enough not to blur a measured second, long enough to leave two cores to the work that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A question by the operators' command costs a process and a TLS handshake.
const ASK_EVERY: Duration = Duration::from_millis(150);

/// The machine's clock, which stamps cuts, kills and acknowledged writes alike.
pub fn clock() -> &'static SystemClock {
    static CLOCK: LazyLock<SystemClock> =
        LazyLock::new(|| SystemClock::new().expect("every Linux has /proc/sys/kernel/random/boot_id"));
    &CLOCK
}

/// The same for who shares it.
///
/// # Panics
/// Never: every Linux has a boot id.
#[must_use]
pub fn clock_shared() -> SharedClock {
    Arc::new(SystemClock::new().expect("every Linux has /proc/sys/kernel/random/boot_id"))
}

/// The instant it is, on CLOCK_BOOTTIME.
#[must_use]
pub fn now() -> BootInstant {
    clock().boot()
}

/// Looks until `look` answers `Ok`, at most for `within`. `Err` says what was there instead, and the last one is printed
/// when time is up.
///
/// # Errors
/// When `within` has passed; the message names `what` was waited for and what was seen last.
pub fn wait_until<T, E: Display>(what: &str, within: Duration, look: impl FnMut() -> Result<T, E>) -> Result<T> {
    wait(what, within, LOOK_EVERY, look)
}

/// The same where each look starts a program: asked all the time, it would take the cores from those it asks about.
///
/// # Errors
/// When `within` has passed; the message names `what` was waited for and what was seen last.
pub fn wait_asking<T, E: Display>(what: &str, within: Duration, look: impl FnMut() -> Result<T, E>) -> Result<T> {
    wait(what, within, ASK_EVERY, look)
}

fn wait<T, E: Display>(
    what: &str,
    within: Duration,
    every: Duration,
    mut look: impl FnMut() -> Result<T, E>,
) -> Result<T> {
    let deadline = now() + within;
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(instead) if now() >= deadline => bail!("waited {within:?} for {what}, saw instead: {instead:#}"),
            Err(_) => thread::sleep(every),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_instead_is_printed_when_time_is_up() {
        let error = wait_until("a green light", Duration::ZERO, || Err::<(), _>("a red one")).expect_err("never green");
        assert_eq!(error.to_string(), "waited 0ns for a green light, saw instead: a red one");
    }

    #[test]
    fn a_condition_that_comes_true_ends_the_wait() {
        let mut looks = 0;
        let found = wait_until("the third look", Duration::from_secs(5), || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(looks) }
        });
        assert_eq!(found.ok(), Some(3));
    }
}
