//! Who may do what, and what is remembered of it.

use holdfast_proto::v1::{audit_server::Audit, people_server::People};
use holdfast_shared::token::PersonToken;
use holdfast_types::{
    OperatorName, Role,
    audit::{Entry, Hash, Verifier},
};

use super::*;

impl World {
    async fn add(&self, name: &str, role: Role) -> Result<PersonToken, Status> {
        let asked = v1::AddOperatorRequest { name: name.to_owned(), role: role.to_string(), valid: None };
        let added = People::add(&self.api, self.ask(asked)).await?.into_inner();
        assert_eq!(added.add, format!("holdfast context add c1.example:7443 --token {}", added.token));
        Ok(added.token.parse().expect("a token"))
    }

    async fn redeem(&self, token: &PersonToken, csr: &[u8]) -> Result<v1::RedeemReply, Status> {
        let request = v1::RedeemRequest { token: token.to_string(), csr: csr.to_vec(), version: "0.1.0".to_owned() };
        Ok(self.api.issuer.redeem(Request::new(request)).await?.into_inner())
    }

    /// Lets somebody in, whole.
    async fn let_in(&self, name: &str, role: Role) {
        let token = self.add(name, role).await.expect("added");
        let csr = KeyAndCsr::generate().expect("a key").csr;
        let reply = self.redeem(&token, &csr).await.expect("redeemed");
        assert_eq!((&*reply.operator, &*reply.role, &*reply.cluster_name), (name, role.name(), "acme"));
    }

    fn person<T>(&self, name: &str, message: T) -> Request<T> {
        self.by(Bearer::Operator { name: name.parse().expect("a name") }, message)
    }

    /// The newest entries of the trail, which holds.
    async fn trail(&self, newest: u32) -> Vec<Entry> {
        let request = self.ask(v1::TrailRequest { after: 0, newest });
        let mut stream = Audit::trail(&self.api, request).await.expect("the trail").into_inner();
        let (mut verifier, mut trail) = (Verifier::default(), Vec::new());
        while let Some(entry) = stream.next().await {
            let e = entry.expect("an entry");
            let hash = |bytes: &[u8]| Hash::try_from(bytes).expect("a hash");
            let entry = Entry {
                number: e.number,
                at: e.at,
                previous: hash(&e.previous),
                hash: hash(&e.hash),
                by: e.by,
                from: e.from,
                call: e.call,
                subject: e.subject,
                why: e.why,
                done: e.done,
                outcome: e.outcome,
            };
            verifier.take(&entry).expect("an unbroken trail");
            trail.push(entry);
        }
        trail
    }

    async fn told(&self, newest: u32) -> Vec<String> {
        let told =
            |e: Entry| format!("{} {} {}: {}{}", e.by, e.call, e.subject, if e.done { "" } else { "✘ " }, e.outcome);
        self.trail(newest).await.into_iter().map(told).collect()
    }
}

