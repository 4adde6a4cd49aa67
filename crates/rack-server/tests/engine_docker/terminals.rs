//! Terminals of commands: their size, from the first look on.

use rack_server::engine::{Engine, ExecSpec, ProcessSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{World, eventually, words};

fn terminal(script: &str) -> ExecSpec {
    ExecSpec {
        command: words(&["sh", "-c", script]),
        tty: true,
        stdin: true,
        size: Some((43, 121)),
        shell: true,
        ..ExecSpec::default()
    }
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn the_first_command_sees_the_size() {
    World::enter(|world| async move {
        let id = world.run(&world.script("first", "sleep 1000").await).await;
        for turn in 0..50 {
            let (output, status) = world.exec(&id, terminal("stty size; exit 5"), b"").await;
            let text = String::from_utf8_lossy(&output).into_owned();
            assert!(text.starts_with("43 121\r\n"), "turn {turn}: {text:?}");
            assert_eq!(status, 5, "turn {turn}");
        }
        // What is typed at once is the command's, to the last byte.
        let typed = terminal("stty -echo; read -r one; read -r two; echo \"<$one><$two>\"");
        let (output, status) = world.exec(&id, typed, b"a b\nc\n").await;
        let text = String::from_utf8_lossy(&output).into_owned();
        assert!(text.contains("<a b><c>\r\n"), "{text:?}");
        assert_eq!(status, 0);
        // A command that cannot be started says so.
        let missing = ExecSpec {
            command: words(&["/no/such/thing"]),
            ..terminal("")
        };
        let (output, status) = world.exec(&id, missing, b"").await;
        let text = String::from_utf8_lossy(&output).into_owned();
        assert!(text.contains("/no/such/thing"), "{text:?}");
        assert!(matches!(status, 126 | 127), "status {status}: {text:?}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_command_that_nobody_waits_for_can_be_ended() {
    World::enter(|world| async move {
        // The two shells that images have most often.
        for image in ["busybox:1.36", "debian:bookworm-slim"] {
            let spec = ProcessSpec {
                image: image.to_owned(),
                ..world
                    .script(&format!("end-{}", &image[..3]), "sleep 1000")
                    .await
            };
            let id = world.run(&spec).await;
            let running = async || {
                let look = ExecSpec {
                    tty: false,
                    ..terminal(
                        "for each in /proc/[0-9]*; do tr '\\0' ' ' <$each/cmdline; echo; done",
                    )
                };
                let (output, _) = world.exec(&id, look, b"").await;
                let text = String::from_utf8_lossy(&output).into_owned();
                text.lines()
                    .filter(|line| line.starts_with("sleep 31"))
                    .count()
            };
            // One that ends when its terminal is closed, and one that must be made to.
            for (tty, script) in [
                (true, "sleep 3101 & sleep 3102; echo never"),
                (false, "sleep 3103 & sleep 3104; echo never"),
                (false, "trap '' HUP; sleep 3105; echo never"),
            ] {
                let spec = ExecSpec {
                    tty,
                    size: tty.then_some((24, 80)),
                    ..terminal(script)
                };
                let other = world.docker.exec(&id, terminal("sleep 3199")).await;
                let exec = world.docker.exec(&id, spec).await.expect("exec");
                let expected = script.matches("sleep").count() + 1;
                eventually("it runs", async || running().await == expected).await;
                exec.end.await.expect("ended");
                assert_ne!(exec.status.await.expect("a status"), 0, "{script}");
                // What another command does is left alone.
                eventually("it is gone", async || running().await == 1).await;
                other.expect("exec").end.await.expect("ended");
                eventually("all is gone", async || running().await == 0).await;
            }
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_size_may_change() {
    World::enter(|world| async move {
        let id = world.run(&world.script("change", "sleep 1000").await).await;
        let script = "trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done";
        let mut exec = world
            .docker
            .exec(&id, terminal(script))
            .await
            .expect("exec");
        let mut seen = Vec::new();
        for (size, shown) in [
            ((43, 121), "43 121\r\n"),
            ((50, 132), "50 132\r\n"),
            ((24, 80), "24 80\r\n"),
        ] {
            if size != (43, 121) {
                exec.size.as_ref().expect("a terminal").send_replace(size);
            }
            while !String::from_utf8_lossy(&seen).contains(shown) {
                seen.push(exec.output.read_u8().await.expect("more output"));
            }
        }
        exec.input.write_all(&[3]).await.expect("interrupted");
        exec.output.read_to_end(&mut seen).await.expect("the end");
        assert_ne!(exec.status.await.expect("a status"), 0);
    })
    .await;
}
