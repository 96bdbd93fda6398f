//! What is taken, what is refused and how it is said.

mod good;
mod limits;
mod refused;
mod timings;

/// A spec with one of everything, on lines that the tables count on.
const GOOD: &str = "\
spec: 1
app: shop
regions:
  us-east:
    roles:
      db:    [{host: use-db1, address: 10.1.0.11}]
      proxy: [{host: use-web1, address: 10.1.0.21}]
      api:   [{host: use-web1, address: 10.1.0.21}, {host: use-web2, address: 10.1.0.22}]
  us-west:
    roles:
      db:    [{host: usw-db1, address: 10.2.0.11}]
      proxy: [{host: usw-web1, address: 10.2.0.21}]
      api:   [{host: usw-web1, address: 10.2.0.21}]
writers:
  pg:
    kind: postgres
    on: db
    run_by: {systemd: postgresql@15-main.service}
    data_dir: /var/lib/postgresql/15/main
    port: 5432
    login: {socket: /var/run/postgresql, user: holdfast, database: postgres}
    replication:
      mode: async
      user: replicator
      password: {credential: shop-repl}
      slot: holdfast_{region}
checks:
  writes:  {kind: postgres, writer: pg, where: local, expect: accepts_writes, vital: true, timeout: 2s}
  follows: {kind: postgres, writer: pg, where: local, of: standby, expect: streams, timeout: 2s}
  db-port: {kind: tcp, on: db, port: 5432, where: local, from: proxy, timeout: 1s}
  api:     {kind: http, on: api, url: \"http://{address}:8080/health\", expect: 200, where: local, enough: 1}
  outside: {kind: http, url: \"https://{region}.shop.example/health\", where: remote, proves: writes, timeout: 4s}
failover:
  mode: automatic
  interval: 30s
  recheck: 5s
  failures: 3
  successes: 3
  lease: {duration: 20s, renew: 5s}
  on_isolation: fence
  rto_target: 60s
  rpo_target: 0
fencing:
  by: agent
  within: 10s
traffic:
  proxies:
    - kind: haproxy
      on: proxy
      socket: /run/haproxy/admin.sock
      backends: {pg_write: pg}
";

/// [`GOOD`] with one place changed. Panics when the place is not there exactly once: a table must not test nothing.
fn changed(from: &str, to: &str) -> String {
    assert_eq!(GOOD.matches(from).count(), 1, "{from:?} stands in the good spec not exactly once");
    GOOD.replacen(from, to, 1)
}

/// The problems of a text, one line each; none when it is taken.
fn problems(text: &str) -> Vec<String> {
    super::parse("shop.yaml", text).map_or_else(|problems| problems.lines(), |_| Vec::new())
}
