//! Connections that dawdle or stay away hold up nobody. On a network in memory, so that the minutes cost nothing.

mod support;

use std::time::Duration;

use holdfast_shared::{
    net::Dial,
    tls::{HANDSHAKES_MAX, HotTls, HotTlsClient, channel, describe_connect_error, pinned_channel},
};
use support::{Cluster, Running, Session, agent, tcp, until, who, wire};

#[tokio::test(start_paused = true)]
async fn handshakes_that_never_end_do_not_hold_up_others_and_are_given_up() {
    let cluster = Cluster::new(1);
    let hot = HotTls::new(&cluster.server(1, &[]), cluster.clock()).expect("good material");
    let (dial, accept) = wire();
    let server = Running::start_on(Box::new(accept), String::new(), hot);
    let mut silent = Vec::new();
    for _ in 1..HANDSHAKES_MAX {
        silent.push(dial.dial("silent").await.expect("dialled"));
    }
    let client = HotTlsClient::new(&cluster.material(&agent("db1"), 10, &[]), cluster.clock()).expect("good material");
    let called = channel(&client, dial.clone(), "wire:1");
    assert_eq!(who(&called).await.expect("answered beside them"), "agent us-east/db1 serial a");
    assert_eq!(server.hot.refused_total(), 0);
    let given_up = u64::try_from(HANDSHAKES_MAX - 1).expect("small");
    until("the silent ones to be given up", || server.hot.refused_total() == given_up).await;
}

#[tokio::test(start_paused = true)]
async fn when_all_places_are_taken_the_next_one_waits_its_turn() {
    let cluster = Cluster::new(1);
    let hot = HotTls::new(&cluster.server(1, &[]), cluster.clock()).expect("good material");
    let (dial, accept) = wire();
    let server = Running::start_on(Box::new(accept), String::new(), hot);
    let mut silent = Vec::new();
    for _ in 0..HANDSHAKES_MAX {
        silent.push(dial.dial("silent").await.expect("dialled"));
    }
    let client = HotTlsClient::new(&cluster.material(&agent("db1"), 10, &[]), cluster.clock()).expect("good material");
    let called = channel(&client, dial.clone(), "wire:1");
    let e = describe_connect_error(&who(&called).await.expect_err("no place yet"));
    assert_eq!(e, "no answer from wire:1 within 2 s");
    until("the silent ones to be given up", || server.hot.refused_total() >= silent.len() as u64).await;
    who(&called).await.expect("its turn");
}

#[tokio::test(start_paused = true)]
async fn a_caller_without_certificate_is_shown_out_after_a_minute() {
    let cluster = Cluster::new(1);
    let hot = HotTls::new(&cluster.server(1, &[]), cluster.clock()).expect("good material");
    let (dial, accept) = wire();
    let _server = Running::start_on(Box::new(accept), String::new(), hot);
    let pinned = pinned_channel(dial.clone(), "wire:1", cluster.ca.pin(), cluster.clock()).expect("a channel");
    let mut session = Session::open(&pinned).await;
    session.echo("hello").await.expect("for now");
    let known = HotTlsClient::new(&cluster.material(&agent("db1"), 10, &[]), cluster.clock()).expect("good material");
    let mut stays = Session::open(&channel(&known, dial, "wire:1")).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    session.next().await.expect_err("shown out");
    stays.echo("still here").await.expect("whoever has a certificate stays");
}

#[tokio::test]
async fn a_cancelled_server_ends_and_what_cannot_be_reached_is_named() {
    let cluster = Cluster::new(1);
    let mut server = Running::start(&cluster.server(1, &[]), cluster.clock()).await;
    server.cancel.cancel();
    support::within("the server to end", server.tasks.join_next()).await.expect("a task").expect("no panic");
    let client = HotTlsClient::new(&cluster.material(&agent("db1"), 10, &[]), cluster.clock()).expect("good material");
    let e = who(&channel(&client, tcp(), &server.address)).await.expect_err("nobody there");
    let e = describe_connect_error(&e);
    assert!(e.starts_with(&format!("cannot connect to {}: ", server.address)), "{e}");
}
