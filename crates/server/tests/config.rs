//! The configuration: which source wins, and what is said about a value that can't be used.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};

use counterfoil_server::{Access, ChannelConfig, Config, ConfigError, Fail, Mode, Overrides};
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

fn token(access: &Access) -> &str {
    let Access::Token(token) = access else { panic!("{access:?}") };
    token.as_str()
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
fn a_quota_is_a_number_of_entries_or_there_is_none() {
    let quota = |line: &str, environment: &[(&str, &str)]| {
        File::with(&format!("[server]\n{line}\n{LOG}")).load(environment, Overrides::default())
    };
    let is =
        |line: &str, environment: &[(&str, &str)]| quota(line, environment).unwrap().quota.map(u32::from);
    assert_eq!(is("", &[]), None);
    assert_eq!((is("quota = 1", &[]), is("quota = 1000000", &[])), (Some(1), Some(1_000_000)));
    assert_eq!(is("quota = 1", &[("COUNTERFOIL_QUOTA", "600")]), Some(600));
    for wrong in ["quota = 0", "quota = -1", "quota = 1000001"] {
        let message = quota(wrong, &[]).unwrap_err().to_string();
        assert!(
            message.starts_with("server.quota (in ") && message.contains("from 1 to 1000000"),
            "{message}"
        );
    }
    File::with(LOG).fails(&[("COUNTERFOIL_QUOTA", "many")], &["server.quota", "COUNTERFOIL_QUOTA"]);
}

#[test]
fn a_rate_is_a_number_of_requests_or_there_is_none() {
    let rate = |line: &str| {
        File::with(&format!("[server]\n{line}\n{LOG}"))
            .load(&[], Overrides::default())
            .map(|config| config.rate)
    };
    assert_eq!((rate("").unwrap(), rate("rate = 600").unwrap().map(u32::from)), (None, Some(600)));
    for wrong in ["rate = 0", "rate = 1000001"] {
        let message = rate(wrong).unwrap_err().to_string();
        assert!(
            message.starts_with("server.rate (in ") && message.contains("from 1 to 1000000"),
            "{message}"
        );
    }
}

#[test]
fn a_token_file_makes_tokens_needed() {
    let with = |server: &str| File::with(&format!("[server]\ntokens = \"t.toml\"\n{server}\n{LOG}"));
    let file = with("listen = \"0.0.0.0:1\"");
    let config = file.load(&[], Overrides::default()).unwrap();
    assert_eq!((config.reads, config.tokens), (Access::Listed, Some(file.0.path().join("t.toml"))));
    let both = with("read_token = \"0123456789abcdef\"").load(&[], Overrides::default()).unwrap();
    assert_eq!((token(&both.reads), both.tokens.is_some()), ("0123456789abcdef", true));
    for said in ["public", "local"] {
        with(&format!("reads = \"{said}\"")).fails(&[], &["server.reads", said, "server.tokens", "keep one"]);
    }
}

#[test]
fn without_a_file_environment_and_flags_are_enough() {
    let all = |name: &str| {
        let has_default = [
            "TOKEN",
            "LISTEN",
            "MODE",
            "READS",
            "WRITES",
            "QUOTA",
            "RATE",
            "WITNESS",
            "APPROVALS",
            "LINK",
            "OPEN",
        ]
        .iter()
        .any(|part| name.contains(part));
        (name.starts_with("COUNTERFOIL_") && !has_default).then(|| "x".to_owned())
    };
    let config = Config::load(None, all, Overrides::default()).unwrap();
    let Mode::Records(files) = config.mode else { panic!("raw by default") };
    assert_eq!((files.genesis, config.reads), (PathBuf::from("x"), Access::Local));
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
    assert_eq!(token(&config.reads), "0123456789abcdef");
    assert!(!format!("{config:?} {:?}", config.reads).contains("0123"));
    // The environment's token takes the place of the file's, whichever way each is given.
    let environment = [("COUNTERFOIL_READ_TOKEN", "fedcba9876543210")];
    let config = file.load(&environment, Overrides::default()).unwrap();
    assert_eq!(token(&config.reads), "fedcba9876543210");
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

/// The file of a raw log.
fn raw(server: &str) -> File {
    File::with(&format!(
        "[server]\n{server}\n[log]\nmode = \"raw\"\ndir = \"a\"\nlock_dir = \"b\"\nnote_key = \"n\"\n"
    ))
}

fn writes(file: &File) -> Access {
    let Mode::Raw { writes } = file.load(&[], Overrides::default()).unwrap().mode else { panic!("not raw") };
    writes
}

#[test]
fn who_may_read_is_said_in_one_way() {
    let with = |server: &str| File::with(&format!("[server]\n{server}\n{LOG}"));
    let reads = |server: &str| with(server).load(&[], Overrides::default()).unwrap().reads;
    assert_eq!(reads(""), Access::Local);
    assert_eq!(reads("reads = \"local\""), Access::Local);
    assert_eq!(reads("reads = \"public\"\nlisten = \"0.0.0.0:1\""), Access::Public);
    assert_eq!(token(&reads("reads = \"token\"\nread_token = \"0123456789abcdef\"")), "0123456789abcdef");
    with("reads = \"token\"")
        .fails(&[], &["server.reads (in ", "there is no token", "server.read_token_file"]);
    for said in ["public", "local"] {
        let both = with(&format!("reads = \"{said}\"\nread_token = \"0123456789abcdef\""));
        both.fails(&[], &["server.reads", said, "keep one"]);
    }
    with("reads = \"local\"\nlisten = \"0.0.0.0:1\"").fails(&[], &["server.reads", "no loopback address"]);
    with("reads = \"all\"").fails(&[], &["server.reads", "\"all\""]);
    with("").fails(&[("COUNTERFOIL_READS", "")], &["server.reads", "COUNTERFOIL_READS"]);
}

#[test]
fn who_may_add_to_a_raw_log_is_guessed_only_where_nobody_else_can_ask() {
    assert_eq!(writes(&raw("")), Access::Local);
    assert_eq!(token(&writes(&raw("write_token = \"0123456789abcdef\""))), "0123456789abcdef");
    assert_eq!(writes(&raw("writes = \"public\"\nreads = \"public\"")), Access::Public);
    for server in [
        "reads = \"public\"",
        "read_token = \"0123456789abcdef\"",
        "reads = \"public\"\nlisten = \"0.0.0.0:1\"",
    ] {
        raw(server)
            .fails(&[], &["server.writes (by default)", "who may add entries", "server.write_token_file"]);
    }
    raw("reads = \"public\"\nlisten = \"0.0.0.0:1\"\nwrites = \"local\"")
        .fails(&[], &["no loopback address"]);
}

#[test]
fn each_mode_has_members_of_its_own() {
    raw("").fails(
        &[("COUNTERFOIL_GENESIS", "g")],
        &["log.genesis", "COUNTERFOIL_GENESIS", "a raw log has none"],
    );
    raw("").fails(&[("COUNTERFOIL_MODE", "cooked")], &["log.mode", "\"cooked\""]);
    let records = File::with(&format!("[server]\nwrites = \"public\"\n{LOG}"));
    records.fails(&[], &["server.writes", "only a raw log has it"]);
}

#[test]
fn a_log_is_witnessed_where_a_policy_says_so() {
    let file = File::with(&format!("{LOG}[witnesses]\npolicy = \"w\"\n"));
    let load = |environment: &[(&str, &str)]| file.load(environment, Overrides::default()).unwrap().witnesses;
    let witnessing = load(&[]).unwrap();
    assert_eq!((witnessing.policy, witnessing.fail), (file.0.path().join("w"), Fail::Open));
    let witnessing =
        load(&[("COUNTERFOIL_WITNESS_POLICY", "else"), ("COUNTERFOIL_WITNESS_FAIL", "closed")]).unwrap();
    assert_eq!((witnessing.policy, witnessing.fail), (PathBuf::from("else"), Fail::Closed));
    file.fails(&[("COUNTERFOIL_WITNESS_FAIL", "shut")], &["witnesses.fail", "\"shut\" is neither"]);
    let without = File::with(LOG);
    assert!(without.load(&[], Overrides::default()).unwrap().witnesses.is_none());
    without.fails(&[("COUNTERFOIL_WITNESS_FAIL", "closed")], &["witnesses.fail", "set witnesses.policy"]);
}

const APPROVALS: &str = "policy_key = \"p\"\n[approvals]\nurl = \"https://a.example/x/\"\ntell = [\"ops\"]\n\
    [channels.ops]\nkind = \"webhook\"\nurl = \"https://h.example\"\nsecret_files = [\"s1\", \"/s2\"]\n\
    [channels.ana]\nkind = \"email\"\nhost = \"m.example\"\nsecurity = \"start_tls\"\nfrom = \"a@b.example\"\nto = \"c@d.example\"\n\
    [people]\nana = [\"ana\"]\n";

#[test]
fn who_is_told_is_read_with_files_beside_the_file() {
    let file = File::with(&format!("{LOG}{APPROVALS}"));
    let Mode::Records(files) = file.load(&[], Overrides::default()).unwrap().mode else { panic!("raw") };
    let approvals = files.approvals.unwrap();
    assert_eq!((approvals.url.as_str(), approvals.link_time.as_secs()), ("https://a.example/x", 86_400));
    let notices = approvals.notices.unwrap();
    assert_eq!(notices.outbox_dir, file.0.path().join("outbox"));
    let ChannelConfig::Webhook { secret_files, .. } = &notices.channels[&"ops".parse().unwrap()] else {
        panic!("{notices:?}")
    };
    assert_eq!(secret_files[..], [file.0.path().join("s1"), PathBuf::from("/s2")]);
    assert_eq!(notices.people.values().next().unwrap().len(), 1);
    // Without channels nobody is told, and there are links all the same.
    let file = File::with(&format!("{LOG}policy_key = \"p\"\n"));
    let set = [("COUNTERFOIL_APPROVALS_URL", "http://127.0.0.1:1"), ("COUNTERFOIL_LINK_TIME", "90m")];
    let Mode::Records(files) = file.load(&set, Overrides::default()).unwrap().mode else { panic!("raw") };
    let approvals = files.approvals.unwrap();
    assert_eq!((approvals.link_time.as_secs(), approvals.notices), (5_400, None));
}

#[test]
fn what_is_wrong_about_approvals_is_named() {
    let changed = |from: &str, to: &str| {
        assert!(APPROVALS.contains(from), "{from}");
        File::with(&format!("{LOG}{}", APPROVALS.replacen(from, to, 1)))
    };
    let cases = [
        ("policy_key = \"p\"\n", "", ["approvals.url", "log.policy_key, which is missing"]),
        ("url = \"https://a.example/x/\"\n", "", ["approvals.url", "people who are told are sent there"]),
        ("https://a.example/x/", "ftp://a.example", ["approvals.url", "is no address such as"]),
        ("https://a.example/x/", "https://me@a.example", ["approvals.url", "is no address such as"]),
        ("https://a.example/x/", "https://a.example/?x", ["approvals.url", "is no address such as"]),
        ("tell = [\"ops\"]", "tell = [\"opps\"]", ["approvals.tell", "there is no channel \"opps\""]),
        ("ana = [\"ana\"]", "ana = [\"ann\"]", ["people", "there is no channel \"ann\""]),
        ("ana = [\"ana\"]", "\"a na\" = [\"ana\"]", ["people", "\"a na\" is not"]),
        ("ana = [\"ana\"]", "", ["channels", "nobody is told on ana"]),
        ("ana = [\"ana\"]", "ana = [\"ana\", \"ops\"]", ["people", "ops is told on by others too"]),
        ("ana = [\"ana\"]", "ana = [\"ana\"]\nbo = [\"ana\"]", ["people", "ana is told on by others too"]),
        ("https://a.example/x/", "https://a.example/{x}", ["approvals.url", "is no address such as"]),
        ("kind = \"webhook\"", "kind = \"pigeon\"", ["counterfoil.toml", "pigeon"]),
        ("host = \"m.example\"", "hots = \"m.example\"", ["counterfoil.toml", "hots"]),
        (
            "tell = [\"ops\"]",
            "tell = [\"ops\"]\nlink_time = \"59s\"",
            ["approvals.link_time", "from 1m to 30d"],
        ),
        (
            "tell = [\"ops\"]",
            "tell = [\"ops\"]\nlink_time = \"31d\"",
            ["approvals.link_time", "from 1m to 30d"],
        ),
        (
            "tell = [\"ops\"]",
            "tell = [\"ops\"]\nlink_time = \"0m\"",
            ["approvals.link_time", "from 1m to 30d"],
        ),
    ];
    for (from, to, expected) in cases {
        changed(from, to).fails(&[], &expected);
    }
    File::with(LOG).fails(&[("COUNTERFOIL_LINK_TIME", "1h")], &["approvals.link_time", "set approvals.url"]);
    File::with(&format!(
        "{LOG}policy_key = \"p\"\n[approvals]\noutbox_dir = \"o\"\nurl = \"http://a.example\"\n"
    ))
    .fails(&[], &["approvals.outbox_dir", "there are no [channels]"]);
}