#[tokio::test]
async fn each_role_may_what_it_says_and_every_call_is_in_the_trail() {
    let world = World::with_shop().await;
    for (name, role) in [("eve", Role::Viewer), ("dan", Role::Deployer), ("oli", Role::Operator), ("amy", Role::Admin)]
    {
        world.let_in(name, role).await;
    }
    let api = &world.api;
    let before = *api.replica.applied().borrow();
    for name in ["eve", "dan", "oli", "amy"] {
        Apps::list(api, world.person(name, v1::ListAppsRequest {})).await.expect("everybody may look");
        let dry = v1::FailoverRequest { app: "shop".to_owned(), dry_run: true, ..<_>::default() };
        let planned = Operations::failover(api, world.person(name, dry)).await;
        assert_ne!(planned.err().as_ref().and_then(reason), Some(Reason::NotPermitted), "{name} may look at a plan");
    }
    assert_eq!(*api.replica.applied().borrow(), before, "looking leaves no trace");

    let failover = || v1::FailoverRequest { app: "shop".to_owned(), reason: "drill".to_owned(), ..<_>::default() };
    let apply = || v1::ApplyRequest { spec_yaml: samples::FAST.to_owned(), ..<_>::default() };
    let create = || v1::CreateTokenRequest { region: "us-east".to_owned(), ..<_>::default() };
    let of = &world;
    let may = async |name: &'static str| {
        let refused = |status: Option<Status>| status.as_ref().and_then(reason) == Some(Reason::NotPermitted);
        [
            !refused(Operations::failover(api, of.person(name, failover())).await.err()),
            !refused(Apps::apply(api, of.person(name, apply())).await.err()),
            !refused(Tokens::create(api, of.person(name, create())).await.err()),
        ]
    };
    assert_eq!(may("eve").await, [false, false, false]);
    assert_eq!(
        world.told(3).await,
        [
            "operator eve failover shop: ✘ eve is viewer; this takes operator or more",
            "operator eve apply shop: ✘ eve is viewer; this takes operator or more",
            "operator eve token create us-east: ✘ eve is viewer; this takes admin",
        ]
    );
    let failed = world.trail(3).await.remove(0);
    assert_eq!((&*failed.why, &*failed.from), ("drill", "10.0.0.9:1"));
    assert_eq!(may("dan").await, [false, false, false]);
    assert_eq!(may("oli").await, [true, true, false]);
    assert_eq!(may("amy").await, [true, true, true]);
    let told = world.told(1).await;
    assert_eq!(told, ["operator amy token create us-east: done"]);

    // Also what is refused for another reason, and what a stranger with a token did.
    Apps::apply(api, world.person("oli", v1::ApplyRequest { spec_yaml: "app: nonsense".to_owned(), ..<_>::default() }))
        .await
        .expect_err("no spec");
    let told = world.told(1).await;
    assert!(told[0].starts_with("operator oli apply nonsense: ✘ "), "{told:?}");
    let all = world.told(0).await;
    assert!(all.iter().any(|line| line.contains(" join use-db1 in us-east: certificate ")), "{all:#?}");
    assert!(all.iter().any(|line| line.contains(" context add eve: certificate ")), "{all:#?}");
    assert_eq!(
        reason(&Audit::trail(api, world.person("oli", v1::TrailRequest::default())).await.expect_err("refused")),
        Some(Reason::NotPermitted)
    );
    world.end().await;
}

#[tokio::test]
async fn who_is_put_out_can_do_nothing_more_and_a_token_lets_in_once() {
    let world = World::new().await;
    let api = &world.api;
    let csr = KeyAndCsr::generate().expect("a key").csr;
    let token = world.add("eve", Role::Admin).await.expect("added");
    let wrong = PersonToken::new("eve".parse().expect("a name"), [9; 25], &api.issuer.ca().pin());
    let before = *api.replica.applied().borrow();
    assert_eq!(reason(&world.redeem(&wrong, &csr).await.expect_err("refused")), Some(Reason::BadToken));
    world.redeem(&token, b"no request").await.expect_err("it cannot be signed");
    assert_eq!(
        *api.replica.applied().borrow(),
        before,
        "nothing is written for a stranger, and the token is not used up"
    );
    world.redeem(&token, &csr).await.expect("redeemed");
    world.redeem(&token, &csr).await.expect("its answer was lost");
    let other = KeyAndCsr::generate().expect("a key").csr;
    assert_eq!(reason(&world.redeem(&token, &other).await.expect_err("refused")), Some(Reason::BadToken));
    assert_eq!(reason(&world.add("eve", Role::Viewer).await.expect_err("refused")), Some(Reason::NameTaken));

    let people =
        People::list(api, world.person("eve", v1::ListOperatorsRequest {})).await.expect("listed").into_inner();
    let row = |p: &v1::Person| format!("{} {} {}", p.name, p.role, p.state);
    assert_eq!(people.people.iter().map(row).collect::<Vec<_>>(), ["ada admin active", "eve admin active"]);

    let out = |by: &'static str, name: &'static str| {
        let asked = v1::RevokeOperatorRequest { name: name.to_owned(), reason: "left".to_owned() };
        People::revoke(api, world.person(by, asked))
    };
    assert_eq!(reason(&out("eve", "mallory").await.expect_err("refused")), Some(Reason::UnknownOperator));
    assert_eq!(out("eve", "ada").await.expect("put out").into_inner().certificates, 1);
    let refused = Apps::list(api, world.person("ada", v1::ListAppsRequest {})).await.expect_err("refused");
    assert_eq!(reason(&refused), Some(Reason::NotPermitted));
    assert_eq!(reason(&out("eve", "eve").await.expect_err("refused")), Some(Reason::LastAdmin));
    assert!(api.replica.read(|s| s.role(&"eve".parse::<OperatorName>().expect("a name"))).is_some());
    world.end().await;
}
