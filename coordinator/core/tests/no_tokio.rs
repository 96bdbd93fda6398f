//! The cores decide without a runtime: no tokio in what they are built from.

use std::process::Command;

/// Crates whose manifests must lead to no runtime.
const CORES: [&str; 3] = ["holdfast-coordinator-core", "holdfast-agent-core", "holdfast-types"];
/// What a runtime brings along, whoever asks for it.
const RUNTIMES: [&str; 5] = ["tokio", "tokio-util", "mio", "hyper", "async-std"];

fn dependencies(of: &str) -> Vec<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let tree = Command::new(cargo)
        .args(["tree", "--offline", "--locked", "-e", "normal", "--prefix", "none", "--format", "{p}", "-p", of])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs, it runs this test");
    assert!(tree.status.success(), "cargo tree of {of}: {}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).expect("names of crates");
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn the_cores_are_built_without_a_runtime() {
    for core in CORES {
        let all = dependencies(core);
        assert!(all.iter().any(|name| name == "serde"), "{core}: this is no list of what it is built from: {all:?}");
        let found: Vec<&String> = all.iter().filter(|name| RUNTIMES.contains(&name.as_str())).collect();
        assert!(found.is_empty(), "{core} is built from {found:?}");
    }
}
