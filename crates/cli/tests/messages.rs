//! Every command with input that it can't use: one message with a code and what to do, and nothing left behind.

mod common;

use std::process::Stdio;

use common::Desk;
use counterfoil_testkit::Scenario;
use insta::assert_snapshot;

const ID: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";

/// A directory with a bundle, its trust file, and files that are neither.
fn desk() -> Desk {
    let desk = Desk::new();
    let mut scenario = Scenario::new();
    let run = scenario.approved_run();
    let bundle = scenario.ledger.bundle(run);
    desk.write("trust.toml", scenario.ledger.trust().to_toml());
    desk.write("cut.jsonl", &bundle[..bundle.len() / 2]);
    desk.write("half-line.jsonl", &bundle[..bundle.len() - 10]);
    desk.write("bundle.jsonl", &bundle);
    desk.write("empty", b"");
    desk.write("binary", [0xff, 0x00, 0x9f, 0x92, 0x96].repeat(100));
    desk.write("big", vec![b'x'; 10 << 20]);
    desk.write("text", "just text\n");
    std::fs::create_dir(desk.path("directory")).unwrap();
    desk.good(&["keys", "new", "--role", "human", "--principal", "ana", "--out", "human.key"]);
    desk.write("wrong.key", "principal = \"ana\"\nrole = \"human\"\nkey = \"ed25519:AAAA\"\nsecret = \"AAAA\"\n");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let private = std::fs::Permissions::from_mode(0o600);
        ["wrong.key", "binary", "empty", "big"].iter().for_each(|name| {
            std::fs::set_permissions(desk.path(name), private.clone()).unwrap();
        });
        desk.write("open.key", desk.read("human.key"));
        std::fs::set_permissions(desk.path("open.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    desk
}

/// What each of these commands says, one after the other.
fn transcript(desk: &Desk, commands: &[&[&str]]) -> String {
    let before = desk.listing();
    let mut out = String::new();
    for arguments in commands {
        let ran = desk.run(arguments);
        assert!(!ran.stderr.contains("panicked"), "{arguments:?}: {}", ran.stderr);
        assert!(ran.code != 0, "{arguments:?} succeeds");
        assert!(ran.stdout.is_empty(), "{arguments:?} writes what it failed to make: {}", ran.stdout);
        let words: Vec<String> = arguments.iter().map(|word| word.replace(ID, "ID")).collect();
        out.push_str(&format!("$ counterfoil {}\n{}\n", words.join(" "), ran.shown()));
    }
    assert_eq!(desk.listing(), before, "a command that fails leaves nothing behind");
    out
}

#[test]
fn a_bundle_that_is_none() {
    let shown = transcript(&desk(), &[
        &["verify", "missing"],
        &["verify", "directory"],
        &["verify", "empty"],
        &["verify", "text"],
        &["verify", "binary"],
        &["verify", "big"],
        &["verify", "human.key"],
        &["verify", "bundle.jsonl", "--trust", "missing"],
        &["verify", "bundle.jsonl", "--trust", "directory"],
        &["verify", "bundle.jsonl", "--trust", "binary"],
        &["verify", "bundle.jsonl", "--trust", "big"],
        &["verify", "bundle.jsonl", "--trust", "text"],
        &["verify", "bundle.jsonl", "--trust", "empty"],
        &["verify", "bundle.jsonl", "--report", "directory"],
        &["verify", "bundle.jsonl", "--report", "no/such/page.html"],
        &["verify", "bundle.jsonl", "--require", "honesty"],
        &["verify", "bundle.jsonl", "--at", "tomorrow"],
    ]);
    assert_snapshot!(shown, @"");
}

#[test]
fn a_record_that_is_none() {
    let shown = transcript(&desk(), &[
        &["record", "show", "missing"],
        &["record", "show", "directory"],
        &["record", "show", "empty"],
        &["record", "show", "text"],
        &["record", "show", "binary"],
        &["record", "show", "big"],
        &["record", "show", "bundle.jsonl"],
        &["record", "new", "letter", "--body", "text"],
        &["record", "new", "decision", "--body", "text", "--key", "human.key"],
        &["record", "new", "decision", "--body", "missing", "--key", "human.key"],
        &["record", "new", "revocation", "--body", "text"],
        &["record", "new", "trigger", "--body", "text", "--key", "missing"],
        &["record", "new", "trigger", "--body", "text", "--key", "directory"],
        &["record", "new", "trigger", "--body", "text", "--key", "binary"],
        &["record", "new", "trigger", "--body", "text", "--key", "big"],
        &["record", "new", "trigger", "--body", "text", "--key", "wrong.key"],
        &["record", "new", "trigger", "--body", "text", "--key", "open.key"],
        &["record", "new", "decision", "--run", "x", "--body", "text"],
        &["record", "sign", "text", "--key", "human.key"],
        &["record", "sign", "text"],
        &["record", "item", "missing", "--label", "x", "--payload", "new"],
        &["record", "item", "big", "--label", "x", "--payload", "new"],
        &["record", "item", "text", "--label", "", "--payload", "new"],
        &["record", "item", "text", "--label", "x", "--payload", "text"],
    ]);
    assert_snapshot!(shown, @"");
}

#[test]
fn a_body_that_its_record_can_not_have() {
    let desk = desk();
    let bodies = [
        ("double.json", r#"{"kind":"note","kind":"plan","summary":"x"}"#),
        ("unknown.json", r#"{"kind":"note","summary":"x","mood":"good"}"#),
        ("absent.json", r#"{"summary":"x"}"#),
        ("wrong.json", r#"{"kind":"rumour","summary":"x"}"#),
        ("number.json", r#"{"kind":"note","summary":9007199254740993}"#),
        ("array.json", "[]"),
    ];
    desk.good(&["keys", "new", "--role", "agent", "--principal", "scout", "--out", "agent.key"]);
    let mut commands = Vec::new();
    for (name, body) in bodies {
        desk.write(name, body);
        commands.push(["record", "new", "observation", "--run", ID, "--parents", ID, "--key", "agent.key", "--body", name]);
    }
    let mut commands: Vec<&[&str]> = commands.iter().map(|command| &command[..]).collect();
    desk.write("note.json", r#"{"kind":"note","summary":"x"}"#);
    commands.push(&["record", "new", "observation", "--key", "agent.key", "--body", "note.json"]);
    commands.push(&["record", "new", "observation", "--run", ID, "--parents", ID, "--key", "human.key", "--body", "note.json"]);
    assert_snapshot!(transcript(&desk, &commands), @"");
}

#[test]
fn a_working_directory_that_can_not_be_made() {
    let desk = desk();
    std::fs::create_dir(desk.path("used")).unwrap();
    desk.write("used/policy.json", "{}");
    let shown = transcript(&desk, &[
        &["init"],
        &["init", "text"],
        &["init", "used"],
        &["init", "new", "--threshold", "0"],
        &["init", "new", "--approvals", "17"],
        &["init", "new", "--window", "soon"],
        &["init", "new", "--origin", "with space"],
        &["keys", "new", "--role", "king", "--principal", "ana"],
        &["keys", "new", "--role", "human", "--principal", "Ana!"],
        &["keys", "new", "--role", "human", "--principal", "ana", "--out", "human.key"],
        &["keys", "new", "--role", "human", "--principal", "ana", "--out", "no/such/dir.key"],
        &["keys", "new", "--role", "human", "--principal", "ana", "--exec", "kms"],
        &["keys", "list", "missing"],
        &["serve"],
        &["serve", "--config", "missing"],
        &["serve", "--config", "text"],
        &["serve", "--config", "directory"],
    ]);
    assert_snapshot!(shown, @"");
}

#[test]
fn a_server_that_is_not_there() {
    let desk = desk();
    std::fs::create_dir(desk.path("seen")).unwrap();
    std::fs::create_dir(desk.path("gate")).unwrap();
    desk.write("action.json", r#"{"tool":"t","arguments":{}}"#);
    desk.good(&["keys", "new", "--role", "agent", "--principal", "scout", "--out", "agent.key"]);
    desk.good(&["keys", "new", "--role", "runtime", "--principal", "gate", "--out", "runtime.key"]);
    let server = ["--server", "http://127.0.0.1:9"];
    let commands: [&[&str]; 14] = [
        &["approve", ID, "--key", "human.key"],
        &["reject", ID, "--key", "human.key"],
        &["request-changes", ID, "--note", "x", "--key", "human.key"],
        &["settle", ID, "--status", "failed", "--effects", "none", "--key", "human.key"],
        &["trigger", "--source", "s", "--id", "1", "--key", "agent.key"],
        &["observe", ID, "--summary", "x", "--key", "agent.key"],
        &["propose", ID, "--action", "action.json", "--for", "gate", "--risk", "low", "--key", "agent.key"],
        &["handoff", ID, "--to", "fixer", "--key", "agent.key"],
        &["cancel", ID, ID, "--key", "agent.key"],
        &["bundle", ID, "--out", "new.jsonl"],
        &["resume", ID],
        &["gate", "check", ID, "--key", "runtime.key", "--", "true"],
        &["gate", "run", ID, "--key", "runtime.key", "--proposal", ID, "--", "true"],
        &["submit", "text"],
    ];
    let commands: Vec<Vec<&str>> = commands.iter().map(|command| {
        // Options stand before `--`.
        let at = command.iter().position(|word| *word == "--").unwrap_or(command.len());
        [&command[..at], &server, &command[at..]].concat()
    }).collect();
    let commands: Vec<&[&str]> = commands.iter().map(Vec::as_slice).collect();
    assert_snapshot!(transcript(&desk, &commands), @"");
}

#[test]
fn a_command_that_there_is_not() {
    let shown = transcript(&desk(), &[&["frobnicate"], &["verify"], &["verify", "bundle.jsonl", "--frob"], &["gate", "run", ID]]);
    assert_snapshot!(shown, @"");
}

#[test]
fn a_cut_bundle_is_unreadable_and_what_was_read_is_shown() {
    let desk = desk();
    for name in ["cut.jsonl", "half-line.jsonl"] {
        let ran = desk.run(&["verify", name]);
        assert_eq!(ran.code, 2, "{name}: {}", ran.stdout);
        assert!(ran.stdout.contains("UNREADABLE") && ran.stdout.contains("monitor.example"), "{name}: {}", ran.stdout);
    }
}

#[test]
fn a_reader_who_goes_away_does_not_change_the_verdict() {
    let desk = desk();
    for arguments in [&["verify", "bundle.jsonl", "--at", "0"][..], &["--help"], &["completions", "bash"]] {
        let mut child = desk.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_is_said() {
    let desk = desk();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = desk.command(&["verify", "bundle.jsonl"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @"");
}

/// Root may read and write everything, so this is about everybody else.
#[cfg(unix)]
#[test]
fn a_file_without_permission_is_said() {
    use std::os::unix::fs::PermissionsExt;
    let desk = desk();
    std::fs::set_permissions(desk.path("text"), std::fs::Permissions::from_mode(0o000)).unwrap();
    std::fs::set_permissions(desk.path("directory"), std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::read(desk.path("text")).is_ok() {
        eprintln!("SKIPPED: run as an unprivileged user to see what is said about permissions");
        return;
    }
    let shown = transcript(&desk, &[
        &["verify", "text"],
        &["record", "show", "text"],
        &["verify", "bundle.jsonl", "--trust", "text"],
        &["verify", "bundle.jsonl", "--report", "directory/page.html"],
        &["init", "directory"],
        &["keys", "new", "--role", "human", "--principal", "ana", "--out", "directory/ana.key"],
    ]);
    assert!(shown.matches("permission").count() >= 5 && !shown.contains("exit 0"), "{shown}");
}
