//! Streams whose readers are slow, leave, come back or are many.

use std::time::Duration;

use rack_api::log::Place;
use rack_api::socket::Event;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::engines::{Engine, on_both_engines};
use super::flow::{status_of, text};
use super::world::{Client, Connected, until, within};

on_both_engines!(
    a_reader_that_stands_still_holds_nobody_up,
    a_command_nobody_reads_waits_and_holds_nobody_up,
    a_follower_goes_on_where_it_was,
    the_log_of_a_process_ends_with_it,
    what_processes_of_the_past_have_said_can_be_told_apart,
    a_thousand_followers_hear_the_same_line,
);

/// Lines of an app's log, and how it has them made.
async fn say(rack: &Client, command: &str) -> String {
    let headers = [("Command", command)];
    let answer = rack
        .send("POST", "/apps/myapp/services/web/processes", &headers, b"")
        .await;
    text(&answer.json(), "id")
}

const ONE_OFFS: &str = "/apps/myapp/services/web/logs";

/// Reads until the text received ends with something; all of it.
async fn read_until(socket: &mut Connected, end: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        match within(&format!("{end:?}"), socket.next()).await {
            Ok(Event::Data(more)) => bytes.extend_from_slice(&more),
            other => panic!("{other:?} before {end:?}"),
        }
    }
    bytes
}

async fn a_reader_that_stands_still_holds_nobody_up(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let options = [("Since", "1h"), ("Filter", "?0123456789abcdef ?end-of")];
    let mut still = rack.socket(ONE_OFFS, &options).await;
    let mut quick = rack.socket(ONE_OFFS, &options).await;
    // Far more than every buffer between the two takes.
    let block = "0123456789abcdef".repeat(256);
    let echo = format!("{};", "echo $B".to_owned() + &"$B".repeat(2));
    let command = format!("{} echo end-of-$N", echo.repeat(128));
    let mut expected = 0;
    for turn in 0..6 {
        let environment = format!("B={block}&N={turn}");
        let headers = [("Command", command.as_str()), ("Environment", &environment)];
        rack.send("POST", "/apps/myapp/services/web/processes", &headers, b"")
            .await
            .json();
        let end = format!("end-of-{turn}\n");
        let got = read_until(&mut quick, &end).await;
        assert_eq!(
            got.len(),
            128 * (3 * block.len() + 1) + end.len(),
            "turn {turn}"
        );
        expected += got.len();
    }
    // It finds everything where it left it.
    assert_eq!(read_until(&mut still, "end-of-5\n").await.len(), expected);
}

async fn a_command_nobody_reads_waits_and_holds_nobody_up(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let headers = [("Command", "cat"), ("Tty", "false")];
    let mut socket = rack
        .socket("/apps/myapp/processes/web/exec", &headers)
        .await;
    // What goes in comes back and is not read: sooner or later nothing more goes in.
    let sent = Arc::new(AtomicU64::new(0));
    let (writer, counter) = (socket.writer.clone(), Arc::clone(&sent));
    let piece: Vec<u8> = (0..16_384_u32).map(|n| (n * 31 % 251) as u8).collect();
    let most = 32 << 20;
    let feeding = {
        let piece = piece.clone();
        tokio::spawn(async move {
            while counter.load(Ordering::SeqCst) < most {
                writer.data(&piece).await.expect("sent");
                counter.fetch_add(piece.len() as u64, Ordering::SeqCst);
            }
            writer.end().await.expect("sent");
        })
    };
    // Standing still is what it comes to; a pause that only looks like it proves less,
    // but fails nothing.
    let mut before = u64::MAX;
    until("the flow to stand still", async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = sent.load(Ordering::SeqCst);
        std::mem::replace(&mut before, now) == now
    })
    .await;
    assert!(before < most * 3 / 4, "{before} bytes are kept somewhere");
    assert_eq!(
        rack.exec("myapp", "web", "echo other", b"").await,
        (0, b"other\n".to_vec())
    );
    let mut got = 0_u64;
    while got < most {
        match within("more", socket.next()).await.expect("data") {
            Event::Data(bytes) => {
                let mut rest = &bytes[..];
                let mut at = usize::try_from(got).expect("small") % piece.len();
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(rest.len().min(piece.len() - at));
                    assert!(now == &piece[at..at + now.len()], "after {got} bytes");
                    (rest, at) = (later, 0);
                }
                got += bytes.len() as u64;
            }
            other => panic!("{other:?} after {got} bytes"),
        }
    }
    within("the end of the input", feeding).await.expect("fed");
    assert_eq!(status_of(&socket.rest().await), (0, Vec::new()));
}

