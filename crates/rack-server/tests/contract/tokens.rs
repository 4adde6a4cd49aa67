//! Tokens: made for a role and a time, good for one rack, dead once its key is gone.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};

use super::world::{Client, World, within};

/// A client that presents a user name and a password.
pub(crate) fn presenting(world: &World, user: &str, password: &str) -> Client {
    let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
    world
        .stranger()
        .with("Authorization", &format!("Basic {credentials}"))
}

/// Makes a token, over HTTP.
pub(crate) async fn token(maker: &Client, role: &str) -> String {
    let form = format!("durationInHour=1&role={role}");
    let answer = maker.post("/system/jwt/token", &form).await.json();
    answer["token"].as_str().expect("a token").to_owned()
}

fn claims(token: &str) -> (Value, Value) {
    let part = |index: usize| {
        let part = token.split('.').nth(index).expect("three parts");
        let json = BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64");
        serde_json::from_slice(&json).expect("json")
    };
    (part(0), part(1))
}

/// Signs what the server would not, with the key it keeps.
fn forge(world: &World, rack: &str, header: &Value, claims: &Value) -> String {
    let database = world.rack_directory(rack).join("rack.db");
    let key: String = rusqlite::Connection::open(database)
        .expect("a database")
        .query_row(
            "SELECT value FROM settings WHERE name = 'token-key'",
            [],
            |row| row.get(0),
        )
        .expect("a key");
    assert!(key.len() >= 64, "256 random bits at least");
    let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[tokio::test]
async fn a_token_says_who_may_what_until_when() {
    let (world, rack) = World::with_rack().await;
    for (role, user, rights, hours) in [
        ("read", "system-read", "r", 1),
        ("write", "system-write", "rw", 24),
        ("admin", "system-admin", "rwa", 8760),
    ] {
        let before = now();
        let form = format!("durationInHour={hours}&role={role}");
        let answer = rack.post("/system/jwt/token", &form).await.json();
        assert_eq!(answer.as_object().map(serde_json::Map::len), Some(1));
        let token = answer["token"].as_str().expect("a token");
        let (header, claims) = claims(token);
        assert_eq!(header, json!({ "alg": "HS256", "typ": "JWT" }));
        assert_eq!(claims["user"], user);
        assert_eq!(claims["role"], rights);
        let expires = claims["expiresAt"].as_i64().expect("whole seconds");
        let life = hours * 3600;
        assert!(
            (before + life..=now() + life).contains(&expires),
            "{claims}"
        );
        let client = presenting(&world, "jwt", token);
        client.get("/auth").await.ok();
        assert_eq!(client.get("/system").await.json()["name"], "staging");
    }
}

#[tokio::test]
async fn roles_and_times_are_checked() {
    let (_world, rack) = World::with_rack().await;
    let role = "invalid role: must be read, write, or admin";
    let range = "duration must be between 1 and 8760 hours";
    let invalid = "invalid duration";
    for (form, text) in [
        ("", invalid),
        ("role=read", invalid),
        ("role=read&durationInHour=", invalid),
        ("role=read&durationInHour=soon", invalid),
        ("role=read&durationInHour=1h", invalid),
        ("role=read&durationInHour=1.5", invalid),
        ("role=read&durationInHour=99999999999999999999", invalid),
        ("role=read&durationInHour=0", range),
        ("role=read&durationInHour=-1", range),
        ("role=read&durationInHour=8761", range),
        ("role=read&durationInHour=9223372036854775807", range),
        ("durationInHour=1", role),
        ("role=&durationInHour=1", role),
        ("role=root&durationInHour=1", role),
        ("role=READ&durationInHour=1", role),
    ] {
        rack.post("/system/jwt/token", form).await.fails(400, text);
    }
}

#[tokio::test]
async fn a_token_opens_its_own_rack_only() {
    let world = World::empty().await;
    let staging = world.rack("staging").await;
    let production = world.rack("production").await;
    production.create("theirs").await;
    token(&production, "admin").await;
    let client = presenting(&world, "jwt", &token(&staging, "admin").await);
    // Its signature says which rack it is for.
    assert_eq!(client.get("/system").await.json()["name"], "staging");
    let racks = client.get("/racks").await.json();
    assert_eq!(racks.as_array().map(Vec::len), Some(1));
    assert_eq!(racks[0]["name"], "staging");
    let named = client.with("Rack", "personal/staging");
    assert_eq!(named.get("/system").await.json()["name"], "staging");
    for elsewhere in [
        client.with("Rack", "production"),
        client.with("Rack", "nowhere"),
        client.with("Host", "rack.production.localhost"),
    ] {
        let refused = "invalid authentication";
        elsewhere.get("/apps").await.fails(401, refused);
        elsewhere.delete("/apps/theirs").await.fails(401, refused);
    }
    let refusal = "the server password is needed to make and remove racks";
    client.post("/racks", "name=mine").await.fails(403, refusal);
    client.delete("/racks/staging").await.fails(403, refusal);
    assert_eq!(production.get("/apps").await.json()[0]["name"], "theirs");
}

#[tokio::test]
async fn what_is_no_token_of_the_rack_is_told_why() {
    let (world, rack) = World::with_rack().await;
    let good = token(&rack, "admin").await;
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let until = |expires: i64| json!({ "user": "u", "role": "rwa", "expiresAt": expires });
    let sign = |header: &Value, claims: &Value| forge(&world, "staging", header, claims);
    let other = {
        let elsewhere = World::empty().await;
        let rack = elsewhere.rack("staging").await;
        token(&rack, "admin").await
    };
    let signature = good.rfind('.').expect("a signature");
    for (text, reason) in [
        (sign(&header, &until(now() - 1)), "token is expired"),
        (other, "signature is invalid"),
        (good[..=signature].to_owned(), "signature is invalid"),
        (
            sign(&json!({ "alg": "none" }), &until(now() + 60)),
            "unexpected signing method: none",
        ),
        (
            sign(&json!({ "alg": "RS256" }), &until(now() + 60)),
            "unexpected signing method: RS256",
        ),
        (sign(&header, &json!({})), "invalid token"),
        (
            "password".into(),
            "token contains an invalid number of segments",
        ),
        (
            String::new(),
            "token contains an invalid number of segments",
        ),
        ("a%25.b.c".into(), "illegal base64 data at input byte 1"),
    ] {
        let answer = presenting(&world, "jwt", &text).get("/auth").await;
        answer.fails(401, &format!("invalid authentication: {reason}"));
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Basic realm=\"convox\"")
        );
    }
    // The forger's hand is good: the same with time left lets in.
    let forged = sign(&header, &until(now() + 600));
    presenting(&world, "jwt", &forged).get("/auth").await.ok();
    // The claims are what counts, not the name of who presents them, or the reverse.
    let refused = "invalid authentication";
    presenting(&world, "convox", &good)
        .get("/auth")
        .await
        .fails(401, refused);
    presenting(&world, "JWT", &good)
        .get("/auth")
        .await
        .fails(401, refused);
    let encoded = good.replace('.', "%2E");
    presenting(&world, "jwt", &encoded).get("/auth").await.ok();
}

