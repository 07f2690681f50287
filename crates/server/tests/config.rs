//! The configuration: which source wins, and what is said about a value that can't be used.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};

use counterfoil_server::{Config, ConfigError, Overrides};
use tempfile::TempDir;

const LOG: &str = "[log]\ndir = \"log\"\nlock_dir = \"/lock\"\npayload_dir = \"payloads\"\ngenesis = \"g\"\n\
    note_key = \"n\"\nsnapshot_key = \"s\"\n";

struct File(TempDir);

impl File {
    fn with(content: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("counterfoil.toml"), content).unwrap();
        Self(dir)
    }

    fn load(&self, environment: &[(&str, &str)], flags: Overrides) -> Result<Config, ConfigError> {
        let set = |name: &str| {
            environment.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned())
        };
        Config::load(Some(&self.0.path().join("counterfoil.toml")), set, flags)
    }

    #[track_caller]
    fn fails(&self, environment: &[(&str, &str)], expected: &[&str]) {
        let message = self.load(environment, Overrides::default()).unwrap_err().to_string();
        for part in expected {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = File::with(&format!("[server]\nlisten = \"127.0.0.1:1\"\n{LOG}"));
    let config = file.load(&[], Overrides::default()).unwrap();
    assert_eq!(config.listen.port(), 1);
    assert_eq!(config.log_dir, file.0.path().join("log"), "relative to the file");
    assert_eq!(config.lock_dir, Path::new("/lock"));
    let environment = [("COUNTERFOIL_LISTEN", "127.0.0.1:2"), ("COUNTERFOIL_LOG_DIR", "elsewhere")];
    let config = file.load(&environment, Overrides::default()).unwrap();
    assert_eq!((config.listen.port(), config.log_dir), (2, PathBuf::from("elsewhere")));
    let flags = Overrides { listen: Some("127.0.0.1:3".into()), ..Overrides::default() };
    assert_eq!(file.load(&environment, flags).unwrap().listen.port(), 3);
    assert_eq!(File::with(LOG).load(&[], Overrides::default()).unwrap().listen.to_string(), "127.0.0.1:7450");
}

#[test]
fn without_a_file_environment_and_flags_are_enough() {
    let all = |name: &str| {
        (name.starts_with("COUNTERFOIL_") && !name.contains("TOKEN") && !name.contains("LISTEN"))
            .then(|| "x".to_owned())
    };
    assert_eq!(Config::load(None, all, Overrides::default()).unwrap().genesis, Path::new("x"));
    let message = Config::load(None, |_| None, Overrides::default()).unwrap_err().to_string();
    assert_eq!(
        message,
        "log.dir is missing: set it in the configuration file, as COUNTERFOIL_LOG_DIR, or with --log-dir"
    );
}

#[test]
fn every_fault_names_its_source() {
    let file = File::with(LOG);
    file.fails(
        &[("COUNTERFOIL_LISTEN", "localhost")],
        &["server.listen", "environment variable COUNTERFOIL_LISTEN", "\"localhost\""],
    );
    file.fails(&[("COUNTERFOIL_GENESIS", "")], &["log.genesis", "COUNTERFOIL_GENESIS", "is empty"]);
    File::with("[server]\nlisten = \"x\"\n").fails(&[], &["server.listen", "counterfoil.toml", "\"x\""]);
    File::with("[server]\nport = 1\n").fails(&[], &["counterfoil.toml, line 2", "unknown field `port`"]);
    File::with("[serve]\n").fails(&[], &["line 1", "unknown field `serve`"]);
    File::with("[server\n").fails(&[], &["line 1"]);
    let absent = Config::load(Some(Path::new("/nonexistent/x.toml")), |_| None, Overrides::default());
    assert!(absent.unwrap_err().to_string().contains("/nonexistent/x.toml"));
}

#[test]
fn tokens_come_from_one_place_and_are_not_shown() {
    let file = File::with(&format!("[server]\nread_token_file = \"token\"\n{LOG}"));
    file.fails(&[], &["token"]);
    std::fs::write(file.0.path().join("token"), "0123456789abcdef\n").unwrap();
    let config = file.load(&[], Overrides::default()).unwrap();
    assert_eq!(config.read_token.as_ref().unwrap().as_str(), "0123456789abcdef");
    assert!(!format!("{config:?} {:?}", config.read_token).contains("0123"));
    // The environment's token takes the place of the file's, whichever way each is given.
    let environment = [("COUNTERFOIL_READ_TOKEN", "fedcba9876543210")];
    let config = file.load(&environment, Overrides::default()).unwrap();
    assert_eq!(config.read_token.unwrap().as_str(), "fedcba9876543210");
    file.fails(&[("COUNTERFOIL_READ_TOKEN", "0123456789abcde")], &["server.read_token ", "less than 16"]);
    file.fails(&[("COUNTERFOIL_READ_TOKEN", "0123456789 abcdef")], &["printable ASCII"]);
    let both = "[server]\nread_token = \"0123456789abcdef\"\nread_token_file = \"token\"\n";
    File::with(both).fails(&[], &["both set", "counterfoil.toml"]);
    File::with("[server]\nread_token = [\"0123456789abcdef\"]\n").fails(&[], &["line 2"]);
    let message = File::with("[server]\nread_token = \"0123456789abcdef\n").load(&[], Overrides::default());
    assert!(!message.unwrap_err().to_string().contains("0123"));
}

#[test]
fn others_are_not_let_in_without_a_token() {
    for listen in ["0.0.0.0:1", "192.0.2.1:1", "[::]:1"] {
        let file = File::with(&format!("[server]\nlisten = \"{listen}\"\n{LOG}"));
        file.fails(&[], &[listen, "no read token", "counterfoil.toml"]);
        assert!(file.load(&[("COUNTERFOIL_READ_TOKEN", "0123456789abcdef")], Overrides::default()).is_ok());
    }
    for listen in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"] {
        assert!(
            File::with(&format!("[server]\nlisten = \"{listen}\"\n{LOG}"))
                .load(&[], Overrides::default())
                .is_ok()
        );
    }
}
