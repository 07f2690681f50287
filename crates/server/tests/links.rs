//! Decisions by link: a page that only shows, a form that decides once, in the log.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use common::*;
use counterfoil_keys::{RecordKey, random_salt};
use counterfoil_receipt::{
    Opening, Principal, Role, RunId, Signer as _, UnverifiedRecord,
    action::Map,
    body::{self, Body, Ruling, Surface},
    text::Pointer,
};
use counterfoil_server::Approvals;
use counterfoil_testkit::{label, text};
use counterfoil_verify::{Dimension, verify};
use serde_json::json;

/// A log whose server takes decisions by link, under a policy that lets one of a group decide so.
fn linking() -> (World, RecordKey) {
    let (mut world, key) = World::with_policy_key();
    let approvals = Approvals {
        url: "http://127.0.0.1:1".to_owned(),
        link_time: std::time::Duration::from_secs(3_600),
        notices: None,
    };
    world.files_mut().approvals = Some(approvals);
    let rule = json!({"effect": "require", "match": {"always": true}, "name": "one",
        "requirements": [{"count": 1, "groups": ["sre"], "surfaces": ["link", "terminal"]}],
        "segregation": true, "uses": 2, "window": 1_800_000});
    world.start_under(&key, &json!([rule]));
    (world, key)
}

/// A token as the specification says it is made.
fn token(
    world: &World,
    key: &RecordKey,
    proposal: &UnverifiedRecord,
    approver: &str,
    not_after: u64,
) -> String {
    let action = proposal.body().action().unwrap().digest();
    let head = [&[1][..], proposal.id().as_bytes(), action.as_bytes(), &not_after.to_be_bytes()].concat();
    let signed = [b"counterfoil/v1/link\n", &world.log.as_bytes()[..], &head, approver.as_bytes()].concat();
    let signature = key.sign(&signed).unwrap();
    BASE64_URL_SAFE_NO_PAD.encode([&head[..], signature.as_bytes(), approver.as_bytes()].concat())
}

fn fields(page: &str) -> (String, String) {
    let value = |name: &str| {
        let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    (value("shown"), value("policy"))
}

/// Fills the form of a page in, and sends it.
fn submit(world: &World, token: &str, page: &str, rest: &str) -> Answer {
    let (shown, policy) = fields(page);
    let body = format!("shown={shown}&policy={}&{rest}", policy.replace(':', "%3A"));
    send(world, token, &body)
}

fn send(world: &World, token: &str, body: &str) -> Answer {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    world.request("POST", &format!("/link/{token}"), &headers, body.as_bytes())
}

fn page(world: &World, token: &str) -> Answer {
    world.get(&format!("/link/{token}"))
}

/// What stands in the first block of a page, as a person reads it.
fn shown_text(page: &str) -> String {
    let (_, rest) = page.split_once("<pre>").unwrap();
    let (block, _) = rest.split_once("</pre>").unwrap();
    let marks = ["<span class=\"added\">", "<span class=\"removed\">", "<span class=\"place\">", "</span>"];
    let text = marks.iter().fold(block.to_owned(), |text, mark| text.replace(mark, ""));
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    entities.iter().fold(text, |text, (entity, character)| text.replace(entity, character))
}

fn html_of(world: &World, token: &str) -> String {
    page(world, token).text().to_owned()
}

fn decisions(world: &World, run: RunId) -> Vec<UnverifiedRecord> {
    let listed = world.get(&format!("/v1/runs/{run}")).json()["records"].as_array().unwrap().clone();
    let decisions = listed.iter().filter(|record| record["type"] == "decision");
    let record = |id: &str| UnverifiedRecord::parse(&world.get(&format!("/v1/records/{id}")).body).unwrap();
    decisions.map(|listed| record(listed["id"].as_str().unwrap())).collect()
}

#[test]
fn a_person_approves_by_link_and_what_is_executed_is_what_they_saw() {
    let (world, key) = linking();
    let (run, proposal) = world.proposed("one");
    let token = token(&world, &key, &proposal, "ana", now() + 60_000);
    let shown = page(&world, &token);
    assert_eq!(shown.status, 200);
    let html = shown.text().to_owned();
    assert!(html.contains("db.vacuum") && html.contains("<form method=\"post\">"), "{html}");
    let policy = shown.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(!html.contains("<script"), "{html}");
    assert_eq!(shown.header("referrer-policy"), Some("no-referrer"));

    let answer = submit(&world, &token, &html, "verdict=approve&reason=seen+it&uses=2&minutes=10");
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert_eq!(answer.header("location"), Some(&*token), "relative: a proxy may serve it below a path");
    let after = html_of(&world, &token);
    assert!(after.contains("decided by this link: <strong>approve</strong>"), "{after}");
    assert!(!after.contains("<form"), "{after}");

    let decision = decisions(&world, run).remove(0);
    let Body::Decision(body) = decision.body() else { panic!("{decision:?}") };
    assert_eq!(body.approver.as_ref().unwrap().as_str(), "ana");
    assert_eq!((body.surface, body.uses.unwrap().get()), (Surface::Link, 2));
    assert_eq!(body.reason.as_ref().unwrap().as_str(), "seen it");
    let window = body.window.as_ref().unwrap();
    assert_eq!(window.until.get() - window.from.get(), 600_000);
    // What it commits to is the text that the page showed.
    let opened = world.get(&format!("/v1/payloads/{}", body.shown.as_ref().unwrap().commitment)).json();
    let content = BASE64_URL_SAFE_NO_PAD.decode(opened["content"].as_str().unwrap()).unwrap();
    let content = String::from_utf8(content).unwrap();
    assert!(content.contains(&proposal.id().to_string()));
    assert_eq!(shown_text(&html), content, "the page shows what the decision commits to");

    world.add(&world.execution(&proposal, &[decision.id()], now()));
    let bundle = world.get(&format!("/v1/runs/{run}/bundle"));
    let verdict = verify(&bundle.body, &world.trust(), now());
    assert!(verdict.answer(Dimension::Conformity).passes(), "{:#?}", verdict.findings());
}

#[test]
fn looking_changes_nothing_and_a_link_decides_once() {
    let (world, key) = linking();
    let (run, proposal) = world.proposed("one");
    let token = token(&world, &key, &proposal, "ana", now() + 60_000);
    for method in ["GET", "HEAD", "GET"] {
        assert_eq!(world.request(method, &format!("/link/{token}"), &[], b"").status, 200);
    }
    assert!(decisions(&world, run).is_empty());
    let html = html_of(&world, &token);
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let send = || submit(&world, &token, &html, "verdict=reject&reason=").status;
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(send)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers, [303; 8]);
    assert_eq!(submit(&world, &token, &html, "verdict=approve&reason=&uses=1&minutes=5").status, 303);
    let decisions = decisions(&world, run);
    assert_eq!(decisions.len(), 1);
    assert!(matches!(decisions[0].body(), Body::Decision(body) if body.verdict == Ruling::Reject));
}

