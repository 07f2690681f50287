//! Reading: records, runs, state, bundles, and the C2SP read path.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::*;
use counterfoil_receipt::{RecordId, Root, RunId};
use counterfoil_server::Access;
use counterfoil_tlog::{
    Hash, LeafIndex, MemoryTree, TlogProof, leaf_hash, policy,
    tile::{TilePath, entry_bundles, tiles},
};
use counterfoil_verify::{Conclusion, Dimension, verify};
use serde_json::json;

#[test]
fn a_bundle_shows_its_run_to_whoever_has_a_trust_file() {
    let world = World::peopled();
    world.whole_run("before");
    let run = world.whole_run("one");
    world.whole_run("after");
    let answer = world.get(&format!("/v1/runs/{run}/bundle"));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/jsonl")));
    let trust = world.trust();
    let verdict = verify(&answer.body, &trust, now());
    assert_eq!(verdict.conclude(trust.require()), Conclusion::Shown, "{verdict:?}");
    let header = &answer.lines()[0];
    // The latest, the one over the execution, and those that approvals and execution rest on.
    assert_eq!((header["payloads"].as_u64(), header["checkpoints"].as_u64()), (Some(1), Some(4)));
    // Without payloads it shows the same, and one payload less.
    let without = world.get(&format!("/v1/runs/{run}/bundle?payloads=none"));
    assert_eq!(verify(&without.body, &trust, now()).conclude(trust.require()), Conclusion::Shown);
    assert_eq!(without.lines()[0]["payloads"], 0);
    // Any other byte, and it does not.
    let mut other = answer.body.clone();
    let middle = other.len() / 2;
    other[middle] ^= 1;
    assert_ne!(verify(&other, &trust, now()).conclude(trust.require()), Conclusion::Shown);
}

#[test]
fn no_bundle_had_the_root_that_a_basis_claims() {
    let world = World::peopled();
    let run = world.whole_run("one");
    world.whole_run("after");
    let lines = world.get(&format!("/v1/runs/{run}/bundle")).lines();
    let notes = lines.iter().filter_map(|line| line["checkpoint"].as_str());
    let shown: Vec<(String, String)> = notes
        .map(|note| {
            let mut text = note.lines().skip(1).map(str::to_owned);
            (text.next().unwrap(), text.next().unwrap())
        })
        .collect();
    let bases: Vec<_> =
        lines.iter().map(|line| &line["body"]["basis"]).filter(|basis| !basis.is_null()).collect();
    assert_eq!(bases.len(), 3);
    for basis in bases {
        let root = Root::parse(basis["root"].as_str().unwrap()).unwrap();
        let claimed = (basis["size"].to_string(), Hash::from(*root.as_bytes()).to_base64());
        assert!(shown.contains(&claimed), "{claimed:?} {shown:?}");
    }
}

