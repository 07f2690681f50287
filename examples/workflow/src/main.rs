//! A durable workflow runtime on counterfoil, small enough to be read in one sitting. `README.md` says what it shows and in which order
//! to read it.

mod agent;
mod capabilities;
mod demo;
mod deployer;
mod interpreter;
mod journal;
mod runtime;
mod sandbox;
mod service;
mod stage;
mod step;
mod stop;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

/// An agent writes a workflow at run time; a runtime executes it step by step; what is risky waits for people.
#[derive(Parser, Debug)]
#[command(disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

/// Without one, all of it is shown.
#[derive(Subcommand, Debug)]
enum Command {
    Agent(agent::Agent),
    Run(runtime::RunWorkflow),
    Deployer(deployer::Deployer),
    #[command(hide = true)]
    Interpreter(interpreter::Interpreter),
}

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        None => demo::run(),
        Some(Command::Agent(command)) => command.run(),
        Some(Command::Run(command)) => command.run(),
        Some(Command::Deployer(command)) => command.run(),
        Some(Command::Interpreter(command)) => {
            command.run().map_err(|error| stop::Stop::new(stop::USAGE, "interpreter", error))
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            eprintln!("error{stop}");
            ExitCode::from(stop.status)
        }
    }
}

/// A line for whoever watches. That nobody reads it is no failure.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{}", stop::shown(line));
}
