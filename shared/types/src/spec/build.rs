//! From a draft without problems to the value.

use std::collections::BTreeMap;

use super::{
    AppSpec, Check, CheckKind, Failover, FencedBy, Fencing, Placement, Proxy, Region, TlsCheck, Writer,
    read::{CheckDraft, Draft, FailoverDraft, FencingDraft, KindDraft, ProxyDraft, RegionDraft, WriterDraft},
};

/// `None` when something is missing: then a problem was noted for it.
pub(super) fn app(draft: Draft) -> Option<AppSpec> {
    Some(AppSpec {
        app: draft.app?,
        regions: draft.regions?.into_iter().map(region).collect::<Option<_>>()?,
        writers: by_name(draft.writers.into_iter().map(writer), |writer| writer.name.clone())?,
        checks: by_name(draft.checks.into_iter().map(check), |check| check.name.clone())?,
        failover: match draft.failover {
            Some(failover) => Some(self::failover(failover)?),
            None => None,
        },
        fencing: fencing(draft.fencing)?,
        proxies: draft.proxies.into_iter().map(proxy).collect::<Option<_>>()?,
    })
}

fn by_name<N: Ord, T>(items: impl Iterator<Item = Option<T>>, name: impl Fn(&T) -> N) -> Option<BTreeMap<N, T>> {
    items.map(|item| item.map(|item| (name(&item), item))).collect()
}

fn region(draft: RegionDraft) -> Option<Region> {
    let mut roles = BTreeMap::new();
    for (role, hosts) in draft.roles {
        let hosts = hosts.into_iter().map(|p| Some(Placement { host: p.host?.is, address: p.address? }));
        roles.insert(role, hosts.collect::<Option<_>>()?);
    }
    Some(Region { name: draft.name?, roles })
}

fn writer(draft: WriterDraft) -> Option<Writer> {
    Some(Writer {
        name: draft.name?,
        kind: draft.kind?,
        on: draft.on?.is,
        run_by: draft.run_by?.is,
        data_dir: draft.data_dir?.is,
        port: draft.port?.is,
        login: draft.login?,
        replication: draft.replication.map(|replication| replication.is),
    })
}

fn check(draft: CheckDraft) -> Option<Check> {
    Some(Check {
        name: draft.name?,
        kind: match draft.kind? {
            KindDraft::Tcp { port } => CheckKind::Tcp { port },
            KindDraft::Http { url, expect_status } => CheckKind::Http { url: url.is, expect_status },
            KindDraft::Postgres { writer, expect } => CheckKind::Postgres { writer: writer.is, expect: expect.is },
            KindDraft::Container { names } => CheckKind::Container { names },
            KindDraft::Tls(tls) => CheckKind::Tls(TlsCheck {
                address: tls.address.map(|address| address.is),
                port: tls.port,
                server_name: tls.server_name,
                days_min: tls.days_min,
                ca: tls.ca,
            }),
            KindDraft::Redis { port, expect, user, password } => CheckKind::Redis { port, expect, user, password },
            KindDraft::Mongodb { port, expect, replica_set } => CheckKind::Mongodb { port, expect, replica_set },
            KindDraft::Exec { script } => CheckKind::Exec { script },
        },
        on: draft.on.map(|on| on.is),
        from: draft.from.map(|from| from.is),
        place: draft.place?.is,
        of: draft.of?.is,
        vital: draft.vital?.is,
        enough: draft.enough.map(|enough| enough.is),
        timeout: draft.timeout?.is,
        proves_writes: draft.proves.is_some(),
    })
}

fn failover(draft: FailoverDraft) -> Option<Failover> {
    Some(Failover {
        mode: draft.mode?.is,
        interval: draft.interval?.is,
        recheck: draft.recheck?.is,
        failures: draft.failures?,
        successes: draft.successes?,
        lease: draft.lease?.is,
        renew: draft.renew?.is,
        on_isolation: draft.on_isolation?,
        rto_target: draft.rto_target,
        rpo_target: draft.rpo_target,
    })
}

fn fencing(draft: FencingDraft) -> Option<Fencing> {
    // Where `by` must be said, `relate` has refused a spec that does not say it.
    Some(Fencing { by: draft.by.map_or(FencedBy::Agent, |by| by.is), within: draft.within?.is })
}

fn proxy(draft: ProxyDraft) -> Option<Proxy> {
    let backends = draft.backends.into_iter().map(|(backend, writer)| Some((backend, writer?.is)));
    Some(Proxy { on: draft.on?.is, socket: draft.socket?.is, backends: backends.collect::<Option<_>>()? })
}
