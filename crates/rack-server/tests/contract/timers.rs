//! Timers: what the manifest wants run at times (`convox-yml.md` §13).

use std::time::Duration;

use serde_json::Value;

use super::engines::{Engine, on_both_engines};
use super::flow::{MANIFEST, PLAIN, text};
use super::world::{Client, until};

on_both_engines!(
    a_timer_runs_in_its_minute_as_often_as_it_says,
    what_still_runs_is_left_alone_or_replaced,
);

const MINUTE: Duration = Duration::from_secs(60);

/// Promotes a release with these timers.
async fn promoted(rack: &Client, timers: &str) {
    rack.create("myapp").await;
    let manifest = format!("{MANIFEST}timers:\n{timers}");
    let files = [("convox.yml", manifest.as_str()), PLAIN[1]];
    let release = rack.release("myapp", &files).await;
    assert_eq!(
        text(&rack.promote("myapp", &release).await, "release"),
        release
    );
}

/// Lines of the log of an app with this in it.
async fn lines(rack: &Client, wanted: &str) -> Vec<String> {
    let log = rack.log("myapp").await;
    let found = log.lines().filter(|line| line.contains(wanted));
    found.map(str::to_owned).collect()
}

/// Ids of running processes whose command has this in it.
async fn running(rack: &Client, command: &str) -> Vec<String> {
    let list = rack.get("/apps/myapp/processes").await.json();
    let has = |process: &&Value| text(process, "command").contains(command);
    let list = list.as_array().expect("a list").iter().filter(has);
    list.map(|process| text(process, "id")).collect()
}

async fn a_timer_runs_in_its_minute_as_often_as_it_says(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let timers = "  tick:
    command: echo tick $SERVICE/$TIMER_INDEX
    schedule: '* * * * *'
    service: web
    parallelCount: 2
  never:
    command: echo never
    schedule: '0 0 1 1 ? 1999'
    service: web
";
    promoted(&rack, timers).await;
    world.clock.advance(MINUTE);
    for index in [0, 1] {
        until("the timer to speak", async || {
            !lines(&rack, &format!("tick web/{index}")).await.is_empty()
        })
        .await;
    }
    let said = lines(&rack, "tick web/0").await;
    assert!(said[0].contains(" timer/tick/"), "{said:?}");
    // Ten minutes at once, as when a machine has slept: only the last one counts.
    let before = lines(&rack, "tick web/1").await.len();
    world.clock.advance(10 * MINUTE);
    until("the timer to speak again", async || {
        lines(&rack, "tick web/1").await.len() > before
    })
    .await;
    // A minute of the machine's own may have begun meanwhile, or two.
    let after = lines(&rack, "tick web/1").await.len();
    assert!(after < before + 5, "{before} {after}");
    assert!(lines(&rack, "never").await.is_empty());
    rack.delete("/apps/myapp").await.ok();
}

async fn what_still_runs_is_left_alone_or_replaced(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let timers = "  alone: {command: 'echo alone; sleep 600', schedule: '* * * * *', service: web, concurrency: Forbid}
  anew: {command: 'echo anew; sleep 600', schedule: '* * * * *', service: web, concurrency: replace}
";
    promoted(&rack, timers).await;
    world.clock.advance(MINUTE);
    until("both to run", async || {
        running(&rack, "alone").await.len() == 1 && running(&rack, "anew").await.len() == 1
    })
    .await;
    let (alone, anew) = (running(&rack, "alone").await, running(&rack, "anew").await);
    world.clock.advance(MINUTE);
    until("the one to be left alone", async || {
        !lines(&rack, "left out: the last one still runs")
            .await
            .is_empty()
    })
    .await;
    until("the other to be replaced", async || {
        let now = running(&rack, "anew").await;
        now.len() == 1 && now != anew
    })
    .await;
    assert_eq!(running(&rack, "alone").await, alone);
}

#[tokio::test]
async fn a_timer_whose_image_is_gone_says_so() {
    let engine = Engine::simulated();
    let (world, rack) = engine.with_rack().await;
    let timers = "  tick: {command: echo tick, schedule: '* * * * *', service: web}\n";
    promoted(&rack, timers).await;
    let tags = world.tags("staging", "myapp").await;
    let data = world.stop().await;
    engine.prune(data.path(), &tags[0]).await;
    let world = engine.open(data, "").await;
    let rack = Client {
        address: world.address,
        ..rack
    };
    world.clock.advance(MINUTE);
    until("the reason", async || {
        !lines(&rack, "could not be run: the image of service web")
            .await
            .is_empty()
    })
    .await;
}
