//! `counterfoil mcp install` and `uninstall` on the files of the usual clients: what changes, what stays, and what is refused.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    process::Stdio,
};

use common::{Desk, Ran};
use serde_json::{Value, json};

/// A home directory with the files of clients in it, and a working directory for the gate.
struct Home {
    desk: Desk,
}

/// Each client with a file of its, as people write them, and the server `files` in it.
const FILES: [(&str, &str, &str); 8] = [
    (
        "claude-desktop",
        ".config/Claude/claude_desktop_config.json",
        "{\n  \"mcpServers\": {\n    \"files\": {\n      \"command\": \"npx\",\n      \"args\": [\"-y\", \"server-files\", \"/home/ana\"],\n      \
         \"env\": {\"TOKEN\": \"s3cret\"}\n    }\n  },\n  \"theme\": \"dark\"\n}\n",
    ),
    (
        "claude-code",
        ".mcp.json",
        "{\"mcpServers\":{\"files\":{\"type\":\"stdio\",\"command\":\"npx\",\"args\":[\"${ROOT:-/x}\"],\"timeout\":5000}}}",
    ),
    ("cursor", ".cursor/mcp.json", "{\"mcpServers\": {\"files\": {\"command\": \"server-files\"}}}\n"),
    (
        "vscode",
        ".config/Code/User/mcp.json",
        "{\n\t// Mine.\n\t\"inputs\": [],\n\t\"servers\": {\n\t\t\"files\": {\n\t\t\t\"command\": \"npx\", // runs it\n\t\t\t\"args\": [\n\t\t\t\t\
         \"-y\",\n\t\t\t\t\"${input:what}\", /* last */\n\t\t\t],\n\t\t\t\"cwd\": \"${workspaceFolder}\",\n\t\t},\n\t},\n}\n",
    ),
    (
        "windsurf",
        ".codeium/windsurf/mcp_config.json",
        "{\"mcpServers\": {\"files\": {\"command\": \"npx\", \"args\": [], \"disabled\": true}}}\r\n",
    ),
    (
        "zed",
        ".config/zed/settings.json",
        "// Zed settings\n{\n  \"vim_mode\": true,\n  \"context_servers\": {\n    \"files\": {\n      \"source\": \"custom\",\n      \"command\": \
         \"npx\",\n      \"args\": [\"server-files\"]\n    },\n  },\n}\n",
    ),
    (
        "codex",
        ".codex/config.toml",
        "model = \"o9\" # the large one\n\n[mcp_servers.files] # mine\ncommand = 'npx'\nargs = [\n  \"-y\", # yes\n  \"server-files\",\n]\n\n\
         [mcp_servers.files.env]\nTOKEN = \"s3cret\"\n",
    ),
    (
        "gemini",
        ".gemini/settings.json",
        "{\"mcpServers\": {\"files\": {\"command\": \"npx\", \"args\": [\"$X\"], \"trust\": false}}, \"ui\": {}}",
    ),
];

impl Home {
    fn new() -> Self {
        let mut desk = Desk::new();
        desk.good(&["init", "work", "--origin", "example.org/log"]);
        let home = desk.path(".").display().to_string();
        desk.environment = vec![
            ("HOME", home.clone()),
            ("XDG_CONFIG_HOME", format!("{home}/.config")),
            ("CODEX_HOME", String::new()),
        ];
        Self { desk }
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.desk.path(path).parent().unwrap()).unwrap();
        self.desk.write(path, text);
    }

    fn install(&self, options: &[&str]) -> Ran {
        self.desk.run(&[&["mcp", "install", "-C", "work"], options].concat())
    }

    fn uninstall(&self, options: &[&str]) -> Ran {
        self.desk.run(&[&["mcp", "uninstall"], options].concat())
    }

    /// What stands before the command of the server `name` once it is governed, the program first.
    fn gate(&self, name: &str) -> Vec<String> {
        let dir = fs::canonicalize(self.desk.path("work")).unwrap().display().to_string();
        let program = env!("CARGO_BIN_EXE_counterfoil");
        [program, "mcp", "gate", "-C", &dir, "--name", name, "--"].map(str::to_owned).to_vec()
    }
}

