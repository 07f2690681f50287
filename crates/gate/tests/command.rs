//! Running a command as an action.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use counterfoil_gate::{
    Attempt, Effect,
    command::{CommandAction, OUTPUT_BYTES, RunCommand},
};
use counterfoil_receipt::{
    RecordId,
    action::Mode,
    body::{Effects, Status},
};
use serde_json::Value;

fn command(argv: &[&str]) -> CommandAction {
    CommandAction {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        cwd: "/".to_owned(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        mode: Mode::Apply,
    }
}

/// A second attempt at an effect.
fn attempt() -> Attempt {
    Attempt { execution: RecordId::of(b"execution"), idempotency_key: RecordId::of(b"first execution") }
}

fn run(command: &CommandAction) -> (counterfoil_gate::Done, Value) {
    let done = RunCommand::default().run(&command.to_action().unwrap(), &attempt());
    let result = done.result.as_ref().map(|result| serde_json::from_slice(&result.content).unwrap());
    (done, result.unwrap_or_default())
}

#[test]
fn an_action_is_read_back_as_the_command_that_it_was_made_of() {
    let command = command(&["echo", "a b", "ä"]);
    assert_eq!(CommandAction::from_action(&command.to_action().unwrap()).unwrap(), command);
}

#[test]
fn an_action_that_says_more_than_a_command_is_none() {
    let action = command(&["true"]).to_action().unwrap();
    let mut aimed = action.clone();
    aimed.target = counterfoil_receipt::text::Label::new("db-1");
    let mut conditional = action.clone();
    conditional.precondition = Some(action.arguments.clone());
    for other in [aimed, conditional] {
        assert!(CommandAction::from_action(&other).is_err(), "{other:?}");
        let done = RunCommand::default().run(&other, &attempt());
        assert_eq!((done.status, done.effects), (Status::Failed, Effects::None));
    }
}

#[test]
fn a_command_is_told_that_it_is_previewed_and_runs_so_only_if_it_is_known_to_heed_that() {
    let script = ["sh", "-c", "echo \"preview: $COUNTERFOIL_PREVIEW\""];
    for (mode, previews, said) in [
        (Mode::Apply, false, Some("preview: \n")),
        (Mode::Apply, true, Some("preview: \n")),
        (Mode::Preview, true, Some("preview: 1\n")),
        (Mode::Preview, false, None),
    ] {
        let command = CommandAction { mode, ..command(&script) };
        let action = command.to_action().unwrap();
        assert_eq!((action.mode, CommandAction::from_action(&action).unwrap()), (mode, command));
        let done = RunCommand { previews, ..RunCommand::default() }.run(&action, &attempt());
        let result = done.result.map(|result| serde_json::from_slice::<Value>(&result.content).unwrap());
        assert_eq!(result.as_ref().and_then(|result| result["stdout"]["text"].as_str()), said);
        assert_eq!(done.status == Status::Succeeded, said.is_some());
    }
}

#[test]
fn what_would_leave_open_what_is_run_is_no_command() {
    let empty = CommandAction { env: BTreeMap::new(), ..command(&["true"]) };
    assert!(empty.to_action().is_err(), "no PATH");
    assert!(CommandAction { argv: Vec::new(), ..command(&[]) }.to_action().is_err());
    assert!(CommandAction { cwd: "tmp".to_owned(), ..command(&["true"]) }.to_action().is_err());
    assert!(command(&["echo", "a\0b"]).to_action().is_err());
    let mut forged = command(&["true"]);
    for name in ["COUNTERFOIL_EXECUTION", "COUNTERFOIL_IDEMPOTENCY_KEY", "COUNTERFOIL_PREVIEW"] {
        forged.env = BTreeMap::from([(name.to_owned(), "mine".to_owned())]);
        assert!(forged.to_action().is_err());
    }
}

#[test]
fn exactly_the_approved_words_and_environment_are_run() {
    let (done, result) =
        run(&command(&["/bin/sh", "-c", "pwd; env | sort; printf '%s|' \"$@\"", "sh", "a b", "$HOME", "*"]));
    assert_eq!((done.status, done.effects), (Status::Succeeded, Effects::Complete));
    let text = result["stdout"]["text"].as_str().unwrap();
    let Attempt { execution, idempotency_key: key } = attempt();
    // The shell itself sets PWD and its kin; nothing of this process's environment is there.
    let own = |line: &&str| !["PWD=", "OLDPWD=", "SHLVL=", "_="].iter().any(|name| line.starts_with(name));
    let lines: Vec<&str> = text.lines().filter(own).collect();
    assert_eq!(
        lines,
        [
            "/",
            &format!("COUNTERFOIL_EXECUTION={execution}"),
            &format!("COUNTERFOIL_IDEMPOTENCY_KEY={key}"),
            "PATH=/usr/bin:/bin",
            "a b|$HOME|*|"
        ]
    );
}

#[test]
fn the_exit_status_is_the_outcome() {
    let (done, result) = run(&command(&["sh", "-c", "echo no >&2; exit 3"]));
    assert_eq!((done.status, done.effects), (Status::Failed, Effects::Unknown));
    assert_eq!((&result["exit"], &result["stderr"]["text"]), (&Value::from(3), &Value::from("no\n")));
    assert_eq!(done.detail.as_deref(), Some("exit status 3"));

    let (done, result) = run(&command(&["sh", "-c", "kill -9 $$"]));
    assert_eq!(
        (done.status, &result["exit"], &result["signal"]),
        (Status::Failed, &Value::Null, &Value::from(9))
    );
    assert_eq!(done.detail.as_deref(), Some("ended by signal: 9 (SIGKILL)"));

    let (done, _) = run(&command(&["/no/such/program"]));
    assert_eq!((done.status, done.effects), (Status::Failed, Effects::None));
}

#[test]
fn what_could_not_start_is_known_before_it_is_run() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("notes"), "no program").unwrap();
    let here =
        |argv: &[&str]| CommandAction { cwd: dir.path().to_str().unwrap().to_owned(), ..command(argv) };
    let why = |command: &CommandAction| {
        // Whatever is foretold to fail does fail, and the other way round.
        assert_eq!(run(command).0.effects == Effects::None, command.can_start().is_err(), "{command:?}");
        command.can_start().err().map(|error| error.to_string().split(':').next().unwrap().to_owned())
    };
    assert_eq!(why(&here(&["true"])), None);
    assert_eq!(why(&here(&["/bin/true"])), None);
    assert_eq!(why(&here(&["no-such-program"])).as_deref(), Some("program-missing"));
    assert_eq!(why(&here(&["./no-such-program"])).as_deref(), Some("program-missing"));
    assert_eq!(why(&here(&["./notes"])).as_deref(), Some("program-not-executable"));
    assert_eq!(why(&here(&["/"])).as_deref(), Some("program-not-executable"));
    let nowhere = CommandAction { cwd: "/no/such/directory".to_owned(), ..command(&["true"]) };
    assert_eq!(why(&nowhere).as_deref(), Some("directory-missing"));
    // Relative to the command's directory, and on the command's PATH: not this process's.
    std::fs::copy("/bin/true", dir.path().join("mine")).unwrap();
    assert_eq!(why(&here(&["./mine"])), None);
    assert_eq!(why(&here(&["mine"])).as_deref(), Some("program-missing"));
    let mut on_path = here(&["mine"]);
    on_path.env.insert("PATH".to_owned(), "/nowhere:.".to_owned());
    assert_eq!(why(&on_path), None);
}

#[test]
fn long_output_is_cut_and_its_digest_covers_all_of_it() {
    let (_, result) = run(&command(&["sh", "-c", "head -c 300000 /dev/zero | tr '\\0' a"]));
    assert_eq!(result["stdout"]["size"], 300_000);
    assert_eq!(result["stdout"]["text"].as_str().unwrap().len(), OUTPUT_BYTES);
    // sha256sum of 300,000 letters a
    let expected = "12e1b9b179b29a4f7e5889b185d7ac71bff0ad1f49a7b391d0911b737a0f5381";
    assert_eq!(result["stdout"]["sha256"], expected);
}
