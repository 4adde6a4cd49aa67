//! Which process a request goes to, and what becomes of it when that fails.

use std::time::Duration;

use axum::body::Body;
use axum::routing::{get as on_get, post};
use http::{HeaderMap, Request, StatusCode};
use rack_server::router::{Key, Origin, ProbeError, PublishError, Router, Rules, Scheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{HOST, Process, World, get, key, named, read, send, soon};

#[tokio::test]
async fn hosts_lead_to_services_and_everything_else_to_the_api() {
    let world = World::new().await;
    let web = world.fleet.start("web", named("web"));
    let domains = vec!["Shop.Example".to_owned(), "*.wild.example".to_owned()];
    world
        .router
        .publish(key(), domains, vec![web.target()])
        .expect("published");
    for host in [
        HOST,
        "WEB.myapp.staging.localhost:5443",
        "shop.example",
        "a.wild.example:80",
    ] {
        assert_eq!(
            world.get(host, "/x").await,
            (200, "web".to_owned()),
            "{host}"
        );
    }
    for host in [
        "rack.staging.localhost",
        "localhost",
        "127.0.0.1:5443",
        "[::1]:5443",
        "other.example",
        "a.b.wild.example",
    ] {
        assert_eq!(
            world.get(host, "/x?y=1").await,
            (200, "api /x?y=1".to_owned()),
            "{host}"
        );
    }
    let unknown = world.get("worker.myapp.staging.localhost", "/").await;
    assert_eq!(unknown, (404, "no such service\n".to_owned()));
}

#[tokio::test]
async fn the_api_gets_paths_without_leading_slashes() {
    let world = World::new().await;
    assert_eq!(
        world.get("localhost", "//apps//x?").await.1,
        "api /apps//x?"
    );
    let web = world.fleet.start(
        "web",
        axum::Router::new().fallback(|uri: http::Uri| async move { uri.to_string() }),
    );
    world
        .router
        .publish(key(), vec![], vec![web.target()])
        .expect("published");
    assert_eq!(
        world.get(HOST, "//apps//x?").await.1,
        "//apps//x?",
        "services get them as they are"
    );
}

#[tokio::test]
async fn a_domain_has_one_owner() {
    let world = World::new().await;
    let (web, other) = (
        world.fleet.start("web", named("web")),
        world.fleet.start("other", named("other")),
    );
    world
        .router
        .publish(key(), vec!["shop.example".to_owned()], vec![web.target()])
        .expect("published");
    let other_key = Key::new("production", "shop", "web");
    let wanted = vec!["new.example".to_owned(), "SHOP.example".to_owned()];
    let refusal = world
        .router
        .publish(other_key.clone(), wanted.clone(), vec![other.target()])
        .expect_err("claimed");
    assert_eq!(
        refusal.to_string(),
        "domain shop.example is already used by service web of app myapp on rack staging"
    );
    assert_eq!(world.router.check(&other_key, &wanted), Err(refusal));
    assert!(
        world.router.lookup("new.example").is_none(),
        "nothing has changed"
    );
    assert!(world.router.route(&other_key).is_none());
    let reserved = world
        .router
        .publish(key(), vec!["rack.staging.localhost".to_owned()], vec![]);
    assert!(matches!(reserved, Err(PublishError::Reserved { .. })));
    assert_eq!(
        world.get("shop.example", "/").await.1,
        "web",
        "the owner still serves"
    );
    world.router.withdraw(&key());
    world
        .router
        .publish(other_key, wanted, vec![other.target()])
        .expect("free now");
    assert_eq!(world.get("shop.example", "/").await.1, "other");
}

#[tokio::test]
async fn processes_see_who_asked() {
    let world = World::new().await;
    let show = |headers: HeaderMap| async move {
        let names = [
            "host",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-port",
            "x-forwarded-host",
            "x-secret-hop",
            "x-mine",
        ];
        names
            .map(|name| {
                format!(
                    "{name}={}",
                    headers
                        .get(name)
                        .map_or("-", |value| value.to_str().expect("text"))
                )
            })
            .join(" ")
    };
    let web = world.fleet.start("web", axum::Router::new().fallback(show));
    world
        .router
        .publish(key(), vec![], vec![web.target()])
        .expect("published");
    let host = format!("{HOST}:5443");
    let mut request = get(&host, "/");
    for (name, value) in [
        ("connection", "x-secret-hop"),
        ("x-secret-hop", "1"),
        ("x-mine", "2"),
        ("x-forwarded-for", "9.9.9.9"),
    ] {
        request
            .headers_mut()
            .insert(name, value.parse().expect("a value"));
    }
    let (_, text) = read(send(&mut world.client().await, request).await).await;
    assert_eq!(
        text,
        format!(
            "host={host} x-forwarded-for=9.9.9.9, 127.0.0.1 x-forwarded-proto=http x-forwarded-port=5443 \
             x-forwarded-host={host} x-secret-hop=- x-mine=2"
        )
    );
}

#[tokio::test]
async fn a_process_that_cannot_be_reached_is_passed_over_with_the_body_intact() {
    let world = World::new().await;
    let web = world.fleet.start(
        "web",
        axum::Router::new().route("/", post(|body: String| async move { body })),
    );
    let targets = vec![
        world.fleet.dead("dead"),
        web.target(),
        world.fleet.dead("gone"),
    ];
    world
        .router
        .publish(key(), vec![], targets.clone())
        .expect("published");
    for number in 0..6 {
        let body = format!("body {number}");
        let request = Request::post("/")
            .header("host", HOST)
            .body(Body::from(body.clone()))
            .expect("a request");
        assert_eq!(
            read(send(&mut world.client().await, request).await).await,
            (200, body)
        );
    }
    assert!(targets.iter().all(|target| target.in_flight() == 0));
    world
        .router
        .publish(
            key(),
            vec![],
            vec![world.fleet.dead("dead"), world.fleet.dead("gone")],
        )
        .expect("published");
    let (status, text) = world.get(HOST, "/").await;
    assert_eq!(status, 502);
    assert!(
        text.starts_with(
            "service web of app myapp on rack staging cannot be reached: no such process: "
        ),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1);
}

#[tokio::test]
async fn a_process_that_hangs_up_is_a_bad_gateway_and_posts_are_not_repeated() {
    let world = World::new().await;
    let (sender, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let web = world.fleet.start_raw("web", |listener| async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = [0; 4096];
            let length = stream.read(&mut bytes).await.unwrap_or(0);
            let method = String::from_utf8_lossy(&bytes[..length.min(4)]).into_owned();
            sender.send(method).expect("the test listens");
        }
    });
    world
        .router
        .publish(key(), vec![], vec![web.target()])
        .expect("published");
    let request = Request::post("/")
        .header("host", HOST)
        .body(Body::empty())
        .expect("a request");
    assert_eq!(
        read(send(&mut world.client().await, request).await).await.0,
        502
    );
    assert_eq!(world.get(HOST, "/").await.0, 502);
    assert_eq!(requests.recv().await.as_deref(), Some("POST"));
    assert_eq!(requests.recv().await.as_deref(), Some("GET "));
    assert_eq!(
        requests.recv().await.as_deref(),
        Some("GET "),
        "a safe request is tried once more"
    );
    assert!(requests.try_recv().is_err(), "and only once");
}

