//! The command line: what can be typed, and nothing that does not work.
//!
//! Every flag has an environment variable, HOLDFAST_ and its name. The grouped overview of `--help` is made from
//! [`GROUPS`], which a test holds against the tree of commands.

use std::{fmt::Write as _, path::PathBuf};

use clap::{
    Args, CommandFactory as _, Parser, Subcommand, ValueEnum,
    builder::{FalseyValueParser, NonEmptyStringValueParser, StyledStr},
};
use holdfast_types::{AppName, ContextName, HostName, OperatorName, RegionName, Role, time::Span};

/// Keeps applications running when a region goes down
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, disable_help_subcommand = true, subcommand_required = true)]
pub struct Cli {
    /// For every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Cluster to talk to, one of `holdfast context list`
    #[arg(long, global = true, value_name = "NAME", env = "HOLDFAST_CONTEXT", hide_env = true)]
    pub context: Option<String>,
    /// Form of what goes to stdout: table, or json
    #[arg(short, long, global = true, value_enum, value_name = "FORM", default_value_t = Output::Table, hide_default_value = true, hide_possible_values = true, env = "HOLDFAST_OUTPUT", hide_env = true)]
    pub output: Output,
    /// File with the contexts, instead of ~/.config/holdfast/contexts.toml
    #[arg(long, global = true, value_name = "FILE", env = "HOLDFAST_CONTEXTS_FILE", hide_env = true)]
    pub contexts_file: Option<PathBuf>,
}

/// Form of the data on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For programs: one object with "schema": 1
    Json,
}

