//! Certificates: handed in, made, shown in real handshakes, taken away.

use std::sync::Arc;

use rack_api::trust::any_certificate;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::engines::{Engine, on_both_engines};
use super::flow::{DOCKERFILE, MANIFEST, text};
use super::world::{Client, FORM, World, until, within};

on_both_engines!(
    a_domain_is_shown_the_racks_certificate_until_it_is_deleted,
    racks_do_not_share_certificates,
    one_that_was_handed_in_wins_over_a_generated_one,
    certificates_are_listed_with_their_names_and_never_their_keys,
    a_generated_certificate_is_trusted_and_renewed_under_its_id,
    a_certificate_that_a_service_names_is_shown_and_kept,
    what_cannot_be_a_certificate_is_refused_and_not_kept,
    certificates_are_applied_by_domain_only,
);

/// A manifest whose service answers to these domains.
fn manifest(more: &str) -> String {
    format!("{MANIFEST}    domain: shop.example, www.shop.example\n{more}")
}

/// Shakes hands as a client that asks for a name; returns the chain it is shown.
async fn shake_hands(
    world: &World,
    name: &str,
    roots: Option<RootCertStore>,
) -> std::io::Result<Vec<Vec<u8>>> {
    let config = match roots {
        Some(roots) => ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth(),
        // To look at what a server shows, whatever it is.
        None => any_certificate(),
    };
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    within("a handshake", async {
        let stream = TcpStream::connect(world.address).await?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        let chain = stream.get_ref().1.peer_certificates().expect("a chain");
        Ok(chain.iter().map(|der| der.to_vec()).collect())
    })
    .await
}

/// The chain any client is shown for a name.
async fn shown(world: &World, name: &str) -> Vec<Vec<u8>> {
    shake_hands(world, name, None).await.expect("a handshake")
}

/// Waits until the first certificate shown for a name is this one.
async fn shows(world: &World, name: &str, pem: &str) {
    let expected = der(pem);
    until(&format!("{name} to show the certificate"), async || {
        shown(world, name).await[0] == expected[0]
    })
    .await;
}

/// Waits until a name is shown a certificate of the local authority that fits it.
async fn shows_local(world: &World, name: &str) {
    until(&format!("{name} to show a local certificate"), async || {
        shake_hands(world, name, Some(authority(world)))
            .await
            .is_ok()
    })
    .await;
}

/// Trust in the local authority and nobody else.
fn authority(world: &World) -> RootCertStore {
    let pem = world.data.path().join("ca.pem");
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(pem).expect("the authority"))
        .expect("usable");
    roots
}

fn der(pem: &str) -> Vec<Vec<u8>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|der| der.expect("a certificate").to_vec())
        .collect()
}

/// A certificate somebody made elsewhere: chain of itself and its issuer, and key.
struct Elsewhere {
    leaf: String,
    issuer: String,
    key: String,
}

