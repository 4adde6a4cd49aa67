//! The OpenAPI 3.1 document of the server, made from [`table`](super::table()): what
//! generators and checkers of other people can read. `docs/openapi.json` is a copy.

use std::collections::BTreeSet;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::route::{Answer, Body, Client, Kind, Parameter, Place, Route};
use crate::rack::access::Role;

/// Type of forms.
const FORM: &str = "application/x-www-form-urlencoded";
/// Type of streams of bytes.
const BYTES: &str = "application/octet-stream";

/// The document.
pub fn openapi() -> Value {
    let mut schemas = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
        .for_serialize()
        .into_generator();
    let mut paths = Map::new();
    for route in super::table() {
        let path = route.path.replace("{*", "{");
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[route.method.as_str().to_ascii_lowercase()] = operation(&route, &mut schemas);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Twinrack Rack API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The Convox Rack API, versions 2 and 3 together, as this server speaks it. Operations with \
                `x-websocket` are websockets: their errors travel in the stream. `x-role` is what the caller must be \
                allowed, `x-used-by` which generations of the command-line client call the operation. Only answers with \
                `x-secrets` hold passwords, keys, tokens or values of environments.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "http://127.0.0.1:5443" }],
        "security": [{ "basic": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "responses": { "Failure": failure() },
            "securitySchemes": {
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The password of a rack or of the server, with any user name; or the user name \
                        `jwt` and a token.",
                },
            },
        },
    })
}

/// How every failure is told (`rack-api.md` §1.6).
fn failure() -> Value {
    json!({
        "description": "One line that says what is wrong; JSON when `Accept` lists it",
        "content": {
            "text/plain": { "schema": { "type": "string" } },
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": { "error": { "type": "string" } },
                    "required": ["error"],
                },
            },
        },
    })
}

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [tag(route.path)],
        "parameters": parameters(route),
        "responses": responses(route, schemas),
        "x-used-by": route.used_by.iter().map(|client| generation(*client)).collect::<Vec<_>>(),
    });
    match route.needs {
        None => operation["security"] = json!([]),
        Some(role) => operation["x-role"] = json!(word(role)),
    }
    if route.secrets {
        operation["x-secrets"] = json!(true);
    }
    if matches!(route.answer, Answer::Socket) {
        operation["x-websocket"] = json!(true);
    }
    if let Some(body) = body(route) {
        operation["requestBody"] = body;
    }
    operation
}

/// Method and path as one word.
fn operation_id(route: &Route) -> String {
    let mut id = route.method.as_str().to_ascii_lowercase();
    for part in route.path.split(|c: char| !c.is_ascii_alphanumeric()) {
        let mut letters = part.chars();
        if let Some(first) = letters.next() {
            id.push(first.to_ascii_uppercase());
            id.push_str(letters.as_str());
        }
    }
    // Only the slash at its end tells it from its neighbour.
    if route.path.ends_with('/') {
        id.push_str("Unnamed");
    }
    id
}

/// The noun a path is about.
fn tag(path: &str) -> &str {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let first = parts.next().unwrap_or_default();
    match (first, parts.nth(1)) {
        ("apps", Some(noun)) => noun,
        _ => first,
    }
}

/// A generation of clients as people name it.
pub fn generation(client: Client) -> &'static str {
    match client {
        Client::Y2017 => "2017",
        Client::V2 => "v2",
        Client::V3 => "v3",
        Client::Own => "twinrack",
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Read => "read",
        Role::Write => "write",
        Role::Admin => "admin",
    }
}

fn parameters(route: &Route) -> Vec<Value> {
    let names = route.path.split(['{', '}']).skip(1).step_by(2);
    let of_path = names.map(|name| {
        let (name, text) = match name.strip_prefix('*') {
            Some(name) => (name, "May hold slashes, which are not encoded"),
            None => (name, ""),
        };
        let mut parameter =
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } });
        if !text.is_empty() {
            parameter["description"] = json!(text);
        }
        parameter
    });
    let others = route.parameters.iter().filter_map(|parameter| {
        let place = match parameter.place {
            Place::Form => return None,
            Place::Query => "query",
            Place::Header => "header",
        };
        let mut value = json!({
            "name": parameter.name,
            "in": place,
            "required": parameter.required,
            "schema": schema(parameter.kind),
        });
        // Elements are joined by commas wherever a list travels.
        if parameter.kind == Kind::List && parameter.place == Place::Query {
            value["explode"] = json!(false);
        }
        Some(value)
    });
    of_path.chain(others).collect()
}

