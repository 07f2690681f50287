//! E-mail, against a real SMTP server on loopback: `smtp/server.py`, by aiosmtpd.
//!
//! The Python that has it is the one that `COUNTERFOIL_PYTHON` names, or that of `cargo xtask test`. Where there is none,
//! these tests say so, and fail in CI.
#![allow(clippy::unwrap_used, reason = "tests")]

mod far_side;

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use counterfoil_notify::*;
use far_side::*;
use serde_json::Value;

/// The server, until it is dropped.
struct Server {
    port: u16,
    roots: Option<Vec<u8>>,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Server {
    /// `None`, said loudly, where there is no Python that can.
    fn start(mode: &str) -> Option<Self> {
        let python = python()?;
        let folder = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smtp/server.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(mode)
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let port = next(&mut output)["port"].as_u64().unwrap().try_into().unwrap();
        let roots = std::fs::read(folder.path().join("root.pem")).ok();
        Some(Self { port, roots, child, input, output, _folder: folder })
    }

    fn config(&self, security: Security, to: &str) -> EmailConfig {
        EmailConfig {
            host: "127.0.0.1".to_owned(),
            port: Some(self.port),
            security,
            login: None,
            roots: self.roots.clone(),
            from: "Counterfoil <counterfoil@log.example>".to_owned(),
            to: to.to_owned(),
        }
    }

    fn taken(&mut self) -> Value {
        next(&mut self.output)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

fn next(output: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

fn python() -> Option<PathBuf> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv/bin/python");
    let python = env::var_os("COUNTERFOIL_PYTHON").map_or(venv, PathBuf::from);
    let has = Command::new(&python).args(["-c", "import aiosmtpd, cryptography"]).output();
    if has.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let why =
        format!("{} has no aiosmtpd and cryptography: cargo xtask test installs them", python.display());
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
    eprintln!("NOT TESTED: e-mail: {why}");
    None
}

fn login(password: &str) -> Option<Login> {
    Some(Login { user: "user".to_owned(), password: password.to_owned().into() })
}

#[test]
fn a_message_is_an_e_mail() {
    let Some(mut server) = Server::start("plain") else { return };
    let config = server.config(Security::UnencryptedOnLoopback, "ops@approvals.example");
    let mut email = Email::new(config).unwrap();
    email.deliver(&delivery(&message("m"), 1_767_225_600_000)).unwrap();
    let taken = server.taken();
    let id = DeliveryId::of(&name("ops"), "m");
    assert_eq!(taken["sender"], "counterfoil@log.example");
    assert_eq!(taken["recipients"], serde_json::json!(["ops@approvals.example"]));
    assert_eq!(
        taken["mail"].as_str().unwrap(),
        format!(
            "From: Counterfoil <counterfoil@log.example>\r\n\
             To: ops@approvals.example\r\n\
             Subject: [requested] Deploy to production?\r\n\
             Message-ID: <{id}@log.example>\r\n\
             Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: 7bit\r\n\
             Auto-Submitted: auto-generated\r\n\
             \r\n\
             One line.\r\nAnother.\r\n\r\ntool: deploy\r\n\r\nhttps://approvals.example/p/7\r\n\r\n-- \r\nm, delivery {id}\r\n"
        )
    );
    // The same again has the same Message-ID.
    email.deliver(&delivery(&message("m"), 1_767_225_601_000)).unwrap();
    assert!(
        server.taken()["mail"].as_str().unwrap().contains(&format!("Message-ID: <{id}@log.example>\r\n"))
    );
}

#[test]
fn what_is_no_ascii_or_ends_a_mail_arrives_as_it_was() {
    let Some(mut server) = Server::start("plain") else { return };
    let mut email =
        Email::new(server.config(Security::UnencryptedOnLoopback, "ops@approvals.example")).unwrap();
    let text = format!("Größe\n.\n..\nFrom me\n{}", "€".repeat(700));
    let title = "Über 5 € ?= =?utf-8?q?Bcc=3A?=".to_owned();
    let message = Message::new(UnverifiedMessage { text, title, ..unverified("m") }).unwrap();
    email.deliver(&delivery(&message, 1)).unwrap();
    let mail = server.taken()["mail"].as_str().unwrap().to_owned();
    let decode = "import email, email.policy, json, sys\n\
        mail = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)\n\
        print(json.dumps([mail['subject'], mail.get_content(), mail.keys(), max(map(len, mail.as_string().splitlines()))]))";
    let mut child = Command::new(python().unwrap())
        .args(["-c", decode])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), mail.as_bytes()).unwrap();
    let read: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(read[0], r"[requested] Über 5 € ?= =\u{3f}utf-8?q?Bcc=3A?=");
    let content = read[1].as_str().unwrap().replace("\r\n", "\n");
    assert!(content.starts_with(message.text()), "{content}");
    assert_eq!(read[2].as_array().unwrap().len(), 8, "{read}");
}

#[test]
fn permanent_and_transient_failures_are_told_apart() {
    let Some(server) = Server::start("plain") else { return };
    let to = |to: &str| {
        let mut email = Email::new(server.config(Security::UnencryptedOnLoopback, to)).unwrap();
        email.deliver(&delivery(&message("m"), 1))
    };
    let refused = to("refuse@approvals.example").unwrap_err();
    assert!(
        matches!(&refused, Failure::Never { why } if why.contains("550") && why.contains("no such person")),
        "{refused:?}"
    );
    let later = to("later@approvals.example").unwrap_err();
    assert!(
        matches!(&later, Failure::Retry { why, .. } if why.contains("451") && why.contains("come back later")),
        "{later:?}"
    );
    to("ops@approvals.example").unwrap();
    let config = server.config(Security::UnencryptedOnLoopback, "ops@approvals.example");
    drop(server);
    let nobody = Email::new(config).unwrap().deliver(&delivery(&message("m"), 1)).unwrap_err();
    assert!(matches!(&nobody, Failure::Retry { .. }), "{nobody:?}");
}

#[test]
fn tls_is_used_and_verified_from_the_first_byte_and_by_starttls() {
    for (mode, security) in [("tls", Security::Tls), ("starttls", Security::StartTls)] {
        let Some(mut server) = Server::start(mode) else { return };
        let config = server.config(security, "ops@approvals.example");
        let mut email = Email::new(EmailConfig { login: login("password"), ..config.clone() }).unwrap();
        email.deliver(&delivery(&message("m"), 1)).unwrap();
        let taken = server.taken();
        assert_eq!((&taken["encrypted"], &taken["user"]), (&true.into(), &"user".into()), "{mode}");
        // A certificate of nobody's, or of another name, gets nothing.
        let unknown = EmailConfig { roots: None, ..config.clone() };
        let other = EmailConfig { host: "127.0.0.2".to_owned(), ..config };
        for config in [unknown, other] {
            let failure = Email::new(config).unwrap().deliver(&delivery(&message("m"), 1)).unwrap_err();
            assert!(matches!(failure, Failure::Retry { .. }), "{mode}: {failure:?}");
        }
    }
}

/// Somebody in between who takes STARTTLS away, or a server that has none, gets neither message nor password.
#[test]
fn without_starttls_nothing_is_sent() {
    let Some(mut server) = Server::start("bare") else { return };
    let config = server.config(Security::StartTls, "ops@approvals.example");
    let mut email = Email::new(EmailConfig { login: login("password"), ..config }).unwrap();
    let failure = email.deliver(&delivery(&message("m"), 1)).unwrap_err();
    assert!(matches!(&failure, Failure::Retry { why, .. } if why.contains("STARTTLS")), "{failure:?}");
    // What arrives is the first that was taken.
    let config = server.config(Security::UnencryptedOnLoopback, "marker@approvals.example");
    let mut email = Email::new(EmailConfig { login: login("password"), ..config }).unwrap();
    email.deliver(&delivery(&message("m"), 1)).unwrap();
    assert_eq!(server.taken()["recipients"][0], "marker@approvals.example");
}

#[test]
fn a_wrong_password_is_tried_again_and_shown_to_nobody() {
    let Some(server) = Server::start("bare") else { return };
    for login in [login("hush"), None] {
        let config = server.config(Security::UnencryptedOnLoopback, "ops@approvals.example");
        let mut email = Email::new(EmailConfig { login: login.clone(), ..config.clone() }).unwrap();
        let failure = email.deliver(&delivery(&message("m"), 1)).unwrap_err();
        assert!(matches!(&failure, Failure::Retry { why, .. } if why.contains("53")), "{failure:?}");
        let shown = format!("{failure:?} {email:?} {:?}", EmailConfig { login, ..config });
        assert!(!shown.contains("hush"), "{shown}");
    }
}

fn config() -> EmailConfig {
    EmailConfig {
        host: "mail.example".to_owned(),
        port: None,
        security: Security::Tls,
        login: None,
        roots: None,
        from: "a@b.example".to_owned(),
        to: "c@d.example".to_owned(),
    }
}

#[test]
fn another_machine_is_never_written_to_unencrypted() {
    let of = |host: &str| {
        let security = Security::UnencryptedOnLoopback;
        Email::new(EmailConfig { host: host.to_owned(), security, ..config() }).map(drop)
    };
    for host in ["localhost", "127.0.0.1", "127.9.9.9", "::1"] {
        of(host).unwrap();
    }
    for host in ["mail.example", "10.0.0.1", "localhost.example", "0.0.0.0", "::", "::ffff:10.0.0.1", ""] {
        assert!(matches!(of(host), Err(EmailError::NotLoopback { .. })), "{host}");
    }
}

#[test]
fn no_address_breaks_a_header_or_a_command() {
    for bad in [
        "",
        "a",
        "a@",
        "@b",
        "a@b.example\r\nRCPT TO:<x@y.example>",
        "a@b.example\nBcc: x@y.example",
        "A\r\nBcc: x@y.example <a@b.example>",
        "\"A\r\n\" <a@b.example>",
        "a\0@b.example",
        "a@b.example>\r\nDATA",
        "a@b.example, x@y.example",
        "ä@b.example",
        "\u{202e}A <a@b.example>",
        "A\u{1b}[2J <a@b.example>",
    ] {
        let from = Email::new(EmailConfig { from: bad.to_owned(), ..config() });
        let to = Email::new(EmailConfig { to: bad.to_owned(), ..config() });
        for made in [from, to] {
            assert!(matches!(&made, Err(EmailError::Address { address }) if address == bad), "{bad:?}");
        }
    }
}

#[test]
fn roots_that_are_none_are_no_roots() {
    let of = |roots: &[u8]| Email::new(EmailConfig { roots: Some(roots.to_vec()), ..config() }).map(drop);
    assert!(matches!(of(b""), Err(EmailError::NoRoots { .. })));
    assert!(matches!(of(b"not a certificate"), Err(EmailError::NoRoots { .. })));
    assert!(of(b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").is_err());
}