/// How an operation is shown while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// Drawn again in place
    Tty,
    /// One line for each event
    Plain,
    /// One object for each event
    Json,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole cluster at a look, and what needs a human
    #[command(
        after_help = "Examples:\n  holdfast status\n  holdfast status --exit-code      # 0 all well, 2 something needs you"
    )]
    Status {
        /// End with 2 when something needs a human
        #[arg(long, value_parser = FalseyValueParser::new(), env = "HOLDFAST_EXIT_CODE", hide_env = true)]
        exit_code: bool,
    },
    /// Why an app is judged as it is: the evidence for each signal, and the gate
    #[command(after_help = "Example:\n  holdfast why smellpin")]
    Why {
        /// The app
        app: AppName,
    },
    /// Whether an app could fail over right now, and if not, what is missing, with the line to add
    #[command(
        after_help = "Examples:\n  holdfast readiness smellpin\n  holdfast readiness --exit-code      # 0 all ready, 2 something needs you"
    )]
    Readiness {
        /// The app; without one, all of them
        app: Option<AppName>,
        /// End with 2 when an app could not fail over
        #[arg(long, value_parser = FalseyValueParser::new(), env = "HOLDFAST_EXIT_CODE", hide_env = true)]
        exit_code: bool,
    },
    /// The hosts, what each one runs, and since when it is live or silent
    #[command(
        after_help = "Examples:\n  holdfast hosts\n  holdfast hosts revoke use-db1 --reason \"sold\"",
        args_conflicts_with_subcommands = true
    )]
    Hosts {
        /// Without one, the hosts are listed.
        #[command(subcommand)]
        command: Option<HostsCommand>,
    },
    /// The regions, their hosts, and how each app does there
    #[command(after_help = "Example:\n  holdfast regions")]
    Regions,
    /// The apps, where each is active, and at which revision
    #[command(
        after_help = "Examples:\n  holdfast apps -o json\n  holdfast apps remove smellpin --dry-run",
        args_conflicts_with_subcommands = true
    )]
    Apps {
        /// Without one, the apps are listed.
        #[command(subcommand)]
        command: Option<AppsCommand>,
    },
    /// How the measures of a host or an app went: cpu, memory, disks, pressure, containers, checks, lag
    #[command(
        after_help = "Examples:\n  holdfast metrics use-db1\n  holdfast metrics smellpin --since 7d\n  holdfast metrics use-db1 --since 1d -o json"
    )]
    Metrics {
        /// A host or an app
        #[arg(value_name = "HOST|APP", value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// How far back: 30m, 1h, 7d; at most a year
        #[arg(long, value_name = "SPAN", default_value = "1h", env = "HOLDFAST_SINCE", hide_env = true)]
        since: Span,
    },
    /// What Holdfast was asked to do, or decided to do
    #[command(after_help = "Examples:\n  holdfast operations list --app smellpin\n  holdfast operations watch 41")]
    Operations {
        /// What to do with them.
        #[command(subcommand)]
        command: OperationsCommand,
    },
    /// Move an app to another region now, though its own does not answer
    #[command(
        long_about = "Move an app to another region now, though its own does not answer.\n\nThe active region is fenced, or its lease waited out, before the other one takes writes. The gate is asked again by the coordinator; when it refuses, nothing is changed (exit 7).",
        after_help = "Examples:\n  holdfast failover smellpin --to us-west --dry-run      # the very plan that would run\n  holdfast failover smellpin --to us-west --reason \"us-east is on fire\""
    )]
    Failover(FailoverArgs),
    /// Keep failovers from beginning while somebody works on an app, a region or everything
    #[command(
        after_help = "Examples:\n  holdfast maintenance on smellpin --for 2h --reason \"new disks in us-east\"\n  holdfast maintenance off smellpin"
    )]
    Maintenance {
        /// Begin or end.
        #[command(subcommand)]
        command: MaintenanceCommand,
    },
    /// What applying an app spec would change, the arithmetic, and what was found running
    #[command(
        after_help = "Examples:\n  holdfast plan -f smellpin.yaml\n  holdfast plan -f smellpin.yaml --exit-code      # 2 when there are changes"
    )]
    Plan {
        /// App spec; - reads stdin
        #[arg(short, long, value_name = "FILE", env = "HOLDFAST_FILE", hide_env = true)]
        file: PathBuf,
        /// End with 2 when the plan has changes
        #[arg(long, value_parser = FalseyValueParser::new(), env = "HOLDFAST_EXIT_CODE", hide_env = true)]
        exit_code: bool,
    },
    /// Declare an app: show the plan, ask, then put it in force
    #[command(
        after_help = "Examples:\n  holdfast apply -f smellpin.yaml\n  holdfast apply -f smellpin.yaml --if-revision 4 -y"
    )]
    Apply(ApplyArgs),
    /// Join tokens for new hosts
    #[command(after_help = "Example:\n  holdfast token create --region us-east --uses 2")]
    Token {
        /// What to do with them.
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// People who may work with this cluster, and as what
    #[command(after_help = "Example:\n  holdfast operator add ada --role operator")]
    Operator {
        /// What to do with them.
        #[command(subcommand)]
        command: OperatorCommand,
    },
    /// Who asked for what, from where, and what came of it
    #[command(
        after_help = "Examples:\n  holdfast audit --newest 50\n  holdfast audit export trail.jsonl\n  holdfast audit verify --file trail.jsonl",
        args_conflicts_with_subcommands = true
    )]
    Audit {
        /// Only the newest so many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=20_000), env = "HOLDFAST_NEWEST", hide_env = true)]
        newest: u32,
        /// Without one, the newest entries are shown.
        #[command(subcommand)]
        command: Option<AuditCommand>,
    },
    /// The clusters this account can talk to
    #[command(after_help = "Example:\n  holdfast context use prod")]
    Context {
        /// What to do with them.
        #[command(subcommand)]
        command: ContextCommand,
    },
    /// What a shell needs to complete these commands, to stdout
    #[command(
        after_help = "Examples:\n  holdfast completions bash > /etc/bash_completion.d/holdfast\n  holdfast completions zsh > /usr/local/share/zsh/site-functions/_holdfast\n  holdfast completions fish > ~/.config/fish/completions/holdfast.fish"
    )]
    Completions {
        /// The shell: bash, zsh or fish
        #[arg(value_enum)]
        shell: Shell,
    },
}

/// A shell that can be taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU bash
    Bash,
    /// The Z shell
    Zsh,
    /// fish
    Fish,
}

