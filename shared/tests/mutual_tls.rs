//! Who may connect, and what becomes of open sessions when certificates change.

mod support;

use std::time::Duration;

use holdfast_shared::{
    identity::Bearer,
    pki::{Ca, KeyAndCsr, Material, Pin},
    tls::{HotTls, HotTlsClient, channel, describe_connect_error, pinned_channel},
};
use holdfast_types::ClusterId;
use support::{Cluster, DAY, HOUR, Running, Session, agent, operator, tcp, until, who};

fn client(cluster: &Cluster, material: &Material) -> std::sync::Arc<HotTlsClient> {
    HotTlsClient::new(material, cluster.clock()).expect("good material")
}

async fn refusal(server: &Running, client: &std::sync::Arc<HotTlsClient>) -> String {
    let refused = who(&channel(client, tcp(), &server.address)).await.expect_err("refused");
    describe_connect_error(&refused)
}

#[tokio::test]
async fn the_name_comes_from_the_certificate() {
    let cluster = Cluster::new(1);
    let server = Running::start(&cluster.server(1, &[]), cluster.clock()).await;
    for (bearer, said) in [
        (agent("use-db1"), "agent us-east/use-db1 serial ff00"),
        (operator("anna"), "operator anna serial ff00"),
        (Bearer::Coordinator { node: 7 }, "coordinator 7 serial ff00"),
    ] {
        let client = client(&cluster, &cluster.material(&bearer, 0xff00, &[]));
        assert_eq!(who(&channel(&client, tcp(), &server.address)).await.expect("taken"), said);
    }
}

#[tokio::test]
async fn both_sides_change_their_certificates_and_no_session_is_dropped() {
    let cluster = Cluster::new(1);
    let server = Running::start(&cluster.server(1, &[]), cluster.clock()).await;
    let client = client(&cluster, &cluster.material(&agent("db1"), 10, &[]));
    let first = channel(&client, tcp(), &server.address);
    let mut session = Session::open(&first).await;
    assert_eq!(session.echo("one").await.expect("an echo"), "one from agent us-east/db1 serial a");

    assert_eq!(server.hot.reload(&cluster.server(2, &[])).expect("good material"), 0);
    client.reload(&cluster.material(&agent("db1"), 11, &[])).expect("good material");
    assert_eq!(session.echo("two").await.expect("an echo"), "two from agent us-east/db1 serial a");
    let second = channel(&client, tcp(), &server.address);
    assert_eq!(who(&second).await.expect("taken"), "agent us-east/db1 serial b");

    // Long after the certificate it began with has ended, the session goes on.
    cluster.time.advance(2 * HOUR);
    assert_eq!(session.echo("three").await.expect("an echo"), "three from agent us-east/db1 serial a");
    assert_eq!(server.hot.open_sessions(), 2);
}

#[tokio::test]
async fn the_ca_changes_and_no_session_is_dropped() {
    let (old, new) = (Cluster::new(1), Cluster::new(1));
    let both = |mut material: Material| {
        let now = old.clock().wall();
        material.roots = vec![old.ca.certificate().clone(), new.ca.certificate().clone()];
        material.crls = vec![old.ca.crl(2, &[], now).expect("a list"), new.ca.crl(1, &[], now).expect("a list")];
        material
    };
    let server = Running::start(&old.server(1, &[]), old.clock()).await;
    let client = client(&old, &old.material(&agent("db1"), 10, &[]));
    let mut session = Session::open(&channel(&client, tcp(), &server.address)).await;
    let reconnect = async |said: &str| {
        assert_eq!(who(&channel(&client, tcp(), &server.address)).await.expect(said), said);
    };
    // Trust both, move the bearers, trust only the new one.
    server.hot.reload(&both(old.server(2, &[]))).expect("good material");
    client.reload(&both(old.material(&agent("db1"), 11, &[]))).expect("good material");
    reconnect("agent us-east/db1 serial b").await;
    client.reload(&both(new.material(&agent("db1"), 12, &[]))).expect("good material");
    reconnect("agent us-east/db1 serial c").await;
    server.hot.reload(&both(new.server(3, &[]))).expect("good material");
    reconnect("agent us-east/db1 serial c").await;
    server.hot.reload(&new.server(4, &[])).expect("good material");
    client.reload(&new.material(&agent("db1"), 13, &[])).expect("good material");
    reconnect("agent us-east/db1 serial d").await;
    assert_eq!(session.echo("on").await.expect("an echo"), "on from agent us-east/db1 serial a");
}

