//! A disk that is full under the real server: nothing acknowledged is lost, nobody is told a lie, and with room again the
//! log goes on where it was.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;
mod load;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use common::Desk;
use counterfoil_client::{Sealed, seal};
use counterfoil_receipt::{UnverifiedRecord, body::Evidence, field::List, text::Label};
use load::{Writer, all_are_there, reader};

/// What a test binary finds in its environment if it was started in a mount namespace of its own.
const ON_TMPFS: &str = "COUNTERFOIL_TEST_TMPFS";

/// How large a file may become where that is limited: sled's has half a megabyte from the start, the journal can grow to it.
const FILE_BYTES: u64 = 640 << 10;

/// What `ulimit -f` counts in, by POSIX.
const BLOCK: u64 = 512;

/// A server that is killed when it goes out of scope.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    /// Starts the server of `work`; if it does not come to listen, gives how it ended.
    fn start(desk: &Desk, blocks: Option<u64>) -> Result<Self, (Option<i32>, String)> {
        let serve = desk.command(&["serve", "-C", "work", "--listen", "127.0.0.1:0"]);
        let mut command = match blocks {
            None => serve,
            // Whoever ignores the signal gets an error for a write beyond the limit, as on a full disk.
            Some(blocks) => {
                let mut shell = Command::new("sh");
                let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
                shell.arg("-c").arg(script).arg(serve.get_program()).args(serve.get_args());
                shell.current_dir(serve.get_current_dir().unwrap());
                for (name, value) in serve.get_envs() {
                    match value {
                        Some(value) => shell.env(name, value),
                        None => shell.env_remove(name),
                    };
                }
                shell
            }
        };
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        match line.trim().strip_prefix("listening on ") {
            Some(url) => Ok(Self { url: url.to_owned(), child }),
            None => Err(ended(&mut child)),
        }
    }

    /// How it ended by itself: exit status and standard error.
    fn ended(mut self) -> (Option<i32>, String) {
        ended(&mut self.child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ended(child: &mut Child) -> (Option<i32>, String) {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(30), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (child.wait().unwrap().code(), stderr)
}

/// Submits until something is not acknowledged: what was, what was not, and why.
fn fill(desk: &Desk, url: &str) -> (Vec<UnverifiedRecord>, UnverifiedRecord, String) {
    let client = reader(desk, url);
    let (mut writer, mut next) = Writer::start(desk, client.trust().genesis(), "fill");
    let mut acknowledged = Vec::new();
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < Duration::from_secs(120), "{} and still not full", acknowledged.len());
        match client.submit(&next) {
            Err(why) => return (acknowledged, next, why.to_string()),
            Ok(_) => acknowledged.push(std::mem::replace(&mut next, writer.observe(None))),
        }
    }
}

/// Fills the disk under the server of `work`; then starts it again without room, and with room.
fn fills_and_goes_on(desk: &Desk, blocks: Option<u64>, reasons: &[&str], make_room: impl FnOnce()) {
    let says_why = |text: &str| reasons.iter().any(|reason| text.contains(reason));
    let server = Server::start(desk, blocks).unwrap_or_else(|ended| panic!("{ended:?}"));
    let (acknowledged, refused, why) = fill(desk, &server.url);
    assert!(acknowledged.len() > 10, "{why}");
    assert!(why.contains("log-failed") && says_why(&why), "{why}");
    let (code, stderr) = server.ended();
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("error[log-failed]: the log stopped") && says_why(&stderr), "{stderr}");
    assert!(stderr.contains("free some space on that disk"), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    // Without room it starts and shows everything, or it says why not.
    match Server::start(desk, blocks) {
        Ok(server) => all_are_there(desk, &server.url, &acknowledged, "still full"),
        Err((code, stderr)) => {
            assert!(code != Some(0) && stderr.contains("error[") && says_why(&stderr), "{code:?} {stderr}");
            assert!(!stderr.contains("panicked"), "{stderr}");
        }
    }
    make_room();
    let server = Server::start(desk, None).unwrap_or_else(|ended| panic!("{ended:?}"));
    all_are_there(desk, &server.url, &acknowledged, "with room again");
    reader(desk, &server.url).submit(&refused).unwrap();
    println!("count records acknowledged before the disk was full and found after it {}", acknowledged.len());
}

