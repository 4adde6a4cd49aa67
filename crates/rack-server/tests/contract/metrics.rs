//! What the machine has, and measurements over time.

use serde_json::{Value, json};

use super::engines::{Engine, on_both_engines};
use super::flow::PLAIN;
use super::world::{Client, World, until};

on_both_engines!(what_runs_is_measured, capacity_counts_what_is_promised);

/// The metric of a name, if it has values.
fn metric<'a>(list: &'a Value, name: &str) -> Option<&'a [Value]> {
    let list = list.as_array().expect("a list");
    let found = list.iter().find(|metric| metric["name"] == name)?;
    let values = found["values"].as_array().expect("values");
    (!values.is_empty()).then_some(values)
}

fn number(value: &Value, field: &str) -> f64 {
    value[field]
        .as_f64()
        .unwrap_or_else(|| panic!("no {field} in {value}"))
}

/// Sum of a field over all periods.
fn total(list: &Value, name: &str, field: &str) -> f64 {
    let values = metric(list, name).unwrap_or_default();
    values.iter().map(|value| number(value, field)).sum()
}

async fn what_runs_is_measured(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    assert_eq!(rack.get("/system/metrics?").await.json(), json!([]));
    rack.deploy("myapp").await;
    let port = world.address.port();
    let browser = Client {
        address: world.address,
        headers: vec![("Host".into(), format!("web.myapp.staging.localhost:{port}"))],
    };
    for _ in 0..3 {
        assert_eq!(browser.get("/").await.status, 200);
    }
    let mut app = Value::Null;
    until("the requests to be counted", async || {
        app = rack.get("/apps/myapp/metrics?").await.json();
        total(&app, "service:requests", "sum") >= 3.0
    })
    .await;
    // Health checks go to the process, not through the router.
    assert!(
        (total(&app, "service:requests", "sum") - 3.0).abs() < f64::EPSILON,
        "{app}"
    );
    assert!(total(&app, "service:requests:5xx", "sum").abs() < f64::EPSILON);
    assert!((total(&app, "service:response:time", "count") - 3.0).abs() < f64::EPSILON);
    for value in metric(&app, "service:response:time").expect("times") {
        let [min, p90, p95, p99, max] =
            ["min", "p90", "p95", "p99", "max"].map(|field| number(value, field));
        assert!(
            0.0 < min && min <= p90 && p90 <= p95 && p95 <= p99 && p99 <= max,
            "{value}"
        );
        assert!(
            min <= number(value, "avg") && number(value, "avg") <= max,
            "{value}"
        );
        let time = value["time"].as_str().expect("a time");
        assert!(time.ends_with('Z') && time.len() == 20, "{time}");
    }
    let mut service = Value::Null;
    until("a healthy process to be measured", async || {
        let path = "/apps/myapp/services/web/metrics?period=5";
        service = rack.get(path).await.json();
        metric(&service, "process:healthy").is_some_and(|values| {
            values
                .iter()
                .any(|value| (number(value, "max") - 1.0).abs() < f64::EPSILON)
        })
    })
    .await;
    assert!(
        total(&service, "service:mem:utilization", "max") > 0.0,
        "{service}"
    );
    let of_rack = rack.get("/system/metrics").await.json();
    for name in ["cluster:cpu:utilization", "cluster:mem:utilization"] {
        for value in metric(&of_rack, name).expect(name) {
            assert!((0.0..=100.0).contains(&number(value, "max")), "{value}");
        }
    }
    assert!(total(&of_rack, "cluster:mem:utilization", "max") > 0.0);

    // Chosen by name, by service, by time.
    let chosen = rack
        .get("/system/metrics?metrics=cluster:mem:utilization,unknown")
        .await
        .json();
    let names: Vec<_> = chosen
        .as_array()
        .expect("a list")
        .iter()
        .map(|metric| &metric["name"])
        .collect();
    assert_eq!(names, ["cluster:mem:utilization"]);
    let path = "/apps/myapp/metrics-by-service?services=web&metrics=process:healthy";
    let by_service = rack.get(path).await.json();
    assert_eq!(by_service[0]["name"], "web");
    assert_eq!(by_service[0]["metrics"][0]["name"], "process:healthy");
    let path = "/system/metrics?start=20200101.000000.000000000&end=20200101.010000.000000000";
    let before = rack.get(path).await.json();
    assert!(
        before
            .as_array()
            .expect("a list")
            .iter()
            .all(|metric| metric["values"] == json!([])),
        "{before}"
    );

    // A deleted app takes its measurements along.
    rack.delete("/apps/myapp").await.ok();
    until("the app to go", async || {
        rack.get("/apps/myapp").await.status == 404
    })
    .await;
    rack.create("myapp").await;
    assert_eq!(rack.get("/apps/myapp/metrics").await.json(), json!([]));
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    let day = "start=20260101.000000.000000000&end=20260102.000000.000000000";
    for (query, text) in [
        (
            "start=20260102.000000.000000000&end=20260101.000000.0",
            "end must be after start",
        ),
        (
            "start=20260101.000000.000000000&end=20260102.000001.000000000",
            "start and end must not be more than 24 hours apart",
        ),
        ("period=4", "period must be at least 5 seconds"),
        ("period=-30", "period must be at least 5 seconds"),
        (
            "period=soon",
            "strconv.Atoi: parsing \"soon\": invalid syntax",
        ),
        (
            "end=yesterday",
            "time \"yesterday\" is not written as YYYYMMDD.hhmmss.nnnnnnnnn",
        ),
    ] {
        for path in [
            "/system/metrics",
            "/apps/myapp/metrics",
            "/apps/myapp/metrics-by-service",
        ] {
            let answer = rack.get(&format!("{path}?{query}")).await;
            if path.ends_with("by-service") && answer.status == 200 {
                // No service, no question.
                assert_eq!(answer.json(), json!([]));
            } else {
                answer.fails(400, text);
            }
        }
    }
    rack.get(&format!("/system/metrics?{day}&period=5"))
        .await
        .fails(
            400,
            "start, end and period make more than 5000 points: ask for a longer period",
        );
    for (path, text) in [
        ("/apps/nosuch/metrics", "app not found: nosuch"),
        ("/apps/nosuch/metrics-by-service", "app not found: nosuch"),
        ("/apps/nosuch/services/web/metrics", "app not found: nosuch"),
        ("/apps/myapp/services/web/metrics", "service not found: web"),
        (
            "/apps/myapp/metrics-by-service?services=web",
            "service not found: web",
        ),
    ] {
        rack.get(path).await.fails(404, text);
    }
}