/// `holdfast apps …`.
#[derive(Debug, Subcommand)]
pub enum AppsCommand {
    /// Forget an app, which unfences it: nobody keeps its regions apart any more
    #[command(
        long_about = "Forget an app, which unfences it: nobody keeps its regions apart any more.\n\nIts hosts are told that no app names them. Nothing is started and nothing is stopped: a database that runs goes on without a lease, one that was fenced stays down until you start it. Declared again later, it begins with a look, above every generation that it had.",
        after_help = "Examples:\n  holdfast apps remove smellpin --dry-run      # what would become of it\n  holdfast apps remove smellpin --reason \"moved to another cluster\""
    )]
    Remove {
        /// The app
        app: AppName,
        /// Why, for those who read it later
        #[arg(
            long,
            value_name = "TEXT",
            default_value = "",
            hide_default_value = true,
            env = "HOLDFAST_REASON",
            hide_env = true
        )]
        reason: String,
        /// Say what would become of it, and change nothing
        #[arg(long, value_parser = FalseyValueParser::new(), env = "HOLDFAST_DRY_RUN", hide_env = true)]
        dry_run: bool,
        /// Do not ask
        #[arg(short, long, value_parser = FalseyValueParser::new(), env = "HOLDFAST_YES", hide_env = true)]
        yes: bool,
    },
}

/// `holdfast hosts …`.
#[derive(Debug, Subcommand)]
pub enum HostsCommand {
    /// Forget a host that no app names any more, and revoke its certificates
    #[command(after_help = "Example:\n  holdfast hosts remove use-db1 --reason \"sold\"")]
    Remove {
        /// The host
        host: HostName,
        /// Why, for those who read it later
        #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new(), env = "HOLDFAST_REASON", hide_env = true)]
        reason: String,
        /// Do not ask, also when it is live
        #[arg(short, long, value_parser = FalseyValueParser::new(), env = "HOLDFAST_YES", hide_env = true)]
        yes: bool,
    },
    /// Revoke every certificate of a host at once, and cut its sessions
    #[command(after_help = "Example:\n  holdfast hosts revoke use-db1 --reason \"disk was stolen\"")]
    Revoke {
        /// The host
        host: HostName,
        /// Why, for those who read it later
        #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new(), env = "HOLDFAST_REASON", hide_env = true)]
        reason: String,
        /// Do not ask
        #[arg(short, long, value_parser = FalseyValueParser::new(), env = "HOLDFAST_YES", hide_env = true)]
        yes: bool,
    },
}

/// `holdfast maintenance …`.
#[derive(Debug, Subcommand)]
pub enum MaintenanceCommand {
    /// No failover begins for a while, by itself or by hand; it ends by itself
    #[command(
        long_about = "No failover begins for a while, by itself or by hand; it ends by itself.\n\nLeases and fencing go on as ever, and so does an operation that runs already. Asked for again, it lasts as long as the last one says.",
        after_help = "Examples:\n  holdfast maintenance on smellpin --for 2h --reason \"new disks in us-east\"\n  holdfast maintenance on --region us-east --for 30m --reason \"switches\"\n  holdfast maintenance on --all --for 15m --reason \"new coordinator\""
    )]
    On {
        /// Of what
        #[command(flatten)]
        of: MaintenanceOf,
        /// Why, for those who find an app that does not move
        #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new(), env = "HOLDFAST_REASON", hide_env = true)]
        reason: String,
        /// How long: 30m, 2h, up to 7d
        #[arg(long = "for", value_name = "SPAN", default_value = "1h", env = "HOLDFAST_FOR", hide_env = true)]
        lasts: Span,
    },
    /// It is over now
    #[command(
        after_help = "Examples:\n  holdfast maintenance off smellpin\n  holdfast maintenance off --region us-east"
    )]
    Off {
        /// Of what
        #[command(flatten)]
        of: MaintenanceOf,
        /// Why, for those who read it later
        #[arg(
            long,
            value_name = "TEXT",
            default_value = "",
            hide_default_value = true,
            env = "HOLDFAST_REASON",
            hide_env = true
        )]
        reason: String,
    },
}

