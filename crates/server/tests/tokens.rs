//! Tokens for programs, and rates: what each sees, when it ends, and what happens where somebody asks too often.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    io::{BufRead as _, BufReader},
    num::NonZeroU32,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    time::Duration,
};

use common::*;
use counterfoil_receipt::{RecordId, UnverifiedRecord, body::Ruling};
use counterfoil_server::{Scope, ScopedToken, Server, TokenFile};

const READ: &str = "0123456789abcdef-read";

/// A log with a proposal of scout's that ana and bo are asked about, and a file of tokens.
struct Office {
    world: World,
    proposal: UnverifiedRecord,
    file: TokenFile,
}

impl Office {
    fn opened(rate: Option<u32>) -> Self {
        let mut world = World::peopled();
        let (_, proposal) = world.proposed("one");
        world.stop().unwrap();
        world.config.reads = token(READ, world.dir.path());
        world.config.tokens = Some(world.dir.path().join("tokens.toml"));
        world.config.rate = rate.and_then(NonZeroU32::new);
        let mut office = Self { world, proposal, file: TokenFile::default() };
        office.write(&office.file.to_text().unwrap());
        office.world.start();
        office
    }

    fn path(&self) -> PathBuf {
        self.world.config.tokens.clone().unwrap()
    }

    /// Replaces the file, as the command does.
    fn write(&self, text: &str) {
        let draft = self.world.dir.path().join("draft");
        std::fs::write(&draft, text).unwrap();
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(&draft, self.path()).unwrap();
    }

    /// A token that the running server finds in its file; with its id.
    fn issue(&mut self, scopes: &[Scope], principal: Option<&str>, expires: Option<u64>) -> (String, String) {
        let principal = principal.map(str::to_owned);
        let issued = ScopedToken::issue("test".into(), scopes.to_vec(), principal, (now(), expires)).unwrap();
        let id = issued.0.id.clone();
        self.file.add(issued.0).unwrap();
        self.write(&self.file.to_text().unwrap());
        (id, issued.1)
    }

    fn get(&self, path: &str, token: &str) -> Answer {
        self.world.request("GET", path, &[("authorization", &format!("Bearer {token}"))], b"")
    }

    fn listed(&self, token: &str) -> usize {
        self.get("/v1/approvals", token).json()["approvals"].as_array().unwrap().len()
    }

    fn decide(&self, by: &counterfoil_testkit::Actor, verdict: Ruling) {
        let Self { world, proposal, .. } = self;
        // Reading needs a token, so the policy and the basis are asked for with it.
        let decided = decision(self, by, verdict);
        let answer = world.post(decided.bytes());
        assert_eq!(answer.status, 200, "{} {}", proposal.id(), answer.text());
    }
}

/// A decision, made with what the read token shows.
fn decision(office: &Office, by: &counterfoil_testkit::Actor, verdict: Ruling) -> UnverifiedRecord {
    use counterfoil_receipt::{
        Body, PolicyDigest, Root, body,
        field::{Count, Whole},
    };
    use counterfoil_tlog::{SignedCheckpoint, UnverifiedNote, VerifierKey};
    let world = &office.world;
    let note = UnverifiedNote::parse(&office.get("/checkpoint", READ).body).unwrap();
    let keys = std::slice::from_ref(&world.vkey);
    let head = SignedCheckpoint::open(note, ORIGIN, keys, &[] as &[VerifierKey]).unwrap().checkpoint().head();
    let basis =
        body::Basis { root: Root::from_bytes(*head.root.as_bytes()), size: Count::new(head.size.0).unwrap() };
    let policy = office.get("/v1/policy", READ).json()["digest"].as_str().unwrap().to_owned();
    let Body::Proposal(proposed) = office.proposal.body() else { panic!("no proposal") };
    let approves = verdict == Ruling::Approve;
    let body = body::Decision {
        action: proposed.action.digest(),
        approver: None,
        basis,
        changes: None,
        policy: PolicyDigest::parse(&policy).unwrap(),
        proposal: office.proposal.id(),
        reason: None,
        rule: None,
        shown: Some(payload("shown.txt", b"tool db.vacuum").0),
        surface: body::Surface::Terminal,
        uses: approves.then(|| Whole::new(1).unwrap()),
        verdict,
        window: approves.then(|| body::Window {
            from: millis(now()),
            until: millis(now() + counterfoil_testkit::WINDOW),
        }),
    };
    world.sign(by, world.in_run(office.proposal.run().unwrap(), office.proposal.id()), body)
}

