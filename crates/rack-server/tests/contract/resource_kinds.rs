//! The types of resources beyond PostgreSQL and Redis: addresses, readiness, data
//! (`convox-yml.md` §12).

use serde_json::json;

use super::amqp::Broker;
use super::engines::{Engine, on_both_engines};
use super::flow::{PLAIN, text};
use super::resources_data::{console, dump, restore};

on_both_engines!(
    mariadb_is_a_database_like_the_others,
    memcached_is_a_cache_without_data,
    rabbitmq_keeps_its_messages,
    types_that_differ_in_their_image_only,
);

const MARIADB: &str = "services:
  web:
    build: .
    command: sleep 100000
    resources: [database, 'legacy:LEGACY_HOST']
    termination:
      grace: 1
resources:
  database:
    type: mariadb
    options:
      mem: 512
      cpu: 1500
  legacy:
    type: mysql
    image: mariadb:10.11
";

const MEMCACHED: &str = "services:
  web:
    build: .
    command: sleep 100000
    resources: [session-cache]
    termination:
      grace: 1
resources:
  session-cache:
    type: memcached
";

const DATABASE: &str = "/apps/myapp/resources/database";

/// A table, and all that cannot be moved with one.
const ITEMS: &str = "-- by hand
CREATE TABLE items (id int PRIMARY KEY, body text);
INSERT INTO items VALUES (1, 'it''s; one'), (2, 'ünï');
CREATE TABLE marks (id int PRIMARY KEY, item int, FOREIGN KEY (item) REFERENCES items (id));
CREATE VIEW bodies AS SELECT body FROM items WHERE id > 1;
DELIMITER ;;
CREATE TRIGGER marked BEFORE INSERT ON marks FOR EACH ROW BEGIN SET @seen = 1; SET NEW.id = NEW.id + 100; END ;;
CREATE PROCEDURE counted() BEGIN SELECT concat('counted ', count(*)) FROM items; END ;;
DELIMITER ;
";

async fn mariadb_is_a_database_like_the_others(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let release = rack
        .release("myapp", &[("convox.yml", MARIADB), PLAIN[1]])
        .await;
    rack.promote("myapp", &release).await;

    let resource = rack.get(DATABASE).await.json();
    assert_eq!(
        (&resource["type"], &resource["status"]),
        (&json!("mariadb"), &json!("running"))
    );
    let url = resource["url"].as_str().expect("a url");
    let host = "database.resource.myapp.staging";
    assert!(
        url.starts_with("mysql://app:") && url.ends_with(&format!("@{host}:3306/app")),
        "{url}"
    );
    let ask = "echo $DATABASE_URL $DATABASE_USER $DATABASE_NAME $DATABASE_PORT $DATABASE_HOST $LEGACY_HOST [$LEGACY_URL]";
    let (_, said) = rack.exec("myapp", "web", ask, b"").await;
    assert_eq!(
        String::from_utf8_lossy(&said).trim(),
        format!("{url} app app 3306 {host} legacy.resource.myapp.staging []")
    );

    restore(&rack, DATABASE, ITEMS.as_bytes()).await.ok();
    let dumped = dump(&rack, DATABASE).await;
    // Over what is there now: a dump begins with the removal of what it has.
    restore(&rack, DATABASE, &dumped).await.ok();
    let question = "INSERT INTO marks VALUES (1, 2);\nSELECT * FROM marks;\nSELECT body FROM bodies;\n\
                    CALL counted();\nDELETE FROM marks;\nSHOW TABLES;\n";
    let said = console(&rack, DATABASE, question).await;
    if engine.is_docker() {
        for there in ["101\t2", "ünï", "counted 2", "items", "marks"] {
            assert!(said.contains(there), "{there} not in {said}");
        }
    } else {
        assert_eq!(dump(&rack, DATABASE).await, dumped);
        assert!(said.contains("simulated: SHOW TABLES;"), "{said}");
    }

    let whole = "CREATE TABLE other (a text);\nINSERT INTO other VALUES ('x');\n";
    let mut bad = vec![
        format!("{whole}INSERT INTO other VALUES ('abc"),
        format!("{whole}INSERT INTO other VALUES ('abc'"),
        format!("{whole}no dump at all\n"),
        "\u{1f}compressed".to_owned(),
        String::new(),
    ];
    if engine.is_docker() {
        // It would take a database to know what there is, and whose it is.
        bad.push(format!("{whole}SELECT nonsense;\n"));
        bad.push(format!("{whole}USE app; DROP TABLE marks;\n"));
    }
    for bad in bad {
        let answer = restore(&rack, DATABASE, bad.as_bytes()).await;
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
        let text = answer.text();
        assert!(
            text.starts_with("import of resource database failed: ")
                && text.ends_with("; nothing was changed\n"),
            "{text}"
        );
    }
    if engine.is_docker() {
        let said = console(&rack, DATABASE, "SHOW TABLES;\nSHOW DATABASES;\n").await;
        assert!(said.contains("marks") && !said.contains("other"), "{said}");
        assert!(!said.contains("twinrack"), "nothing is left: {said}");
    } else {
        assert_eq!(dump(&rack, DATABASE).await, dumped);
    }
    // What a dump does not have stays as it is.
    restore(&rack, DATABASE, whole.as_bytes()).await.ok();
    if engine.is_docker() {
        let said = console(&rack, DATABASE, "SELECT count(*) + 40 FROM items;\n").await;
        assert!(said.contains("42"), "{said}");
    }
}

