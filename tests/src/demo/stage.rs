//! Builds what is shown: the net, the hosts, the databases and proxies, and Holdfast on them.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{
    heading, interrupt,
    screen::{Screen, Tone},
};
use crate::{
    harness::{Guarded, Net, Settings, now},
    preflight,
};

/// How it is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Leave it running.
    pub keep: bool,
    /// Loopback addresses, although namespaces are allowed.
    pub loopback: bool,
}

/// Builds everything; from the net on, an interrupt or the end of `limit` takes it down. `ready` is called as soon as
/// there is a net.
///
/// # Errors
/// What did not come up, with what was there instead.
pub fn build(
    screen: &mut Screen,
    options: Options,
    limit: Option<Duration>,
    ready: impl FnOnce(&Net) -> Result<()>,
) -> Result<Guarded> {
    preflight::root().context("the demo makes network namespaces; run it as root or with sudo")?;
    for program in ["haproxy", "setpriv", "bash"] {
        preflight::program(program)?;
    }
    preflight::postgres()?;
    let begun = now();
    let net = net(screen, options)?;
    interrupt::arm(net.broom(), limit)?;
    ready(&net)?;
    heading(screen, &format!("building, in {}", net.folder().display()));
    let guarded = Guarded::on(net, Settings::default(), &mut |what, text| {
        let seconds = now().since(begun).as_secs_f64();
        screen.wrapped(Tone::Plain, &format!("{seconds:>9.2} s  {what:<11}  "), text);
    })?;
    Ok(guarded)
}

/// A net of namespaces, or where those are not allowed, of loopback addresses.
fn net(screen: &mut Screen, options: Options) -> Result<Net> {
    let why = if options.loopback {
        "--loopback was asked for".to_owned()
    } else {
        // What is missing is an error; what is not allowed is not.
        preflight::namespaces()?;
        match possible() {
            Ok(net) => return Ok(net),
            Err(error) => format!("network namespaces are not allowed here: {error:#}"),
        }
    };
    let what = "hosts are loopback addresses, and the processes of a region are killed instead of cut off: isolation is not \
                shown, that is, that a region which lives on behind a cut stops itself before the other takes over";
    screen.wrapped(Tone::Bad, "note  ", what);
    screen.wrapped(Tone::Plain, "why   ", &why);
    Net::loopback("demo")
}

/// A net without hosts, when hosts can be made on such a one.
fn possible() -> Result<Net> {
    Net::new("demo-probe")?.host("probe")?;
    Net::new("demo")
}
