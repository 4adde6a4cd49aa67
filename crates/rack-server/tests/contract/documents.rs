//! The OpenAPI document in the repository is the one the routes say, and hangs together.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

/// Every reference in a document.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(target) if name == "$ref" => drop(found.insert(target)),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn the_openapi_document_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let kept: Value = serde_json::from_str(&text).unwrap_or_default();
    assert!(
        kept == rack_server::api::openapi(),
        "docs/openapi.json is not what the routes say: run `cargo run --bin documents -- write` and commit it"
    );
}

#[test]
fn the_openapi_document_hangs_together() {
    let document = rack_server::api::openapi();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("a local reference");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let mut ids = BTreeSet::new();
    for route in rack_server::api::table() {
        let path = route.path.replace("{*", "{");
        let operation = &document["paths"][&path][route.method.as_str().to_lowercase()];
        assert!(ids.insert(operation["operationId"].to_string()), "{path}");
        assert!(!route.summary.is_empty(), "{path} says nothing");
        let names = path.split(['{', '}']).skip(1).step_by(2);
        for name in names {
            let mut parameters = operation["parameters"].as_array().into_iter().flatten();
            assert!(
                parameters.any(|parameter| parameter["in"] == "path" && parameter["name"] == name),
                "{path}: {name}"
            );
        }
    }
}