#[test]
fn a_principals_token_sees_what_is_its_business_and_nothing_else() {
    let mut office = Office::opened(None);
    let mut of = |principal: &str| office.issue(&[Scope::Approvals], Some(principal), None).1;
    // Who is asked, who proposed it, who asked for the run, and two whom it does not concern.
    let [ana, bo, scout, gate, fixer, stranger] =
        ["ana", "bo", "scout", "gate", "fixer", "stranger"].map(&mut of);
    let path = format!("/v1/approvals/{}", office.proposal.id());
    let page = format!("/review/{}", office.proposal.id());
    for token in [&ana, &bo, &scout, &gate] {
        assert_eq!((office.listed(token), office.get(&path, token).status), (1, 200));
        assert_eq!(office.get(&page, token).status, 200);
    }
    for token in [&fixer, &stranger] {
        assert_eq!(office.listed(token), 0);
        office.get(&path, token).is_problem(404, "proposal-unknown");
        office.get(&format!("{path}?unless=open&wait=60000"), token).is_problem(404, "proposal-unknown");
        office.get(&page, token).is_problem(404, "proposal-unknown");
        // As one that was never there.
        let never = RecordId::of(b"?").to_string();
        let id = office.proposal.id().to_string();
        let detail = |path: &str| office.get(path, token).json()["detail"].as_str().unwrap().to_owned();
        for path in [&path, &page] {
            assert_eq!(detail(path).replace(&id, &never), detail(&path.replace(&id, &never)));
        }
    }
    // A filter narrows, and never widens.
    assert_eq!(
        office.get("/v1/approvals?principal=scout", &fixer).json()["approvals"],
        serde_json::json!([])
    );
    assert_eq!(office.get("/v1/approvals?status=approved", &ana).json()["approvals"], serde_json::json!([]));

    // A stream says what concerns them: ana's decision, not the end of what bo might have decided.
    let stream = |token: &str| {
        let headers = [("authorization", &*format!("Bearer {token}")), ("last-event-id", "0")];
        let stream = begin(office.world.address(), "GET", "/v1/approvals/events", &headers, b"");
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut lines = BufReader::new(stream).lines();
        let mut said = Vec::new();
        while let Some(Ok(line)) = lines.next() {
            said.extend(line.strip_prefix("data: ").map(str::to_owned));
        }
        said
    };
    assert!(stream(&ana)[0].contains(&office.proposal.id().to_string()));
    assert_eq!(stream(&stranger), Vec::<String>::new());

    // Ana rejects it: that was hers. Bo can decide it no more, and had no part in it.
    office.decide(&office.world.cast.ana.clone(), Ruling::Reject);
    assert_eq!((office.listed(&ana), office.listed(&bo), office.listed(&scout)), (1, 0, 1));
    office.get(&path, &bo).is_problem(404, "proposal-unknown");
}