/// What a maintenance is of: exactly one of them.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct MaintenanceOf {
    /// This app
    pub app: Option<AppName>,
    /// Every app that declares this region
    #[arg(long, value_name = "REGION", env = "HOLDFAST_REGION", hide_env = true)]
    pub region: Option<RegionName>,
    /// Every app
    #[arg(long, value_parser = FalseyValueParser::new(), env = "HOLDFAST_ALL", hide_env = true)]
    pub all: bool,
}

/// `holdfast operations …`.
#[derive(Debug, Subcommand)]
pub enum OperationsCommand {
    /// The latest operations
    #[command(after_help = "Example:\n  holdfast operations list --app smellpin --limit 5")]
    List {
        /// Only of this app
        #[arg(long, value_name = "APP", env = "HOLDFAST_APP", hide_env = true)]
        app: Option<AppName>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000), env = "HOLDFAST_LIMIT", hide_env = true)]
        limit: u32,
    },
    /// One operation with all its steps
    #[command(after_help = "Example:\n  holdfast operations show 41")]
    Show {
        /// Its number
        #[arg(value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        number: u64,
    },
    /// Follow an operation until it ends; ends with the code that tells how
    #[command(after_help = "Example:\n  holdfast operations watch 41 --progress plain")]
    Watch {
        /// Its number
        #[arg(value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        number: u64,
        /// How to show it
        #[arg(long, value_enum, value_name = "HOW", env = "HOLDFAST_PROGRESS", hide_env = true)]
        progress: Option<Progress>,
    },
    /// Take an operation back, before its point of no return
    #[command(after_help = "Example:\n  holdfast operations abort 41 --reason \"us-east is back\"")]
    Abort {
        /// Its number
        #[arg(value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        number: u64,
        /// Why, for those who read it later
        #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new(), env = "HOLDFAST_REASON", hide_env = true)]
        reason: String,
    },
}

/// `holdfast failover …`.
#[derive(Debug, Args)]
pub struct FailoverArgs {
    /// The app
    pub app: AppName,
    /// Region that takes over
    #[arg(long, value_name = "REGION", env = "HOLDFAST_TO", hide_env = true)]
    pub to: RegionName,
    /// Show the very plan that would run, and change nothing
    #[arg(long, value_parser = FalseyValueParser::new(), env = "HOLDFAST_DRY_RUN", hide_env = true)]
    pub dry_run: bool,
    /// Why, for those who read it later
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        env = "HOLDFAST_REASON",
        hide_env = true
    )]
    pub reason: String,
    /// Do not ask
    #[arg(short, long, value_parser = FalseyValueParser::new(), env = "HOLDFAST_YES", hide_env = true)]
    pub yes: bool,
    /// Print the operation's number and do not wait
    #[arg(long, value_parser = FalseyValueParser::new(), env = "HOLDFAST_DETACH", hide_env = true)]
    pub detach: bool,
    /// How to show it while it runs
    #[arg(long, value_enum, value_name = "HOW", env = "HOLDFAST_PROGRESS", hide_env = true)]
    pub progress: Option<Progress>,
}

/// `holdfast apply …`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// App spec; - reads stdin
    #[arg(short, long, value_name = "FILE", env = "HOLDFAST_FILE", hide_env = true)]
    pub file: PathBuf,
    /// Refuse if the app is at another revision by now; 0 = it must be new
    #[arg(long, value_name = "N", env = "HOLDFAST_IF_REVISION", hide_env = true)]
    pub if_revision: Option<u64>,
    /// Do not ask
    #[arg(short, long, value_parser = FalseyValueParser::new(), env = "HOLDFAST_YES", hide_env = true)]
    pub yes: bool,
    /// Show the plan, and change nothing
    #[arg(long, value_parser = FalseyValueParser::new(), env = "HOLDFAST_DRY_RUN", hide_env = true)]
    pub dry_run: bool,
}

