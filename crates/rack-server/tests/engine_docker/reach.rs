//! Reaching the engine, and processes reaching each other and being reached.

use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use rack_server::engine::docker::Docker;
use rack_server::engine::{Engine, EngineError, Labels};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{DEADLINE, World, eventually, lines, texts};

#[tokio::test]
#[ignore = "needs Docker"]
async fn the_engine_describes_itself() {
    World::enter(|world| async move {
        let info = world.docker.info().await.expect("info");
        assert_eq!((info.kind, world.docker.kind()), ("docker", "docker"));
        assert!(
            info.cpus > 0 && info.memory > 0 && !info.version.is_empty(),
            "{info:?}"
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn an_engine_that_goes_and_comes_is_followed() {
    let real = std::env::var("DOCKER_HOST").unwrap_or_default();
    let real = PathBuf::from(
        real.strip_prefix("unix://")
            .unwrap_or("/var/run/docker.sock"),
    );
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("docker.sock");
    let docker = Docker::connect(Some(&format!("unix://{}", socket.display()))).expect("lazy");
    for _ in 0..2 {
        let gone = docker.info().await.expect_err("not there");
        assert!(
            matches!(
                gone,
                EngineError::Unreachable {
                    engine: "docker",
                    ..
                }
            ),
            "{gone:?}"
        );
        assert!(matches!(
            docker.process("abc").await,
            Err(EngineError::Unreachable { .. })
        ));

        let listener = tokio::net::UnixListener::bind(&socket).expect("bound");
        let real = real.clone();
        let relay = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let mut far = tokio::net::UnixStream::connect(&real)
                    .await
                    .expect("the real engine");
                connections
                    .spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
            }
        });
        docker.info().await.expect("there");
        let labels = Labels::from([("twinrack.test".to_owned(), "nobody".to_owned())]);
        let mut events = docker.events(&labels).await.expect("events");
        let watching = tokio::spawn(async move { events.next().await });
        relay.abort();
        assert!(relay.await.is_err_and(|ended| ended.is_cancelled()));
        std::fs::remove_file(&socket).expect("removed");
        let last = tokio::time::timeout(DEADLINE, watching)
            .await
            .expect("in time")
            .expect("no panic");
        assert!(
            matches!(last, None | Some(Err(EngineError::Unreachable { .. }))),
            "{last:?}"
        );
    }
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn ports_are_dialled() {
    World::enter(|world| async move {
        let docker = &world.docker;
        let mut spec = world
            .script(
                "server",
                "mkdir /w; echo hello > /w/x; exec httpd -f -p 8080 -h /w",
            )
            .await;
        spec.ports = vec![8080];
        let id = world.run(&spec).await;
        let ask = || async {
            let mut connection = docker.dial(&id, 8080).await?;
            connection.write_all(b"GET /x HTTP/1.0\r\n\r\n").await?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await?;
            Ok::<_, EngineError>(answer.ends_with("hello\n"))
        };
        eventually("the server answers", || async {
            ask().await.unwrap_or_default()
        })
        .await;
        let undeclared = docker
            .dial(&id, 81)
            .await
            .err()
            .expect("not declared")
            .to_string();
        assert!(
            undeclared.contains("port 81 of process") && undeclared.contains("does not accept"),
            "{undeclared}"
        );

        docker.stop(&id, Duration::ZERO).await.expect("stopped");
        let stopped = docker
            .dial(&id, 8080)
            .await
            .err()
            .expect("stopped")
            .to_string();
        assert!(stopped.ends_with("is not running"), "{stopped}");
        // Restarted, it has another port.
        docker.start(&id).await.expect("started");
        eventually("it answers again", || async {
            ask().await.unwrap_or_default()
        })
        .await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn networks_join_and_volumes_keep() {
    World::enter(|world| async move {
        let (docker, name) = (&world.docker, world.name.clone());
        for _ in 0..2 {
            docker.ensure_network(&name, &world.labels).await.expect("a network");
            docker.ensure_volume(&name, &world.labels).await.expect("a volume");
        }
        let foreign = Labels::from([("twinrack.test".to_owned(), "another".to_owned())]);
        let error = docker.ensure_network(&name, &foreign).await.expect_err("not ours").to_string();
        assert!(error.contains("belongs to something else"), "{error}");

        let mut server = world.script("server", "echo hi > /data/x; exec httpd -f -p 80 -h /data").await;
        server.network.clone_from(&name);
        server.aliases = vec!["front".into()];
        server.volumes = vec![(name.clone(), "/data".into())];
        let server_id = world.run(&server).await;
        let get = "i=0; until wget -q -O - http://front/x; do i=$((i+1)); [ $i -lt 200 ] || exit 1; sleep 0.05; done";
        let mut client = world.script("client", get).await;
        client.network.clone_from(&name);
        let client_id = world.run(&client).await;
        assert_eq!(docker.wait(&client_id).await.expect("a status"), 0);

        let busy = docker.remove_volume(&name).await.expect_err("in use");
        assert!(matches!(busy, EngineError::Failed(_)), "{busy:?}");
        docker.remove(&server_id).await.expect("removed");
        let mut reader = world.script("reader", "cat /data/x").await;
        reader.volumes = server.volumes;
        let reader_id = world.run(&reader).await;
        let log = lines(docker.logs(&reader_id, None, true).await.expect("logs")).await;
        assert_eq!(texts(&log), ["hi"]);

        assert!(docker.remove_labelled(&Labels::new()).await.is_err(), "no label would mean everything");
        for _ in 0..2 {
            docker.remove_labelled(&world.labels).await.expect("all gone");
        }
        assert!(docker.processes(&world.labels).await.expect("listed").is_empty());
        docker.remove_volume(&name).await.expect("gone already");
        docker.ensure_network(&name, &foreign).await.expect("the name is free");
        docker.remove_labelled(&foreign).await.expect("gone");
    })
    .await;
}
