//! `holdfast-coordinator init`: a CA, a cluster of one, this coordinator's certificate and the first admin's context.

use std::{fs::Permissions, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use holdfast_coordinator_core::{
    change::{AddOperator, Init, Kind},
    records,
    state::State,
};
use holdfast_shared::{
    clock::SharedClock,
    contexts::{Context, Contexts},
    db::Db,
    files,
    identity::Bearer,
    pki::{Ca, CaFiles, Material},
};
use holdfast_types::ids::{ClusterId, ContextName, OperatorName};

use crate::{
    config::{Config, address_problem},
    consensus::{Consensus, MIGRATIONS, RaftConfig, RaftConsensus},
    issue::{COORDINATOR_LIFETIME, Issuer, OPERATOR_LIFETIME},
    replica::Replica,
};

/// The first coordinator of a cluster.
pub const FIRST_NODE: u64 = 1;
/// A cluster of one elects itself in less.
const LEADS_WITHIN: Duration = Duration::from_secs(15);

/// What to make.
#[derive(Debug, Clone)]
pub struct Request {
    /// As operators call the cluster; also the name of the context.
    pub cluster: ContextName,
    /// Where everything lives and listens.
    pub config: Config,
    /// Where the configuration is written.
    pub config_file: PathBuf,
    /// The first admin.
    pub operator: OperatorName,
    /// The admin's contexts.toml.
    pub contexts_file: PathBuf,
}

/// Paths in a coordinator's state folder.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Replicated state.
    pub database: PathBuf,
    /// The CA, its key sealed.
    pub ca: CaFiles,
    /// This coordinator's own key and certificate.
    pub identity: PathBuf,
    /// The past of what is measured.
    pub history: PathBuf,
}

impl Paths {
    /// In this folder.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            database: config.state_dir.join("raft.db"),
            ca: CaFiles::in_folder(&config.state_dir.join("ca")),
            identity: config.state_dir.join("identity"),
            history: config.state_dir.join("history.db"),
        }
    }
}

/// Makes a new cluster. Refuses where one has been made before, and leaves that as it is.
///
/// # Errors
/// What could not be made, and where.
pub async fn init(request: Request, clock: SharedClock, random: [u8; 16]) -> anyhow::Result<ClusterId> {
    if let Some(problem) = address_problem(&request.config.address) {
        bail!("{problem}");
    }
    let paths = Paths::of(&request.config);
    if paths.database.exists() || paths.ca.certificate.exists() {
        bail!(
            "{} holds a cluster already; to begin anew, move that folder away first",
            request.config.state_dir.display()
        );
    }
    let mut contexts = Contexts::load(&request.contexts_file)?;
    if let Some(taken) = contexts.taken(&request.cluster) {
        bail!("{taken}; choose another --cluster name, or move that away first");
    }
    files::make_private_folder(&request.config.state_dir)?;
    let cluster = ClusterId::from_random(random);
    let ca = Ca::generate(&cluster, clock.wall())?;
    if let Some(folder) = paths.ca.certificate.parent() {
        files::make_private_folder(folder)?;
    }
    ca.save(&paths.ca)?;

    let db = Db::open(&paths.database, MIGRATIONS)?;
    let (consensus, state) = RaftConsensus::start::<State>(RaftConfig::new(FIRST_NODE, db.clone())).await?;
    consensus.initialize_single().await?;
    consensus.wait_to_lead(LEADS_WITHIN).await.context("the new cluster of one did not elect itself")?;
    let consensus = Arc::new(consensus);
    let replica = Replica::new(consensus.clone(), state, clock.clone());
    let by = format!("operator {}", request.operator);
    let kind = Kind::Init(Init { cluster: cluster.to_string(), name: request.cluster.to_string() });
    replica.propose(by.as_str(), kind).await?;
    // Written down with no token: their certificate is made right here.
    let admin =
        AddOperator { name: request.operator.to_string(), role: records::OperatorRole::Admin.into(), invite: None };
    replica.propose(by.as_str(), Kind::AddOperator(admin)).await?;

    let placeholder = Material::from_der(
        holdfast_shared::pki::KeyAndCsr::generate()?.key,
        vec![ca.certificate().to_vec()],
        vec![ca.certificate().to_vec()],
        vec![],
    );
    let issuer =
        Issuer::new(Arc::new(ca), cluster.clone(), replica, clock, FIRST_NODE, paths.identity.clone(), placeholder)
            .reached_at(&request.config.address);
    let own = issuer.issue_here(&Bearer::Coordinator { node: FIRST_NODE }, COORDINATOR_LIFETIME).await?;
    own.save_dir(&paths.identity)?;
    let admin = issuer.issue_here(&Bearer::Operator { name: request.operator.clone() }, OPERATOR_LIFETIME).await?;
    consensus.shutdown().await;
    db.close().await;

    let context = Context {
        name: request.cluster.clone(),
        cluster: cluster.clone(),
        addresses: vec![request.config.address.clone()],
        identity: Contexts::identity_for(&request.cluster),
    };
    admin.save_dir(&contexts.identity_folder(&context))?;
    contexts.put(context)?;
    contexts.set_current(request.cluster.as_str())?;
    contexts.save()?;
    if let Some(folder) = request.config_file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    files::write_private(&request.config_file, request.config.to_toml().as_bytes())?;
    // Nothing in it is secret, and the coordinator does not run as who makes it.
    std::fs::set_permissions(&request.config_file, Permissions::from_mode(0o644))
        .with_context(|| format!("cannot open {} to readers", request.config_file.display()))?;
    Ok(cluster)
}
