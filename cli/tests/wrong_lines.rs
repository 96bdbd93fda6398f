//! Wrong command lines: each is told in one error of at most five lines that ends with what to type next, and ends with
//! the code that is true.

use std::process::{Command, Output, Stdio};

fn holdfast(args: &[&str], home: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(args)
        .env_clear()
        .env("HOME", home)
        .stdin(Stdio::null())
        .output()
        .expect("holdfast starts")
}

#[test]
fn a_wrong_command_line_is_told_in_five_lines_with_the_next_command() {
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path().to_str().expect("a path of text");
    // Well formed, and nobody's: zeros.
    let (person, host) = (&*format!("hfp1.ada.{}", "a".repeat(92)), &*format!("hf1.us-east.{}", "a".repeat(92)));
    let wrong: &[(&[&str], &str)] = &[
        (&["stauts"], "has no command stauts"),
        (&["switchover", "shop"], "has no command switchover"),
        (&["--colour"], "takes no flag --colour"),
        (&["status", "--verbose"], "status takes no flag --verbose"),
        (&["status", "shop"], "status takes no argument shop"),
        (&["why"], "why needs <APP>"),
        (&["why", "Shop_1"], "\"Shop_1\" is no app name"),
        (&["why", "a", "b"], "why takes no argument b"),
        (&["failover", "shop"], "failover needs --to <REGION>"),
        (&["failover", "--to", "us-west"], "failover needs <APP>"),
        (&["failover", "shop", "--to"], "--to <REGION> needs a value"),
        (&["failover", "shop", "--to", "US"], "\"US\" is no region name"),
        (&["failover", "shop", "--to", "us-west", "--to", "us-east"], "is there twice"),
        (&["failover", "shop", "--to", "us-west", "--progress", "fancy"], "it is tty, plain or json"),
        (&["operations"], "needs a command: list, show, watch or abort"),
        (&["operations", "show"], "operations show needs <N>"),
        (&["operations", "show", "0"], "0 is not in"),
        (&["operations", "show", "last"], "last"),
        (&["operations", "abort", "41"], "operations abort needs --reason <TEXT>"),
        (&["operations", "abort", "41", "--reason", ""], "--reason <TEXT> needs a value"),
        (&["operations", "list", "--limit", "0"], "0 is not in"),
        (&["apply"], "apply needs --file <FILE>"),
        (&["apply", "-f", "x.yaml", "--if-revision", "-1"], "takes no flag -1"),
        (&["plan", "x.yaml"], "plan"),
        (&["token"], "needs a command: create, list or revoke"),
        (&["token", "create"], "token create needs --region <REGION>"),
        (&["token", "create", "--region", "us", "--valid", "1 day"], "is no span of time"),
        (&["token", "create", "--region", "us", "--uses", "0"], "0 is not in"),
        (&["hosts", "revoke", "use-db1"], "hosts revoke needs --reason <TEXT>"),
        (&["context", "use"], "context use needs <NAME>"),
        (&["operator"], "needs a command: add, list or revoke"),
        (&["operator", "add", "ada"], "operator add needs --role <ROLE>"),
        (&["operator", "add", "--role", "admin"], "operator add needs <NAME>"),
        (&["operator", "add", "Ada!", "--role", "admin"], "\"Ada!\" is no operator name"),
        (&["operator", "add", "ada", "--role", "root"], "\"root\" is no role: viewer, deployer, operator or admin"),
        (&["operator", "revoke"], "operator revoke needs <NAME>"),
        (&["operator", "list"], "no cluster is known here"),
        (&["audit", "--newest", "0"], "0 is not in"),
        (&["audit", "newest"], "audit has no command newest"),
        (&["audit", "--newest", "5", "verify"], "audit"),
        (&["audit", "verify", "--file", "/nonexistent/trail"], "cannot read a trail from /nonexistent/trail"),
        (&["audit", "verify", "--file", "/dev/null"], "it holds no entries"),
        (&["audit", "export", "a", "b"], "audit export takes no argument b"),
        (&["context", "add"], "context add needs --token <TOKEN> and <ADDRESS>"),
        (&["context", "add", "c1.example:7443"], "context add needs --token <TOKEN>"),
        (&["context", "add", "c1.example:7443", "--token", "ada"], "this is no token for a person"),
        (&["context", "add", "c1.example:7443", "--token", person, "--name", "a/b"], "is no context name"),
        (&["context", "add", "c1.example", "--token", person], "\"c1.example\" is no address: expected HOST:PORT"),
        (&["context", "add", "https://c1.example:7443", "--token", person], "is no address"),
        (&["context", "add", "127.0.0.1:1", "--token", person], "no coordinator"),
        (&["context", "add", "127.0.0.1:1", "--token", host], "this token is for a host, not for a person"),
        (&["status", "-o", "yaml"], "it is table or json"),
        (&["status"], "no cluster is known here"),
        (&["status", "--context", "prod"], "no cluster is known here"),
        (&["context", "use", "prod"], "no cluster is known here"),
        (&["context", "remove", "prod", "-y"], "no cluster is known here"),
        (&["completions"], "completions needs <SHELL>"),
        (&["completions", "tcsh"], "it is bash, zsh or fish"),
    ];
    for (args, says) in wrong {
        let ended = holdfast(args, home);
        let err = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{args:?}: {err}");
        assert!(ended.stdout.is_empty(), "{args:?}");
        assert!(err.starts_with("error: ") && err.matches("error:").count() == 1, "{args:?}: {err}");
        assert!(err.contains(says), "{args:?} does not say {says:?}: {err}");
        assert!(err.lines().count() <= 5, "{args:?}: {err}");
        assert!(err.contains("\n  next ") && err.contains("holdfast"), "{args:?}: {err}");
        assert!(!err.contains("aaaaaaaa"), "{args:?}: a secret in an error: {err}");
        assert!(!err.contains('\x1b'), "{args:?}: colours without a terminal: {err}");
    }
}

