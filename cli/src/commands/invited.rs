//! Coming into a cluster as a person: the key is made here, and a one-time token that pins the CA stands for it.
//!
//! Whatever can be refused is refused before the token is spent, and nothing is kept of what failed.

use std::{fs, sync::Arc};

use holdfast_proto::v1::{self, enrol_client::EnrolClient};
use holdfast_shared::{
    contexts::{self, Contexts},
    error::Chain,
    identity::{Bearer, PeerIdentity},
    net::TcpDial,
    pki::{KeyAndCsr, Material, Pin},
    tls::pinned_channel,
    token::{JoinToken, PersonToken},
};
use holdfast_types::{ClusterId, ContextName};

use super::Context;
use crate::{
    connect::{Client, Connector},
    console::Stop,
    errors::{Exit, Failure, Intent, UNCHANGED},
    render::{json, text::clean},
};

/// As many contexts of one cluster's name as are tried.
const CONTEXTS_MAX: usize = 100;
const ASKED: &str = "holdfast context add";
const HELP: &str = "holdfast context add --help";
const ASK_FOR_ANOTHER: &str = "ask an admin for another: holdfast operator add NAME --role ROLE";

pub(super) async fn run(
    c: &mut Context<'_, '_>,
    mut contexts: Contexts,
    address: &str,
    token: &str,
    name: Option<ContextName>,
) -> Result<Exit, Stop> {
    let token = person_token(token)?;
    check_address(address)?;
    if let Some(taken) = taken(&contexts, name.as_ref(), &token.pin()) {
        return Err(taken.into());
    }
    contexts.prepare().map_err(|e| Failure::usage(Chain(&e).to_string(), "holdfast context list"))?;
    let new = redeem(c, address, &token).await?;
    let name = name.or_else(|| free_name(&contexts, &new.cluster_name)).ok_or_else(|| {
        bad_answer(address, &format!("\"{}\" is no name for a context; name one with --name", clean(&new.cluster_name)))
    })?;
    let context = contexts::Context {
        identity: Contexts::identity_for(&name),
        name,
        cluster: new.cluster.clone(),
        addresses: vec![address.to_owned()],
    };
    let shown = json::AddedContext {
        context: context.name.to_string(),
        cluster: new.cluster.to_string(),
        operator: token.operator.to_string(),
        role: new.role,
        certificate_until: new.identity.not_after.to_string(),
        current: contexts.all().is_empty(),
    };
    keep(&mut contexts, context, &new.material)?;
    let next = if shown.current {
        "holdfast status".to_owned()
    } else {
        format!("holdfast context use {}      to talk to it from now on", shown.context)
    };
    c.show::<_, json::AddedContext>(shown, |s, _| {
        format!("you are {}, {} of {}, until {}\n", s.operator, clean(&s.role), s.context, s.certificate_until)
    })?;
    c.console.say(&format!("  next  {next}\n"));
    Ok(Exit::Done)
}

/// The text of a token is a secret: no error repeats it.
fn person_token(text: &str) -> Result<PersonToken, Failure> {
    text.parse().map_err(|e: holdfast_shared::token::BadToken| {
        if text.parse::<JoinToken>().is_ok() {
            return Failure::usage("this token is for a host, not for a person", ASK_FOR_ANOTHER)
                .line("host", "on it, as root: holdfast-agent join ADDRESS --token TOKEN");
        }
        Failure::usage(e.to_string(), HELP)
    })
}

fn check_address(address: &str) -> Result<(), Failure> {
    let good = address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    let bad = || {
        Failure::usage(format!("\"{}\" is no address: expected HOST:PORT, as in c1.example:7443", clean(address)), HELP)
    };
    good.then_some(()).ok_or_else(bad)
}

/// Why the name would be taken, as far as that can be known before the cluster has said its own.
fn taken(contexts: &Contexts, name: Option<&ContextName>, pin: &Pin) -> Option<Failure> {
    let again = format!("{ASKED} ADDRESS --token TOKEN --name OTHER");
    match name {
        Some(name) => contexts.taken(name).map(|taken| Failure::usage(taken, again).next("holdfast context list")),
        None => {
            let same = |known: &&contexts::Context| {
                let material = Material::load_dir(&contexts.identity_folder(known));
                material.is_ok_and(|m| m.roots.iter().any(|root| Pin::of(root) == *pin))
            };
            let known = contexts.all().iter().find(same)?;
            Some(
                Failure::usage(format!("there is a context of this cluster already: {}", known.name), again)
                    .line("why", "a second one needs a name of its own")
                    .next(format!("holdfast context use {}      if the one you have still does", known.name)),
            )
        }
    }
}

