//! A connection between this process's standard streams and a server that it starts.

use std::{
    io::{self, BufRead, BufReader, Write},
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

/// Something that happens to a connection.
enum Event {
    Client(io::Result<Option<Line>>),
    Server(io::Result<Option<Line>>),
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
    let (to, events) = mpsc::sync_channel(64);
    forward(BufReader::new(client_in), to.clone(), Event::Client)?;
    forward(BufReader::new(server_out), to, Event::Server)?;
    let weak = Arc::downgrade(&proxy);
    watch(&shared, move || weak.upgrade().into_iter().collect())?;
    pump(&proxy, &events, told_to_end);
    end(&proxy, &mut server, told_to_end)
}

/// Passes lines on until one side ends.
fn pump(proxy: &Arc<Proxy>, events: &mpsc::Receiver<Event>, told_to_end: &dyn Fn() -> bool) {
    loop {
        // Who tells the gate to end is its client, or has ended that too.
        let event = if told_to_end() { Ok(Event::Client(Ok(None))) } else { events.recv_timeout(TICK) };
        match event {
            Ok(Event::Client(Ok(Some(line)))) => proxy.from_client(&line),
            Ok(Event::Server(Ok(Some(line)))) => proxy.from_server(&line, None),
            Ok(Event::Server(_)) => {
                proxy.server_gone();
                // What becomes of its calls is recorded, and said to who waits.
                let began = Instant::now();
                while proxy.is_busy() && began.elapsed() < limits::AFTER_SERVER && !told_to_end() {
                    match events.recv_timeout(Duration::from_millis(20)) {
                        Ok(Event::Client(Ok(Some(line)))) => proxy.from_client(&line),
                        Ok(Event::Client(_)) => break,
                        Ok(Event::Server(_)) | Err(_) => {}
                    }
                }
                return;
            }
            Ok(Event::Client(_)) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                proxy.client_gone();
                // What runs may still end, and be recorded so.
                let began = Instant::now();
                while proxy.is_busy() && began.elapsed() < patience(told_to_end) {
                    if let Ok(Event::Server(Ok(Some(line)))) = events.recv_timeout(Duration::from_millis(20))
                    {
                        proxy.from_server(&line, None);
                    }
                }
                return;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        proxy.tick();
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

/// Reads lines on a thread of its own.
fn forward(
    mut from: impl BufRead + Send + 'static,
    to: mpsc::SyncSender<Event>,
    event: impl Fn(io::Result<Option<Line>>) -> Event + Send + 'static,
) -> io::Result<()> {
    spawn(move || {
        loop {
            let line = lines::next(&mut from);
            let is_last = !matches!(line, Ok(Some(_)));
            if to.send(event(line)).is_err() || is_last {
                return;
            }
        }
    })
}