/// A home with two contexts, `prod` in use; their keys are files that nobody can use.
fn home_with_contexts() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join(".config/holdfast");
    let mut text = String::from("current = \"prod\"\n");
    for name in ["prod", "lab"] {
        let key = folder.join("contexts").join(name);
        std::fs::create_dir_all(&key).expect("made");
        for file in ["identity.pem", "roots.pem", "revoked.pem"] {
            std::fs::write(key.join(file), "no key\n").expect("written");
        }
        text.push_str(&format!(
            "[[context]]\nname = \"{name}\"\ncluster = \"0198c9a2-6f3e-4c1d-9b7a-2f4e8d1c5a60\"\naddresses = [\"127.0.0.1:1\"]\nidentity = \"contexts/{name}\"\n"
        ));
    }
    std::fs::write(folder.join("contexts.toml"), text).expect("written");
    home
}

#[test]
fn a_forgotten_context_takes_its_own_key_along_and_nothing_else() {
    let home = home_with_contexts();
    let at = home.path().to_str().expect("a path of text");
    let keys = home.path().join(".config/holdfast/contexts");
    let ended = holdfast(&["context", "remove", "lab"], at);
    assert_eq!(ended.status.code(), Some(1), "it asks, and nobody can be asked");
    assert!(keys.join("lab/identity.pem").exists());
    let ended = holdfast(&["context", "remove", "prod", "-y"], at);
    let out = String::from_utf8_lossy(&ended.stdout);
    assert_eq!((ended.status.code(), &*out), (Some(0), "prod is forgotten; its key is removed\n"));
    assert!(!keys.join("prod").exists() && keys.join("lab/identity.pem").exists());
    assert!(String::from_utf8_lossy(&ended.stderr).contains("no context is in use now"));
    // One whose folder holds something else keeps that.
    std::fs::write(keys.join("lab/notes.txt"), "mine").expect("written");
    let ended = holdfast(&["context", "remove", "lab", "-y"], at);
    assert_eq!(ended.status.code(), Some(0));
    assert!(!keys.join("lab/identity.pem").exists() && keys.join("lab/notes.txt").exists());
}

#[test]
fn completions_need_nothing_of_this_account() {
    for (shell, says) in [("bash", "complete -F"), ("zsh", "#compdef holdfast"), ("fish", "complete -c holdfast")] {
        let ended = holdfast(&["completions", shell], "/nonexistent");
        assert_eq!(ended.status.code(), Some(0));
        let out = String::from_utf8_lossy(&ended.stdout);
        assert!(out.contains(says) && out.contains("failover"), "{out}");
        assert!(ended.stderr.is_empty());
    }
}

#[test]
fn no_command_shows_the_overview_but_is_no_success() {
    let ended = holdfast(&[], "/nonexistent");
    assert_eq!(ended.status.code(), Some(1));
    let err = String::from_utf8_lossy(&ended.stderr);
    assert!(err.contains("Look\n") && err.contains("Keep\n") && !err.contains('\x1b'), "{err}");
    let ended = holdfast(&["--help"], "/nonexistent");
    assert_eq!(ended.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&ended.stdout).contains("Declare\n"));
}

#[test]
fn flags_can_come_from_the_environment() {
    let ended = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["context", "list"])
        .env_clear()
        .env("HOLDFAST_CONTEXTS_FILE", "/nonexistent/contexts.toml")
        .env("HOLDFAST_OUTPUT", "json")
        .output()
        .expect("holdfast starts");
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(
        String::from_utf8_lossy(&ended.stdout),
        "{\n  \"schema\": 1,\n  \"current\": null,\n  \"contexts\": []\n}\n"
    );
}

#[test]
fn a_closed_pipe_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["context", "list"])
        .env_clear()
        .env("HOME", "/nonexistent")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("holdfast starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
}
