//! Commands and files inside a process.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use rack_server::engine::{Engine, EngineError, ExecSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{World, eventually, tar, words};

#[tokio::test]
#[ignore = "needs Docker"]
async fn commands_run_inside_a_process() {
    World::enter(|world| async move {
        let id = world.run(&world.script("exec", "sleep 1000").await).await;
        let command = |script: &str| ExecSpec {
            command: words(&["sh", "-c", script]),
            ..ExecSpec::default()
        };

        let (output, status) = world
            .exec(&id, command("echo out; echo err >&2; exit 9"), b"")
            .await;
        assert_eq!(status, 9);
        let mut merged: Vec<_> = output.split_inclusive(|byte| *byte == b'\n').collect();
        merged.sort_unstable();
        assert_eq!(merged, [b"err\n", b"out\n"]);

        let environment = BTreeMap::from([("GREETING".to_owned(), "a=b c".to_owned())]);
        let (output, _) = world
            .exec(
                &id,
                ExecSpec {
                    environment,
                    ..command("echo \"$GREETING\"")
                },
                b"",
            )
            .await;
        assert_eq!(output, b"a=b c\n");

        // Every byte, twice, both ways; the command sees the end of its input.
        let bytes: Vec<u8> = (0..=255).chain(0..=255).collect();
        let (output, status) = world
            .exec(
                &id,
                ExecSpec {
                    stdin: true,
                    ..command("cat")
                },
                &bytes,
            )
            .await;
        assert_eq!((output, status), (bytes, 0));

        let big = vec![7; 48 << 20];
        let (output, _) = world
            .exec(
                &id,
                ExecSpec {
                    stdin: true,
                    ..command("wc -c")
                },
                &big,
            )
            .await;
        assert_eq!(
            String::from_utf8_lossy(&output).trim(),
            (48 << 20).to_string()
        );

        let (_, status) = world
            .exec(
                &id,
                ExecSpec {
                    command: words(&["/no/such/thing"]),
                    ..ExecSpec::default()
                },
                b"",
            )
            .await;
        assert!(matches!(status, 126 | 127), "status {status}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_terminal_has_a_size_an_end_and_any_byte() {
    World::enter(|world| async move {
        let id = world
            .run(&world.script("terminal", "sleep 1000").await)
            .await;
        let terminal = |script: &str| ExecSpec {
            command: words(&["sh", "-c", script]),
            tty: true,
            stdin: true,
            size: Some((43, 121)),
            ..ExecSpec::default()
        };
        let (output, status) = world
            .exec(&id, terminal("read line; stty size; exit 5"), b"go\n")
            .await;
        assert_eq!(status, 5);
        let text = String::from_utf8_lossy(&output).into_owned();
        assert!(text.contains("43 121"), "{text:?}");

        // Output that starts with bytes that look like a frame.
        let (output, _) = world
            .exec(&id, terminal("printf '\\001\\000\\000\\002x'"), b"")
            .await;
        assert!(output.ends_with(b"\x01\x00\x00\x02x"), "{output:?}");

        // The end of input ends a reading command, and its last words are not lost.
        let (output, status) = world.exec(&id, terminal("cat; echo after"), b"one\n").await;
        assert_eq!(status, 0);
        assert!(
            String::from_utf8_lossy(&output).ends_with("after\r\n"),
            "{output:?}"
        );

        // Control-p, control-q reach the command instead of detaching.
        let keys = terminal("stty raw -echo; echo ready; head -c 2 | od -An -tx1");
        let mut exec = world.docker.exec(&id, keys).await.expect("exec");
        let mut seen = Vec::new();
        while !seen.ends_with(b"ready\n") {
            seen.push(exec.output.read_u8().await.expect("more output"));
        }
        exec.input.write_all(&[0x10, 0x11]).await.expect("written");
        exec.output.read_to_end(&mut seen).await.expect("output");
        assert!(String::from_utf8_lossy(&seen).contains("10 11"), "{seen:?}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn files_are_read_and_written() {
    World::enter(|world| async move {
        let docker = &world.docker;
        let id = world
            .run(&world.script("files", "mkdir /w; sleep 1000").await)
            .await;
        eventually("the directory exists", || async {
            docker.read_files(&id, "/w").await.is_ok()
        })
        .await;
        let content: Vec<u8> = (0..200_000u32).map(|at| (at % 251) as u8).collect();
        let archive = tar(&[("a/b", content.clone())]);
        docker
            .write_files(&id, "/w", Box::pin(io::Cursor::new(archive)))
            .await
            .expect("written");
        let mut read = Vec::new();
        docker
            .read_files(&id, "/w/a/b")
            .await
            .expect("found")
            .read_to_end(&mut read)
            .await
            .expect("read");
        let (path, back) = only_entry(&read);
        assert_eq!(path, PathBuf::from("b"));
        assert_eq!(back, content);

        let missing = docker
            .read_files(&id, "/nothing")
            .await
            .err()
            .expect("no such path");
        assert!(
            matches!(missing, EngineError::NotFound { .. }),
            "{missing:?}"
        );
        let missing = docker
            .write_files(&id, "/nothing", Box::pin(io::Cursor::new(tar(&[]))))
            .await;
        assert!(
            matches!(missing, Err(EngineError::NotFound { .. })),
            "{missing:?}"
        );
    })
    .await;
}

/// Path and content of the first entry.
fn only_entry(archive: &[u8]) -> (PathBuf, Vec<u8>) {
    let mut archive = tar::Archive::new(archive);
    let mut entry = archive
        .entries()
        .expect("entries")
        .next()
        .expect("one")
        .expect("whole");
    let mut content = Vec::new();
    io::Read::read_to_end(&mut entry, &mut content).expect("read");
    (entry.path().expect("a path").into_owned(), content)
}