#[test]
fn a_large_run_becomes_a_bundle_in_chunks() {
    let world = World::peopled();
    let trigger = world.trigger("large");
    let run = RunId::started_by(world.add(&trigger));
    let mut parent = trigger.id();
    for batch in 0..4 {
        let notes: Vec<_> = (0..600)
            .map(|number| {
                let note = world.note(run, parent, &format!("note {batch} {number}"));
                parent = note.id();
                note
            })
            .collect();
        assert!(world.batch(&notes).iter().all(|answer| answer["status"] == "included"));
    }
    let listed = world.get(&format!("/v1/runs/{run}")).json();
    let indices: Vec<u64> = listed["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["index"].as_u64().unwrap())
        .collect();
    assert_eq!(indices.len(), 2_401);
    assert!(indices.is_sorted());
    let answer = world.get(&format!("/v1/runs/{run}/bundle"));
    // Nothing was executed, so there is no conformity to show.
    let require = [Dimension::Integrity, Dimension::Authority, Dimension::Inclusion];
    assert_eq!(verify(&answer.body, &world.trust(), now()).conclude(&require), Conclusion::Shown);
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
}

#[test]
fn runs_are_listed_the_newest_first() {
    let world = World::peopled();
    assert_eq!(world.get("/v1/runs").json()["runs"], json!([]));
    let triggers: Vec<_> = (0..3).map(|number| world.trigger(&number.to_string())).collect();
    let runs: Vec<RunId> = triggers.iter().map(|trigger| RunId::started_by(world.add(trigger))).collect();
    let note = world.note(runs[1], triggers[1].id(), "second");
    world.add(&note);
    let at = |record: &RecordId| -> u64 {
        let answer = world.get(&format!("/v1/records/{record}"));
        answer.header("counterfoil-index").unwrap().parse().unwrap()
    };
    let all = world.get("/v1/runs").json();
    let expected = |number: usize, records: u64, last: &RecordId| {
        let trigger = &triggers[number];
        let (run, index, time) = (runs[number].to_string(), at(&trigger.id()), trigger.time().get());
        json!({"run": run, "index": index, "time": time, "records": records, "last": at(last)})
    };
    let listed = json!([
        expected(2, 1, &triggers[2].id()),
        expected(1, 2, &note.id()),
        expected(0, 1, &triggers[0].id())
    ]);
    let size = world.checkpoint().checkpoint().head().size.0;
    assert_eq!(all, json!({"runs": listed, "next": null, "size": size}));
    // Page by page the same; a full page says where the next one starts, the last one does not.
    let page = |query: &str| world.get(&format!("/v1/runs?{query}")).json();
    let two = page("limit=2");
    assert_eq!((&two["runs"], &two["next"]), (&json!([listed[0], listed[1]]), &listed[1]["index"]));
    let rest = page(&format!("limit=2&before={}", two["next"]));
    assert_eq!((&rest["runs"], &rest["next"]), (&json!([listed[2]]), &json!(null)));
    assert_eq!(page("limit=3")["next"], json!(null));
    assert_eq!(page(&format!("before={}", u64::MAX))["runs"], listed);
    assert_eq!(page("before=0"), json!({"runs": [], "next": null, "size": size}));
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "before=-1",
        "before=x",
        "before=",
        "after=1",
        "limit=1&limit=2",
    ] {
        world.get(&format!("/v1/runs?{query}")).is_problem(400, "query-invalid");
    }
    assert_eq!(world.get("/v1/runs?limit=1000").status, 200);
}

#[test]
fn a_run_is_listed_with_its_records() {
    let world = World::peopled();
    let triggers: Vec<_> = (0..2).map(|number| world.trigger(&number.to_string())).collect();
    let runs: Vec<RunId> = triggers.iter().map(|trigger| RunId::started_by(world.add(trigger))).collect();
    world.add(&world.note(runs[1], triggers[1].id(), "second"));
    let listed = world.get("/v1/runs").json()["runs"].clone();
    let run = world.get(&format!("/v1/runs/{}", runs[1])).json();
    assert_eq!(run["records"].as_array().unwrap().len(), 2);
    assert_eq!(
        run["records"][0],
        json!({"id": triggers[1].id().to_string(), "index": listed[0]["index"], "type": "trigger"})
    );
    world.get(&format!("/v1/runs/{}?wait=60001", runs[1])).is_problem(400, "query-invalid");
    world.get(&format!("/v1/runs/{}/bundle?payloads=all", runs[1])).is_problem(400, "query-invalid");
    for path in ["/v1/runs/x", "/v1/runs/x/events", "/v1/runs/x/bundle"] {
        world.get(path).is_problem(404, "run-unknown");
        let nobodys = path.replace('x', &RecordId::of(b"?").to_string());
        world.get(&nobodys).is_problem(404, "run-unknown");
    }
}

#[test]
fn single_records_come_with_index_and_proof() {
    let world = World::peopled();
    let trigger = world.trigger("one");
    let index = world.post(trigger.bytes()).json()["index"].as_u64().unwrap();
    let answer = world.get(&format!("/v1/records/{}", trigger.id()));
    assert_eq!((answer.status, &answer.body[..]), (200, trigger.bytes()));
    assert_eq!(answer.header("counterfoil-index"), Some(&*index.to_string()));
    let proof = TlogProof::parse(world.get(&format!("/v1/records/{}/proof", trigger.id())).text()).unwrap();
    assert_eq!(proof.index, LeafIndex(index));
    let policy = policy::Policy::parse(format!("log {}\nquorum none\n", world.vkey).as_bytes()).unwrap();
    proof.verify(leaf_hash(trigger.bytes()), &policy).unwrap();
    for path in ["/v1/records/x", "/v1/records/x/proof"] {
        world.get(path).is_problem(404, "record-unknown");
        world.get(&path.replace('x', &RecordId::of(b"?").to_string())).is_problem(404, "record-unknown");
    }
    world.get("/v1/payloads/x").is_problem(404, "payload-unknown");
}