#[tokio::test]
async fn a_revocation_cuts_open_sessions_and_refuses_new_ones_and_nobody_else() {
    let cluster = Cluster::new(1);
    let server = Running::start(&cluster.server(1, &[]), cluster.clock()).await;
    let revoked = client(&cluster, &cluster.material(&agent("db1"), 10, &[]));
    let other = client(&cluster, &cluster.material(&agent("db2"), 20, &[]));
    let revoked_channel = channel(&revoked, tcp(), &server.address);
    let mut session = Session::open(&revoked_channel).await;
    let mut others = Session::open(&channel(&other, tcp(), &server.address)).await;
    session.echo("one").await.expect("an echo");

    assert_eq!(server.hot.reload(&cluster.server(1, &[10])).expect("good material"), 1);
    session.next().await.expect_err("cut");
    until("the cut session to be forgotten", || server.hot.open_sessions() == 1).await;
    let words = "the coordinator refused the connection: this certificate is revoked; enrol again";
    assert_eq!(refusal(&server, &revoked).await, words);
    let again = who(&revoked_channel).await.expect_err("refused on the old channel too");
    assert_eq!(describe_connect_error(&again), words);
    assert!(server.hot.refused_total() >= 2);
    others.echo("two").await.expect("not disturbed");
}

#[tokio::test]
async fn a_clock_that_was_set_back_locks_nobody_out_and_revocation_still_counts() {
    let cluster = Cluster::new(1);
    // Made before the clock is set back, the server's with a list that revokes one.
    let (own, db1, db2) =
        (cluster.server(1, &[20]), cluster.material(&agent("db1"), 10, &[]), cluster.material(&agent("db2"), 20, &[]));
    cluster.time.advance_back(DAY);
    let server = Running::start(&own, cluster.clock()).await;
    let client_of = |material| channel(&client(&cluster, material), tcp(), &server.address);
    assert_eq!(who(&client_of(&db1)).await.expect("both are early for us"), "agent us-east/db1 serial a");
    who(&client_of(&db2)).await.expect_err("revoked");
    let pinned = pinned_channel(tcp(), &server.address, cluster.ca.pin(), cluster.clock()).expect("a channel");
    who(&pinned).await.expect("whoever joins now, too");
}

#[tokio::test]
async fn a_session_is_cut_by_its_serial_or_its_bearer() {
    let cluster = Cluster::new(1);
    let server = Running::start(&cluster.server(1, &[]), cluster.clock()).await;
    let (one, two) = (cluster.material(&agent("db1"), 10, &[]), cluster.material(&agent("db1"), 11, &[]));
    let open =
        async |material: &Material| Session::open(&channel(&client(&cluster, material), tcp(), &server.address)).await;
    let (mut a, mut b) = (open(&one).await, open(&two).await);
    assert_eq!((server.hot.cut("c"), server.hot.cut("a")), (0, 1));
    a.next().await.expect_err("cut");
    b.echo("on").await.expect("another certificate");
    until("the cut session to be forgotten", || server.hot.open_sessions() == 1).await;
    assert_eq!(server.hot.cut_bearer(&agent("db1")), 1);
    b.next().await.expect_err("cut");
}

#[tokio::test]
async fn without_a_certificate_a_caller_is_nobody() {
    let cluster = Cluster::new(1);
    let server = Running::start(&cluster.server(1, &[]), cluster.clock()).await;
    let pinned = pinned_channel(tcp(), &server.address, cluster.ca.pin(), cluster.clock()).expect("a channel");
    assert_eq!(who(&pinned).await.expect("answered"), "nobody");
}