#[tokio::test]
async fn a_kept_connection_that_the_process_closed_harms_nobody() {
    let world = World::new().await;
    // Says it keeps connections, and closes each one after its first answer.
    let web = world.fleet.start_raw("web", |listener| async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                if stream.read(&mut bytes).await.is_ok_and(|length| length > 0) {
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                        .await
                        .expect("written");
                }
            });
        }
    });
    world
        .router
        .publish(key(), vec![], vec![web.target()])
        .expect("published");
    let mut client = world.client().await;
    for _ in 0..200 {
        assert_eq!(
            read(send(&mut client, get(HOST, "/")).await).await,
            (200, "ok".to_owned())
        );
    }
}

#[tokio::test]
async fn a_process_that_does_not_answer_in_time_is_a_gateway_timeout() {
    let world = World::new().await;
    let app = axum::Router::new().fallback(std::future::pending::<&str>);
    let web = world.fleet.start("web", app);
    let target = web.target();
    let rules = Rules {
        timeout: Duration::from_millis(50),
        ..Rules::default()
    };
    world
        .router
        .publish_with(key(), vec![], vec![target.clone()], rules)
        .expect("published");
    assert_eq!(
        world.get(HOST, "/").await,
        (
            504,
            "service web of app myapp on rack staging did not answer within 0.05 seconds\n"
                .to_owned()
        )
    );
    soon(target.drained()).await;
}