#[test]
fn other_links_and_other_forms_decide_nothing() {
    let (world, key) = linking();
    let (run, proposal) = world.proposed("one");
    let genuine = token(&world, &key, &proposal, "ana", now() + 60_000);
    let html = html_of(&world, &genuine);
    let (shown, policy) = fields(&html);
    let stranger = RecordKey::from_seed(Principal::new("links").unwrap(), Role::Policy, &[4; 32]);
    let forged = token(&world, &stranger, &proposal, "ana", now() + 60_000);
    let expired = token(&world, &key, &proposal, "ana", now() - 1);
    assert_eq!((page(&world, &forged).status, page(&world, &expired).status), (404, 410));
    for token in [&forged, &expired, "", "x", &"A".repeat(9_000)] {
        let answer = submit(&world, token, &html, "verdict=approve&reason=&uses=1&minutes=5");
        assert!((400..500).contains(&answer.status), "{token}: {}", answer.status);
    }
    let form = |rest: &str| format!("shown={shown}&policy={}&{rest}", policy.replace(':', "%3A"));
    let bodies = [
        (form("verdict=maybe&reason="), 400),
        (form("verdict=request_changes&reason="), 400),
        (form("verdict=approve&reason=&uses=3&minutes=5"), 400),
        (form("verdict=approve&reason=&uses=0&minutes=5"), 400),
        (form("verdict=approve&reason=&uses=1&minutes=31"), 400),
        (form("verdict=approve&reason=&uses=1&minutes=0"), 400),
        (form("verdict=approve&reason=&uses=1&minutes=5&more=1"), 400),
        (form("verdict=approve&verdict=reject&reason="), 400),
        (form("reason="), 400),
        (
            format!("shown={}&policy={}&verdict=reject&reason=", "0".repeat(64), policy.replace(':', "%3A")),
            409,
        ),
        (format!("shown={shown}&policy=other&verdict=reject&reason="), 409),
        (form(&format!("verdict=reject&reason={}", "x".repeat(40_000))), 413),
    ];
    for (body, status) in bodies {
        let answer = send(&world, &genuine, &body);
        assert_eq!(answer.status, status, "{body}\n{}", answer.text());
    }
    let headers = [("content-type", "text/plain")];
    let body = form("verdict=reject&reason=");
    assert_eq!(world.request("POST", &format!("/link/{genuine}"), &headers, body.as_bytes()).status, 415);
    assert!(decisions(&world, run).is_empty());
}

