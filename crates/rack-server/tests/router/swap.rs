//! Replacing processes under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::body::Body;
use http::Request;

use crate::world::{HOST, World, key, named, read, send, soon};

/// Answers with its name after reading the body.
fn version(name: &'static str) -> axum::Router {
    axum::Router::new()
        .fallback(move |body: axum::body::Bytes| async move { format!("{name} {}", body.len()) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swapping_targets_under_load_drops_nothing() {
    const VERSIONS: [&str; 8] = ["v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7"];
    let world = Arc::new(World::new().await);
    let mut old = world.fleet.start("v0", version("v0"));
    let mut target = old.target();
    world
        .router
        .publish(key(), vec![], vec![Arc::clone(&target)])
        .expect("published");
    let (stop, answers) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients: Vec<_> = (0..6)
        .map(|client| {
            let (world, stop, answers) =
                (Arc::clone(&world), Arc::clone(&stop), Arc::clone(&answers));
            tokio::spawn(async move {
                let mut seen = Vec::new();
                let mut connection = world.client().await;
                while !stop.load(Ordering::SeqCst) {
                    // POST: must not be sent twice, so must not fail once.
                    let body = Body::from(vec![b'x'; client * 1000]);
                    let request = Request::post("/")
                        .header("host", HOST)
                        .body(body)
                        .expect("a request");
                    let (status, text) = read(send(&mut connection, request).await).await;
                    assert_eq!(status, 200, "{text}");
                    let (version, length) = text.split_once(' ').expect("version and length");
                    assert_eq!(length, (client * 1000).to_string());
                    seen.push(version.to_owned());
                    answers.fetch_add(1, Ordering::SeqCst);
                }
                seen
            })
        })
        .collect();
    for name in &VERSIONS[1..] {
        // Some requests on every version.
        let enough = answers.load(Ordering::SeqCst) + 50;
        soon(async {
            while answers.load(Ordering::SeqCst) < enough
                && !clients.iter().any(tokio::task::JoinHandle::is_finished)
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let new = world.fleet.start(name, version(name));
        let next = new.target();
        let gone = world
            .router
            .publish(key(), vec![], vec![Arc::clone(&next)])
            .expect("published");
        assert!(
            gone.len() == 1 && Arc::ptr_eq(&gone[0], &target),
            "the old target is to be drained"
        );
        soon(target.drained()).await;
        // Killed at once: whatever was still in flight would fail.
        drop(std::mem::replace(&mut old, new));
        target = next;
    }
    stop.store(true, Ordering::SeqCst);
    let mut seen = Vec::new();
    for client in clients {
        seen.extend(client.await.expect("no request failed"));
    }
    for name in &VERSIONS[..7] {
        assert!(seen.iter().any(|version| version == name), "{name} served");
    }
}

#[tokio::test]
async fn a_route_without_processes_answers_again_when_it_has_some() {
    let world = World::new().await;
    let process = world.fleet.start("web", named("web"));
    world
        .router
        .publish(key(), vec![], vec![])
        .expect("published");
    assert_eq!(
        world.get(HOST, "/").await,
        (
            503,
            "service web of app myapp on rack staging has no healthy process\n".to_owned()
        )
    );
    world
        .router
        .publish(key(), vec![], vec![process.target()])
        .expect("published");
    assert_eq!(world.get(HOST, "/").await, (200, "web".to_owned()));
    assert_eq!(world.router.withdraw_app("staging", "myapp").len(), 1);
    assert_eq!(
        world.get(HOST, "/").await,
        (404, "no such service\n".to_owned())
    );
    assert!(
        world.router.withdraw(&key()).is_empty(),
        "nothing left to withdraw"
    );
}