#[tokio::test]
async fn a_new_key_ends_all_earlier_tokens() {
    let (world, rack) = World::with_rack().await;
    let old = presenting(&world, "jwt", &token(&rack, "admin").await);
    old.put("/system/jwt/rotate", "").await.ok();
    let gone = "invalid authentication: signature is invalid";
    old.get("/auth").await.fails(401, gone);
    let fresh = token(&rack, "read").await;
    presenting(&world, "jwt", &fresh).get("/auth").await.ok();

    let old = old.headers[0].1.clone();
    let data = world.stop().await;
    let world = World::open(data, "").await;
    presenting(&world, "jwt", &fresh).get("/auth").await.ok();
    let old = world.stranger().with("Authorization", &old);
    old.get("/auth").await.fails(401, gone);
}

#[tokio::test]
async fn a_new_key_closes_what_tokens_have_opened() {
    let (world, rack) = World::with_rack().await;
    rack.deploy("myapp").await;
    let pid = rack.get("/apps/myapp/processes").await.json()[0]["id"].clone();
    let pid = pid.as_str().expect("an id");
    let old = presenting(&world, "jwt", &token(&rack, "write").await);
    let exec = format!("/apps/myapp/processes/{pid}/exec");
    let cat = [("Command", "cat"), ("Tty", "false")];
    let mut by_token = old.socket(&exec, &cat).await;
    let mut by_password = rack.socket(&exec, &cat).await;
    for socket in [&mut by_token, &mut by_password] {
        socket.writer.data(b"before\n").await.expect("sent");
        socket.until("before\n").await;
    }
    let follower = old.socket("/apps/myapp/logs", &[]).await;
    rack.put("/system/jwt/rotate", "").await.ok();
    // Neither goes on: they end although nothing has happened to what they show.
    within("the end of the command", by_token.rest()).await;
    within("the end of the log", follower.rest()).await;
    by_password.writer.data(b"after\n").await.expect("sent");
    by_password.until("after\n").await;
}

#[tokio::test]
async fn nobody_gives_more_than_they_have() {
    let (world, rack) = World::with_rack().await;
    let read = presenting(&world, "jwt", &token(&rack, "read").await);
    let write = presenting(&world, "jwt", &token(&rack, "write").await);
    let admin = presenting(&world, "jwt", &token(&rack, "admin").await);
    let form = "role=admin&durationInHour=1";
    write
        .post("/system/jwt/token", form)
        .await
        .fails(403, "admin role required");
    read.post("/system/jwt/token", "role=read&durationInHour=1")
        .await
        .fails(401, "you are unauthorized to access this");
    for maker in [&write, &admin] {
        let token = token(maker, "write").await;
        let client = presenting(&world, "jwt", &token);
        client
            .post("/apps", "")
            .await
            .fails(400, "app name must not be empty");
    }
    admin.post("/system/jwt/token", form).await.json();
    for client in [&read, &write] {
        client
            .put("/system/jwt/rotate", "")
            .await
            .fails(403, "admin role required");
    }
    read.get("/auth").await.ok();
}

#[tokio::test]
async fn tokens_made_at_once_are_all_good() {
    let (world, rack) = World::with_rack().await;
    // The first of them makes the key.
    let tokens = futures::future::join_all((0..8).map(|_| token(&rack, "read"))).await;
    for token in tokens {
        presenting(&world, "jwt", &token).get("/auth").await.ok();
    }
}