/// Each part of a token is signed: none can be put into another.
#[test]
fn a_token_for_one_proposal_or_person_decides_another() {
    let (world, key) = linking();
    let ((run, first), (other_run, second)) = (world.proposed("one"), world.proposed("two"));
    let until = now() + 60_000;
    let bytes = |proposal, approver, until| {
        BASE64_URL_SAFE_NO_PAD.decode(token(&world, &key, proposal, approver, until)).unwrap()
    };
    let (genuine, other) = (bytes(&first, "ana", until), bytes(&second, "bo", until + 1));
    // Version, proposal, action, end, signature, approver.
    let parts = [0..1, 1..33, 33..65, 65..73, 73..137];
    let mut forged: Vec<Vec<u8>> = parts
        .into_iter()
        .filter(|part| genuine[part.clone()] != other[part.clone()])
        .map(|part| [&genuine[..part.start], &other[part.clone()], &genuine[part.end..]].concat())
        .collect();
    assert_eq!(forged.len(), 3, "both proposals are of one action");
    forged.push([&genuine[..137], b"bo"].concat());
    forged.push([&genuine[..], b"-2"].concat());
    forged.push([&[2], &genuine[1..]].concat());
    let html = html_of(&world, &BASE64_URL_SAFE_NO_PAD.encode(&genuine));
    for token in forged.iter().map(|bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes)) {
        assert_eq!(page(&world, &token).status, 404);
        assert_eq!(submit(&world, &token, &html, "verdict=approve&reason=&uses=1&minutes=5").status, 404);
    }
    assert!(decisions(&world, run).is_empty() && decisions(&world, other_run).is_empty());
}

#[test]
fn a_stale_click_decides_what_came_next() {
    let (world, key) = linking();
    let (run, first) = world.proposed("one");
    let link = |proposal| token(&world, &key, proposal, "ana", now() + 60_000);
    let (old, stale) = (link(&first), html_of(&world, &link(&first)));
    let Body::Proposal(body) = first.body().clone() else { panic!("{first:?}") };
    let mut body = *body;
    body.action.tool = label("db.drop");
    body.supersedes = Some(first.id());
    let next = world.sign(&world.cast.scout, world.in_run(run, first.id()), body);
    world.add(&next);
    // The form of the first by the link to the next, and by its own.
    let approve = "verdict=approve&reason=&uses=1&minutes=5";
    assert_eq!(submit(&world, &link(&next), &stale, approve).status, 409);
    assert!(decisions(&world, run).is_empty());
    assert_eq!(submit(&world, &old, &stale, approve).status, 303);
    let decision = decisions(&world, run).remove(0);
    let status = |proposal: &UnverifiedRecord| {
        world.get(&format!("/v1/approvals/{}", proposal.id())).json()["status"].clone()
    };
    assert_eq!((status(&first), status(&next)), (json!("superseded"), json!("open")));
    let rejected = world.post(world.execution(&next, &[decision.id()], now()).bytes());
    assert_eq!((rejected.status, rejected.header("counterfoil-code")), (422, Some("decision-not-approval")));
}

#[test]
fn half_of_the_links_break_on_a_plus_and_so_do_words() {
    let (world, key) = linking();
    let (run, proposal) = world.proposed("one");
    for later in 0..64 {
        let token = token(&world, &key, &proposal, "ana", now() + 60_000 + later);
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{token}");
        assert_eq!(page(&world, &token).status, 200);
    }
    let token = token(&world, &key, &proposal, "ana", now() + 60_000);
    let html = html_of(&world, &token);
    assert_eq!(submit(&world, &token, &html, "verdict=reject&reason=1%2B1+%3D+2").status, 303);
    let decision = decisions(&world, run).remove(0);
    let Body::Decision(body) = decision.body() else { panic!("{decision:?}") };
    assert_eq!(body.reason.as_ref().unwrap().as_str(), "1+1 = 2");
}