#[test]
fn files_that_can_not_grow_lose_nothing_that_was_acknowledged() {
    let desk = Desk::new();
    desk.good(&["init", "work"]);
    fills_and_goes_on(&desk, Some(FILE_BYTES / BLOCK), &["File too large"], || {});
}

#[test]
fn a_payload_without_room_is_refused_and_the_log_goes_on() {
    let desk = Desk::new();
    desk.good(&["init", "work"]);
    let server = Server::start(&desk, Some(FILE_BYTES / BLOCK)).unwrap();
    payload_without_room(&desk, &server.url, 2 << 20);
}

/// Submits a payload for which there is no room; the log goes on without it.
fn payload_without_room(desk: &Desk, url: &str, size: usize) {
    let client = reader(desk, url);
    let (mut writer, trigger) = Writer::start(desk, client.trust().genesis(), "payload");
    client.submit(&trigger).unwrap();
    let label = |text| Label::new(text).unwrap();
    let Sealed { item, opening } = seal(label("large"), label("text/plain"), vec![7; size]).unwrap();
    let naming = writer.observe(Some(List(vec![Evidence::Item(item)])));
    let why = client.submit_with(&naming, &[opening], &[]).unwrap_err().to_string();
    assert!(why.contains("store-full") && why.contains("make room"), "{why}");
    // Not even the record that names it was taken.
    assert!(client.client().record(naming.id()).unwrap_err().to_string().contains("record-unknown"));
    let incoming = fs::read_dir(desk.path("work/payloads/incoming")).unwrap().count();
    assert_eq!(incoming, 0, "what was written of it is gone");
    let (_, next) = Writer::start(desk, client.trust().genesis(), "afterwards");
    client.submit(&next).unwrap();
}

#[test]
fn a_full_file_system_loses_nothing_that_was_acknowledged() {
    if std::env::var_os(ON_TMPFS).is_some() {
        on_a_small_file_system();
        return;
    }
    // The same test once more, where it may mount something of its own.
    let name = "a_full_file_system_loses_nothing_that_was_acknowledged";
    let allowed = Command::new("unshare")
        .args(["-rm", "mount", "-t", "tmpfs", "tmpfs", "/tmp"])
        .status()
        .is_ok_and(|status| status.success());
    if !allowed {
        eprintln!("NOT TESTED: a full file system; nothing may be mounted here. Files that can't grow were.");
        return;
    }
    let mut again = Command::new("unshare");
    again.arg("-rm").arg(std::env::current_exe().unwrap()).args([name, "--exact", "--nocapture"]);
    assert!(again.env(ON_TMPFS, "1").status().unwrap().success());
}

/// Everything of the server's on a file system of 24 MiB, of which another file leaves little.
fn on_a_small_file_system() {
    let desk = Desk::new();
    let (work, filler) = (desk.path("work"), desk.path("work/filler"));
    fs::create_dir(&work).unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs"]).arg(&work).status();
    assert!(mounted.unwrap().success(), "a namespace of one's own, and no tmpfs");
    desk.good(&["init", "work"]);
    fill_but(&filler, 1 << 20);
    let server = Server::start(&desk, None).unwrap();
    payload_without_room(&desk, &server.url, 2 << 20);
    drop(server);
    fills_and_goes_on(&desk, None, &["No space left on device"], || fs::remove_file(&filler).unwrap());
}

/// Writes a file that leaves this much of its file system.
fn fill_but(path: &Path, left: u64) {
    let mut file = File::create(path).unwrap();
    while file.write_all(&[1; 4_096]).is_ok() {}
    let length = file.metadata().unwrap().len();
    file.set_len(length - left).unwrap();
}