async fn capacity_counts_what_is_promised(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let idle = rack.get("/system/capacity?").await.json();
    let machine = |capacity: &Value| {
        [
            "cluster-cpu",
            "cluster-memory",
            "instance-cpu",
            "instance-memory",
        ]
        .map(|field| capacity[field].as_i64().expect("an integer"))
    };
    let [cpu, memory, instance_cpu, instance_memory] = machine(&idle);
    assert!(cpu >= 1024 && cpu % 1024 == 0 && memory > 100, "{idle}");
    assert_eq!((cpu, memory), (instance_cpu, instance_memory));
    let promised = |capacity: &Value| {
        [
            "process-count",
            "process-cpu",
            "process-memory",
            "process-width",
        ]
        .map(|field| capacity[field].as_i64().expect("an integer"))
    };
    assert_eq!(promised(&idle), [0, 0, 0, 0]);
    let manifest = format!(
        "{}    scale:\n      count: 2\n      cpu: 128\n      memory: 64\n",
        PLAIN[0].1
    );
    rack.create("myapp").await;
    let release = rack
        .release("myapp", &[("convox.yml", &manifest), PLAIN[1]])
        .await;
    rack.promote("myapp", &release).await;
    let busy = rack.get("/system/capacity").await.json();
    assert_eq!(promised(&busy), [2, 256, 128, 2]);
    assert_eq!(machine(&busy), machine(&idle));
    // The same as shares of the machine, over time.
    for (name, promised, all) in [
        ("cluster:cpu:reservation", 256.0, cpu as f64),
        ("cluster:mem:reservation", 128.0, memory as f64),
    ] {
        let expected = promised / all * 100.0;
        until(name, async || {
            let measured = rack
                .get(&format!("/system/metrics?metrics={name}&period=5"))
                .await
                .json();
            metric(&measured, name).is_some_and(|values| {
                let close = |value: &Value| {
                    // The capacity is in whole mebibytes.
                    (number(value, "max") - expected).abs() < expected / 100.0
                };
                values.iter().any(close)
            })
        })
        .await;
    }
}