async fn memcached_is_a_cache_without_data(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let release = rack
        .release("myapp", &[("convox.yml", MEMCACHED), PLAIN[1]])
        .await;
    rack.promote("myapp", &release).await;
    let url = "session-cache.resource.myapp.staging:11211";
    let ask = "echo $SESSION_CACHE_URL $SESSION_CACHE_PORT [$SESSION_CACHE_USER$SESSION_CACHE_PASS$SESSION_CACHE_NAME]";
    let (_, said) = rack.exec("myapp", "web", ask, b"").await;
    assert_eq!(
        String::from_utf8_lossy(&said).trim(),
        format!("{url} 11211 []")
    );
    let path = "/apps/myapp/resources/session-cache";
    assert_eq!(rack.get(path).await.json()["url"], json!(url));
    if engine.is_docker() {
        let talk = "printf 'set a 0 0 5\\r\\nhello\\r\\nget a\\r\\nquit\\r\\n' | \
                    nc session-cache.resource.myapp.staging 11211";
        let (_, said) = rack.exec("myapp", "web", talk, b"").await;
        let said = String::from_utf8_lossy(&said);
        assert!(
            said.contains("STORED") && said.contains("VALUE a 0 5\r\nhello"),
            "{said}"
        );
    }
    rack.get(&format!("{path}/data"))
        .await
        .fails(400, "export not available for resources of type: memcached");
    restore(&rack, path, b"SELECT 1;")
        .await
        .fails(400, "import not available for resources of type: memcached");
    let stream = rack.stream(&format!("{path}/console"), &[]).await;
    assert_eq!(
        stream.text(),
        "ERROR: console not available for resources of type: memcached\n"
    );

    // What cannot be run is said before anything happens.
    for (options, expected) in [
        (
            "type: oracle",
            "resource session-cache has type oracle, which this server cannot run; it runs \
             postgres, postgis, mysql, mariadb, redis, valkey, memcached, rabbitmq",
        ),
        (
            "type: memcached\n    options: {mem: much}",
            "option mem of resource session-cache must be a number of megabytes, not much",
        ),
    ] {
        let text = MEMCACHED.replace("type: memcached", options);
        let release = rack
            .release("myapp", &[("convox.yml", &text), PLAIN[1]])
            .await;
        rack.post(&format!("/apps/myapp/releases/{release}/promote"), "")
            .await
            .fails(400, expected);
    }
}

const RABBITMQ: &str = "services:
  web:
    build: .
    command: sleep 100000
    resources: [orders]
    termination:
      grace: 1
resources:
  orders:
    type: rabbitmq
";