#[tokio::test]
async fn the_least_busy_process_is_chosen() {
    let world = World::new().await;
    let slow = |name: &'static str| {
        axum::Router::new()
            .route("/", on_get(move || async move { name }))
            .route("/wait", on_get(std::future::pending::<&str>))
    };
    let (a, b) = (
        world.fleet.start("a", slow("a")),
        world.fleet.start("b", slow("b")),
    );
    let targets = vec![a.target(), b.target()];
    world
        .router
        .publish(key(), vec![], targets.clone())
        .expect("published");
    let mut idle = std::collections::BTreeSet::new();
    for _ in 0..4 {
        idle.insert(world.get(HOST, "/").await.1);
    }
    assert_eq!(idle.len(), 2, "equally busy ones take turns");
    let mut waiting = world.client().await;
    let waiting = tokio::spawn(async move { waiting.send_request(get(HOST, "/wait")).await });
    soon(async {
        while targets.iter().all(|target| target.in_flight() == 0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let free = if targets[0].in_flight() == 0 {
        "a"
    } else {
        "b"
    };
    for _ in 0..4 {
        assert_eq!(world.get(HOST, "/").await.1, free);
    }
    waiting.abort();
    for target in targets {
        soon(target.drained()).await;
    }
}

#[tokio::test]
async fn probes_tell_what_a_process_says() {
    let world = World::new().await;
    let app = axum::Router::new()
        .route("/ok", on_get(|| async { "ok" }))
        .route(
            "/ill",
            on_get(|| async { StatusCode::INTERNAL_SERVER_ERROR }),
        )
        .route("/wait", on_get(std::future::pending::<&str>));
    let web = world.fleet.start("web", app);
    let target = web.target();
    let limit = Duration::from_secs(20);
    assert_eq!(
        Router::probe(&target, "/ok?x=1", limit)
            .await
            .expect("an answer"),
        StatusCode::OK
    );
    assert_eq!(
        Router::probe(&target, "/ill", limit)
            .await
            .expect("an answer"),
        StatusCode::INTERNAL_SERVER_ERROR
    );
    let late = Router::probe(&target, "/wait", Duration::from_millis(50))
        .await
        .expect_err("too late");
    assert_eq!(late.to_string(), "no answer within 0.05 seconds");
    let path = Router::probe(&target, "no path", limit)
        .await
        .expect_err("not a path");
    assert!(matches!(path, ProbeError::Path(_)));
    Router::probe_connect(&target, limit)
        .await
        .expect("accepts");
    let dead = world.fleet.dead("dead");
    let refused = Router::probe(&dead, "/ok", limit)
        .await
        .expect_err("refuses")
        .to_string();
    assert_eq!(refused, "no such process: dead");
    Router::probe_connect(&dead, limit)
        .await
        .expect_err("refuses");
    let plain = web.target_with(Scheme::Https);
    let garbled = Router::probe(&plain, "/ok", limit)
        .await
        .expect_err("speaks no TLS")
        .to_string();
    assert!(garbled.starts_with("tls handshake failed: "), "{garbled}");
}

#[tokio::test]
async fn unusual_methods_keep_their_meaning() {
    let world = World::new().await;
    let web = world.fleet.start(
        "web",
        axum::Router::new().route("/", on_get(|| async { "twelve bytes" })),
    );
    world
        .router
        .publish(key(), vec![], vec![web.target()])
        .expect("published");
    let head = Request::head("/")
        .header("host", HOST)
        .body(Body::empty())
        .expect("a request");
    let response = send(&mut world.client().await, head).await;
    assert_eq!(response.headers()["content-length"], "12");
    assert_eq!(read(response).await, (200, String::new()));
    let mut stream = world.connect().await;
    let tunnel = format!("CONNECT {HOST}:22 HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    stream.write_all(tunnel.as_bytes()).await.expect("written");
    let mut answer = [0; 12];
    soon(stream.read_exact(&mut answer))
        .await
        .expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 400");
    let mut stream = world.connect().await;
    let old = format!("GET http://{HOST}/ HTTP/1.0\r\n\r\n");
    stream.write_all(old.as_bytes()).await.expect("written");
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer))
        .await
        .expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.0 200") && answer.ends_with("\r\n\r\ntwelve bytes"),
        "{answer}"
    );
}