/// A follower that wants to know where it is: what it got, and the last place it was told.
async fn follow_to(rack: &Client, cursor: &str, end: &str) -> (String, String) {
    let options = [("Cursor", cursor), ("Since", "1h")];
    let mut socket = rack.socket(ONE_OFFS, &options).await;
    let told: Arc<Mutex<Option<Place>>> = Arc::default();
    let hears = Arc::clone(&told);
    socket.reader.on_ping(move |payload| {
        let place = Place::told(payload).expect("a place");
        *hears.lock().expect("unpoisoned") = Some(place);
    });
    let read = || *told.lock().expect("unpoisoned");
    let got = read_until(&mut socket, end).await;
    // The place behind the last line follows it.
    let before = read();
    assert!(
        before.is_some(),
        "the first place comes before the first line"
    );
    let next = async {
        while read() == before {
            tokio::select! {
                event = socket.next() => panic!("{event:?}"),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    };
    within("the place", next).await;
    let place = read().expect("told").encode();
    (String::from_utf8(got).expect("text"), place)
}

async fn a_follower_goes_on_where_it_was(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    say(&rack, "echo one; echo two").await;
    let (first, place) = follow_to(&rack, "", "two\n").await;
    assert!(first.ends_with("one\ntwo\n"), "{first:?}");
    // What is said while nobody listens is not lost, and nothing is said twice.
    say(&rack, "echo three").await;
    let (second, place) = follow_to(&rack, &place, "three\n").await;
    assert_eq!(second, "three\n");
    say(&rack, "echo four").await;
    let (third, _) = follow_to(&rack, &place, "four\n").await;
    assert_eq!(third, "four\n");
    // A strange one would begin anywhere: it is refused.
    for cursor in ["x", "-1"] {
        let options = [("Cursor", cursor), ("Follow", "false"), ("Since", "1h")];
        let refused = rack.stream(ONE_OFFS, &options).await.text();
        assert_eq!(
            refused,
            "ERROR: the cursor is none that this server has told\n"
        );
    }
}

async fn the_log_of_a_process_ends_with_it(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let id = say(&rack, "echo begin; sleep 1; echo end").await;
    let target = format!("/apps/myapp/processes/{id}/logs");
    let stream = rack.stream(&target, &[]).await;
    assert_eq!(
        (stream.text().as_str(), stream.ended),
        ("begin\nend\n", true)
    );
    until("the process to be gone", async || {
        rack.get(&format!("/apps/myapp/processes/{id}"))
            .await
            .status
            == 404
    })
    .await;
    // After its end as well, whether one follows or not.
    let stream = rack.stream(&target, &[]).await;
    assert_eq!(
        (stream.text().as_str(), stream.ended),
        ("begin\nend\n", true)
    );
}

async fn what_processes_of_the_past_have_said_can_be_told_apart(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let gone = say(&rack, "echo past").await;
    until("the process to be gone", async || {
        rack.get(&format!("/apps/myapp/processes/{gone}"))
            .await
            .status
            == 404
    })
    .await;
    say(&rack, "echo present; sleep 3600").await;
    until("both lines to be stored", async || {
        let log = rack.log("myapp").await;
        log.contains("past\n") && log.contains("present\n")
    })
    .await;
    for target in ["/apps/myapp/logs", ONE_OFFS] {
        let options = [("Previous", "true"), ("Maxlogrequests", "5")];
        let stream = rack.stream(target, &options).await;
        assert_eq!(
            (stream.text().as_str(), stream.ended),
            ("past\n", true),
            "{target}"
        );
    }
}

async fn a_thousand_followers_hear_the_same_line(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let mut followers = Vec::new();
    for _ in 0..1000 {
        followers.push(rack.socket(ONE_OFFS, &[("Since", "1h")]).await);
    }
    say(&rack, "echo heard by all").await;
    for follower in &mut followers {
        follower.until("heard by all\n").await;
    }
    // The server still does everything else.
    assert_eq!(
        rack.exec("myapp", "web", "echo on", b"").await,
        (0, b"on\n".to_vec())
    );
    drop(followers);
    assert_eq!(rack.get("/apps/myapp").await.json()["name"], "myapp");
}
