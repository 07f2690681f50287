//! The terminal: one line a message, whatever is in it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod far_side;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use counterfoil_notify::*;
use far_side::*;

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_message_is_one_line() {
    let screen = Screen::default();
    let mut terminal = Terminal::new(screen.clone());
    terminal.deliver(&delivery(&message("m"), 1)).unwrap();
    let bare = UnverifiedMessage { text: String::new(), fields: Vec::new(), url: None, ..unverified("n") };
    terminal.deliver(&delivery(&Message::new(bare).unwrap(), 1)).unwrap();
    let shown = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
    assert_eq!(
        shown,
        "[requested] Deploy to production?: One line.\\u{a}Another.; tool: deploy; https://approvals.example/p/7\n\
         [requested] Deploy to production?\n"
    );
}

#[test]
fn a_closed_terminal_is_a_failure() {
    let failure = Terminal::new(Closed).deliver(&delivery(&message("m"), 1)).unwrap_err();
    assert_eq!(failure, Failure::Retry { why: "can't write: broken pipe".to_owned(), after: None });
}
