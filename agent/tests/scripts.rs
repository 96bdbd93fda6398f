//! Scripts of the host's folder, run by the agent's own program as on a host.
//!
//! suite: root

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use holdfast_agent::{
    checks::{Check, Evidence, Outcome, Runner},
    exec::script::Scripts,
};
use holdfast_agent_core::duties::Script;
use holdfast_types::{AppName, CheckName, RegionName};

/// Longest wait for any state: generous, because the machine may be busy; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a script gets that is expected to end by itself.
const LONG: Duration = Duration::from_secs(20);
/// What one gets that hangs.
const SHORT: Duration = Duration::from_millis(1_500);

/// A folder of scripts that belongs to root.
struct Folder {
    _dir: tempfile::TempDir,
    path: PathBuf,
    runner: Runner,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().canonicalize().expect("it is there").join("scripts");
        fs::create_dir(&path).expect("made");
        mode(&path, 0o755);
        let scripts = Scripts::new(&path).kept_by(env!("CARGO_BIN_EXE_holdfast-agent"));
        Self { _dir: dir, path, runner: Runner::new().scripts_in(scripts) }
    }

    fn put(&self, name: &str, text: &str) {
        let file = self.path.join(name);
        fs::write(&file, text).expect("written");
        mode(&file, 0o755);
    }

    async fn run(&self, name: &str, within: Duration) -> Outcome {
        let script = Script {
            name: name.to_owned(),
            app: AppName::new("shop").expect("a name"),
            region: RegionName::new("us-east").expect("a name"),
            check: CheckName::new("disk").expect("a name"),
        };
        let check = Check::Exec { script };
        let ran = self.runner.run(&check, within);
        tokio::time::timeout(within + PATIENCE, ran).await.expect("a check ends by itself")
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
}

fn said(line: &str) -> Outcome {
    Outcome::Ok { evidence: Evidence::Script { line: line.to_owned() } }
}

/// A line of shell that writes its process's number into a file and then never ends, whatever it is told.
fn stubborn(file: &Path) -> String {
    format!("echo $$ > {0}.new && mv {0}.new {0}; trap '' TERM HUP INT; while :; do sleep 0.1; done", file.display())
}

async fn wait_gone(file: &Path) {
    let pid = fs::read_to_string(file).expect("it wrote its number");
    let mut stat = String::new();
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "{} is still there: {stat}", file.display());
}

#[tokio::test]
async fn a_script_is_told_for_whom_it_looks_and_nothing_else() {
    let folder = Folder::new();
    folder.put(
        "env",
        "#!/bin/sh\nread -r line; echo \"$# $HOLDFAST_APP $HOLDFAST_REGION $HOLDFAST_CHECK $(pwd) $(env | cut -d= -f1 | sort | tr '\\n' ' ')\"\n",
    );
    let outcome = folder.run("env", LONG).await;
    assert_eq!(outcome, said("0 shop us-east disk / HOLDFAST_APP HOLDFAST_CHECK HOLDFAST_REGION LC_ALL PATH PWD"));
}