/// `holdfast token …`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a join token and print the line to run on the new host
    #[command(
        after_help = "Examples:\n  holdfast token create --region us-east --uses 2\n  holdfast token create --region us-east --replaces use-db1 --valid 15m"
    )]
    Create {
        /// Region that the hosts will belong to
        #[arg(long, value_name = "REGION", env = "HOLDFAST_REGION", hide_env = true)]
        region: RegionName,
        /// How many hosts may use it
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000), env = "HOLDFAST_USES", hide_env = true)]
        uses: u32,
        /// How long it may be used: 15m, 1h, 2d
        #[arg(long, value_name = "SPAN", default_value = "1h", env = "HOLDFAST_VALID", hide_env = true)]
        valid: Span,
        /// Host that is enrolled anew with it
        #[arg(long, value_name = "HOST", env = "HOLDFAST_REPLACES", hide_env = true)]
        replaces: Option<HostName>,
    },
    /// Tokens that can still be used
    #[command(after_help = "Example:\n  holdfast token list")]
    List,
    /// Make a token worthless
    #[command(after_help = "Example:\n  holdfast token revoke k3p9")]
    Revoke {
        /// Its id, as `holdfast token list` shows it
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
}

/// `holdfast operator …`.
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Let somebody in: prints the line for them to run, with a token for one use
    #[command(
        long_about = "Let somebody in: prints the line for them to run, with a token for one use.\n\nA viewer looks. A deployer will also deploy; until there are deploys, they look. An operator also declares apps and moves them. An admin also lets people and hosts in and out, and reads the audit trail.",
        after_help = "Examples:\n  holdfast operator add ada --role operator\n  holdfast operator add bo --role viewer --valid 1d"
    )]
    Add {
        /// How the cluster will call them
        name: OperatorName,
        /// What they may do: viewer, deployer, operator or admin
        #[arg(long, value_name = "ROLE", env = "HOLDFAST_ROLE", hide_env = true)]
        role: Role,
        /// How long the token may be used: 15m, 1h, 2d
        #[arg(long, value_name = "SPAN", default_value = "1h", env = "HOLDFAST_VALID", hide_env = true)]
        valid: Span,
    },
    /// Everybody who was let in, and those who were put out again
    #[command(after_help = "Example:\n  holdfast operator list")]
    List,
    /// Put somebody out: every certificate of theirs at once, open connections included
    #[command(after_help = "Example:\n  holdfast operator revoke ada --reason \"left the team\"")]
    Revoke {
        /// Their name
        name: OperatorName,
        /// Why, for those who read it later
        #[arg(
            long,
            value_name = "TEXT",
            default_value = "",
            hide_default_value = true,
            env = "HOLDFAST_REASON",
            hide_env = true
        )]
        reason: String,
        /// Do not ask
        #[arg(short, long, value_parser = FalseyValueParser::new(), env = "HOLDFAST_YES", hide_env = true)]
        yes: bool,
    },
}

/// `holdfast audit …`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Write every entry that is kept, one JSON object on a line
    #[command(
        after_help = "Examples:\n  holdfast audit export trail.jsonl\n  holdfast audit export -      # stdout, for a pipe"
    )]
    Export {
        /// Where to; - or nothing is stdout
        file: Option<PathBuf>,
    },
    /// Compute every hash anew and say whether the trail holds
    #[command(
        long_about = "Compute every hash anew and say whether the trail holds.\n\nAn entry that was changed, left out or put in afterwards breaks it (exit 7). That the whole trail was not written anew, or its end cut off, only a newest hash that was kept elsewhere proves.",
        after_help = "Examples:\n  holdfast audit verify\n  holdfast audit verify --file trail.jsonl      # an export; asks no coordinator"
    )]
    Verify {
        /// An exported trail instead of the coordinator's; - reads stdin
        #[arg(short, long, value_name = "FILE", env = "HOLDFAST_FILE", hide_env = true)]
        file: Option<PathBuf>,
    },
}

