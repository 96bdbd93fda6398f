//! Texts that nobody wrote in good faith, or that something else wrote: nothing panics, nothing grows.

use proptest::prelude::*;

use super::{GOOD, problems};
use crate::spec::{DEPTH_MAX, TEXT_BYTES_MAX, parse};

#[test]
fn a_text_of_50_mb_is_refused_by_its_length_alone() {
    let text = "app: shop\n".repeat(5_000_000);
    let said = problems(&text);
    assert_eq!(said, ["shop.yaml:1: 50000000 bytes long; a spec has at most 1048576 bytes (1 MiB)"]);
}

#[test]
fn a_text_of_the_longest_size_is_read() {
    let comment = "#".repeat(TEXT_BYTES_MAX - GOOD.len());
    assert_eq!(problems(&format!("{GOOD}{comment}")), Vec::<String>::new());
    assert_eq!(problems(&format!("{GOOD}{comment}#")).len(), 1);
}

#[test]
fn a_depth_bomb_is_one_problem() {
    let levels = 500_000;
    let bombs = [
        "[".repeat(levels),
        "{a: ".repeat(levels / 2),
        "- ".repeat(levels),
        (0..1_400).map(|level| format!("{}a:\n", " ".repeat(level))).collect::<String>(),
        "[{a: ".repeat(levels / 5),
    ];
    for bomb in bombs {
        let said = problems(&bomb);
        let start: String = bomb.chars().take(12).collect();
        assert_eq!(said.len(), 1, "{start:?}");
        assert!(said[0].ends_with("nested deeper than 64 levels; a spec has at most 64 levels"), "{start:?}: {said:?}");
    }
}

#[test]
fn nesting_up_to_the_limit_is_read() {
    let nested = |levels: usize| format!("spec: 1\napp: {}{}\n", "[".repeat(levels), "]".repeat(levels));
    let said = problems(&nested(DEPTH_MAX - 1));
    assert!(said.contains(&"shop.yaml:2: app: a list stands here; write one app name".to_owned()), "{said:?}");
    assert_eq!(problems(&nested(DEPTH_MAX)).len(), 1);
}

#[test]
fn aliases_do_not_multiply() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        laughs.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    let said = problems(&laughs);
    assert_eq!(said.len(), 201, "the first 200 are told, the others counted");
    assert_eq!(said[200], "shop.yaml: and 153 more problems");
}

#[test]
fn a_large_text_that_is_wrong_throughout_is_told_in_short() {
    let keys: String = (0..80_000).map(|n| format!("key{n}: 1\n")).collect();
    let said = problems(&keys);
    assert_eq!(said.len(), 201);
    assert!(said.iter().all(|line| line.len() < 400));
    // Each is looked up in an index: a list of so many would take minutes.
    let roles: String = (0..20_000).map(|n| format!("      r{n}: [{{host: h{n}, address: a{n}}}]\n")).collect();
    let said = problems(&GOOD.replacen("    roles:\n", &format!("    roles:\n{roles}"), 1));
    assert_eq!(said[0], "shop.yaml:5: regions.us-east.roles: 20003 entries; write 64 or less");
    let hosts: String = (0..18_000).map(|n| format!("{{host: h{n}, address: a{n}.example}}, ")).collect();
    assert_eq!(problems(&GOOD.replacen("      api:   [", &format!("      api:   [{hosts}"), 1)), Vec::<String>::new());
}

#[test]
fn file_names_and_values_cannot_move_the_cursor() {
    let problems = parse("\u{1b}[2Jshop.yaml\u{202e}\n", "app: [\n").expect_err("no YAML");
    let said = problems.to_string();
    assert!(!said.contains('\u{1b}') && !said.contains('\u{202e}') && said.lines().count() == 1, "{said:?}");
}

#[test]
fn repetition_of_anything_never_panics() {
    let units = [
        "a: 1\n",
        "a:\n- b\n",
        "- - a\n",
        "[] ",
        "[a, ",
        "{a: b, ",
        "{",
        "]",
        ",",
        ": ",
        "? a\n",
        "'",
        "\"\\n",
        "&a ",
        "*a ",
        "!t a\n",
        "%x\n",
        "---\n",
        "|\n a\n",
        "\t",
        "\r",
        "\u{feff}",
        "\0",
        "é",
        "# x\n",
    ];
    for unit in units {
        for start in ["", "a: ", "[", "{", "a: |\n  ", "\"", "spec: 1\nregions:\n  "] {
            let text = format!("{start}{}", unit.repeat(2_000));
            assert!(!problems(&text).is_empty(), "{start:?} and then many {unit:?} was taken");
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*") {
        let _ = parse("any.yaml", &text);
    }

    #[test]
    fn text_of_yamls_own_characters_never_panics(text in "[ \\n\\t:\\-?\\[\\]{}&*!|>'\"%@`#,a1~<.]{0,200}") {
        let _ = parse("any.yaml", &text);
    }

    #[test]
    fn a_broken_spec_never_panics(
        cuts in proptest::collection::vec((0usize..GOOD.len(), 0usize..40, "[ \\n:\\[\\]{}\\-a1s\"']{0,6}"), 1..4),
    ) {
        let mut text = GOOD.to_owned();
        for (at, gone, put) in cuts {
            let at = at.min(text.len());
            let end = (at + gone).min(text.len());
            text.replace_range(at..end, &put);
        }
        // Either it is taken, or something is said: never neither.
        if let Err(problems) = parse("any.yaml", &text) {
            prop_assert!(!problems.found().is_empty());
            prop_assert!(problems.found().iter().all(|problem| problem.line >= 1 && !problem.instead.is_empty()));
            prop_assert!(!problems.to_string().contains("the reason was lost"));
        }
    }
}