#[tokio::test]
async fn the_exit_code_and_the_first_line_tell_how_it_went() {
    let folder = Folder::new();
    folder.put("fine", "#!/bin/sh\necho '41 % used'\necho more\n");
    folder.put("full", "#!/bin/sh\nprintf 'disk\\033[31m full\\r\\n'\nexit 2\n");
    folder.put("crash", "#!/bin/sh\nkill -SEGV $$\n");
    folder.put("absent", "#!/bin/sh\nexec no-such-program\n");
    folder.put("nobody", "#!/no/such/interpreter\n");
    fs::copy("/bin/true", folder.path.join("binary")).expect("copied");
    assert_eq!(folder.run("fine", LONG).await, said("41 % used"));
    assert_eq!(folder.run("binary", LONG).await, said(""));
    assert_eq!(folder.run("full", LONG).await.to_string(), "exits with 2: disk [31m full");
    assert_eq!(folder.run("crash", LONG).await.to_string(), "exits with 139");
    for name in ["absent", "nobody", "missing"] {
        let outcome = folder.run(name, LONG).await;
        assert!(matches!(outcome, Outcome::CouldNotRun { .. }), "{name}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_script_that_others_than_root_could_change_is_not_run() {
    let folder = Folder::new();
    let ran = folder.path.with_file_name("ran");
    folder.put("look", &format!("#!/bin/sh\ntouch {}\n", ran.display()));
    symlink(folder.path.join("look"), folder.path.join("link")).expect("made");
    let refused = async |name: &str, why: &str| {
        let outcome = folder.run(name, LONG).await;
        assert!(matches!(&outcome, Outcome::CouldNotRun { why: said } if said.contains(why)), "{outcome:?}");
    };
    refused("link", "symbolic link").await;
    mode(&folder.path.join("look"), 0o775);
    refused("look", "writable by group or others").await;
    mode(&folder.path.join("look"), 0o755);
    std::os::unix::fs::chown(folder.path.join("look"), Some(65_534), None).expect("changed");
    refused("look", "belongs to uid 65534").await;
    std::os::unix::fs::chown(folder.path.join("look"), Some(0), None).expect("changed");
    mode(&folder.path, 0o777);
    refused("look", "writable by group or others").await;
    assert!(!ran.exists(), "a script ran that was refused");
    mode(&folder.path, 0o755);
    assert_eq!(folder.run("look", LONG).await, said(""));
    assert!(ran.exists());
}

#[tokio::test]
async fn at_the_timeout_everything_that_it_started_is_gone() {
    let folder = Folder::new();
    let file = |name: &str| folder.path.with_file_name(name);
    let (own, grandchild, daemon) = (file("own"), file("grandchild"), file("daemon"));
    folder.put("daemon", &format!("#!/bin/sh\n{}\n", stubborn(&daemon)));
    folder.put("grandchild", &format!("#!/bin/sh\n{}\n", stubborn(&grandchild)));
    folder.put(
        "hang",
        &format!(
            // The daemon is in a session of its own, its parent gone, and holds none of the script's pipes.
            "#!/bin/sh\n( setsid {0}/daemon </dev/null >/dev/null 2>&1 & )\n{0}/grandchild &\necho thinking\n{1}\n",
            folder.path.display(),
            stubborn(&own)
        ),
    );
    let outcome = folder.run("hang", SHORT).await;
    let expected = "had not ended after 1.5 s; killed, with all that it had started: thinking";
    assert_eq!(outcome.to_string(), expected);
    for file in [&own, &grandchild, &daemon] {
        wait_gone(file).await;
    }
}

#[tokio::test]
async fn a_script_that_ends_well_leaves_no_daemon_behind() {
    let folder = Folder::new();
    let daemon = folder.path.with_file_name("daemon");
    folder.put("daemon", &format!("#!/bin/sh\n{}\n", stubborn(&daemon)));
    folder.put(
        "quick",
        &format!(
            "#!/bin/sh\n( setsid {0}/daemon </dev/null >/dev/null 2>&1 & )\nwhile ! [ -e {1} ]; do sleep 0.05; done\necho fine\n",
            folder.path.display(),
            daemon.display()
        ),
    );
    assert_eq!(folder.run("quick", LONG).await, said("fine"));
    wait_gone(&daemon).await;
}

#[tokio::test]
async fn output_without_end_fills_no_memory_and_holds_up_nobody() {
    let folder = Folder::new();
    folder.put("much", "#!/bin/sh\necho first\nhead -c 5000000 /dev/zero\nhead -c 5000000 /dev/zero >&2\n");
    folder.put("endless", "#!/bin/sh\necho first\nexec cat /dev/zero\n");
    assert_eq!(folder.run("much", LONG).await, said("first"));
    let outcome = folder.run("endless", SHORT).await;
    assert!(matches!(&outcome, Outcome::Failing { why, .. } if why.ends_with("started: first")), "{outcome:?}");
}
