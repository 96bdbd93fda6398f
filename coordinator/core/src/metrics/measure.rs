//! The measures. Their numbers stand in files: a new one is added, none is used again.

use std::{collections::BTreeMap, fmt, time::Duration};

/// In what a measure is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Of 1.
    Ratio,
    /// Bytes.
    Bytes,
    /// Bytes in a second.
    BytesPerSecond,
    /// Seconds.
    Seconds,
    /// Just so many.
    Count,
}

impl Unit {
    /// As on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ratio => "ratio",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "bytes_per_second",
            Self::Seconds => "seconds",
            Self::Count => "count",
        }
    }
}

/// What a reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// As it is now.
    Now,
    /// Counts up since some beginning: only how fast says something.
    Total,
}

macro_rules! measures {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $unit:ident, $reads:ident;)*) => {
        /// What is measured. The number is the one in files.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Measure { $($(#[$doc])* $variant = $number,)* }

        impl Measure {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number in files.
            #[must_use]
            pub const fn number(self) -> u16 { self as u16 }

            /// As people call it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// In what it is told.
            #[must_use]
            pub const fn unit(self) -> Unit {
                match self { $(Self::$variant => Unit::$unit,)* }
            }

            /// What its readings are.
            #[must_use]
            pub const fn reads(self) -> Reads {
                match self { $(Self::$variant => Reads::$reads,)* }
            }
        }
    };
}

measures! {
    /// Share of the CPUs that is busy; read as busy seconds per CPU.
    Cpu = 1, "cpu", Ratio, Total;
    /// Share that waits for disks.
    CpuIowait = 2, "cpu iowait", Ratio, Total;
    /// Share that the hypervisor took.
    CpuSteal = 3, "cpu steal", Ratio, Total;
    /// Share of the memory that is not available.
    Memory = 4, "memory", Ratio, Now;
    /// Memory that is available.
    MemoryAvailable = 5, "memory available", Bytes, Now;
    /// Swap in use.
    Swap = 6, "swap used", Bytes, Now;
    /// Load of one minute.
    Load = 7, "load", Count, Now;
    /// Share of the time in which something stood still for want of a CPU.
    PressureCpu = 8, "pressure cpu", Ratio, Total;
    /// … of memory.
    PressureMemory = 9, "pressure memory", Ratio, Total;
    /// … of disks.
    PressureIo = 10, "pressure io", Ratio, Total;
    /// Open files.
    Files = 11, "open files", Count, Now;
    /// Share of a file system that is not available.
    Disk = 12, "disk", Ratio, Now;
    /// What is available of it.
    DiskAvailable = 13, "disk available", Bytes, Now;
    /// Share of its inodes in use.
    Inodes = 14, "inodes", Ratio, Now;
    /// Received by an interface.
    Received = 15, "received", BytesPerSecond, Total;
    /// Sent by it.
    Sent = 16, "sent", BytesPerSecond, Total;
    /// CPUs that a container keeps busy.
    ContainerCpu = 17, "container cpu", Count, Total;
    /// Memory of a container.
    ContainerMemory = 18, "container memory", Bytes, Now;
    /// Restarts of a container.
    ContainerRestarts = 19, "container restarts", Count, Now;
    /// How far a host's wall clock is ahead.
    ClockOffset = 20, "clock offset", Seconds, Now;
    /// Memory of the agent itself.
    AgentMemory = 21, "agent memory", Bytes, Now;
    /// Share of a check's observations that were well.
    Check = 30, "check", Ratio, Now;
    /// How long it took.
    CheckTook = 31, "check took", Seconds, Now;
    /// What a standby has not received of its primary.
    Lag = 32, "lag", Bytes, Now;
    /// What a standby has received and not replayed.
    Replay = 33, "not replayed", Bytes, Now;
    /// Hosts whose database of the app accepts writes.
    Writers = 34, "accept writes", Count, Now;
}

impl Measure {
    /// The measure of this number; none of a release that is not ours.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|measure| measure.number() == number)
    }
}

/// A measure of something: a mount point, an interface, a container; an empty text is the whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// What.
    pub measure: Measure,
    /// Of what.
    pub of: String,
}

impl Series {
    /// A measure of something.
    #[must_use]
    pub fn new(measure: Measure, of: impl Into<String>) -> Self {
        Self { measure, of: of.into() }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.measure.name())?;
        if self.of.is_empty() { Ok(()) } else { write!(f, " {}", self.of) }
    }
}

/// What one look read.
pub type Readings = BTreeMap<Series, f64>;

/// What a look says: what is as it is, and how fast what counts up has done so since the look before. A counter that
/// went back began anew, and says nothing until the next look.
#[must_use]
pub fn values(before: Option<(&Readings, Duration)>, now: &Readings) -> Readings {
    let value = |(series, reading): (&Series, &f64)| {
        let value = match series.measure.reads() {
            Reads::Now => *reading,
            Reads::Total => {
                let (before, elapsed) = before?;
                let grown = reading - before.get(series)?;
                let elapsed = elapsed.as_secs_f64();
                if grown < 0.0 || elapsed <= 0.0 {
                    return None;
                }
                let rate = grown / elapsed;
                // Two clocks took part: a hundredth more than all is all.
                if series.measure.unit() == Unit::Ratio { rate.min(1.0) } else { rate }
            }
        };
        value.is_finite().then(|| (series.clone(), value))
    };
    now.iter().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_has_a_number_and_a_name_of_its_own() {
        for (i, a) in Measure::ALL.iter().enumerate() {
            assert_eq!(Measure::from_number(a.number()), Some(*a));
            assert!(Measure::ALL[i + 1..].iter().all(|b| a.number() != b.number() && a.name() != b.name()), "{a:?}");
        }
        assert_eq!(Measure::from_number(0), None);
    }

    #[test]
    fn a_counter_says_how_fast_and_one_that_went_back_says_nothing() {
        let readings = |cpu: f64, sent: f64, load: f64| {
            Readings::from([
                (Series::new(Measure::Cpu, ""), cpu),
                (Series::new(Measure::Sent, "eth0"), sent),
                (Series::new(Measure::Load, ""), load),
            ])
        };
        let (first, second) = (readings(100.0, 5_000.0, 1.5), readings(105.0, 4_000.0, 0.5));
        assert_eq!(values(None, &first), Readings::from([(Series::new(Measure::Load, ""), 1.5)]));
        let ten = Duration::from_secs(10);
        let expected = Readings::from([(Series::new(Measure::Cpu, ""), 0.5), (Series::new(Measure::Load, ""), 0.5)]);
        assert_eq!(values(Some((&first, ten)), &second), expected);
        // Never more than all of it, and nothing at once.
        let busy = values(Some((&first, Duration::from_secs(4))), &second);
        assert_eq!(busy[&Series::new(Measure::Cpu, "")], 1.0);
        assert_eq!(values(Some((&first, Duration::ZERO)), &second).len(), 1);
    }
}