/// The process a cookie of ours names.
fn stays_with(headers: &HeaderMap) -> Option<String> {
    let cookie = headers.get("set-cookie")?.to_str().expect("text");
    let id = cookie.strip_prefix("twinrack-process=")?;
    Some(id.split(';').next().expect("a value").to_owned())
}

#[tokio::test]
async fn a_sticky_client_stays_with_its_process_while_that_is_there() {
    let world = World::new().await;
    let names = ["aaaaaaaaaaaa0", "bbbbbbbbbbbb0"];
    let processes = names.map(|name| world.fleet.start(name, named(name)));
    let targets: Vec<_> = processes.iter().map(Process::target).collect();
    let rules = Rules {
        sticky: true,
        ..Rules::default()
    };
    let publish = |targets| {
        world
            .router
            .publish_with(key(), vec![], targets, rules.clone())
            .expect("published");
    };
    publish(targets.clone());
    let mut client = world.client().await;
    let first = send(&mut client, get(HOST, "/")).await;
    let kept = stays_with(first.headers()).expect("a cookie");
    let (_, name) = read(first).await;
    assert!(name.starts_with(&kept), "{name} {kept}");
    for _ in 0..5 {
        let mut again = get(HOST, "/");
        let cookie = format!("other=1; twinrack-process={kept}");
        again
            .headers_mut()
            .insert("cookie", cookie.parse().expect("a value"));
        let answer = send(&mut client, again).await;
        assert_eq!(stays_with(answer.headers()), None, "it knows");
        assert_eq!(read(answer).await.1, name);
    }
    let other = usize::from(name == names[0]);
    publish(vec![
        targets[other].clone(),
        world.fleet.dead("cccccccccccc0"),
    ]);
    let mut again = get(HOST, "/");
    let cookie = format!("twinrack-process={kept}");
    again
        .headers_mut()
        .insert("cookie", cookie.parse().expect("a value"));
    let answer = send(&mut client, again).await;
    assert_eq!(
        stays_with(answer.headers()).as_deref(),
        Some(&names[other][..12]),
        "told of the new one"
    );
    assert_eq!(read(answer).await.1, names[other]);
    publish(vec![targets[other].clone()]);
    let alone = send(&mut client, get(HOST, "/")).await;
    assert_eq!(stays_with(alone.headers()), None, "no choice, no cookie");
}

#[tokio::test]
async fn plain_http_is_sent_on_to_tls_where_the_service_wants_it() {
    let world = World::new().await;
    let web = world.fleet.start("web", named("web"));
    let rules = Rules {
        redirect: true,
        ..Rules::default()
    };
    world
        .router
        .publish_with(key(), vec![], vec![web.target()], rules)
        .expect("published");
    let mut client = world.client().await;
    for (host, place) in [
        (
            format!("{HOST}:5443"),
            format!("https://{HOST}:5443/a/b?c=d%20e"),
        ),
        (HOST.to_uppercase(), format!("https://{HOST}/a/b?c=d%20e")),
        (format!("{HOST}:80"), format!("https://{HOST}/a/b?c=d%20e")),
    ] {
        let answer = send(&mut client, get(&host, "/a/b?c=d%20e")).await;
        assert_eq!(answer.status(), StatusCode::PERMANENT_REDIRECT);
        assert_eq!(answer.headers()["location"], place.as_str());
    }
}

#[tokio::test]
async fn only_listed_networks_and_this_machine_may_come() {
    let world = World::new().await;
    let web = world.fleet.start("web", named("web"));
    let rules = Rules {
        allow: vec!["10.0.0.0/8".parse().expect("a network")],
        ..Rules::default()
    };
    world
        .router
        .publish_with(key(), vec![], vec![web.target()], rules)
        .expect("published");
    assert_eq!(world.get(HOST, "/").await, (200, "web".to_owned()));
    for (peer, expected) in [("10.9.9.9:1", 200), ("192.0.2.1:1", 403)] {
        let mut request = get(HOST, "/");
        request.extensions_mut().insert(Origin {
            peer: peer.parse().expect("an address"),
            local: "127.0.0.1:5443".parse().expect("an address"),
            tls: false,
        });
        let answer = world.router.serve(request).await;
        assert_eq!(answer.status(), expected, "{peer}");
    }
}