/// The command and arguments of an entry.
fn words(entry: &Value) -> Vec<String> {
    let arguments = entry["args"].as_array().cloned().unwrap_or_default();
    let all = [entry["command"].clone()].into_iter().chain(arguments);
    all.map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The entry of a server in a file of any client.
fn entry(path: &str, text: &str, name: &str) -> Value {
    let root: Value = if path.ends_with(".toml") {
        serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap()
    } else {
        // Comments and trailing commas are all that these files have besides JSON.
        let lines = text.lines().map(|line| line.find("// ").map_or(line, |at| &line[..at]));
        let mut plain = lines.collect::<Vec<_>>().join("\n").replace("/* last */", "");
        for end in ['}', ']'] {
            while let Some(at) = plain.find(end).and_then(|_| find_trailing_comma(&plain, end)) {
                plain.remove(at);
            }
        }
        serde_json::from_str(&plain).unwrap_or_else(|error| panic!("{error}: {plain}"))
    };
    let holder = ["mcpServers", "servers", "context_servers", "mcp_servers"]
        .into_iter()
        .find(|holder| root.get(holder).is_some())
        .unwrap();
    root[holder][name].clone()
}

fn find_trailing_comma(text: &str, end: char) -> Option<usize> {
    text.match_indices(end).find_map(|(at, _)| {
        let before = text[..at].trim_end();
        before.ends_with(',').then(|| before.len() - 1)
    })
}

#[test]
fn each_client_is_governed_and_released_to_the_byte() {
    let home = Home::new();
    for (client, path, text) in FILES {
        home.write(path, text);
        fs::set_permissions(home.desk.path(path), fs::Permissions::from_mode(0o640)).unwrap();
        let ran = home.install(&["--client", client]);
        assert_eq!(ran.code, 0, "{client}: {}", ran.shown());
        assert!(ran.stdout.contains("files                is governed now"), "{}", ran.stdout);
        assert!(ran.stderr.contains("restart the clients"), "{}", ran.stderr);
        let with = home.desk.read(path);
        let (before, after) = (entry(path, text, "files"), entry(path, &with, "files"));
        let expected: Vec<String> = home.gate("files").into_iter().chain(words(&before)).collect();
        assert_eq!(words(&after), expected, "{client}");
        let rest = |entry: &Value| {
            let mut entry = entry.as_object().unwrap().clone();
            entry.retain(|name, _| name != "command" && name != "args");
            entry
        };
        assert_eq!(rest(&before), rest(&after), "{client}");
        for comment in
            ["// Mine.", "// runs it", "/* last */", "// Zed settings", "# the large one", "# mine", "# yes"]
        {
            assert_eq!(text.contains(comment), with.contains(comment), "{client}: {comment}");
        }
        let metadata = fs::metadata(home.desk.path(path)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o640, "{client}");
        let backup = format!("{path}.counterfoil-backup");
        assert_eq!(home.desk.read(&backup), text, "{client}");
        assert_eq!(fs::metadata(home.desk.path(&backup)).unwrap().permissions().mode() & 0o777, 0o640);

        let again = home.install(&["--client", client]);
        assert!(again.code == 0 && again.stdout.contains("was governed already"), "{}", again.shown());
        assert_eq!(home.desk.read(path), with, "{client}");
        let ran = home.uninstall(&["--client", client]);
        assert!(ran.code == 0 && ran.stdout.contains("is governed no longer"), "{}", ran.shown());
        assert_eq!(home.desk.read(path), text, "{client}");
        assert!(ran.stdout.contains("said the same, and is removed"), "{}", ran.shown());
        assert!(!home.desk.path(&backup).exists() && !home.desk.path(&format!("{backup}-2")).exists());
        assert_eq!(home.uninstall(&["--client", client]).code, 0);
        assert_eq!(home.desk.read(path), text, "{client}");
    }
    // All of them at once, where nothing says which.
    assert_eq!(home.install(&[]).code, 0);
    for (client, path, text) in FILES {
        assert_ne!(home.desk.read(path), text, "{client}");
    }
    assert_eq!(home.uninstall(&[]).code, 0);
    for (client, path, text) in FILES {
        assert_eq!(home.desk.read(path), text, "{client}");
        let names = fs::read_dir(home.desk.path(path).parent().unwrap()).unwrap();
        let left = names.map(|name| name.unwrap().file_name().into_string().unwrap());
        assert!(!left.into_iter().any(|name| name.contains("partial")), "{client}");
    }
}

#[test]
fn counterfoils_own_tools_are_added_once_and_removed_to_the_byte() {
    let home = Home::new();
    let dir = fs::canonicalize(home.desk.path("work")).unwrap().display().to_string();
    let own = [env!("CARGO_BIN_EXE_counterfoil"), "mcp", "serve", "-C", &dir];
    for (client, path, text) in FILES {
        home.write(path, text);
        let dry = home.install(&["--client", client, "--serve", "--dry-run"]);
        assert!(
            dry.code == 0 && dry.stdout.contains("counterfoil          would be added"),
            "{}",
            dry.shown()
        );
        assert_eq!(home.desk.read(path), text, "{client}");
        let ran = home.install(&["--client", client, "--serve"]);
        assert!(ran.code == 0 && ran.stdout.contains("counterfoil          is added"), "{}", ran.shown());
        let with = home.desk.read(path);
        assert_eq!(words(&entry(path, &with, "counterfoil")), own, "{client}: {with}");
        assert_eq!(words(&entry(path, &with, "files"))[..3], home.gate("files")[..3], "{client}");
        // Once is enough, and no gate is put before it.
        for options in [&["--client", client, "--serve"][..], &["--client", client]] {
            let again = home.install(options);
            assert!(again.code == 0 && again.stdout.contains("was there already"), "{}", again.shown());
            assert_eq!(home.desk.read(path), with, "{client}");
        }
        let ran = home.uninstall(&["--client", client]);
        assert!(ran.code == 0 && ran.stdout.contains("counterfoil          is removed"), "{}", ran.shown());
        assert_eq!(home.desk.read(path), text, "{client}");
    }
    // What somebody else calls so is left, and so is a file without a place for servers.
    let text = r#"{"mcpServers": {"counterfoil": {"command": "x"}}}"#;
    for (text, said) in [(text, "another server has the name"), ("{}", "has no member for servers")] {
        home.write("any.json", text);
        let ran = home.install(&["--file", "any.json", "--serve"]);
        assert!(ran.code == 1 && ran.stdout.contains(said), "{}", ran.shown());
        home.uninstall(&["--file", "any.json"]);
        assert_eq!(home.desk.read("any.json"), text);
    }
}

#[test]
fn own_tools_that_were_installed_start() {
    let home = Home::new();
    home.write(".mcp.json", r#"{"mcpServers": {}}"#);
    home.install(&["--client", "claude-code", "--serve"]).good();
    let words = words(&entry(".mcp.json", &home.desk.read(".mcp.json"), "counterfoil"));
    let ended =
        std::process::Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn what_was_installed_starts_the_gate_and_the_server_behind_it() {
    let home = Home::new();
    let traced = home.desk.path("started");
    let server =
        json!({"mcpServers": {"files": {"command": "sh", "args": ["-c", "touch \"$0\"; cat", traced]}}});
    home.write(".mcp.json", &server.to_string());
    home.install(&["--client", "claude-code"]).good();
    let words = words(&entry(".mcp.json", &home.desk.read(".mcp.json"), "files"));
    assert!(!traced.exists());
    let ended =
        std::process::Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).status().unwrap();
    assert!(ended.success() && traced.exists(), "{ended}");
}

#[test]
fn servers_that_cannot_be_governed_are_named_and_left() {
    let home = Home::new();
    let text = r#"{"mcpServers": {"web": {"url": "https://example.org/mcp"}, "a/b": {"command": "x"}, "n": {"command": 1}, "ok": {"command": "y"}}}"#;
    home.write("any.json", text);
    let ran = home.install(&["--file", "any.json"]);
    assert_eq!(ran.code, 1, "{}", ran.shown());
    for said in [
        "web                  is NOT governed",
        "a/b                  was LEFT",
        "n                    was LEFT",
        "ok                   is governed now",
    ] {
        assert!(ran.stdout.contains(said), "{said}: {}", ran.stdout);
    }
    let with = home.desk.read("any.json");
    for name in ["web", "a/b", "n"] {
        assert_eq!(entry("any.json", &with, name), entry("any.json", text, name));
    }
    // One that was named and can't be governed is no success.
    assert_eq!(home.install(&["--file", "any.json", "web"]).code, 1);
    assert_eq!(home.install(&["--file", "any.json", "ok"]).code, 0);
    home.install(&["--file", "any.json", "nobody"]).failed(2, "server-unknown");
    assert_eq!(home.uninstall(&["--file", "any.json"]).code, 0);
    assert_eq!(home.desk.read("any.json"), text);
}

#[test]
fn only_those_that_are_named_change_and_a_dry_run_changes_none() {
    let home = Home::new();
    let text = r#"{"mcpServers": {"a": {"command": "x"}, "b": {"command": "y", "args": ["z"]}}}"#;
    home.write(".cursor/mcp.json", text);
    let dry = home.install(&["--client", "cursor", "--dry-run"]);
    assert!(dry.code == 0 && dry.stdout.contains("would be governed"), "{}", dry.shown());
    assert_eq!(home.desk.read(".cursor/mcp.json"), text);
    assert!(!home.desk.path(".cursor/mcp.json.counterfoil-backup").exists());

    let json: Value =
        serde_json::from_str(&home.install(&["--client", "cursor", "b", "--json"]).good()).unwrap();
    let file = &json["files"][0];
    assert_eq!((&json["format"], &file["client"]), (&"counterfoil-mcp-install/1".into(), &"cursor".into()));
    assert_eq!(file["servers"][0]["fate"], "not_meant");
    assert_eq!(file["servers"][1]["fate"], "governed");
    assert!(file["backup"].as_str().unwrap().ends_with("mcp.json.counterfoil-backup"), "{json:#}");
    let with = home.desk.read(".cursor/mcp.json");
    assert_eq!(entry("x.json", &with, "a"), json!({"command": "x"}));

    // Somebody moves the entry, and adds to it: it is released all the same.
    let moved = with.replace("\"b\":", "\"c\":").replace("\"z\"", "\"z\", \"more\"");
    home.write(".cursor/mcp.json", &moved);
    home.uninstall(&["--client", "cursor"]).good();
    let released = home.desk.read(".cursor/mcp.json");
    assert_eq!(entry("x.json", &released, "c"), json!({"command": "y", "args": ["z", "more"]}));
}

#[test]
fn a_backup_that_says_something_else_is_kept_and_named() {
    let home = Home::new();
    let text = r#"{"mcpServers": {"a": {"command": "x"}}}"#;
    home.write("any.json", text);
    home.install(&["--file", "any.json"]).good();
    let with = home.desk.read("any.json").replacen('{', "{\"mine\": 1, ", 1);
    home.desk.write("any.json", &with);
    let ran = home.uninstall(&["--file", "any.json"]);
    assert!(
        ran.code == 0 && ran.stdout.contains("counterfoil-backup says something else, and is kept"),
        "{}",
        ran.shown()
    );
    assert_eq!(home.desk.read("any.json.counterfoil-backup"), text);
    assert_eq!(home.desk.read("any.json.counterfoil-backup-2"), with);
}

#[test]
fn a_server_that_is_reached_by_an_address_was_left_with_status_0() {
    let home = Home::new();
    home.write("any.json", r#"{"mcpServers": {"far": {"url": "https://host.example/mcp"}}}"#);
    let ran = home.install(&["--file", "any.json"]);
    assert_eq!(ran.code, 1, "{}", ran.shown());
    assert!(
        ran.stdout.contains("is NOT governed") && ran.stderr == "nothing was changed\n",
        "{}",
        ran.shown()
    );
    // From it nothing is taken away.
    assert_eq!(home.uninstall(&["--file", "any.json"]).code, 0);
    home.write(
        "any.json",
        r#"{"mcpServers": {"far": {"url": "https://host.example/mcp"}, "near": {"command": "x"}}}"#,
    );
    assert_eq!(home.install(&["--file", "any.json"]).code, 1);
    assert_eq!(home.install(&["--file", "any.json", "near"]).code, 0);
}

#[test]
fn what_cannot_be_read_or_changed_is_left_to_the_byte() {
    let home = Home::new();
    let good = r#"{"mcpServers": {"a": {"command": "x"}}}"#;
    for bad in [
        "{\"mcpServers\": {\"a\": {\"command\": \"x\"}}",
        "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"command\": \"y\"}}}",
        "{\"mcpServers\": {\"a\": {\"command\": \"x\"}, \"a\": {\"command\": \"y\"}}}",
        "{\"mcpServers\": {\"a\": {\"command\": \"x\"}}, \"servers\": {\"a\": {\"command\": \"y\"}}}",
        "{'mcpServers': {}}",
        "{\"mcpServers\": []}",
        "[]",
    ] {
        home.write("bad.json", bad);
        home.install(&["--file", "bad.json"]).failed(2, "config-malformed");
        assert_eq!(home.desk.read("bad.json"), bad);
    }
    home.write("bad.toml", "[mcp_servers.a]\ncommand = \"x\"\n[mcp_servers.a]\n");
    home.install(&["--file", "bad.toml"]).failed(2, "config-malformed");

    // One file that can't be read keeps all others from being changed.
    home.write(".cursor/mcp.json", good);
    home.write(".gemini/settings.json", "{");
    home.install(&[]).failed(2, "config-malformed");
    assert_eq!(home.desk.read(".cursor/mcp.json"), good);
    fs::remove_file(home.desk.path(".gemini/settings.json")).unwrap();

    let path = home.desk.path(".cursor/mcp.json");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    home.install(&["--client", "cursor"]).failed(2, "output-permission");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::hard_link(&path, home.desk.path("other-name")).unwrap();
    home.install(&["--client", "cursor"]).failed(2, "output-linked");
    fs::remove_file(home.desk.path("other-name")).unwrap();
    assert_eq!(home.desk.read(".cursor/mcp.json"), good);

    home.install(&["--client", "zed"]).failed(2, "file-missing");
    assert_eq!(home.install(&["--client", "emacs"]).code, 2);
    // A gate that could not start governs nothing.
    home.desk.run(&["mcp", "install", "-C", "nowhere", "--client", "cursor"]).failed(2, "file-missing");
    fs::remove_file(home.desk.path("work/keys/runtime.key")).unwrap();
    home.install(&["--client", "cursor"]).failed(2, "file-missing");
    assert_eq!(home.desk.read(".cursor/mcp.json"), good);
}

#[test]
fn a_link_stays_one_and_no_backup_is_replaced() {
    let home = Home::new();
    let text = r#"{"mcpServers": {"a": {"command": "x"}}}"#;
    home.write("dotfiles/mcp.json", text);
    fs::create_dir(home.desk.path(".cursor")).unwrap();
    symlink("../dotfiles/mcp.json", home.desk.path(".cursor/mcp.json")).unwrap();
    home.write("dotfiles/mcp.json.counterfoil-backup", "older\n");
    home.install(&["--client", "cursor"]).good();
    assert!(fs::symlink_metadata(home.desk.path(".cursor/mcp.json")).unwrap().is_symlink());
    assert!(home.desk.read("dotfiles/mcp.json").contains("counterfoil"));
    assert_eq!(home.desk.read("dotfiles/mcp.json.counterfoil-backup"), "older\n");
    assert_eq!(home.desk.read("dotfiles/mcp.json.counterfoil-backup-2"), text);
    // What is kept already is not kept twice.
    home.uninstall(&["--client", "cursor"]).good();
    home.install(&["--client", "cursor"]).good();
    assert!(!home.desk.path("dotfiles/mcp.json.counterfoil-backup-4").exists());
    assert_eq!(home.desk.read("dotfiles/mcp.json.counterfoil-backup"), "older\n");
}

#[test]
fn what_somebody_added_to_the_own_entry_joins_no_other_table() {
    let home = Home::new();
    let text = "[mcp_servers.files]\ncommand = \"npx\"\n";
    for added in ["startup_timeout_sec = 20\n", "[mcp_servers.counterfoil.env]\nTOKEN = \"s3cret\"\n"] {
        home.write(".codex/config.toml", text);
        home.install(&["--client", "codex", "--serve"]).good();
        let more = home.desk.read(".codex/config.toml") + added;
        home.write(".codex/config.toml", &more);
        let own = entry("x.toml", &more, "counterfoil");
        let ran = home.uninstall(&["--client", "codex"]);
        assert!(
            ran.code == 1 && ran.stdout.contains("take it out by hand [entry-changed]"),
            "{}",
            ran.shown()
        );
        let after = home.desk.read(".codex/config.toml");
        assert!(after.starts_with(text), "{after}");
        assert_eq!(entry("x.toml", &after, "counterfoil"), own, "{after}");
        assert_eq!(entry("x.toml", &after, "files"), json!({"command": "npx"}), "{after}");
    }
}

#[test]
fn no_comma_is_left_behind_where_the_own_entry_was_moved_to_the_end() {
    let home = Home::new();
    home.write(".cursor/mcp.json", r#"{"mcpServers": {"files": {"command": "npx"}}}"#);
    home.install(&["--client", "cursor", "--serve"]).good();
    let with = home.desk.read(".cursor/mcp.json");
    let (start, end) = (with.find("\"counterfoil\": {").unwrap(), with.find("] }, ").unwrap() + 3);
    let own = &with[start..end];
    let moved = with.replace(&format!("{own}, "), "").replace("}}}", &format!("}}, {own}}}}}"));
    assert!(
        serde_json::from_str::<Value>(&moved).is_ok() && moved.ends_with(&format!("{own}}}}}")),
        "{moved}"
    );
    home.write(".cursor/mcp.json", &moved);
    home.uninstall(&["--client", "cursor"]).good();
    let after: Value = serde_json::from_str(&home.desk.read(".cursor/mcp.json")).unwrap();
    assert_eq!(after, json!({"mcpServers": {"files": {"command": "npx"}}}));
}

#[test]
fn a_copy_of_the_own_entry_in_a_comment_stays() {
    let home = Home::new();
    let text = "{\"servers\": {\n  // none\n}}\n";
    home.write(".vscode/mcp.json", text);
    home.install(&["--file", ".vscode/mcp.json", "--serve"]).good();
    let with = home.desk.read(".vscode/mcp.json");
    let own = &with[with.find("\"counterfoil\"").unwrap()..with.find("] }").unwrap() + 3];
    home.write(".vscode/mcp.json", &format!("// was: {own}\n{with}"));
    home.uninstall(&["--file", ".vscode/mcp.json"]).good();
    assert_eq!(home.desk.read(".vscode/mcp.json"), format!("// was: {own}\n{text}"));
}

#[test]
fn an_edit_that_would_leave_what_nobody_can_read_is_not_made() {
    let home = Home::new();
    let text = "{\"mcpServers\": {\"a\": {\"command\": \"counterfoil\", \"args\": [\"mcp\", \"gate\", \"--name\", \"a\", \"--\", \"npx\" /* it */ ,]}}}";
    home.write("any.json", text);
    let ran = home.uninstall(&["--file", "any.json", "--json"]);
    assert_eq!(ran.code, 1, "{}", ran.shown());
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    let server = &json["files"][0]["servers"][0];
    assert_eq!((&server["fate"], &server["code"]), (&"left".into(), &"config-not-kept".into()), "{json:#}");
    assert_eq!(home.desk.read("any.json"), text);
}

#[test]
fn what_is_there_of_another_directory_or_program_is_named_and_left() {
    let home = Home::new();
    home.desk.good(&["init", "other", "--origin", "example.org/other"]);
    home.write(
        ".cursor/mcp.json",
        r#"{"mcpServers": {"files": {"command": "npx"}, "more": {"command": "uvx"}}}"#,
    );
    home.install(&["--client", "cursor", "--serve", "files"]).good();
    let with = home.desk.read(".cursor/mcp.json");
    let path = |dir: &str| fs::canonicalize(home.desk.path(dir)).unwrap().display().to_string();
    let (work, other) = (path("work"), path("other"));

    // Those that are meant already are as they would be, and the own server is meant wherever it is asked for.
    let again = home.install(&["--client", "cursor", "--serve", "files"]);
    let said = again.stdout.contains("was governed already") && again.stdout.contains("was there already");
    assert!(again.code == 0 && said, "{}", again.shown());
    // What somebody told the gate besides is theirs.
    home.write(".cursor/mcp.json", &with.replace("\"--name\"", "\"--hold\", \"1s\", \"--name\""));
    assert_eq!(home.install(&["--client", "cursor", "--serve", "files"]).code, 0);

    home.write(".cursor/mcp.json", &with);
    let elsewhere =
        home.desk.run(&["mcp", "install", "-C", "other", "--client", "cursor", "--serve", "files"]);
    assert_eq!(elsewhere.code, 1, "{}", elsewhere.shown());
    for said in [
        format!("mcp gate -C {work} …`, and not `"),
        format!("mcp gate -C {other} …`: uninstall it first to change that [governed-otherwise]"),
        format!("mcp serve -C {work}`, and not `"),
        format!("mcp serve -C {other}`: uninstall it first to change that [added-otherwise]"),
    ] {
        assert!(elsewhere.stdout.contains(&said), "{said}: {}", elsewhere.stdout);
    }
    assert_eq!(home.desk.read(".cursor/mcp.json"), with);

    // The program was somewhere else: no gate is put before what it added.
    let moved = with.replace(env!("CARGO_BIN_EXE_counterfoil"), "/old/counterfoil");
    home.write(".cursor/mcp.json", &moved);
    for options in
        [&["--client", "cursor", "--serve", "files"][..], &["--client", "cursor", "files", "counterfoil"]]
    {
        let ran = home.install(options);
        assert!(
            ran.code == 1 && ran.stdout.matches("`/old/counterfoil mcp ").count() == 2,
            "{}",
            ran.shown()
        );
        assert_eq!(home.desk.read(".cursor/mcp.json"), moved);
    }
    home.uninstall(&["--client", "cursor"]).good();
    assert!(!home.desk.read(".cursor/mcp.json").contains("counterfoil"));
}