#[tokio::test]
async fn a_pinned_channel_refuses_every_other_cluster() {
    let (cluster, other) = (Cluster::new(1), Cluster::new(1));
    let server = Running::start(&cluster.server(1, &[]), cluster.clock()).await;
    let ask = async |server: &Running, pin: Pin| {
        let pinned = pinned_channel(tcp(), &server.address, pin, cluster.clock()).expect("a channel");
        who(&pinned).await.map_err(|e| describe_connect_error(&e))
    };
    let (expected, found) = (other.ca.pin(), cluster.ca.pin());
    let words =
        format!("the coordinator belongs to another cluster: expected a CA with hash {expected}, found {found}");
    assert_eq!(ask(&server, expected).await.expect_err("refused"), words);

    // Showing the right CA beside a certificate that it has not signed does not help.
    let mut forged = other.server(1, &[]);
    forged.chain.push(cluster.ca.certificate().clone());
    let forger = Running::start(&forged, other.clock()).await;
    let e = ask(&forger, cluster.ca.pin()).await.expect_err("refused");
    assert!(e.starts_with("the coordinator's certificate is refused: its CA is not the one"), "{e}");

    // Nor does a certificate of the right CA that is not a coordinator's.
    let agents = Running::start(&cluster.material(&agent("db1"), 9, &[]), cluster.clock()).await;
    let e = ask(&agents, cluster.ca.pin()).await.expect_err("refused");
    assert_eq!(e, "the coordinator's certificate is refused: it is not a coordinator's; is this the right address?");
}

#[tokio::test]
async fn certificates_of_another_ca_are_refused_on_both_sides() {
    let (cluster, other) = (Cluster::new(1), Cluster::new(1));
    let server = Running::start(&cluster.server(1, &[]), cluster.clock()).await;
    let stranger = client(&cluster, &other.material(&agent("db1"), 10, &[]));
    let e = refusal(&server, &stranger).await;
    assert!(
        e.starts_with("the coordinator's certificate is refused: its CA is not the one that is trusted here"),
        "{e}"
    );
    let mut material = other.material(&agent("db1"), 10, &[]);
    material.roots = vec![cluster.ca.certificate().clone()];
    material.crls.clear();
    let e = refusal(&server, &client(&cluster, &material)).await;
    assert!(e.starts_with("the coordinator refused the connection: this certificate was not issued by"), "{e}");
}

#[tokio::test]
async fn a_certificate_for_another_cluster_is_refused_even_from_the_same_ca() {
    let cluster = Cluster::new(1);
    let server = Running::start(&cluster.server(1, &[]), cluster.clock()).await;
    let mut material = cluster.material(&agent("db1"), 10, &[]);
    let KeyAndCsr { key, csr } = KeyAndCsr::generate().expect("a key");
    let elsewhere = ClusterId::from_random([9; 16]);
    let leaf = cluster.ca.sign_csr(&csr, &agent("db1"), &elsewhere, 11, HOUR, cluster.clock().wall()).expect("signed");
    (material.key, material.chain) = (key, vec![leaf]);
    refusal(&server, &client(&cluster, &material)).await;
    assert_eq!((server.hot.refused_total(), server.hot.open_sessions()), (1, 0));
}

#[tokio::test]
async fn only_a_coordinator_may_answer_as_one() {
    let cluster = Cluster::new(1);
    let server = Running::start(&cluster.material(&agent("db9"), 9, &[]), cluster.clock()).await;
    let e = refusal(&server, &client(&cluster, &cluster.material(&agent("db1"), 10, &[]))).await;
    assert_eq!(e, "the coordinator's certificate is refused: it is not a coordinator's; is this the right address?");
}

