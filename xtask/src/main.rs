//! Chores of this workspace: `cargo xtask test`, `interop`, `mcp`, `tidy`, `vectors`, `openapi`, `fuzz`, `soak`, `figures`.

mod beside;
mod figures;
mod fuzz;
mod interop;
mod mcp;
mod openapi;
mod run;
mod soak;
mod test;
mod tidy;
mod vectors;

use std::process::ExitCode;

use counterfoil_testkit::Effort;
use run::{Step, root};

const USAGE: &str = "usage: cargo xtask <command>

  test [--no-install] [--full]   install what the tests need, and pass them all
  interop                        build other people's clients and witnesses, which the tests run
  mcp                            install other people's MCP clients and servers, which the tests run
  tidy                           hold specification, predicates, codes, vectors and habits together
  vectors [--check]              write test-vectors/ anew, or compare it with what would be written
  openapi                        write spec/openapi.json anew, as the server serves it
  fuzz [SECONDS]                 every fuzz target for its share of the time, 60 seconds of one core unless the effort is another
  soak [--minutes N]             logs under load and restarts, 20 minutes unless said otherwise, one JSON line a figure
  figures foundation|log|authority|gate   measure what is claimed, one JSON line a figure
  figures log --long             the same with 20 minutes of soak, and every system call failing and killing

COUNTERFOIL_EFFORT scales kills, cases, bit flips and fuzzing: 1 unless set, `full` for all there is (`test --full` sets it).";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else { return usage() };
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let done = match (command.as_str(), rest.as_slice()) {
        ("test", flags) if flags.iter().all(|flag| ["--no-install", "--full"].contains(flag)) => {
            test::test(flags)
        }
        ("interop", []) => interop::build(true),
        ("mcp", []) => mcp::install(),
        ("tidy", []) => all(tidy::check(&root())),
        ("vectors", []) => all(vectors::write(&root())),
        ("vectors", ["--check"]) => all(vectors::check(&root())),
        ("openapi", []) => openapi::write(),
        ("fuzz", []) => fuzz::fuzz(Effort::from_env().of(60, 3_600)),
        ("fuzz", [seconds]) => match seconds.parse() {
            Ok(seconds) => fuzz::fuzz(seconds),
            Err(_) => return usage(),
        },
        ("soak", []) => soak::soak(soak::MINUTES),
        ("soak", ["--minutes", minutes]) => match minutes.parse() {
            Ok(minutes) => soak::soak(minutes),
            Err(_) => return usage(),
        },
        ("figures", ["foundation"]) => figures::foundation(),
        ("figures", ["authority"]) => figures::authority(),
        ("figures", ["gate"]) => figures::gate(),
        ("figures", ["log"]) => figures::log(false),
        ("figures", ["log", "--long"]) => figures::log(true),
        _ => return usage(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn all(faults: Vec<String>) -> Step {
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}