#[test]
fn a_token_ends_when_it_expires_or_is_revoked_and_nobody_restarts_the_server() {
    let mut office = Office::opened(None);
    let (_, expired) = office.issue(&[Scope::Log], None, Some(now()));
    office.get("/checkpoint", &expired).is_problem(401, "token-expired");
    let (id, token) = office.issue(&[Scope::Log], None, None);
    assert_eq!(office.get("/checkpoint", &token).status, 200);
    let refused = office.get("/v1/policy", &token);
    refused.is_problem(403, "token-scope");
    assert_eq!(refused.json()["detail"], "the token is for log; this needs one for records");
    // Nor is anything taken that would be answered with what it may not read.
    let trigger = office.world.trigger("two");
    let headers = [("authorization", &*format!("Bearer {token}")), ("content-type", "application/jsonl")];
    let submit =
        |path: &str| office.world.request("POST", path, &headers, &[trigger.bytes(), b"\n"].concat());
    submit("/v1/records/batch?bundle=latest").is_problem(403, "token-scope");
    assert_eq!(office.get(&format!("/v1/records/{}", trigger.id()), READ).status, 404);
    assert_eq!(submit("/v1/records/batch").status, 200);
    // Another token with its id is none.
    let other = format!("{}A", &token[..token.len() - 1]);
    let other = if other == token { format!("{}E", &token[..token.len() - 1]) } else { other };
    office.get("/checkpoint", &other).is_problem(401, "token-required");

    // Nothing of the file is taken while it can't be used, and /healthz says why; the read token is not of the file.
    office.write("[[token]]\nid = \"x\"\nnonsense = 1\n");
    let refused = office.get("/checkpoint", &token);
    refused.is_problem(401, "token-required");
    assert_eq!(office.get("/checkpoint", READ).status, 200);
    let health = office.world.get("/healthz").json();
    assert_eq!(health["status"], "ok");
    let warning = health["warnings"][0].as_str().unwrap();
    assert!(warning.contains("line 3: it is no token file") && !warning.contains("nonsense"), "{health}");
    std::fs::remove_file(office.path()).unwrap();
    office.get("/checkpoint", &token).is_problem(401, "token-required");
    office.write(&office.file.to_text().unwrap());
    std::fs::set_permissions(office.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
    office.get("/checkpoint", &token).is_problem(401, "token-required");
    std::fs::set_permissions(office.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(office.get("/checkpoint", &token).status, 200);
    assert_eq!(office.world.get("/healthz").json()["warnings"], serde_json::Value::Null);

    // A stream that began with it says nothing more.
    let (run_id, records) = office.issue(&[Scope::Records], None, None);
    let run = office.proposal.run().unwrap();
    let authorization = format!("Bearer {records}");
    let headers = [("authorization", &*authorization)];
    let stream = begin(office.world.address(), "GET", &format!("/v1/runs/{run}/events"), &headers, b"");
    let mut lines = BufReader::new(stream).lines();
    let mut ids = |most: usize| {
        lines.by_ref().map(Result::unwrap).filter(|line| line.starts_with("id: ")).take(most).count()
    };
    assert_eq!(ids(2), 2, "trigger and proposal");
    office.file.remove(&id).unwrap();
    office.file.remove(&run_id).unwrap();
    office.write(&office.file.to_text().unwrap());
    office.get("/checkpoint", &token).is_problem(401, "token-required");
    office.decide(&office.world.cast.ana.clone(), Ruling::Approve);
    assert_eq!(ids(1), 0, "the stream ends");
}

#[test]
fn a_file_that_says_what_it_can_not_starts_no_server() {
    let issued = |scopes: &[Scope], principal: Option<&str>| {
        let principal = principal.map(str::to_owned);
        ScopedToken::issue("a".into(), scopes.to_vec(), principal, (0, None)).unwrap().0
    };
    let text = |token: &ScopedToken| {
        let mut file = TokenFile::default();
        file.add(token.clone()).unwrap();
        file.to_text().unwrap()
    };
    let good = text(&issued(&[Scope::Approvals], Some("ana")));
    let fails = |text: &str, why: &str| {
        let message = TokenFile::parse(text).unwrap_err().to_string();
        assert!(message.contains(why), "{why:?} is not in {message:?}");
    };
    assert_eq!(TokenFile::parse(&good).unwrap().tokens().len(), 1);
    assert_eq!(TokenFile::parse("").unwrap().tokens().len(), 0);
    fails(&format!("{good}\n{good}"), "stands twice");
    fails(&good.replace("\"approvals\"", "\"records\""), "only the scope approvals can be narrowed");
    fails(
        &good.replace("\"approvals\"", "\"approvals\", \"log\""),
        "only the scope approvals can be narrowed",
    );
    fails(&good.replace("\"approvals\"", "\"everything\""), "unknown variant `everything`");
    fails(&good.replace("\"approvals\"", "\"approvals\", \"approvals\""), "none twice");
    fails(&good.replace("[\"approvals\"]", "[]"), "at least one");
    fails(&good.replace("principal = \"ana\"", "principal = \"a na\""), "principal: it is not");
    fails(&good.replace("name = \"a\"", "name = \"a\\u001b[2J\""), "printable");
    fails(&good.replace("name = \"a\"", &format!("name = \"{}\"", "a".repeat(65))), "1 to 64");
    fails(&good.replace("id = \"", "id = \"x"), "8 lower-case");
    fails(&good.replace("sha256 = \"", "sha256 = \"x"), "64 lower-case");
    fails(&format!("{good}admin = true\n"), "unknown field `admin`");
    let mut many = TokenFile::default();
    (0..1_000).for_each(|number| {
        let token = ScopedToken { id: format!("{number:08x}"), ..issued(&[Scope::Log], None) };
        many.add(token).unwrap();
    });
    let one_more = ScopedToken { id: "ffffffff".into(), ..issued(&[Scope::Log], None) };
    assert!(many.add(one_more).unwrap_err().to_string().contains("more than 1000 of tokens"));

    let mut world = World::created();
    let path = world.dir.path().join("tokens.toml");
    world.config.tokens = Some(path.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let start = |mode: Option<(&str, u32)>| {
        if let Some((text, mode)) = mode {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let bound = runtime.block_on(Server::bind(world.config.clone()));
        let error =
            bound.err().map(|error| format!("{error}: {}", std::error::Error::source(&error).unwrap()));
        error.unwrap_or_default()
    };
    assert!(start(None).contains("tokens.toml: can't read it"));
    assert!(start(Some(("[[token]]\nid = 1\n", 0o600))).contains("line 2"));
    assert!(start(Some((&good, 0o620))).contains("mode 620"));
    assert_eq!(start(Some((&good, 0o600))), "");
}

#[test]
fn who_asks_too_often_waits_and_the_others_are_answered() {
    let mut office = Office::opened(Some(3));
    let (_, token) = office.issue(&[Scope::Log], None, None);
    let over = |answer: &Answer| {
        answer.is_problem(429, "rate-exceeded");
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=20).contains(&seconds), "{seconds}");
    };
    // Whatever becomes of a request, it counts; not of /healthz.
    for (method, path) in [("GET", "/checkpoint"), ("GET", "/nothing"), ("POST", "/v1/records")] {
        assert_ne!(office.world.request(method, path, &[], b"").status, 429);
    }
    over(&office.world.request("POST", "/v1/records", &[], b""));
    over(&office.get("/checkpoint", READ));
    over(&office.world.get("/nothing"));
    assert_eq!(office.world.get("/healthz").status, 200);
    // A token has its own minute, of which nobody else can use anything.
    for _ in 0..3 {
        assert_eq!(office.get("/checkpoint", &token).status, 200);
    }
    over(&office.get("/checkpoint", &token));
}

#[test]
fn who_guesses_is_told_nothing_any_more_and_locks_no_program_out() {
    let mut office = Office::opened(None);
    let (_, token) = office.issue(&[Scope::Log], None, None);
    for number in 0..20 {
        office.get("/checkpoint", &format!("guess-{number}")).is_problem(401, "token-required");
    }
    let refused = office.get("/checkpoint", READ);
    refused.is_problem(429, "rate-exceeded");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(office.get("/checkpoint", &token).status, 200);
    office.world.get("/checkpoint").is_problem(401, "token-required");
    // Who was let in is not held up by wrong tokens that nobody asked for.
    office.world.stop().unwrap();
    office.world.config.reads = counterfoil_server::Access::Public;
    office.world.start();
    for number in 0..30 {
        assert_eq!(office.get("/checkpoint", &format!("guess-{number}")).status, 200);
    }
}

#[test]
fn one_peer_leaves_places_for_others_to_wait() {
    let mut office = Office::opened(None);
    let (_, token) = office.issue(&[Scope::Approvals], None, None);
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", &*authorization)];
    // A stream has no end: no more is read of the answer.
    let watch = || {
        let stream = begin(office.world.address(), "GET", "/v1/approvals/events", &headers, b"");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        (line.contains(" 200 "), stream)
    };
    let streams: Vec<_> = (0..128).map(|_| watch()).collect();
    assert!(streams.iter().all(|(is_let_in, _)| *is_let_in));
    assert!(!watch().0);
    let path = format!("/v1/approvals/{}", office.proposal.id());
    office.get(&format!("{path}?unless=open&wait=1"), &token).is_problem(429, "rate-exceeded");
    // What does not wait is answered, and others wait.
    assert_eq!(office.get(&path, &token).status, 200);
    assert_eq!(office.get(&format!("{path}?unless=open&wait=1"), READ).status, 200);
    drop(streams);
}

#[test]
fn health_repeats_nothing_of_the_token_file() {
    let mut office = Office::opened(None);
    let (_, secret) = office.issue(&[Scope::Log], None, None);
    let shape = "[[token]]\nid = \"7f3a09bc\"\nname = \"x\"\ncreated = 1\n";
    for text in [format!("token = \"{secret}\"\n"), format!("{shape}scopes = \"{secret}\"\n")] {
        office.write(&text);
        office.get("/checkpoint", &secret).is_problem(401, "token-required");
        let health = office.world.get("/healthz").json().to_string();
        assert!(health.contains("it is no token file") && !health.contains(&secret), "{health}");
    }
}

#[test]
fn a_token_file_that_is_a_pipe_stops_nobody() {
    let mut office = Office::opened(None);
    let (_, token) = office.issue(&[Scope::Log], None, None);
    std::fs::remove_file(office.path()).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(office.path()).status().unwrap().success());
    office.get("/checkpoint", &token).is_problem(401, "token-required");
    assert!(office.world.get("/healthz").text().contains("it is no file"));
    assert_eq!(office.get("/checkpoint", READ).status, 200);
}

#[test]
fn a_program_whose_token_was_revoked_locks_nobody_out() {
    let mut office = Office::opened(None);
    let (id, gone) = office.issue(&[Scope::Log], None, None);
    office.file.remove(&id).unwrap();
    office.write(&office.file.to_text().unwrap());
    for _ in 0..30 {
        office.get("/checkpoint", &gone).is_problem(401, "token-required");
    }
    assert_eq!(office.get("/checkpoint", READ).status, 200);
    // Who guesses at the read token is still counted.
    for _ in 0..20 {
        office.get("/checkpoint", "0123456789abcdef-guess");
    }
    assert_eq!(office.get("/checkpoint", READ).status, 429);
}

#[test]
fn no_cache_that_serves_others_keeps_what_takes_a_token() {
    let mut office = Office::opened(None);
    let (_, token) = office.issue(&[Scope::Log], None, None);
    for path in ["/tile/0/000.p/1", "/tile/entries/000.p/1"] {
        let answer = office.get(path, &token);
        assert_eq!(answer.header("cache-control"), Some("private, max-age=31536000, immutable"), "{path}");
    }
}

#[test]
fn a_token_is_taken_however_its_scheme_is_written_but_not_beside_another() {
    let mut office = Office::opened(None);
    let (_, token) = office.issue(&[Scope::Log], None, None);
    let ask = |headers: &[(&str, &str)]| office.world.request("GET", "/checkpoint", headers, b"");
    let (upper, lower) = (format!("Bearer {token}"), format!("bearer {token}"));
    assert_eq!(ask(&[("authorization", &lower)]).status, 200);
    ask(&[("authorization", &upper), ("authorization", &upper)]).is_problem(401, "token-required");
    ask(&[("authorization", "Basic eDp5"), ("authorization", &upper)]).is_problem(401, "token-required");
}

#[test]
fn whoever_has_the_bytes_of_a_proposal_is_not_told_who_decided_it() {
    let mut office = Office::opened(None);
    office.decide(&office.world.cast.ana.clone(), Ruling::Approve);
    let (_, token) = office.issue(&[Scope::Approvals], None, None);
    let post = |headers: &[(&str, &str)]| {
        let headers = [headers, &[("content-type", "application/jsonl")]].concat();
        office.world.request("POST", "/v1/approvals", &headers, office.proposal.bytes()).json()
    };
    let told = post(&[]);
    assert_eq!((&told["status"], &told["decisions"]), (&"open".into(), &serde_json::json!([])));
    assert_eq!(told["rules"][0]["requirements"][0]["approved"], serde_json::json!([]));
    let told = post(&[("authorization", &format!("Bearer {token}"))]);
    assert_eq!(told["decisions"][0]["approver"], "ana");
    assert_eq!(told["rules"][0]["requirements"][0]["approved"], serde_json::json!(["ana"]));
}