fn elsewhere(names: &[&str], days: i64) -> Elsewhere {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
        .expect("an issuer");
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    let now = std::time::SystemTime::now();
    params.not_before = (now - 100 * day).into();
    params.not_after = if days < 0 {
        (now - day * u32::try_from(-days).expect("few days")).into()
    } else {
        (now + day * u32::try_from(days).expect("few days")).into()
    };
    let key = KeyPair::generate().expect("a key");
    let leaf = params.signed_by(&key, &issuer).expect("a certificate");
    Elsewhere {
        leaf: leaf.pem(),
        issuer: issuer.pem(),
        key: key.serialize_pem(),
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

impl Elsewhere {
    fn form(&self) -> String {
        form(&[
            ("chain", &self.issuer),
            ("key", &self.key),
            ("pub", &self.leaf),
        ])
    }
}

async fn import(rack: &Client, certificate: &Elsewhere) -> Value {
    rack.post("/certificates", &certificate.form()).await.json()
}

async fn generate(rack: &Client, domains: &str, more: &str) -> Value {
    let form = format!("{}{more}", form(&[("domains", domains)]));
    rack.post("/certificates/generate", &form).await.json()
}

/// Runs an app whose service answers to the domains.
async fn deploy(rack: &Client, app: &str, manifest: &str) {
    rack.create(app).await;
    let release = rack
        .release(app, &[("convox.yml", manifest), ("Dockerfile", DOCKERFILE)])
        .await;
    let promoted = rack.promote(app, &release).await;
    assert_eq!(
        text(&promoted, "release"),
        release,
        "{}",
        rack.log(app).await
    );
}

async fn a_domain_is_shown_the_racks_certificate_until_it_is_deleted(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    deploy(&rack, "myapp", &manifest("")).await;
    shown(&world, "localhost").await;
    shows_local(&world, "shop.example").await;

    let exact = elsewhere(&["shop.example"], 30);
    let wild = elsewhere(&["*.shop.example", "shop.example"], 20);
    let first = import(&rack, &exact).await;
    let second = import(&rack, &wild).await;
    // The very next handshake goes by it.
    assert_eq!(
        shown(&world, "shop.example").await,
        [der(&exact.leaf), der(&exact.issuer)].concat()
    );
    assert_eq!(
        shown(&world, "www.shop.example").await[0],
        der(&wild.leaf)[0]
    );
    // Names that are not served, and the server's own, are not touched by it.
    let default = shown(&world, "api.shop.example").await;
    assert!(!default.contains(&der(&wild.leaf)[0]));
    shows_local(&world, "web.myapp.staging.localhost").await;

    let services = rack.get("/apps/myapp/services").await.json();
    assert_eq!(services[0]["ports"][1]["balancer"], 443);
    assert_eq!(services[0]["ports"][1]["certificate"], first["id"]);
    assert_eq!(services[0]["ports"][0]["certificate"], "");

    let data = world.stop().await;
    let world = engine.open(data, "").await;
    let rack = Client {
        address: world.address,
        ..rack
    };
    shows(&world, "shop.example", &exact.leaf).await;
    shows(&world, "www.shop.example", &wild.leaf).await;

    let delete = async |certificate: &Value| {
        let id = text(certificate, "id");
        rack.delete(&format!("/certificates/{id}")).await.ok();
        rack.delete(&format!("/certificates/{id}"))
            .await
            .fails(404, &format!("certificate not found: {id}"));
    };
    delete(&first).await;
    assert_eq!(shown(&world, "shop.example").await[0], der(&wild.leaf)[0]);
    delete(&second).await;
    for name in ["shop.example", "www.shop.example"] {
        shake_hands(&world, name, Some(authority(&world)))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert_eq!(rack.get("/certificates").await.json(), json!([]));
}

async fn one_that_was_handed_in_wins_over_a_generated_one(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    deploy(&rack, "myapp", &manifest("")).await;
    let domains = "shop.example,www.shop.example";
    let made = generate(&rack, domains, "&duration=9000h").await;
    let generated = shown(&world, "www.shop.example").await[0].clone();
    shows_local(&world, "www.shop.example").await;
    // It lives less long and fits less well, and still somebody has chosen it.
    let exact = elsewhere(&["shop.example"], 20);
    let wild = elsewhere(&["*.shop.example"], 10);
    let mut imported = Vec::new();
    for (name, certificate) in [("shop.example", &exact), ("www.shop.example", &wild)] {
        imported.push(import(&rack, certificate).await);
        let first = shown(&world, name).await[0].clone();
        assert_eq!(first, der(&certificate.leaf)[0], "{name}");
    }
    // Made later, it changes nothing.
    let again = generate(&rack, domains, "&duration=9500h").await;
    let first = shown(&world, "www.shop.example").await[0].clone();
    assert_eq!(first, der(&wild.leaf)[0]);
    let services = rack.get("/apps/myapp/services").await.json();
    assert_eq!(
        services[0]["ports"][1]["certificate"], imported[0]["id"],
        "what is listed is what is shown"
    );
    for gone in imported.iter().chain([&again]) {
        let id = text(gone, "id");
        rack.delete(&format!("/certificates/{id}")).await.ok();
    }
    assert_eq!(shown(&world, "www.shop.example").await[0], generated);
    let id = text(&made, "id");
    rack.delete(&format!("/certificates/{id}")).await.ok();
}

async fn racks_do_not_share_certificates(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let production = world.rack("production").await;
    let theirs = elsewhere(&["shop.example"], 30);
    let created = import(&production, &theirs).await;
    deploy(&rack, "myapp", &manifest("")).await;
    shown(&world, "localhost").await;
    shows_local(&world, "shop.example").await;
    assert_eq!(rack.get("/certificates").await.json(), json!([]));
    let id = text(&created, "id");
    for (method, target) in [
        ("DELETE", format!("/certificates/{id}")),
        ("POST", format!("/certificates/{id}/renew")),
    ] {
        rack.send(method, &target, &[], b"")
            .await
            .fails(404, &format!("certificate not found: {id}"));
    }
    assert_eq!(
        production.get("/certificates").await.json(),
        json!([created])
    );
}

async fn certificates_are_listed_with_their_names_and_never_their_keys(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let one = elsewhere(&["shop.example", "*.shop.example"], 30);
    let imported = import(&rack, &one).await;
    let id = text(&imported, "id");
    let digits = id.strip_prefix("cert-").expect("the form of an id");
    assert!(
        digits.len() == 40 && digits.bytes().all(|b| b.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(
        imported["domains"],
        json!(["shop.example", "*.shop.example"])
    );
    assert_eq!(imported["status"], "");
    let expiration: jiff::Timestamp = text(&imported, "expiration").parse().expect("a time");
    let days = expiration.duration_since(jiff::Timestamp::now()).as_hours() / 24;
    assert!((28..=30).contains(&days), "{days}");
    // The same one twice is one.
    assert_eq!(import(&rack, &one).await, imported);
    // As the 2017 client says it.
    let old = elsewhere(&["old.example"], 30);
    let fields = form(&[("private", &old.key), ("public", &old.leaf)]);
    let second = rack.post("/certificates", &fields).await.json();
    assert_eq!(second["domains"], json!(["old.example"]));
    let made = generate(&rack, "made.example", "").await;
    let mut expected = vec![imported, second, made.clone()];
    expected.sort_by_key(|certificate| text(certificate, "id").to_uppercase());
    let list = rack.get("/certificates?").await;
    assert_eq!(list.json(), json!(expected));
    // Version 3 asks with a body, which racks ignore.
    let asked = rack
        .send(
            "GET",
            "/certificates",
            &[("Content-Type", FORM)],
            b"generated=true",
        )
        .await;
    assert_eq!(asked.json(), json!(expected));
    let generated = rack.get("/certificates?generated=true").await.json();
    assert_eq!(generated, json!([made]));
    let log = [("Follow", "false"), ("Since", "1h0m0s")];
    let log = rack.stream("/system/logs", &log).await.text();
    for said in [list.text(), log] {
        assert!(!said.contains("PRIVATE"), "{said}");
        let secret = one.key.lines().nth(1).expect("a line of the key");
        assert!(!said.contains(secret));
    }
    world.stop().await;
}

async fn a_generated_certificate_is_trusted_and_renewed_under_its_id(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    deploy(&rack, "myapp", &manifest("")).await;
    let made = generate(
        &rack,
        "shop.example,www.shop.example,,shop.example",
        "&duration=48h0m0s",
    )
    .await;
    assert_eq!(made["domain"], "shop.example");
    assert_eq!(made["domains"], json!(["shop.example", "www.shop.example"]));
    let expiration: jiff::Timestamp = text(&made, "expiration").parse().expect("a time");
    let hours = expiration.duration_since(jiff::Timestamp::now()).as_hours();
    assert!((46..=48).contains(&hours), "{hours}");
    let trusted = async |name: &str| {
        shake_hands(&world, name, Some(authority(&world)))
            .await
            .expect("trusted")
            .remove(0)
    };
    let first = trusted("shop.example").await;
    assert_eq!(
        trusted("www.shop.example").await,
        first,
        "one certificate for both"
    );

    let id = text(&made, "id");
    rack.post(&format!("/certificates/{id}/renew"), "")
        .await
        .ok();
    let second = trusted("shop.example").await;
    assert_ne!(second, first);
    // Version 3 passes the name of the app.
    rack.post("/certificates/myapp/renew", "").await.ok();
    let third = trusted("shop.example").await;
    assert_ne!(third, second);
    let list = rack.get("/certificates").await.json();
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&list[0]["id"], &list[0]["domains"]),
        (&made["id"], &made["domains"])
    );
    let renewed: jiff::Timestamp = text(&list[0], "expiration").parse().expect("a time");
    let hours = renewed.duration_since(jiff::Timestamp::now()).as_hours();
    assert!((46..=48).contains(&hours), "as long as before: {hours}");
    rack.create("empty").await;
    rack.post("/certificates/empty/renew", "").await.ok();
    let imported = import(&rack, &elsewhere(&["a.example"], 9)).await;
    let id = text(&imported, "id");
    rack.post(&format!("/certificates/{id}/renew"), "")
        .await
        .fails(
            400,
            &format!("certificate {id} was made elsewhere: import its successor"),
        );
}

async fn a_certificate_that_a_service_names_is_shown_and_kept(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let short = elsewhere(&["*.shop.example", "shop.example"], 2);
    let long = elsewhere(&["shop.example", "www.shop.example"], 30);
    let chosen = import(&rack, &short).await;
    import(&rack, &long).await;
    let id = text(&chosen, "id");
    deploy(
        &rack,
        "myapp",
        &manifest(&format!("    certificate:\n      id: {id}\n")),
    )
    .await;
    for name in ["shop.example", "www.shop.example"] {
        assert_eq!(shown(&world, name).await[0], der(&short.leaf)[0], "{name}");
    }
    let used = format!(
        "certificate {id} is used by service web of app myapp: promote a release that does not name it first"
    );
    rack.delete(&format!("/certificates/{id}"))
        .await
        .fails(409, &used);
    let data = world.stop().await;
    let world = engine.open(data, "").await;
    let rack = Client {
        address: world.address,
        ..rack
    };
    rack.delete(&format!("/certificates/{id}"))
        .await
        .fails(409, &used);
    shows(&world, "www.shop.example", &short.leaf).await;

    let plain = manifest("");
    let release = rack
        .release(
            "myapp",
            &[("convox.yml", &plain), ("Dockerfile", DOCKERFILE)],
        )
        .await;
    rack.promote("myapp", &release).await;
    assert_eq!(
        shown(&world, "www.shop.example").await[0],
        der(&long.leaf)[0]
    );
    rack.delete(&format!("/certificates/{id}")).await.ok();
    // A release may name what another rack has: that is said, and is no failure.
    let other = manifest("    certificate: cert-nope\n");
    let release = rack
        .release(
            "myapp",
            &[("convox.yml", &other), ("Dockerfile", DOCKERFILE)],
        )
        .await;
    assert_eq!(
        text(&rack.promote("myapp", &release).await, "release"),
        release
    );
    assert_eq!(
        shown(&world, "www.shop.example").await[0],
        der(&long.leaf)[0]
    );
    let log = rack.log("myapp").await;
    assert!(
        log.contains("service web names certificate cert-nope, which this rack does not have"),
        "{log}"
    );
}

async fn what_cannot_be_a_certificate_is_refused_and_not_kept(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let (good, other) = (elsewhere(&["a.example"], 9), elsewhere(&["b.example"], 9));
    let over = elsewhere(&["a.example"], -2);
    let day = (jiff::Timestamp::now() - jiff::Span::new().hours(48))
        .strftime("%Y-%m-%d")
        .to_string();
    let refusals: Vec<(String, String)> = vec![
        (String::new(), "pub is required".into()),
        (form(&[("pub", &good.leaf)]), "key is required".into()),
        (
            form(&[("pub", &good.leaf), ("key", &other.key)]),
            "the key does not belong to the certificate".into(),
        ),
        (
            form(&[("pub", "x"), ("key", &good.key)]),
            "the certificate holds no certificate: it must be pem".into(),
        ),
        (
            form(&[("pub", &good.leaf), ("key", "x")]),
            "the key holds no private key: it must be pem without a password".into(),
        ),
        (
            form(&[("pub", &good.leaf), ("key", &good.key), ("chain", &other.issuer)]),
            "certificate 1 of the chain did not sign the one before it: give the issuers in order, nearest first".into(),
        ),
        (
            over.form(),
            format!("the certificate expired on {day}: get a new one"),
        ),
    ];
    for (form, said) in refusals {
        rack.post("/certificates", &form).await.fails(400, &said);
    }
    for (form, said) in [
        ("", "must specify a domain"),
        ("domains=,", "must specify a domain"),
        (
            "domains=a%20b",
            "invalid domain: use host names such as shop.example or *.shop.example",
        ),
        ("domains=a.example&issuer=nope", "invalid issuer"),
        (
            "domains=a.example&issuer=letsencrypt",
            "letsencrypt signs nothing on a local rack: leave the issuer out to have the local authority sign",
        ),
        (
            "domains=a.example&duration=1m",
            "duration must be between 1 and 19800 hours",
        ),
        (
            "domains=a.example&duration=20000h",
            "duration must be between 1 and 19800 hours",
        ),
        (
            "domains=a.example&duration=1x",
            "time: invalid duration \"1x\"",
        ),
    ] {
        rack.post("/certificates/generate", form)
            .await
            .fails(400, said);
    }
    let many: Vec<_> = (0..101).map(|n| format!("d{n}.example")).collect();
    rack.post(
        "/certificates/generate",
        &form(&[("domains", &many.join(","))]),
    )
    .await
    .fails(400, "can not specify more than 100 domain names");
    rack.post("/certificates/nope/renew", "")
        .await
        .fails(404, "certificate not found: nope");
    assert_eq!(rack.get("/certificates").await.json(), json!([]));
}

async fn certificates_are_applied_by_domain_only(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.put("/apps/nope/ssl/web/443", "id=cert-x")
        .await
        .fails(404, "app not found: nope");
    rack.create("myapp").await;
    rack.put("/apps/myapp/ssl/web/443", "id=cert-x")
        .await
        .fails(
            400,
            "generation 2 apps use the domain: attribute on services in convox.yml",
        );
}
