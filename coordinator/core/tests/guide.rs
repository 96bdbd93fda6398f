//! Each condition of the gate and of readiness has its paragraph in the operator guide, and no paragraph is stale.

use std::{collections::BTreeSet, fs, path::Path};

use holdfast_coordinator_core::{gate, readiness};

fn paragraphs(page: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide").join(page);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let parts = text.split("\n## ").skip(1);
    parts
        .map(|part| {
            let (heading, body) = part.split_once('\n').expect("a heading and a paragraph");
            (heading.to_owned(), body.trim().to_owned())
        })
        .collect()
}

fn each_has_one(page: &str, slugs: &[&str]) {
    let told = paragraphs(page);
    let headings: Vec<&str> = told.iter().map(|(heading, _)| heading.as_str()).collect();
    assert_eq!(headings, slugs, "{page} against the list of conditions, in its order");
    assert_eq!(slugs.len(), slugs.iter().collect::<BTreeSet<_>>().len());
    for (heading, body) in &told {
        assert!(body.len() > 100, "{page}: {heading} says too little");
    }
}

#[test]
fn every_condition_of_the_gate_has_its_paragraph() {
    each_has_one("gate.md", &gate::Condition::ALL.map(gate::Condition::slug));
}

#[test]
fn every_finding_of_readiness_has_its_paragraph() {
    each_has_one("readiness.md", &readiness::Condition::ALL.map(readiness::Condition::slug));
}
