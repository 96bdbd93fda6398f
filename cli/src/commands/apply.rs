//! `holdfast plan` and `holdfast apply`.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use holdfast_proto::v1::{self, apps_client::AppsClient};

use super::{Context, failover::cluster};
use crate::{
    args::{ApplyArgs, Output},
    connect::Client,
    console::Stop,
    errors::{Exit, Failure, Intent, UNCHANGED},
    render::{apply, json, wire::said},
};

/// An app spec is a few kilobytes; a file beyond this is something else.
const SPEC_BYTES_MAX: u64 = 1024 * 1024;

pub(super) async fn plan(
    c: &mut Context<'_, '_>,
    client: &mut Client,
    file: &Path,
    exit_code: bool,
) -> Result<Exit, Stop> {
    let spec = read(file, c.console.input)?;
    let reply = ask_plan(client, file, &spec).await?;
    show_plan(c, client, file, reply, exit_code).await
}

/// Shows the plan as data; its refusal is told beside it.
async fn show_plan(
    c: &mut Context<'_, '_>,
    client: &mut Client,
    file: &Path,
    reply: v1::PlanReply,
    exit_code: bool,
) -> Result<Exit, Stop> {
    let refused = apply::refused(&reply, file);
    let changes = !reply.diff.is_empty();
    let revision = reply.revision;
    let sound = reply.problems.is_empty();
    if c.output == Output::Json {
        c.console.data(&json::text(json::Plan::from(reply)))?;
    } else if sound {
        let cluster = cluster(client).await?;
        let mut text = apply::plan(&reply, &cluster, &c.view());
        if refused.is_none() && changes {
            text.push_str(&format!("  next        {}\n", apply::command("apply", file, Some(revision))));
        }
        c.console.data(&text)?;
    }
    match refused {
        Some(failure) => Err(failure.into()),
        None if exit_code && changes => Ok(Exit::Changes),
        None => Ok(Exit::Done),
    }
}

pub(super) async fn run(c: &mut Context<'_, '_>, client: &mut Client, args: ApplyArgs) -> Result<Exit, Stop> {
    let again = format!("{} -y", apply::command("apply", &args.file, args.if_revision));
    if !args.yes && !args.dry_run {
        if args.file == Path::new("-") {
            let what = "this asks for a confirmation, and stdin is the spec: there is nowhere to answer";
            return Err(Failure::usage(what, again).closing(UNCHANGED).into());
        }
        c.must_be_able_to_ask(&again)?;
    }
    let spec = read(&args.file, c.console.input)?;
    let plan = ask_plan(client, &args.file, &spec).await?;
    if args.dry_run {
        return show_plan(c, client, &args.file, plan, false).await;
    }
    if let Some(refused) = apply::refused(&plan, &args.file) {
        if plan.problems.is_empty() {
            let cluster = cluster(client).await?;
            let text = apply::plan(&plan, &cluster, &c.view_err());
            c.console.say(&text);
        }
        return Err(refused.into());
    }
    let if_revision = args.if_revision.unwrap_or(plan.revision);
    let cluster = cluster(client).await?;
    let text = apply::plan(&plan, &cluster, &c.view_err());
    c.console.say(&text);
    // With nothing to change there is nothing to ask; a revision that was named is still compared.
    let changes = plan.revision == 0 || !plan.diff.is_empty();
    if changes && !args.yes {
        c.must_confirm(&format!("apply this to {} in {cluster}?", plan.app), &again)?;
    }
    let request = v1::ApplyRequest { file: apply::shown(&args.file), spec_yaml: spec, if_revision: Some(if_revision) };
    let asked = format!("holdfast apply of {}", plan.app);
    let reply = client
        .call(&asked, Intent::Change, |ch| {
            let request = request.clone();
            async { AppsClient::new(ch).apply(request).await }
        })
        .await?;
    let text = match c.output {
        Output::Table => apply::applied(&plan.app, &reply, &c.view()),
        Output::Json => json::text(json::Applied {
            app: plan.app,
            revision: reply.revision,
            changed: reply.changed,
            active_region: said(&reply.active_region),
            generation: (reply.generation != 0).then_some(reply.generation),
            notes: reply.notes,
        }),
    };
    c.console.data(&text)?;
    Ok(Exit::Done)
}

async fn ask_plan(client: &mut Client, file: &Path, spec: &str) -> Result<v1::PlanReply, Failure> {
    let request = v1::PlanRequest { file: apply::shown(file), spec_yaml: spec.to_owned() };
    client
        .call("holdfast plan", Intent::Read, |ch| {
            let request = request.clone();
            async { AppsClient::new(ch).plan(request).await }
        })
        .await
}

/// The text of the spec; `-` is stdin.
fn read(file: &Path, stdin: &mut dyn io::BufRead) -> Result<String, Failure> {
    let name = apply::shown(file);
    let usage = |what: String| Failure::usage(what, "holdfast plan --help");
    let cannot = |e: io::Error| {
        let known = [
            (io::ErrorKind::NotFound, "there is no such file"),
            (io::ErrorKind::PermissionDenied, "permission denied"),
            (io::ErrorKind::IsADirectory, "it is a folder; name one file in it"),
        ];
        let why = known.iter().find(|(kind, _)| *kind == e.kind());
        let why = why.map_or_else(|| e.to_string(), |(_, why)| (*why).to_owned());
        usage(format!("cannot read {name}: {why}"))
    };
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        stdin.take(SPEC_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    } else {
        let opened = File::open(file).map_err(cannot)?;
        opened.take(SPEC_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    }
    if bytes.len() as u64 > SPEC_BYTES_MAX {
        return Err(usage(format!("{name} is larger than 1 MiB; an app spec is a few KiB")));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let line = 1 + e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        usage(format!("{name}:{line}: this is not UTF-8 text"))
    })?;
    if text.trim().is_empty() {
        return Err(usage(format!("{name} is empty; an app spec begins with spec: 1")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_that_cannot_be_read_says_why() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            path
        };
        for (file, why) in [
            (dir.path().join("none.yaml"), "none.yaml: there is no such file"),
            (dir.path().to_owned(), "it is a folder; name one file in it"),
            (write("empty.yaml", b" \n"), "empty.yaml is empty"),
            (write("bin.yaml", b"spec: 1\n\xff\xfe"), "bin.yaml:2: this is not UTF-8 text"),
            (write("big.yaml", &vec![b'#'; 1024 * 1024 + 1]), "big.yaml is larger than 1 MiB"),
        ] {
            let failure = read(&file, &mut io::empty()).expect_err(why);
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.what.contains(why), "{}", failure.what);
        }
        assert_eq!(read(&write("ok.yaml", b"spec: 1\n"), &mut io::empty()).expect("read"), "spec: 1\n");
        assert_eq!(read(Path::new("-"), &mut io::Cursor::new("spec: 1\n")).expect("read"), "spec: 1\n");
        assert!(read(Path::new("-"), &mut io::empty()).expect_err("empty").what.starts_with("stdin is empty"));
    }
}
