//! A connection between this process's standard streams and a server that it starts.

use std::{
    io::{self, BufReader, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use crate::{
    limits,
    lines::{self, Line},
    pool::spawn,
    proxy::Proxy,
    shared::Shared,
    watch::watch,
    writer::Writer,
};

/// How often it is looked who waited long enough.
const TICK: Duration = Duration::from_millis(250);
/// The same for whether what runs has ended, once one side is gone.
const LOOK: Duration = Duration::from_millis(20);

/// Who says no more.
#[derive(Clone, Copy)]
enum Gone {
    Client,
    Server,
}

/// Says so when it is dropped, also by a panic.
struct SaysSo(Gone, mpsc::Sender<Gone>);

impl Drop for SaysSo {
    fn drop(&mut self) {
        // Nobody may be waiting for it.
        let _ = self.1.send(self.0);
    }
}

/// Starts the server and serves the client until one of them is gone, or until `told_to_end` says so; how the server ended. What runs
/// then has an outcome that is recorded, if need be that it is unknown.
///
/// # Errors
/// If the server can't be started.
pub fn serve(
    command: &mut Command,
    client_in: impl io::Read + Send + 'static,
    client_out: impl Write + Send + 'static,
    shared: Arc<Shared>,
    told_to_end: &dyn Fn() -> bool,
) -> io::Result<Option<ExitStatus>> {
    let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
    let (Some(server_in), Some(server_out)) = (server.stdin.take(), server.stdout.take()) else {
        return Err(io::Error::other("the server has no standard streams"));
    };
    let (client, server_in) = (Writer::new(Box::new(client_out))?, Writer::new(Box::new(server_in))?);
    // There is nobody else who would have to wait.
    let running = limits::RUNNING;
    let proxy = Proxy::new(Arc::new(client), Arc::new(server_in), Arc::clone(&shared), running);
    let (to, gone) = mpsc::channel();
    listen(&proxy, client_in, |proxy, line| proxy.from_client(line), SaysSo(Gone::Client, to.clone()))?;
    listen(
        &proxy,
        server_out,
        |proxy, line| proxy.from_server(line, None),
        SaysSo(Gone::Server, to.clone()),
    )?;
    let weak = Arc::downgrade(&proxy);
    watch(&shared, move || weak.upgrade().into_iter().collect())?;
    wait_for_end(&proxy, &gone, told_to_end);
    end(&proxy, &mut server, told_to_end)
}

/// Waits until one side ends, and then for what runs.
fn wait_for_end(proxy: &Arc<Proxy>, gone: &mpsc::Receiver<Gone>, told_to_end: &dyn Fn() -> bool) {
    let first = loop {
        // Who tells the gate to end is its client, or has ended that too.
        let first = if told_to_end() { Ok(Gone::Client) } else { gone.recv_timeout(TICK) };
        match first {
            Ok(first) => break first,
            Err(_) => proxy.tick(),
        }
    };
    let began = Instant::now();
    match first {
        Gone::Server => {
            proxy.server_gone();
            // What becomes of its calls is recorded, and said to who waits.
            while proxy.is_busy() && began.elapsed() < limits::AFTER_SERVER && !told_to_end() {
                if let Ok(Gone::Client) = gone.recv_timeout(LOOK) {
                    return;
                }
            }
        }
        Gone::Client => {
            proxy.client_gone();
            // What runs may still end, and be recorded so.
            while proxy.is_busy() && began.elapsed() < patience(told_to_end) {
                if let Ok(Gone::Server) = gone.recv_timeout(LOOK) {
                    proxy.server_gone();
                }
            }
        }
    }
}

/// Closes the server's input, waits for it, and ends it if it does not end by itself. What still runs then has an unknown outcome,
/// which is recorded.
fn end(proxy: &Proxy, server: &mut Child, told_to_end: &dyn Fn() -> bool) -> io::Result<Option<ExitStatus>> {
    proxy.close_server();
    let mut ended = wait(server, told_to_end)?;
    if ended.is_none() {
        server.kill()?;
        ended = Some(server.wait()?);
    }
    proxy.server_gone();
    wait_for_calls(proxy);
    proxy.shared.log_outcomes();
    proxy.drain(limits::TOLD_TO_END);
    Ok(ended)
}

fn wait(server: &mut Child, told_to_end: &dyn Fn() -> bool) -> io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    loop {
        match server.try_wait()? {
            Some(status) => return Ok(Some(status)),
            None if began.elapsed() > patience(told_to_end) => return Ok(None),
            None => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// How long what runs is let end.
fn patience(told_to_end: &dyn Fn() -> bool) -> Duration {
    if told_to_end() { limits::TOLD_TO_END } else { limits::SHUTDOWN }
}

fn wait_for_calls(proxy: &Proxy) {
    let began = Instant::now();
    while proxy.is_busy() && began.elapsed() < limits::SHUTDOWN {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Hands over the lines of one side on a thread of their own, and says when there are no more.
fn listen(
    proxy: &Arc<Proxy>,
    from: impl io::Read + Send + 'static,
    take: impl Fn(&Arc<Proxy>, &Line) + Send + 'static,
    says_so: SaysSo,
) -> io::Result<()> {
    let (proxy, mut from) = (Arc::downgrade(proxy), BufReader::new(from));
    spawn(move || {
        let _says_so = says_so;
        while let Ok(Some(line)) = lines::next(&mut from)
            && let Some(proxy) = proxy.upgrade()
        {
            take(&proxy, &line);
        }
    })
}