async fn rabbitmq_keeps_its_messages(engine: Engine) {
    const ORDERS: &str = "/apps/myapp/resources/orders";
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let release = rack
        .release("myapp", &[("convox.yml", RABBITMQ), PLAIN[1]])
        .await;
    rack.promote("myapp", &release).await;

    let url = text(&rack.get(ORDERS).await.json(), "url");
    let host = "orders.resource.myapp.staging";
    assert!(
        url.starts_with("amqp://app:") && url.ends_with(&format!("@{host}:5672/app")),
        "{url}"
    );
    let ask = "echo $ORDERS_URL $ORDERS_USER $ORDERS_NAME $ORDERS_PORT $ORDERS_HOST; echo amqp://app:$ORDERS_PASS@";
    let (_, said) = rack.exec("myapp", "web", ask, b"").await;
    let said = String::from_utf8(said).expect("text");
    let (first, second) = said.trim().split_once('\n').expect("two lines");
    assert_eq!(first, format!("{url} app app 5672 {host}"));
    assert!(url.starts_with(second.trim()), "{second}");

    if engine.is_docker() {
        let mut broker = Broker::connect(&rack, &url).await;
        assert_eq!(broker.queue("paid").await, 0);
        broker.publish("paid", "order 7, ünï").await;
        // Nobody else is let in: to clients that do not say they would understand it, no reason is given.
        let mut stranger = Broker::reach(&rack, &url).await;
        stranger.introduce("guest", "guest").await;
        let said = stranger.rest().await;
        assert_eq!(said, "");
    } else {
        let mut broker = Broker::reach(&rack, &url).await;
        broker.introduce("app", "any").await;
        let said = broker.rest().await;
        assert!(
            said.contains("simulated broker: nothing runs here"),
            "{said}"
        );
    }

    // Another process has the same queues.
    let options = "type: rabbitmq\n    options: {mem: 500}";
    let manifest = RABBITMQ.replace("type: rabbitmq", options);
    let release = rack
        .release("myapp", &[("convox.yml", &manifest), PLAIN[1]])
        .await;
    rack.promote("myapp", &release).await;
    let log = rack.log("myapp").await;
    let replaced = "resource changed: replacing its process, keeping its data";
    assert_eq!(log.matches(replaced).count(), 1, "{log}");
    assert_eq!(text(&rack.get(ORDERS).await.json(), "url"), url);
    if engine.is_docker() {
        let said = console(
            &rack,
            ORDERS,
            "list_queues name messages\nnonsense '\nexit\n",
        )
        .await;
        assert!(said.contains("paid\t1"), "{said}");
        let mut broker = Broker::connect(&rack, &url).await;
        assert_eq!(broker.queue("paid").await, 1);
        assert_eq!(broker.take("paid").await, "order 7, ünï");
        assert_eq!(broker.queue("paid").await, 0);
    } else {
        let said = console(&rack, ORDERS, "list_queues\n").await;
        assert!(said.contains("simulated: list_queues"), "{said}");
    }
    rack.get(&format!("{ORDERS}/data"))
        .await
        .fails(400, "export not available for resources of type: rabbitmq");
    restore(&rack, ORDERS, b"{}")
        .await
        .fails(400, "import not available for resources of type: rabbitmq");
}

/// The images are others' here: those of the types themselves are large, or nowhere to be made from.
const RELATIVES: &str = "services:
  web:
    build: .
    command: sleep 100000
    resources: [places, cache]
    termination:
      grace: 1
resources:
  places:
    type: postgis
    image: postgres:15
  cache:
    type: valkey
    image: redis:7
";

async fn types_that_differ_in_their_image_only(engine: Engine) {
    const PLACES: &str = "/apps/myapp/resources/places";
    const CACHE: &str = "/apps/myapp/resources/cache";
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let manifest = if engine.is_docker() {
        RELATIVES.to_owned()
    } else {
        RELATIVES
            .replace("    image: postgres:15\n", "")
            .replace("    image: redis:7\n", "")
    };
    let release = rack
        .release("myapp", &[("convox.yml", &manifest), PLAIN[1]])
        .await;
    rack.promote("myapp", &release).await;
    let url = text(&rack.get(PLACES).await.json(), "url");
    let place = "@places.resource.myapp.staging:5432/app?sslmode=disable";
    assert!(
        url.starts_with("postgres://app:") && url.ends_with(place),
        "{url}"
    );
    let url = text(&rack.get(CACHE).await.json(), "url");
    assert_eq!(url, "redis://cache.resource.myapp.staging:6379/0");

    restore(
        &rack,
        PLACES,
        b"CREATE TABLE items (id int);\nINSERT INTO items VALUES (41);\n",
    )
    .await
    .ok();
    let dumped = dump(&rack, PLACES).await;
    restore(&rack, PLACES, &dumped).await.ok();
    let said = console(&rack, CACHE, "set greeting hello\n").await;
    let kept = dump(&rack, CACHE).await;
    if engine.is_docker() {
        assert_eq!(said, "OK\n");
        let said = console(&rack, PLACES, "SELECT 'found ' || (id + 1) FROM items;\n").await;
        assert!(said.contains("found 42"), "{said}");
        console(&rack, CACHE, "set greeting other\n").await;
        restore(&rack, CACHE, &kept).await.ok();
        assert_eq!(console(&rack, CACHE, "get greeting\n").await, "hello\n");
    } else {
        assert!(said.contains("simulated: set greeting hello"), "{said}");
        restore(&rack, CACHE, &kept).await.ok();
        assert_eq!(dump(&rack, CACHE).await, kept);
    }
}
