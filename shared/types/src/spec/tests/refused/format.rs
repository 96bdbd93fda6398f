//! Refused as YAML, and at the top of the file.

use super::Refused;

pub(super) const REFUSED: &[Refused] = &[
    Refused {
        what: "another format",
        from: "spec: 1",
        to: "spec: 2",
        said: &["shop.yaml:1: spec is 2; no format that this version reads; write spec: 1, or use a newer holdfast"],
    },
    Refused {
        what: "no format",
        from: "spec: 1\n",
        to: "",
        said: &["shop.yaml:1: spec: missing; write spec: 1 as the first line"],
    },
    Refused {
        what: "an app name with capitals",
        from: "app: shop",
        to: "app: Shop_App",
        said: &["shop.yaml:2: app is Shop_App; no app name; use 1 to 63 of a-z, 0-9 and -, the first a letter"],
    },
    Refused {
        what: "an app without a name",
        from: "app: shop\n",
        to: "app:\n",
        said: &["shop.yaml:2: app: nothing stands here; write one app name"],
    },
    Refused {
        what: "a misspelt section",
        from: "failover:\n",
        to: "failovr:\n",
        said: &["shop.yaml:33: failovr: unknown key; did you mean failover?"],
    },
    Refused {
        what: "a section nobody knows",
        from: "fencing:\n",
        to: "clouds: 3\nfencing:\n",
        said: &[
            "shop.yaml:43: clouds: unknown key; known here: spec, app, regions, writers, failover, checks, fencing, traffic",
        ],
    },
    Refused {
        what: "a later section",
        from: "fencing:\n",
        to: "drill: {schedule: weekly}\nfencing:\n",
        said: &["shop.yaml:43: drill: not supported by this version; leave it out"],
    },
    Refused {
        what: "a list in place of a map",
        from: "fencing:\n  by: agent\n  within: 10s\n",
        to: "fencing: [agent]\n",
        said: &["shop.yaml:43: fencing: a list stands here; write {by: agent, within: 10s}"],
    },
    Refused {
        what: "a key twice",
        from: "  recheck: 5s\n",
        to: "  recheck: 5s\n  interval: 10s\n",
        said: &["shop.yaml:37: failover.interval: stands on line 35 already; write each key once"],
    },
    Refused {
        what: "an alias",
        from: "app: shop",
        to: "app: *shop",
        said: &["shop.yaml:2: app: an alias; write the value itself; a spec has no anchors and aliases"],
    },
    Refused {
        what: "an anchor",
        from: "app: shop",
        to: "app: &shop shop",
        said: &["shop.yaml:2: app: an anchor; leave it out; a spec has no anchors and aliases"],
    },
    Refused {
        what: "a tag",
        from: "app: shop",
        to: "app: !!str shop",
        said: &["shop.yaml:2: app: a YAML tag; leave it out; the format says what type each value has"],
    },
    Refused {
        what: "a merge key",
        from: "fencing:\n",
        to: "fencing:\n  <<: {}\n",
        said: &["shop.yaml:44: fencing.<<: unknown key; known here: by, within"],
    },
    Refused {
        what: "two documents",
        from: "failover:\n",
        to: "---\nfailover:\n",
        said: &["shop.yaml:33: a second document begins here; write one app per file"],
    },
    Refused {
        what: "an open quote",
        from: "app: shop",
        to: "app: \"shop",
        said: &[
            "shop.yaml:3: this is no YAML: invalid indentation in multiline quoted scalar; look for an open quote or bracket, a tab or a wrong indent, here or above",
        ],
    },
    Refused {
        what: "a value that moves the cursor",
        from: "mode: automatic",
        to: "mode: \"\\e[2Jauto\"",
        said: &["shop.yaml:34: failover.mode is \\u{1b}[2Jauto; unknown value; write automatic, assist or observe"],
    },
];
