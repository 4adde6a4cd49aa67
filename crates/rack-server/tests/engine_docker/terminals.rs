//! Terminals of commands: their size, from the first look on.

use rack_server::engine::{Engine, ExecSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{World, words};

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