/// The cluster's own name, or that with a number: another cluster of the same name must not cost the token.
fn free_name(contexts: &Contexts, cluster: &str) -> Option<ContextName> {
    let free = |name: &ContextName| contexts.taken(name).is_none();
    let numbered = (2..=CONTEXTS_MAX).map(|n| format!("{cluster}-{n}"));
    std::iter::once(cluster.to_owned()).chain(numbered).filter_map(|name| ContextName::new(name).ok()).find(free)
}

/// What the token was good for.
struct Redeemed {
    cluster: ClusterId,
    cluster_name: String,
    role: String,
    material: Material,
    identity: PeerIdentity,
}

async fn redeem(c: &Context<'_, '_>, address: &str, token: &PersonToken) -> Result<Redeemed, Failure> {
    let unusable = |why: String| Failure::new(Exit::Usage, why).next("holdfast --version");
    let KeyAndCsr { key, csr } = KeyAndCsr::generate().map_err(|e| unusable(Chain(&e).to_string()))?;
    let channel = pinned_channel(Arc::new(TcpDial), address, token.pin(), Arc::clone(&c.clock))
        .map_err(|e| unusable(Chain(&e).to_string()))?;
    let connector: Connector = Arc::new(move |_| channel.clone());
    let mut client = Client::new("that cluster", vec![address.to_owned()], connector);
    let request = v1::RedeemRequest { token: token.to_string(), csr, version: env!("CARGO_PKG_VERSION").to_owned() };
    let mut asked = ask(&mut client, &request).await;
    // The very same request is answered again: a lost answer costs no token.
    if asked.as_ref().is_err_and(|failure| failure.exit == Exit::Unknown) {
        asked = ask(&mut client, &request).await;
    }
    let reply = asked.map_err(|failure| in_place(failure, address))?;
    let bad = |why: &str| bad_answer(address, why);
    let credentials = reply.credentials.ok_or_else(|| bad("it holds no certificate"))?;
    let cluster = ClusterId::new(reply.cluster).map_err(|e| bad(&e.to_string()))?;
    let material = Material::from_der(key, credentials.chain, credentials.roots, credentials.crls);
    let identity = material.identity(c.clock.wall()).map_err(|e| bad(&Chain(&e).to_string()))?;
    let asked = Bearer::Operator { name: token.operator.clone() };
    if identity.bearer != asked || identity.cluster != cluster {
        let found = format!("{} of {}", identity.bearer, identity.cluster);
        return Err(bad(&format!("a certificate for {found}, asked was {asked} of {cluster}")));
    }
    if !material.roots.iter().any(|root| Pin::of(root) == token.pin()) {
        return Err(bad("its CA is not the one that the token names"));
    }
    Ok(Redeemed { cluster, cluster_name: reply.cluster_name, role: reply.role, material, identity })
}

async fn ask(client: &mut Client, request: &v1::RedeemRequest) -> Result<v1::RedeemReply, Failure> {
    client
        .call(ASKED, Intent::Change, |ch| {
            let request = request.clone();
            async { EnrolClient::new(ch).redeem(request).await }
        })
        .await
}

/// The next steps of somebody who has no context yet.
fn in_place(mut failure: Failure, address: &str) -> Failure {
    if failure.lines.iter().any(|(_, text)| text.contains("belongs to another cluster")) {
        return Failure::usage(format!("the coordinator at {address} is not of the token's cluster"), HELP)
            .line("why", "the token names a CA, and that coordinator has another; the two are printed on one line")
            .closing(UNCHANGED);
    }
    let next = match failure.exit {
        Exit::NotPermitted | Exit::Unknown => vec![ASK_FOR_ANOTHER.to_owned()],
        Exit::Usage | Exit::NoLeader => {
            vec![format!("{ASKED} {address} --token TOKEN      again, once that coordinator answers")]
        }
        Exit::Done | Exit::Changes | Exit::Failed | Exit::Unwound | Exit::Partly | Exit::Refused | Exit::Detached => {
            return failure;
        }
    };
    failure.next = next;
    failure
}

fn bad_answer(address: &str, why: &str) -> Failure {
    Failure::new(Exit::Failed, format!("{address} gave an answer that cannot be used: {}", clean(why)))
        .next(ASK_FOR_ANOTHER)
}

/// Keeps the key and the context, or neither.
fn keep(contexts: &mut Contexts, context: contexts::Context, material: &Material) -> Result<(), Failure> {
    let folder = contexts.identity_folder(&context);
    let made = !folder.exists();
    let key = material.save_dir(&folder).map_err(|e| Chain(&e).to_string());
    let both =
        key.and_then(|()| contexts.put(context).and_then(|()| contexts.save()).map_err(|e| Chain(&e).to_string()));
    both.map_err(|why| {
        if made {
            // It was not there before. The failure that is told is the one that led here.
            drop(fs::remove_dir_all(&folder));
        }
        Failure::new(Exit::Failed, why).line("token", "it is spent, and nothing is kept of it").next(ASK_FOR_ANOTHER)
    })
}
