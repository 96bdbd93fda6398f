//! Where timings stop to hold: on each side of every boundary.

use super::{GOOD, changed, problems};
use crate::spec::parse;

/// Whether the spec is taken with one place changed.
fn is_taken(from: &str, to: &str) -> bool {
    problems(&changed(from, to)).is_empty()
}

#[test]
fn each_boundary_holds_on_one_side_only() {
    let lease = "lease: {duration: 20s, renew: 5s}";
    let table: &[(&str, &str, &str)] = &[
        // from, the last that holds, the first that does not
        (lease, "lease: {duration: 10.5s, renew: 5s}", "lease: {duration: 10499ms, renew: 5s}"),
        (lease, "lease: {duration: 20s, renew: 9.5s}", "lease: {duration: 20s, renew: 9501ms}"),
        // 2 × 1 s + 0.1 s drift
        (lease, "lease: {duration: 2100ms, renew: 1s}", "lease: {duration: 2099ms, renew: 1s}"),
        (lease, "lease: {duration: 1h, renew: 1710s}", "lease: {duration: 1h, renew: 1711s}"),
        (lease, "lease: {duration: 1h, renew: 5s}", "lease: {duration: 3601s, renew: 5s}"),
        (lease, "lease: {duration: 20s, renew: 100ms}", "lease: {duration: 20s, renew: 99ms}"),
        ("recheck: 5s", "recheck: 30s", "recheck: 30001ms"),
        ("recheck: 5s", "recheck: 100ms", "recheck: 99ms"),
        ("interval: 30s", "interval: 5s", "interval: 4999ms"),
        ("interval: 30s", "interval: 1h", "interval: 3601s"),
        ("timeout: 4s", "timeout: 30s", "timeout: 30001ms"),
        ("timeout: 4s", "timeout: 10ms", "timeout: 9ms"),
        ("failures: 3", "failures: 1", "failures: 0"),
        ("failures: 3", "failures: 100", "failures: 101"),
        ("successes: 3", "successes: 1", "successes: 0"),
        ("within: 10s", "within: 1s", "within: 999ms"),
        ("within: 10s", "within: 10m", "within: 601s"),
        ("rto_target: 60s", "rto_target: 0s", "rto_target: 25h"),
    ];
    for (from, holds, does_not) in table {
        assert!(is_taken(from, holds), "{holds} was refused: {:?}", problems(&changed(from, holds)));
        assert!(!is_taken(from, does_not), "{does_not} was taken");
    }
}

#[test]
fn the_lease_that_is_advised_is_taken() {
    for renew in ["100ms", "250ms", "1s", "1.3s", "7s", "9999ms", "60s", "900s"] {
        let short = changed("{duration: 20s, renew: 5s}", &format!("{{duration: 150ms, renew: {renew}}}"));
        let said = problems(&short);
        let advised = said[0].split("write ").nth(1).and_then(|rest| rest.split(" or more").next()).expect("advice");
        let taken = changed("{duration: 20s, renew: 5s}", &format!("{{duration: {advised}, renew: {renew}}}"));
        assert_eq!(problems(&taken), Vec::<String>::new(), "renew {renew}, advised {advised}");
    }
}

fn arithmetic(text: &str) -> String {
    let spec = parse("shop.yaml", text).expect("a good spec");
    spec.arithmetic().iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_arithmetic_reads_as_the_formats_reference_prints_it() {
    assert_eq!(
        arithmetic(GOOD),
        "\
detected within  30 + 2 × 5 + 4 (slowest check) = 44 s
lease            20 s ≥ 2 × 5 s renew + 1 s drift = 11 s                       holds
earliest promote 20 s lease + 1 s drift + 10 s fence = 31 s after the last grant holds (44 s is later)
"
    );
}

#[test]
fn the_arithmetic_says_what_a_short_lease_costs() {
    let fast = GOOD
        .replace("  interval: 30s\n  recheck: 5s\n  failures: 3\n  successes: 3\n", "  preset: fast\n")
        .replace("  lease: {duration: 20s, renew: 5s}\n", "")
        .replace("  within: 10s\n", "")
        .replace(", timeout: 2s", "")
        .replace(", timeout: 4s", "");
    assert_eq!(
        arithmetic(&fast),
        "\
detected within  1 + 2 × 1 + 1 (slowest check) = 4 s
lease            3 s ≥ 2 × 1 s renew + 0.1 s drift = 2.1 s                     holds
earliest promote 3 s lease + 0.1 s drift + 1 s fence = 4.1 s after the last grant holds (4 s is earlier, so it is waited for)
takeover         3 s lease < 4 s until another coordinator leads + 1 s renew   (losing a coordinator fences the app)
"
    );
}
