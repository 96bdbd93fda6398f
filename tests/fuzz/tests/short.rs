//! The short form of `make fuzz`: each target over its seeds, and over mutations of them that are the same every time.

use std::{fs, panic, path::Path};

use holdfast_fuzz::{TARGETS, mutated, seeds};

/// Of each target. Some seconds for all of them together in a debug build.
const MUTATIONS: usize = 2_000;
const SEED: u64 = 0x00f1_eed5;

#[test]
fn every_target_takes_its_seeds_and_mutations_of_them() {
    for (name, target) in TARGETS {
        let seeds = seeds::of(name).unwrap_or_else(|e| panic!("seeds of {name}: {e}"));
        assert!(!seeds.is_empty(), "{name} has no seeds");
        let tries = seeds.iter().cloned().chain(mutated(&seeds, SEED, MUTATIONS));
        for (number, input) in tries.enumerate() {
            if panic::catch_unwind(|| target(&input)).is_err() {
                let kept = std::env::temp_dir().join(format!("holdfast-finding-{name}-{number}"));
                fs::write(&kept, &input).expect("a folder for temporary files");
                panic!("{name} found something: put {} into {}", kept.display(), seeds::folder(name).display());
            }
        }
    }
}

#[test]
fn every_target_has_a_program_of_its_own() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).expect("fuzz/Cargo.toml");
    for (name, _) in TARGETS {
        let program = fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap_or_default();
        assert!(program.contains(&format!("holdfast_fuzz::run(\"{name}\", bytes)")), "fuzz/fuzz_targets/{name}.rs");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} in fuzz/Cargo.toml");
    }
    let programs = fs::read_dir(fuzz.join("fuzz_targets")).expect("programs").count();
    assert_eq!(programs, TARGETS.len(), "a program without a target");
}
