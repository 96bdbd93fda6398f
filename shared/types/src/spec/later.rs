//! Keys and values of the format that this version does not support yet.
//!
//! They are refused like unknown ones, but by name: whoever copies them from the format's reference learns that they
//! are spelled right and that nothing here obeys them. What comes to be supported leaves this file.

/// What is wrong with all of them.
pub(super) const NOT_YET: &str = "not supported by this version";

/// A map of the format with its own keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// The file itself.
    Top,
    /// One entry of `writers`.
    Writer,
    /// One entry of `checks`.
    Check,
    /// `failover`.
    Failover,
    /// `fencing`.
    Fencing,
    /// `traffic`.
    Traffic,
    /// Any map below these.
    Inner,
}

/// Whether a later version knows this key there.
pub(super) fn key(section: Section, key: &str) -> bool {
    let keys: &[&str] = match section {
        Section::Top => &["hooks", "approval", "scale", "drill", "release", "backup"],
        Section::Writer => &["max_lag", "rejoin"],
        Section::Failover => &["cooldown"],
        Section::Fencing => &["last_resort"],
        Section::Traffic => &["dns"],
        Section::Check | Section::Inner => &[],
    };
    keys.contains(&key)
}

/// Later values of `writers.*.kind`.
pub(super) const WRITER_KINDS: &[&str] = &["redis", "mongodb"];
/// Later values of `failover.on_isolation`.
pub(super) const ON_ISOLATION: &[&str] = &["failsafe", "keep"];
/// Later values of `fencing.by`.
pub(super) const FENCED_BY: &[&str] = &["guard"];