/// How a kind of parameter is written (`rack-api.md` §1.5).
fn schema(kind: Kind) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Integer => json!({ "type": "integer" }),
        Kind::Duration => json!({
            "type": "string",
            "description": "Go duration, such as 1h30m0s",
            "pattern": "^[-+]?(0|(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$",
        }),
        Kind::Time => json!({
            "type": "string",
            "description": "Time in UTC as YYYYMMDD.hhmmss.nnnnnnnnn",
            "pattern": "^[0-9]{8}\\.[0-9]{6}\\.[0-9]{9}$",
        }),
        Kind::List => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Map => {
            json!({ "type": "string", "contentMediaType": FORM, "description": "Pairs as a form of their own" })
        }
    }
}

fn body(route: &Route) -> Option<Value> {
    let fields: Vec<&Parameter> = route
        .parameters
        .iter()
        .filter(|parameter| parameter.place == Place::Form)
        .collect();
    let mut content = Map::new();
    match route.body {
        Body::Json => {
            content.insert(
                "application/json".into(),
                json!({ "schema": { "type": "object" } }),
            );
        }
        Body::Stream => {
            content.insert(BYTES.into(), json!({}));
        }
        Body::Form => {}
    }
    if !fields.is_empty() {
        let properties: Map<_, _> = fields
            .iter()
            .map(|field| (field.name.to_owned(), schema(field.kind)))
            .collect();
        let lists = fields.iter().filter(|field| field.kind == Kind::List);
        let encoding: Map<_, _> = lists
            .map(|field| {
                (
                    field.name.to_owned(),
                    json!({ "style": "form", "explode": false }),
                )
            })
            .collect();
        let required: BTreeSet<_> = fields
            .iter()
            .filter(|field| field.required)
            .map(|field| field.name)
            .collect();
        let mut form = json!({ "schema": { "type": "object", "properties": properties } });
        if !required.is_empty() {
            form["schema"]["required"] = json!(required);
        }
        if !encoding.is_empty() {
            form["encoding"] = json!(encoding);
        }
        content.insert(FORM.into(), form);
    }
    if content.is_empty() {
        return None;
    }
    let required = route.body == Body::Form && fields.iter().any(|field| field.required);
    Some(json!({ "required": required, "content": content }))
}

fn responses(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let (status, answer) = match route.answer {
        Answer::Ok => (
            200,
            json!({
                "description": "Done",
                "content": { "text/plain": { "schema": { "type": "string", "const": "ok\n" } } },
            }),
        ),
        Answer::Json(schema) => (
            200,
            json!({
                "description": "Done",
                "content": { "application/json": { "schema": schema(schemas) } },
            }),
        ),
        Answer::Bytes => (
            200,
            json!({ "description": "The bytes", "content": { "*/*": {} } }),
        ),
        Answer::Empty(status) => (status, json!({ "description": "Done" })),
        Answer::Socket => (101, json!({ "description": "A websocket" })),
        Answer::Registry => (404, registry_failure()),
    };
    let mut responses = json!({
        status.to_string(): answer,
        "default": { "$ref": "#/components/responses/Failure" },
    });
    if matches!(route.answer, Answer::Socket) {
        responses["404"] = json!({ "description": "Empty: there was no upgrade" });
    }
    responses
}

/// How registries tell failures.
fn registry_failure() -> Value {
    json!({
        "description": "What registries say of what they do not support",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "errors": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "properties": {
                                    "code": { "type": "string" },
                                    "message": { "type": "string" },
                                },
                                "required": ["code", "message"],
                            },
                        },
                    },
                    "required": ["errors"],
                },
            },
        },
    })
}