/// `holdfast context …`.
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// Come into a cluster with the line that `holdfast operator add` printed; the key is made here
    #[command(after_help = "Example:\n  holdfast context add c1.example:7443 --token hfp1.ada.… --name prod")]
    Add {
        /// A coordinator, HOST:PORT
        address: String,
        /// The token, whole
        #[arg(long, value_name = "TOKEN", env = "HOLDFAST_TOKEN", hide_env = true)]
        token: String,
        /// What to call the cluster here, instead of its own name
        #[arg(long, value_name = "NAME", env = "HOLDFAST_NAME", hide_env = true)]
        name: Option<ContextName>,
    },
    /// All contexts
    #[command(after_help = "Example:\n  holdfast context list")]
    List,
    /// Talk to this cluster from now on
    #[command(after_help = "Example:\n  holdfast context use prod")]
    Use {
        /// Its name
        name: String,
    },
    /// Forget a cluster, and remove the key that was made for it here
    #[command(
        long_about = "Forget a cluster, and remove the key that was made for it here.\n\nThe cluster is not told: until it expires, the certificate still counts for whoever has a copy of the key. An admin puts somebody out with `holdfast operator revoke`.",
        after_help = "Example:\n  holdfast context remove lab"
    )]
    Remove {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(short, long, value_parser = FalseyValueParser::new(), env = "HOLDFAST_YES", hide_env = true)]
        yes: bool,
    },
    /// The context in use: addresses, who you are, until when
    #[command(after_help = "Example:\n  holdfast context show")]
    Show,
}

/// A line of the overview: how it is typed, what it does, and which commands it speaks of.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// As it is typed.
    pub usage: &'static str,
    /// What it does.
    pub about: &'static str,
    /// The commands, by their paths.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test holds it against the tree of commands"))]
    pub commands: &'static [&'static str],
}

const fn entry(usage: &'static str, about: &'static str, commands: &'static [&'static str]) -> Entry {
    Entry { usage, about, commands }
}

/// The overview, by what an operator wants.
pub const GROUPS: &[(&str, &[Entry])] = &[
    (
        "Look",
        &[
            entry("status", "the whole cluster at a look, and what needs a human", &["status"]),
            entry("why APP", "the evidence behind each verdict, and the gate", &["why"]),
            entry("readiness [APP]", "could it fail over now; if not, the line to add", &["readiness"]),
            entry("hosts", "what each host runs, live or silent since when", &["hosts"]),
            entry("regions", "their hosts, and how each app does there", &["regions"]),
            entry("apps", "where each app is active, at which revision", &["apps"]),
            entry("metrics HOST|APP", "how its cpu, memory, disks, checks and lag went", &["metrics"]),
            entry(
                "operations list|show|watch",
                "what was done, is being done, and how it ended",
                &["operations list", "operations show", "operations watch"],
            ),
            entry("audit", "who asked for what, and what came of it", &["audit"]),
        ],
    ),
    (
        "Act",
        &[
            entry("failover APP --to REGION", "move an app now, though its region does not answer", &["failover"]),
            entry(
                "maintenance on|off APP",
                "no failover begins while somebody works there",
                &["maintenance on", "maintenance off"],
            ),
            entry("operations abort N", "take one back, before its point of no return", &["operations abort"]),
        ],
    ),
    (
        "Declare",
        &[
            entry("plan -f FILE", "what an app spec would change, and the arithmetic", &["plan"]),
            entry("apply -f FILE", "show the plan, ask, then put it in force", &["apply"]),
            entry("apps remove APP", "forget an app, which unfences it", &["apps remove"]),
        ],
    ),
    (
        "Keep",
        &[
            entry(
                "token create|list|revoke",
                "join tokens for new hosts",
                &["token create", "token list", "token revoke"],
            ),
            entry(
                "hosts revoke|remove HOST",
                "revoke its certificates, cut its sessions; forget it",
                &["hosts revoke", "hosts remove"],
            ),
            entry(
                "operator add|list|revoke",
                "who may work with this cluster, and as what",
                &["operator add", "operator list", "operator revoke"],
            ),
            entry(
                "audit export|verify",
                "the whole audit trail, and whether it holds",
                &["audit export", "audit verify"],
            ),
            entry(
                "context add|list|use|show|remove",
                "the clusters this account can talk to",
                &["context add", "context list", "context use", "context show", "context remove"],
            ),
            entry("completions bash|zsh|fish", "what a shell needs to complete these commands", &["completions"]),
        ],
    ),
];