#[test]
fn whom_no_rule_lets_decide_by_link_is_told_so() {
    let (world, key) = linking();
    let (run, proposal) = world.proposed("one");
    let asked = html_of(&world, &token(&world, &key, &proposal, "ana", now() + 60_000));
    // The proposer; nobody; the server itself.
    for approver in ["scout", "ghost", "links"] {
        let other = token(&world, &key, &proposal, approver, now() + 60_000);
        let page = html_of(&world, &other);
        assert!(page.contains("it would not count") && !page.contains("<form"), "{approver}: {page}");
        let answer = submit(&world, &other, &asked, "verdict=reject&reason=");
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    assert!(decisions(&world, run).is_empty());
}

#[test]
fn what_nobody_can_see_was_approved_by_link() {
    let (world, key) = linking();
    let (run, first) = world.proposed("one");
    let Body::Proposal(body) = first.body().clone() else { panic!("{first:?}") };
    let mut body = *body;
    let hidden = Opening { salt: random_salt().unwrap(), label: label("/patch"), content: b"x".to_vec() };
    body.action.committed = Map::new([(Pointer::new("/patch").unwrap(), hidden.commitment())]);
    let proposal = world.sign(&world.cast.scout, world.in_run(run, first.id()), body);
    world.add(&proposal);
    let asked = html_of(&world, &token(&world, &key, &first, "ana", now() + 60_000));
    let link = token(&world, &key, &proposal, "ana", now() + 60_000);
    let page = html_of(&world, &link);
    assert!(page.contains("is not disclosed: /patch") && !page.contains("<form"), "{page}");
    assert_eq!(submit(&world, &link, &asked, "verdict=approve&reason=&uses=1&minutes=5").status, 400);
    assert!(decisions(&world, run).is_empty());
}

#[test]
fn an_approval_by_link_that_counts_no_more_says_so() {
    let (world, key) = linking();
    let (_, proposal) = world.proposed("one");
    let token = token(&world, &key, &proposal, "ana", now() + 60_000);
    let page = html_of(&world, &token);
    assert_eq!(submit(&world, &token, &page, "verdict=approve&reason=&uses=1&minutes=5").status, 303);
    assert!(!html_of(&world, &token).contains("counts no more"));
    let revocation = body::Revocation {
        distrust_from: None,
        reason: None,
        target: body::RevocationTarget::Key(key.key()),
    };
    world.add(&world.sign(&world.cast.root, world.alone(), revocation));
    let page = html_of(&world, &token);
    assert!(page.contains("It counts no more") && page.contains("was revoked"), "{page}");
}

#[test]
fn a_decision_on_what_is_over_is_logged_and_the_person_is_told() {
    let (world, key) = linking();
    let (run, proposal) = world.proposed("one");
    let token = token(&world, &key, &proposal, "ana", now() + 60_000);
    let html = html_of(&world, &token);
    world.add(&world.decision(&world.cast.bo, &proposal, Ruling::Reject, now()));
    let before = html_of(&world, &token);
    assert!(
        before.contains("It is rejected: what you decide now is logged, and changes nothing."),
        "{before}"
    );
    assert_eq!(submit(&world, &token, &html, "verdict=approve&reason=&uses=1&minutes=5").status, 303);
    let after = html_of(&world, &token);
    assert!(after.contains("The proposal is rejected: it changes nothing."), "{after}");
    assert_eq!(decisions(&world, run).len(), 2);
}

#[test]
fn whoever_may_read_reads_the_page_of_a_proposal_and_words_of_a_record_are_no_markup() {
    let (world, _) = linking();
    let (run, first) = world.proposed("one");
    let Body::Proposal(body) = first.body().clone() else { panic!("{first:?}") };
    let mut body = *body;
    body.action.target = Some(label("<img src=x onerror='a'>"));
    body.summary = Some(text("</pre><script>alert(1)</script>\u{202e}"));
    let proposal = world.sign(&world.cast.scout, world.in_run(run, first.id()), body);
    world.add(&proposal);
    let answer = world.get(&format!("/review/{}", proposal.id()));
    assert_eq!(answer.status, 200);
    let html = answer.text().to_owned();
    assert!(html.contains("counterfoil approve") && !html.contains("<form"), "{html}");
    assert!(html.contains("&lt;script&gt;alert(1)") && html.contains(r"\u{202e}"), "{html}");
    assert!(!html.contains("<script") && !html.contains("<img") && !html.contains('\u{202e}'), "{html}");
    for unknown in ["/review/x", &format!("/review/{}", world.log)] {
        let answer = world.get(unknown);
        assert_eq!((answer.status, answer.json()["code"].as_str()), (404, Some("proposal-unknown")));
    }
}
