//! What somebody without a valid token can do at the one door that is open to them.

use super::*;

#[tokio::test]
async fn a_stranger_enrols_nobody_and_has_nothing_written() {
    let world = World::new().await;
    let api = &world.api;
    let create = v1::CreateTokenRequest { region: "us-east".to_owned(), uses: 2, ..<_>::default() };
    let token = Tokens::create(api, world.ask(create)).await.expect("a token").into_inner().token;
    let csr = KeyAndCsr::generate().expect("a key").csr;
    let enrol = |token: String, csr: &[u8]| {
        let request =
            v1::EnrolRequest { token, host: "use-db1".to_owned(), csr: csr.to_vec(), version: "0.1.0".to_owned() };
        api.issuer.enrol(Request::new(request))
    };
    let applied = || *api.replica.applied().borrow();
    let before = applied();
    let end = token.len() - 60;
    let guessed = format!("{}{}{}", &token[..end], if &token[end..=end] == "a" { "b" } else { "a" }, &token[end + 1..]);
    let elsewhere = token.replace("us-east", "us-west");
    for wrong in [guessed.clone(), elsewhere.clone()] {
        assert_eq!(reason(&enrol(wrong, &csr).await.expect_err("refused")), Some(Reason::BadToken));
    }
    assert_eq!(applied(), before, "something was committed for a stranger");

    enrol(token.clone(), &csr).await.expect("enrolled");
    let before = applied();
    // The answer to a request that is known is only given again for the region that it enrolled into.
    assert_eq!(reason(&enrol(elsewhere, &csr).await.expect_err("refused")), Some(Reason::BadToken));
    assert_eq!(applied(), before);
    enrol(token, &csr).await.expect("the same answer again");
    world.end().await;
}
