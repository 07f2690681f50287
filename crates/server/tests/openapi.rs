//! The OpenAPI document: it is the one that is committed, and names the routes, methods and codes that there are.
//!
//! That answers are as it says, `crates/cli/tests/openapi.rs` shows.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use common::*;
use serde_json::{Map, Value};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn committed() -> Value {
    serde_json::from_slice(&fs::read(repository().join("spec/openapi.json")).unwrap()).unwrap()
}

/// `COUNTERFOIL_OPENAPI=write` writes it anew, as `cargo xtask openapi` does.
#[test]
fn the_committed_document_is_the_one_that_is_served() {
    let world = World::started();
    let answer = world.request("GET", "/openapi.json", &[("host", "elsewhere.example")], b"");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=3600"));
    let path = repository().join("spec/openapi.json");
    if std::env::var_os("COUNTERFOIL_OPENAPI").is_some_and(|what| what == "write") {
        fs::write(&path, &answer.body).unwrap();
    }
    let committed = fs::read(path).unwrap();
    assert!(committed == answer.body, "spec/openapi.json is another: `cargo xtask openapi` writes it");
    assert!(answer.json()["openapi"].as_str().unwrap().starts_with("3.1."));
}

/// The paths that the sources give to the router.
fn routed() -> BTreeSet<String> {
    let mut todo = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut paths = BTreeSet::new();
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let source = fs::read_to_string(path).unwrap();
            let given = source.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
            paths.extend(given.map(|path| path.replace("{*", "{")));
        }
    }
    paths
}

#[test]
fn every_route_is_in_the_document_and_the_other_way_round() {
    let document = committed();
    let described: BTreeSet<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    assert!(described.len() > 20);
    assert_eq!(routed(), described);
}

/// Each path with the methods that it has on these servers, and parameters filled in by their examples.
fn requests(document: &Value, server: &str) -> Vec<(String, Vec<String>, Value)> {
    let example = |parameter: &Value| {
        let name = parameter["schema"]["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
        document["components"]["schemas"][name]["examples"][0].as_str().unwrap().to_owned()
    };
    let filled = |(path, item): (&String, &Value)| {
        let operations: &Map<String, Value> = item.as_object().unwrap();
        let (mut filled, mut methods) = (path.clone(), Vec::new());
        for (method, operation) in operations {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if parameter["in"] == "path" {
                    let name = format!("{{{}}}", parameter["name"].as_str().unwrap());
                    filled = filled.replace(&name, &example(parameter));
                }
            }
            let has = operation["x-counterfoil-servers"].as_array().unwrap();
            methods.extend(has.contains(&server.into()).then(|| method.to_uppercase()));
        }
        (filled, methods, item.clone())
    };
    document["paths"].as_object().unwrap().iter().map(filled).collect()
}

/// The codes that an operation may be refused with under a status.
fn codes(document: &Value, operation: &Value, status: &str) -> Vec<String> {
    let answer = &operation["responses"][status];
    let answer = answer["$ref"].as_str().map_or(answer, |to| document.pointer(&to[1..]).unwrap());
    let parts = &answer["content"]["application/problem+json"]["schema"]["allOf"];
    let codes = parts[1]["properties"]["code"]["enum"].as_array().into_iter().flatten();
    codes.map(|code| code.as_str().unwrap().to_owned()).collect()
}

fn has_what_is_described(server: &str, address: SocketAddr) {
    let document = committed();
    for (path, methods, item) in requests(&document, server) {
        if methods.is_empty() {
            let (method, operation) = item.as_object().unwrap().iter().next().unwrap();
            let answer = request(address, &method.to_uppercase(), &path, &[], b"");
            let (code, described) =
                (answer.json()["code"].as_str().unwrap().to_owned(), codes(&document, operation, "404"));
            answer.is_problem(404, &code);
            assert!(
                ["log-raw", "route-unknown"].contains(&&*code) && described.contains(&code),
                "{path}: {code}"
            );
            continue;
        }
        let answer = request(address, "DELETE", &path, &[], b"");
        answer.is_problem(405, "method-not-allowed");
        let mut allowed: Vec<&str> = answer.header("allow").unwrap().split(',').collect();
        allowed.retain(|method| *method != "HEAD");
        allowed.sort_unstable();
        assert_eq!(allowed, methods, "{path}");
    }
}

#[test]
fn a_log_of_records_has_the_routes_and_methods_that_are_described() {
    has_what_is_described("records", World::started().address());
}

#[test]
fn a_raw_log_has_the_routes_and_methods_that_are_described() {
    let dir = tempfile::tempdir().unwrap();
    let (config, _) = raw_log(dir.path(), None);
    let running = Running::start(&config);
    has_what_is_described("raw", running.address);
    running.stop().unwrap();
}

/// What axum says by itself of a path that is no UTF-8 is plain text.
#[test]
fn a_path_that_is_no_text_is_refused_as_everything_else_is() {
    let world = World::started();
    for path in ["/v1/records/%ff", "/v1/runs/%c3%28/events", "/review/%ff", "/tile/%ff", "/%ff"] {
        world.get(path).is_problem(404, "route-unknown");
    }
    world.get("/v1/records/%F0%9F%92%A9").is_problem(404, "record-unknown");
}

#[test]
fn every_code_is_described_of_some_route_and_in_the_specification() {
    let document = committed();
    let mut described = BTreeSet::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let answers = operation["responses"].as_object().unwrap();
            described.extend(answers.keys().flat_map(|status| codes(&document, operation, status)));
        }
    }
    let all = document["components"]["schemas"]["Code"]["enum"].as_array().unwrap();
    let all: BTreeSet<_> = all.iter().map(|code| code.as_str().unwrap().to_owned()).collect();
    // No operation is refused with it: it is said where there is none.
    described.insert("method-not-allowed".to_owned());
    assert_eq!(described, all);
    let text = fs::read_to_string(repository().join("spec/http.md")).unwrap();
    let unsaid: Vec<_> = all.iter().filter(|code| !text.contains(&format!("`{code}`"))).collect();
    assert!(unsaid.is_empty(), "{unsaid:?}");
}

#[test]
fn every_reference_is_to_what_is_there() {
    fn references<'v>(value: &'v Value, out: &mut Vec<&'v str>) {
        match value {
            Value::Object(members) => {
                out.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|value| references(value, out));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, out)),
            _ => {}
        }
    }
    let document = committed();
    let mut all = Vec::new();
    references(&document, &mut all);
    assert!(all.len() > 100);
    let lost: Vec<_> = all.iter().filter(|to| document.pointer(&to[1..]).is_none()).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

/// What is spelled in records too is spelled as their schemas say.
#[test]
fn ids_keys_names_and_amounts_are_spelled_as_in_records() {
    let schemas = &committed()["components"]["schemas"];
    let common = fs::read(repository().join("spec/schema/common.schema.json")).unwrap();
    let common: Value = serde_json::from_slice(&common).unwrap();
    for (name, def) in [("Hash", "hash"), ("Key", "key"), ("Name", "principal"), ("Amount", "amount")] {
        assert!(schemas[name]["pattern"].is_string(), "{name}");
        assert_eq!(schemas[name]["pattern"], common["$defs"][def]["pattern"], "{name}");
    }
    let signature = &schemas["Record"]["properties"]["sig"]["pattern"];
    assert_eq!(*signature, common["$defs"]["signature"]["pattern"]);
}
