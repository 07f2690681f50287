//! Every command with input that it can't use: one message with a code and what to do, and nothing left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use std::process::Stdio;

use common::{Desk, before_dashes};
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
    desk.key("human", "ana", "human.key");
    desk.write(
        "wrong.key",
        "principal = \"ana\"\nrole = \"human\"\nkey = \"ed25519:AAAA\"\nsecret = \"AAAA\"\n",
    );
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
        out.push_str(&format!("$ counterfoil {}\n{}\n", words.join(" "), ran.shown().replace(ID, "ID")));
    }
    assert_eq!(desk.listing(), before, "a command that fails leaves nothing behind");
    out
}

#[test]
fn a_bundle_that_is_none() {
    let shown = transcript(
        &desk(),
        &[
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
        ],
    );
    assert_snapshot!(shown, @r#"
    $ counterfoil verify missing
    error[file-missing]: the bundle missing does not exist
    hint: check the path
    [exit 2]

    $ counterfoil verify directory
    error[file-is-directory]: directory is a directory, not a bundle
    hint: give the path of the bundle itself
    [exit 2]

    $ counterfoil verify empty
    error[bundle-count]: empty is no bundle (R-BUN-03): the bundle ends before the last line that the header counts
    hint: the file is cut off, damaged or no bundle: fetch it again with `counterfoil bundle RUN --out FILE`
    [exit 2]

    $ counterfoil verify text
    error[bundle-header]: text is no bundle (R-BUN-01): json-syntax: byte 0: not JSON
    hint: the file is cut off, damaged or no bundle: fetch it again with `counterfoil bundle RUN --out FILE`
    [exit 2]

    $ counterfoil verify binary
    error[bundle-line]: binary is no bundle (R-BUN-02): the last line has no line feed: the bundle is cut off
    hint: the file is cut off, damaged or no bundle: fetch it again with `counterfoil bundle RUN --out FILE`
    [exit 2]

    $ counterfoil verify big
    error[bundle-limit]: big is no bundle (R-BUN-04): bytes of a line: 6291458; at most 6291456 are read
    hint: the file is larger than any bundle may be: fetch it again, or ask whoever made it
    [exit 2]

    $ counterfoil verify human.key
    error[bundle-header]: human.key is no bundle (R-BUN-01): json-syntax: byte 0: not JSON
    hint: the file is cut off, damaged or no bundle: fetch it again with `counterfoil bundle RUN --out FILE`
    [exit 2]

    $ counterfoil verify bundle.jsonl --trust missing
    error[file-missing]: the trust file missing does not exist
    hint: name it with --trust, or with -C the directory that `counterfoil init` made
    [exit 2]

    $ counterfoil verify bundle.jsonl --trust directory
    error[file-is-directory]: directory is a directory, not a trust file
    hint: give the path of the trust file itself
    [exit 2]

    $ counterfoil verify bundle.jsonl --trust binary
    error[file-not-text]: binary is no text: byte 0 is not UTF-8
    hint: check that this is the trust file you meant
    [exit 2]

    $ counterfoil verify bundle.jsonl --trust big
    error[file-too-large]: big is larger than the 1048576 bytes that a trust file may have
    hint: check that this is the trust file you meant
    [exit 2]

    $ counterfoil verify bundle.jsonl --trust text
    error[trust-malformed]: the trust file text can't be used: key with no value, expected `=`
    hint: compare it with spec/trust.md, or get it again from whom you trust
    [exit 2]

    $ counterfoil verify bundle.jsonl --trust empty
    error[trust-malformed]: the trust file empty can't be used: missing field `version`
    hint: compare it with spec/trust.md, or get it again from whom you trust
    [exit 2]

    $ counterfoil verify bundle.jsonl --report directory
    error[output-is-directory]: directory is a directory
    hint: give the path of the file to write
    [exit 2]

    $ counterfoil verify bundle.jsonl --report no/such/page.html
    error[output-no-directory]: no/such/page.html could not be written: No such file or directory (os error 2)
    hint: create the directory first
    [exit 2]

    $ counterfoil verify bundle.jsonl --require honesty
    error[usage]: invalid value 'honesty' for '--require <A,B>': "honesty" is none of integrity, authority, conformity, inclusion, completeness, witnessed, freshness
    hint: add --help to see what the command takes
    [exit 2]

    $ counterfoil verify bundle.jsonl --at tomorrow
    error[usage]: invalid value 'tomorrow' for '--at <TIME>': "tomorrow" is neither a time such as 2026-11-21T10:05:09Z nor milliseconds since 1970
    hint: add --help to see what the command takes
    [exit 2]
    "#);
}

#[test]
fn a_record_that_is_none() {
    let shown = transcript(
        &desk(),
        &[
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
        ],
    );
    assert_snapshot!(shown, @r#"
    $ counterfoil record show missing
    error[file-missing]: the record missing does not exist
    hint: check the path
    [exit 2]

    $ counterfoil record show directory
    error[file-is-directory]: directory is a directory, not a record
    hint: give the path of the record itself
    [exit 2]

    $ counterfoil record show empty
    error[json-syntax]: empty is not well formed (R-JSON-02): byte 0: not JSON
    hint: compare it with spec/records.md
    [exit 2]

    $ counterfoil record show text
    error[json-syntax]: text is not well formed (R-JSON-02): byte 0: not JSON
    hint: compare it with spec/records.md
    [exit 2]

    $ counterfoil record show binary
    error[json-utf8]: binary is not well formed (R-JSON-01): byte 0: not UTF-8
    hint: compare it with spec/records.md
    [exit 2]

    $ counterfoil record show big
    error[file-too-large]: big is larger than the 65536 bytes that a record may have
    hint: check that this is the record you meant
    [exit 2]

    $ counterfoil record show bundle.jsonl
    error[json-trailing]: bundle.jsonl is not well formed (R-JSON-08): byte 249: bytes after the end of the document
    hint: compare it with spec/records.md
    [exit 2]

    $ counterfoil record new letter --body text
    error[usage]: invalid value 'letter' for '<TYPE>': "letter" is none of genesis, snapshot, keyring, policy, endorsement, delegation, revocation, trigger, observation, proposal, decision, escalation, cancel, execution, outcome, refusal, settlement, handoff, rejection
    hint: add --help to see what the command takes
    [exit 2]

    $ counterfoil record new decision --body text --key human.key
    error[json-syntax]: the body is no usable JSON (R-JSON-02): byte 0: not JSON
    hint: write one JSON object without duplicate names
    [exit 2]

    $ counterfoil record new decision --body missing --key human.key
    error[file-missing]: the body missing does not exist
    hint: check the path
    [exit 2]

    $ counterfoil record new revocation --body text
    error[key-not-named]: keys of several roles may sign a revocation
    hint: name one with --key FILE
    [exit 2]

    $ counterfoil record new trigger --body text --key missing
    error[key-file-missing]: can't open the key file missing: No such file or directory (os error 2)
    hint: name it with --key, or make one with `counterfoil keys new`
    [exit 2]

    $ counterfoil record new trigger --body text --key directory
    error[file-is-directory]: can't read the key file directory: is a directory
    hint: give the path of the key file itself
    [exit 2]

    $ counterfoil record new trigger --body text --key binary
    error[key-file-wrong]: the key file binary is wrong: it is no text
    hint: check that this is the key file you meant; `counterfoil keys new` makes one
    [exit 2]

    $ counterfoil record new trigger --body text --key big
    error[key-file-wrong]: the key file big is wrong: more than 16384 bytes
    hint: check that this is the key file you meant; `counterfoil keys new` makes one
    [exit 2]

    $ counterfoil record new trigger --body text --key wrong.key
    error[key-file-wrong]: the key file wrong.key is wrong: key: key-malformed: "ed25519:AAAA" is not scheme:base64url of a key
    hint: check that this is the key file you meant; `counterfoil keys new` makes one
    [exit 2]

    $ counterfoil record new trigger --body text --key open.key
    error[key-file-open]: the key file open.key is open to others (mode 644): run `chmod 600 open.key`
    hint: if others could have read it, have the key revoked
    [exit 2]

    $ counterfoil record new decision --run x --body text
    error[usage]: invalid value 'x' for '--run <ID>': "x" is not sha256: and 64 lowercase hex digits
    hint: add --help to see what the command takes
    [exit 2]

    $ counterfoil record sign text --key human.key
    error[json-syntax]: the draft is no usable JSON (R-JSON-02): byte 0: not JSON
    hint: write one JSON object without duplicate names
    [exit 2]

    $ counterfoil record sign text
    error[key-not-named]: no key is named
    hint: name one with --key FILE
    [exit 2]

    $ counterfoil record item missing --label x --payload new
    error[file-missing]: the payload missing does not exist
    hint: check the path
    [exit 2]

    $ counterfoil record item big --label x --payload new
    error[file-too-large]: big is larger than the 4194304 bytes that a payload may have
    hint: check that this is the payload you meant
    [exit 2]

    $ counterfoil record item text --label  --payload new
    error[field-invalid]: the label "" is not 1–256 bytes without control characters
    hint: shorten it, on one line
    [exit 2]

    $ counterfoil record item text --label x --payload text
    error[output-exists]: text could not be written: File exists (os error 17)
    hint: it is never overwritten: choose another path, or move it away
    [exit 2]
    "#);
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
        commands.push([
            "record",
            "new",
            "observation",
            "--run",
            ID,
            "--parents",
            ID,
            "--key",
            "agent.key",
            "--body",
            name,
        ]);
    }
    let mut commands: Vec<&[&str]> = commands.iter().map(|command| &command[..]).collect();
    desk.write("note.json", r#"{"kind":"note","summary":"x"}"#);
    commands.push(&["record", "new", "observation", "--key", "agent.key", "--body", "note.json"]);
    commands.push(&[
        "record",
        "new",
        "observation",
        "--run",
        ID,
        "--parents",
        ID,
        "--key",
        "human.key",
        "--body",
        "note.json",
    ]);
    assert_snapshot!(transcript(&desk, &commands), @r#"
    $ counterfoil record new observation --run ID --parents ID --key agent.key --body double.json
    error[json-duplicate-key]: the body is no usable JSON (R-JSON-04): byte 15: this object already has a member of this name
    hint: write one JSON object without duplicate names
    [exit 2]

    $ counterfoil record new observation --run ID --parents ID --key agent.key --body unknown.json
    error[field-unknown]: the draft is not well formed (R-REC-04): body.mood: is no member of this object
    hint: compare it with spec/records.md
    [exit 2]

    $ counterfoil record new observation --run ID --parents ID --key agent.key --body absent.json
    error[field-missing]: the draft is not well formed (R-REC-05): body.kind: is required
    hint: compare it with spec/records.md
    [exit 2]

    $ counterfoil record new observation --run ID --parents ID --key agent.key --body wrong.json
    error[field-invalid]: the draft is not well formed (R-REC-06): body.kind: "rumour" is not one of evidence triage plan note
    hint: compare it with spec/records.md
    [exit 2]

    $ counterfoil record new observation --run ID --parents ID --key agent.key --body number.json
    error[json-number-range]: the body is no usable JSON (R-JSON-06): byte 25: number out of range: integers end at ±9007199254740991; write larger ones as strings
    hint: write one JSON object without duplicate names
    [exit 2]

    $ counterfoil record new observation --run ID --parents ID --key agent.key --body array.json
    error[json-syntax]: the body is no usable JSON (R-JSON-02): byte 0: the document must be an object
    hint: write one JSON object without duplicate names
    [exit 2]

    $ counterfoil record new observation --key agent.key --body note.json
    error[envelope-form]: the draft is not well formed (R-REC-07): a record of this type has log, run and parents, and no prev
    hint: compare it with spec/records.md
    [exit 2]

    $ counterfoil record new observation --run ID --parents ID --key human.key --body note.json
    error[role-not-allowed]: records of type observation are signed as agent, and this key is ana's as human
    hint: name another key with --key
    [exit 2]
    "#);
}

#[test]
fn a_working_directory_that_can_not_be_made() {
    let desk = desk();
    std::fs::create_dir(desk.path("used")).unwrap();
    desk.write("used/policy.json", "{}");
    let shown = transcript(
        &desk,
        &[
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
        ],
    );
    assert_snapshot!(shown, @r#"
    $ counterfoil init
    error[init-exists]: ./trust.toml exists already
    hint: choose an empty directory: nothing is ever overwritten
    [exit 2]

    $ counterfoil init text
    error[init-no-directory]: text is no directory
    hint: name another
    [exit 2]

    $ counterfoil init used
    error[init-exists]: used/policy.json exists already
    hint: choose an empty directory: nothing is ever overwritten
    [exit 2]

    $ counterfoil init new --threshold 0
    error[usage]: invalid value '0' for '--threshold <N>': 0 is not in 1..=16
    hint: add --help to see what the command takes
    [exit 2]

    $ counterfoil init new --approvals 17
    error[usage]: invalid value '17' for '--approvals <N>': 17 is not in 1..=16
    hint: add --help to see what the command takes
    [exit 2]

    $ counterfoil init new --window soon
    error[usage]: invalid value 'soon' for '--window <DURATION>': "soon" is not a number and one of s, m, h, d, such as 15m
    hint: add --help to see what the command takes
    [exit 2]

    $ counterfoil init new --origin with space
    error[key-name]: "with space" is no key name: 1 to 255 bytes without spaces, plus signs and control characters
    hint: an origin is a schema-less URL such as example.org/log
    [exit 2]

    $ counterfoil keys new --role king --principal ana
    error[usage]: invalid value 'king' for '--role <ROLE>': "king" is none of agent, human, runtime, policy, authority, log
    hint: add --help to see what the command takes
    [exit 2]

    $ counterfoil keys new --role human --principal Ana!
    error[usage]: invalid value 'Ana!' for '--principal <PRINCIPAL>': "Ana!" is not 1–64 characters of a–z 0–9 . _ -, the first a letter or digit
    hint: add --help to see what the command takes
    [exit 2]

    $ counterfoil keys new --role human --principal ana --out human.key
    error[key-file-exists]: human.key exists already, and a key file is never overwritten: move it away or name another
    hint: choose another path
    [exit 2]

    $ counterfoil keys new --role human --principal ana --out no/such/dir.key
    error[key-file-unwritable]: can't create the key file no/such/dir.key: No such file or directory (os error 2)
    hint: create the directory first, and check that this user may write to it
    [exit 2]

    $ counterfoil keys new --role human --principal ana --exec kms
    error[usage]: the following required arguments were not provided:
      --public <KEY>

    Usage: counterfoil keys new --exec <COMMAND> --public <KEY> --role <ROLE> --principal <PRINCIPAL>
    hint: add --help to see what the command takes
    [exit 2]

    $ counterfoil keys list missing
    error[keys-unreadable]: the directory missing could not be read: No such file or directory (os error 2)
    hint: name another, or make one with `counterfoil init`
    [exit 2]

    $ counterfoil serve
    error[config-missing]: log.dir is missing: set it in the configuration file, as COUNTERFOIL_LOG_DIR, or with --log-dir
    hint: `counterfoil init` makes a working directory with a configuration
    [exit 2]

    $ counterfoil serve --config missing
    error[config-unreadable]: can't read missing: No such file or directory (os error 2)
    hint: check the path; `counterfoil init` makes a configuration
    [exit 2]

    $ counterfoil serve --config text
    error[config-malformed]: the configuration file text, line 1, is wrong: key with no value, expected `=`
    hint: compare it with a configuration that `counterfoil init` made
    [exit 2]

    $ counterfoil serve --config directory
    error[config-unreadable]: can't read directory: Is a directory (os error 21)
    hint: check the path, its owner and its mode
    [exit 2]
    "#);
}

#[test]
fn a_server_that_is_not_there() {
    let desk = desk();
    std::fs::create_dir(desk.path("seen")).unwrap();
    std::fs::create_dir_all(desk.path("gate/0")).unwrap();
    desk.write("gate/0/lock", "");
    desk.write("action.json", r#"{"tool":"t","arguments":{}}"#);
    desk.key("agent", "scout", "agent.key");
    desk.key("runtime", "gate", "runtime.key");
    let server = ["--server", "http://127.0.0.1:9"];
    let commands: [&[&str]; 17] = [
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
        &["runs"],
        &["resume", ID],
        &["policy", "show"],
        &["policy", "set", "action.json", "--key", "agent.key"],
        &["gate", "check", ID, "--key", "runtime.key", "--", "true"],
        &["gate", "run", ID, "--key", "runtime.key", "--proposal", ID, "--", "true"],
        &["submit", "text"],
    ];
    let commands: Vec<Vec<&str>> = commands.iter().map(|command| before_dashes(command, &server)).collect();
    let commands: Vec<&[&str]> = commands.iter().map(Vec::as_slice).collect();
    assert_snapshot!(transcript(&desk, &commands), @r#"
    $ counterfoil approve ID --key human.key --server http://127.0.0.1:9
    error[unreachable]: http://127.0.0.1:9/v1/log: io: Connection refused (os error 111)
    hint: start it with `counterfoil serve`, or name another with --server URL
    [exit 2]

    $ counterfoil reject ID --key human.key --server http://127.0.0.1:9
    error[unreachable]: http://127.0.0.1:9/v1/log: io: Connection refused (os error 111)
    hint: start it with `counterfoil serve`, or name another with --server URL
    [exit 2]

    $ counterfoil request-changes ID --note x --key human.key --server http://127.0.0.1:9
    error[unreachable]: http://127.0.0.1:9/v1/log: io: Connection refused (os error 111)
    hint: start it with `counterfoil serve`, or name another with --server URL
    [exit 2]

    $ counterfoil settle ID --status failed --effects none --key human.key --server http://127.0.0.1:9
    error[unreachable]: http://127.0.0.1:9/v1/log: io: Connection refused (os error 111)
    hint: start it with `counterfoil serve`, or name another with --server URL
    [exit 2]

    $ counterfoil trigger --source s --id 1 --key agent.key --server http://127.0.0.1:9
    error[unreachable]: http://127.0.0.1:9/v1/log: io: Connection refused (os error 111)
    hint: start it with `counterfoil serve`, or name another with --server URL
    [exit 2]

    $ counterfoil observe ID --summary x --key agent.key --server http://127.0.0.1:9
    error[unreachable]: http://127.0.0.1:9/v1/log: io: Connection refused (os error 111)
    hint: start it with `counterfoil serve`, or name another with --server URL
    [exit 2]

    $ counterfoil propose ID --action action.json --for gate --risk low --key agent.key --server http://127.0.0.1:9
    error[unreachable]: http://127.0.0.1:9/v1/log: io: Connection refused (os error 111)
    hint: start it with `counterfoil serve`, or name another with --server URL
    [exit 2]

    $ counterfoil handoff ID --to fixer --key agent.key --server http://127.0.0.1:9
    error[unreachable]: http://127.0.0.1:9/v1/log: io: Connection refused (os error 111)
    hint: start it with `counterfoil serve`, or name another with --server URL
    [exit 2]

    $ counterfoil cancel ID ID --key agent.key --server http://127.0.0.1:9
    error[unreachable]: http://127.0.0.1:9/v1/log: io: Connection refused (os error 111)
    hint: start it with `counterfoil serve`, or name another with --server URL
    [exit 2]

    $ counterfoil bundle ID --out new.jsonl --server http://127.0.0.1:9
    error[unreachable]: http://127.0.0.1:9/v1/log: io: Connection refused (os error 111)
    hint: start it with `counterfoil serve`, or name another with --server URL
    [exit 2]

    $ counterfoil runs --server http://127.0.0.1:9
    error[unreachable]: http://127.0.0.1:9/v1/log: io: Connection refused (os error 111)
    hint: start it with `counterfoil serve`, or name another with --server URL
    [exit 2]

    $ counterfoil resume ID --server http://127.0.0.1:9
    error[unreachable]: http://127.0.0.1:9/v1/log: io: Connection refused (os error 111)
    hint: start it with `counterfoil serve`, or name another with --server URL
    [exit 2]

    $ counterfoil policy show --server http://127.0.0.1:9
    error[unreachable]: http://127.0.0.1:9/v1/log: io: Connection refused (os error 111)
    hint: start it with `counterfoil serve`, or name another with --server URL
    [exit 2]

    $ counterfoil policy set action.json --key agent.key --server http://127.0.0.1:9
    error[policy-unreadable]: no log would take it: the policy's language is ""; this version reads counterfoil-policy/1 and counterfoil-policy/0
    hint: compare it with spec/policy.md
    [exit 2]

    $ counterfoil gate check ID --key runtime.key --server http://127.0.0.1:9 -- true
    error[unreachable]: http://127.0.0.1:9/v1/log: io: Connection refused (os error 111)
    hint: start it with `counterfoil serve`, or name another with --server URL
    [exit 3]

    $ counterfoil gate run ID --key runtime.key --proposal ID --server http://127.0.0.1:9 -- true
    error[unreachable]: http://127.0.0.1:9/v1/log: io: Connection refused (os error 111)
    hint: start it with `counterfoil serve`, or name another with --server URL
    [exit 3]

    $ counterfoil submit text --server http://127.0.0.1:9
    error[json-syntax]: line 1 of text is not well formed (R-JSON-02): byte 0: not JSON
    hint: compare it with spec/records.md
    [exit 2]
    "#);
}

#[test]
fn a_command_that_there_is_not() {
    let shown = transcript(
        &desk(),
        &[&["frobnicate"], &["verify"], &["verify", "bundle.jsonl", "--frob"], &["gate", "run", ID]],
    );
    assert_snapshot!(shown, @r#"
    $ counterfoil frobnicate
    error[usage]: unrecognized subcommand 'frobnicate'

    Usage: counterfoil [OPTIONS] <COMMAND>
    hint: add --help to see what the command takes
    [exit 2]

    $ counterfoil verify
    error[usage]: the following required arguments were not provided:
      <FILE>

    Usage: counterfoil verify <FILE>
    hint: add --help to see what the command takes
    [exit 2]

    $ counterfoil verify bundle.jsonl --frob
    error[usage]: unexpected argument '--frob' found

      tip: to pass '--frob' as a value, use '-- --frob'

    Usage: counterfoil verify <FILE>
    hint: add --help to see what the command takes
    [exit 2]

    $ counterfoil gate run ID
    error[usage]: the following required arguments were not provided:
      <COMMAND>...

    Usage: counterfoil gate run <RUN> -- <COMMAND>...
    hint: add --help to see what the command takes
    [exit 2]
    "#);
}

#[test]
fn a_cut_bundle_is_unreadable_and_what_was_read_is_shown() {
    let desk = desk();
    for name in ["cut.jsonl", "half-line.jsonl"] {
        let ran = desk.run(&["verify", name]);
        assert_eq!(ran.code, 2, "{name}: {}", ran.stdout);
        assert!(
            ran.stdout.contains("UNREADABLE") && ran.stdout.contains("monitor.example"),
            "{name}: {}",
            ran.stdout
        );
    }
}

#[test]
fn a_reader_who_goes_away_does_not_change_the_verdict() {
    let desk = desk();
    for arguments in [&["verify", "bundle.jsonl", "--at", "0"][..], &["--help"], &["completions", "bash"]] {
        let mut child =
            desk.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
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
    assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @r#"
    error[output-failed]: standard output could not be written: No space left on device (os error 28)
    hint: check the disk that it goes to
    "#);
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
    let shown = transcript(
        &desk,
        &[
            &["verify", "text"],
            &["record", "show", "text"],
            &["verify", "bundle.jsonl", "--trust", "text"],
            &["verify", "bundle.jsonl", "--report", "directory/page.html"],
            &["init", "directory"],
            &["keys", "new", "--role", "human", "--principal", "ana", "--out", "directory/ana.key"],
        ],
    );
    assert!(shown.matches("permission").count() >= 5 && !shown.contains("exit 0"), "{shown}");
}
