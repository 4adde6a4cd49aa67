//! The types of resources beyond PostgreSQL and Redis: addresses, readiness, data
//! (`convox-yml.md` §12).

use serde_json::json;

use super::engines::{Engine, on_both_engines};
use super::flow::PLAIN;
use super::resources_data::{console, dump, restore};

on_both_engines!(
    mariadb_is_a_database_like_the_others,
    memcached_is_a_cache_without_data,
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
             postgres, mysql, mariadb, redis, memcached",
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