/// The command line with its grouped overview.
#[must_use]
pub fn command() -> clap::Command {
    let mut text = String::from("{about}\n\nUsage: holdfast COMMAND [FLAGS]\n");
    let widest = GROUPS.iter().flat_map(|(_, e)| e.iter()).map(|e| e.usage.len()).max().unwrap_or(0);
    for (group, entries) in GROUPS {
        let _ = write!(text, "\n\x1b[1m{group}\x1b[0m\n");
        for e in *entries {
            let _ = writeln!(text, "  {:widest$}  {}", e.usage, e.about);
        }
    }
    text.push_str("\n\x1b[1mEverywhere\x1b[0m\n{options}{after-help}");
    Cli::command().help_template(StyledStr::from(text)).after_help(
        "A command's own help, with an example:  holdfast COMMAND --help\n\
             Every flag can be set by the environment: --dry-run is HOLDFAST_DRY_RUN. NO_COLOR is respected.\n\
             Exit codes: 0 done · 1 usage or transport · 2 changes (--exit-code) · 3 failed, nothing changed\n\
             4 undone · 5 partly done · 6 outcome unknown · 7 refused · 8 no leader · 9 not permitted\n\
             130 detached",
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn leaves(command: &clap::Command, path: &str, out: &mut BTreeSet<String>) {
        for sub in command.get_subcommands() {
            let path = format!("{path} {}", sub.get_name()).trim().to_owned();
            if !sub.is_subcommand_required_set() && !sub.is_arg_required_else_help_set() {
                out.insert(path.clone());
            }
            leaves(sub, &path, out);
        }
    }

    fn each(command: &clap::Command, look: &mut impl FnMut(&clap::Command)) {
        look(command);
        for sub in command.get_subcommands() {
            each(sub, look);
        }
    }

    #[test]
    fn the_tree_of_commands_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn help_names_every_command_once_and_nothing_else() {
        let mut tree = BTreeSet::new();
        leaves(&command(), "", &mut tree);
        let named: Vec<String> =
            GROUPS.iter().flat_map(|(_, e)| e.iter()).flat_map(|e| e.commands).map(|c| (*c).to_owned()).collect();
        let set: BTreeSet<String> = named.iter().cloned().collect();
        assert_eq!(named.len(), set.len(), "one is named twice");
        assert_eq!(set, tree);
        for e in GROUPS.iter().flat_map(|(_, e)| e.iter()) {
            let words: Vec<&str> = e.usage.split([' ', '|']).collect();
            for command in e.commands {
                assert!(command.split(' ').all(|w| words.contains(&w)), "{} does not name {command}", e.usage);
            }
        }
    }

    #[test]
    fn the_overview_is_as_it_was_agreed() {
        insta::assert_snapshot!(command().term_width(100).render_help().to_string());
    }

    #[test]
    fn every_flag_has_its_environment_variable() {
        each(&command(), &mut |command| {
            for arg in command.get_arguments() {
                let Some(long) = arg.get_long().filter(|l| !["help", "version"].contains(l)) else { continue };
                let wanted = format!("HOLDFAST_{}", long.to_uppercase().replace('-', "_"));
                assert_eq!(arg.get_env().and_then(|e| e.to_str()), Some(wanted.as_str()), "{}", command.get_name());
            }
        });
    }

    #[test]
    fn every_command_has_an_example_that_parses() {
        let top = command();
        let mut tree = BTreeSet::new();
        leaves(&top, "", &mut tree);
        for path in tree {
            let mut at = &top;
            for word in path.split(' ') {
                at = at.find_subcommand(word).expect("it is in the tree");
            }
            let help = at.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> = help.lines().filter_map(|l| l.strip_prefix("  ")).collect();
            assert!(!examples.is_empty(), "{path} has no example");
            for example in examples {
                let typed = example.split(['#', '>']).next().unwrap_or_default();
                let mut words = Vec::new();
                for (i, part) in typed.split('"').enumerate() {
                    if i % 2 == 1 { words.push(part) } else { words.extend(part.split_whitespace()) }
                }
                let parsed = command().try_get_matches_from(words);
                assert!(parsed.is_ok(), "{path}: {example}: {parsed:?}");
            }
        }
    }
}