#[tokio::test]
async fn an_expired_certificate_passes_for_thirty_days_and_is_marked() {
    let cluster = Cluster::new(1);
    let client = client(&cluster, &cluster.material(&agent("db1"), 10, &[]));
    let at = async |age: Duration, revoked: &[u64]| {
        cluster.time.advance(age);
        let server = Running::start(&cluster.server(1, revoked), cluster.clock()).await;
        who(&channel(&client, tcp(), &server.address)).await.map_err(|e| describe_connect_error(&e))
    };
    let expired = "the coordinator refused the connection: this certificate has expired";
    let said = at(HOUR / 2, &[]).await;
    assert_eq!(said.expect("still valid"), "agent us-east/db1 serial a");
    let said = at(HOUR, &[]).await;
    assert_eq!(said.expect("just expired"), "agent us-east/db1 serial a expired");
    let said = at(29 * DAY, &[]).await;
    assert_eq!(said.expect("expired for 29 days"), "agent us-east/db1 serial a expired");
    let said = at(HOUR, &[10]).await;
    assert!(said.expect_err("expired and revoked").contains("is revoked"));
    let said = at(DAY, &[]).await;
    let e = said.expect_err("expired for more than 30 days");
    assert!(e.starts_with(expired), "{e}");
}

#[tokio::test]
async fn an_expired_certificate_of_another_ca_does_not_pass() {
    let (cluster, other) = (Cluster::new(1), Cluster::new(1));
    let mut material = other.material(&agent("db1"), 10, &[]);
    material.roots = vec![cluster.ca.certificate().clone()];
    cluster.time.advance(DAY);
    material.crls.clear();
    let server = Running::start(&cluster.server(1, &[]), cluster.clock()).await;
    refusal(&server, &client(&cluster, &material)).await;
    assert_eq!((server.hot.refused_total(), server.hot.open_sessions()), (1, 0));
}

#[tokio::test]
async fn no_certificate_passes_on_a_list_of_revoked_ones_that_is_out_of_date() {
    let cluster = Cluster::new(1);
    let mut server_material = cluster.server(1, &[]);
    let stale = server_material.crls.clone();
    let expired = cluster.material(&agent("db1"), 10, &[]);
    cluster.time.advance(30 * DAY + HOUR / 2);
    server_material = cluster.server(1, &[]);
    server_material.crls = stale;
    let server = Running::start(&server_material, cluster.clock()).await;
    let fresh = cluster.material(&agent("db2"), 11, &[]);
    for material in [expired, fresh] {
        let e = refusal(&server, &client(&cluster, &material)).await;
        assert!(e.ends_with("or the coordinator's list of revoked certificates is out of date"), "{e}");
    }
}

#[tokio::test]
async fn material_that_cannot_work_leaves_the_old_one_in_force() {
    let cluster = Cluster::new(1);
    let server = Running::start(&cluster.server(1, &[]), cluster.clock()).await;
    let client = client(&cluster, &cluster.material(&agent("db1"), 10, &[]));
    let good = cluster.server(2, &[]);
    let other_key = KeyAndCsr::generate().expect("a key").key;
    let other_ca = Ca::generate(&cluster.id, cluster.clock().wall()).expect("a CA");
    let bad = [
        Material { key: other_key.clone_key(), ..good.clone() },
        Material { chain: vec![], ..good.clone() },
        Material { roots: vec![], ..good.clone() },
        Material { crls: vec![], ..good.clone() },
        Material { crls: vec![other_ca.crl(1, &[], cluster.clock().wall()).expect("a list")], ..good.clone() },
        Material { crls: vec![b"garbage".to_vec().into()], ..good.clone() },
        Material { roots: vec![b"garbage".to_vec().into()], ..good.clone() },
        Material { chain: vec![cluster.ca.certificate().clone()], ..good.clone() },
    ];
    for (at, material) in bad.iter().enumerate() {
        assert!(server.hot.reload(material).is_err(), "bad material {at} was taken");
        assert!(HotTls::new(material, cluster.clock()).is_err(), "bad material {at} was taken");
    }
    for material in [&bad[0], &bad[1], &bad[2], &bad[6]] {
        assert!(client.reload(material).is_err(), "bad material was taken");
    }
    who(&channel(&client, tcp(), &server.address)).await.expect("all as before");
}