#[test]
fn the_state_is_that_of_the_log() {
    let world = World::peopled();
    let log = world.get("/v1/log");
    let genesis = std::fs::read_to_string(&world.files().genesis).unwrap();
    assert_eq!(
        log.text(),
        format!("{{\"genesis\":{genesis},\"size\":{}}}", world.checkpoint().checkpoint().head().size.0)
    );
    let ana = world.get("/v1/principals/ana").json();
    assert_eq!(ana["groups"], json!(["sre"]));
    assert_eq!(
        ana["keys"],
        json!([{"key": world.cast.ana.key().to_string(), "role": "human", "status": "live"}])
    );
    let nobody = world.get("/v1/principals/nobody").json();
    assert_eq!(nobody, json!({"groups": [], "keys": [], "prev": world.log.to_string()}));
    world.get("/v1/principals/No%20Body").is_problem(404, "route-unknown");
    assert_eq!(world.get("/healthz").json()["status"], "ok");
    let bare = World::started();
    assert_eq!(
        bare.get("/v1/policy").json(),
        json!({"digest": null, "document": null, "prev": bare.log.to_string()})
    );
}

#[test]
fn the_read_path_is_that_of_a_c2sp_log() {
    let mut world = World::peopled();
    world.stop().unwrap();
    world.config.reads = Access::Public;
    world.start();
    for batch in 0..2 {
        let triggers: Vec<_> = (0..140).map(|number| world.trigger(&format!("{batch} {number}"))).collect();
        world.batch(&triggers);
    }
    let checkpoint = world.get("/checkpoint");
    assert_eq!(checkpoint.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(checkpoint.header("cache-control"), Some("no-cache"));
    let head = world.checkpoint().checkpoint().head();
    assert!(head.size.0 > 256);
    // The entries, from their bundles, give the tree of the checkpoint.
    let mut leaves = Vec::new();
    for path in entry_bundles(head.size) {
        let answer = world.get(&format!("/{path}"));
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/octet-stream")));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"));
        let mut rest = &answer.body[..];
        while let Some((length, entries)) = rest.split_first_chunk() {
            let (entry, others) = entries.split_at(u16::from_be_bytes(*length).into());
            leaves.push(leaf_hash(entry));
            rest = others;
        }
    }
    assert_eq!(leaves.len() as u64, head.size.0);
    let mut tree = MemoryTree::default();
    for leaf in &leaves {
        tree.push(*leaf);
    }
    assert_eq!(tree.head(), head);
    // And so do the tiles: each of level 0 is the leaves' hashes.
    let mut seen = 0;
    for path in tiles(head.size) {
        let answer = world.get(&format!("/{path}"));
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.body.len(), 32 * usize::from(path.width()));
        if path.level() == Some(0) {
            let start = path.index() as usize * 256;
            let expected = leaves[start..start + usize::from(path.width())]
                .iter()
                .flat_map(|hash: &Hash| *hash.as_bytes());
            assert!(answer.body.iter().copied().eq(expected), "{path}");
            seen += 1;
        }
    }
    assert_eq!(seen, 2);
    let partial = TilePath::tile(0, 0, 17).unwrap();
    assert_eq!(world.get(&format!("/{partial}")).body.len(), 17 * 32);
    let beyond = TilePath::tile(0, head.size.0 / 256 + 1, 1).unwrap();
    for path in [
        format!("/{beyond}"),
        "/tile/0/1".into(),
        "/tile/8/000".into(),
        "/tile/0/000.p/0".into(),
        "/tile/x".into(),
    ] {
        world.get(&path).is_problem(404, "tile-unknown");
    }
}

#[test]
fn wrong_routes_and_methods_fail_in_the_same_form() {
    let world = World::started();
    for path in ["/", "/v1", "/v1/nothing", "/tile", "/v1/runs/x/y"] {
        world.get(path).is_problem(404, "route-unknown");
    }
    for (method, path) in
        [("GET", "/v1/records"), ("DELETE", "/v1/log"), ("POST", "/checkpoint"), ("PUT", "/healthz")]
    {
        let answer = world.request(method, path, &[], b"");
        answer.is_problem(405, "method-not-allowed");
        assert!(answer.header("allow").is_some(), "{answer:?}");
    }
}
