//! The command line: which commands there are, and what comes of them.

use std::{
    ffi::{OsStr, OsString},
    process::ExitCode,
};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{
    agent, approvals, approver, completions,
    context::{Common, Context},
    delegation, demo, doctor,
    error::{Failure, Outcome},
    gate, init, keys, listing, log, mcp, output, policy, receipt, record, resume, runs, serve,
    text::{SHOWN_CHARS, shortened},
    tokens, verify, witness,
};

/// Signed receipts for what AI agents do: propose, approve, execute, verify.
#[derive(Parser, Debug)]
#[command(
    name = "counterfoil",
    bin_name = "counterfoil",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Subcommand, Debug)]
enum Command {
    Init(init::Init),
    Serve(serve::Serve),
    Doctor(doctor::Doctor),
    Keys(keys::Keys),
    Tokens(tokens::Tokens),
    Policy(policy::Policy),
    Delegation(delegation::Delegation),
    Trigger(agent::StartRun),
    Observe(agent::Observe),
    Propose(agent::Propose),
    Handoff(agent::HandOver),
    Approvals(approvals::Approvals),
    Pending(approvals::Pending),
    Approve(approver::Approve),
    Reject(approver::Reject),
    RequestChanges(approver::RequestChanges),
    Settle(approver::Settle),
    Cancel(runs::Cancel),
    Gate(gate::Gate),
    Mcp(mcp::Mcp),
    Runs(listing::Runs),
    Resume(resume::Resume),
    Bundle(runs::Bundle),
    Receipt(receipt::Receipt),
    Verify(verify::Verify),
    Record(record::Record),
    Submit(runs::Submit),
    Witness(witness::Witness),
    Log(log::Log),
    Completions(completions::Completions),
    Demo(demo::Demo),
}

/// Runs the command that the arguments name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = parse(arguments).and_then(|parsed| match parsed {
        Parsed::Cli(cli) => cli.run(),
        Parsed::Help(text) => output::print(&text).map(|()| 0),
    });
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            output::note(&format!("{failure}\n"));
            ExitCode::from(failure.status())
        }
    }
}

enum Parsed {
    Cli(Box<Cli>),
    Help(String),
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Outcome<Parsed> {
    let read = |arguments: &[OsString]| {
        Cli::command().try_get_matches_from(arguments).and_then(|found| Cli::from_arg_matches(&found))
    };
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    read(&arguments).map(|cli| Parsed::Cli(Box::new(cli))).or_else(|error| {
        // The message repeats the argument at fault: all of it, unless it is given less.
        let brief: Vec<OsString> = arguments.iter().map(|argument| brief(argument)).collect();
        let error = read(&brief).err().unwrap_or(error);
        let text = error.render().to_string();
        if !error.use_stderr() {
            return Ok(Parsed::Help(text));
        }
        if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            return Err(Failure::new("usage", format!("a command is missing\n\n{}", text.trim_end()), ""));
        }
        // clap's own text, in our form: the message, then what it advises.
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let message = text.split_once("\n\nFor more information").map_or(text, |(message, _)| message);
        Err(Failure::new("usage", message.trim_end(), "add --help to see what the command takes"))
    })
}

/// An argument as a message repeats it.
fn brief(argument: &OsStr) -> OsString {
    argument.to_str().map_or_else(|| argument.to_owned(), |text| shortened(text, SHOWN_CHARS).into())
}

impl Cli {
    fn run(self) -> Outcome {
        let context = Context::new(self.common);
        match &self.command {
            Command::Init(command) => command.run(&context),
            Command::Serve(command) => command.run(&context),
            Command::Doctor(command) => command.run(&context),
            Command::Keys(command) => command.run(&context),
            Command::Tokens(command) => command.run(&context),
            Command::Policy(command) => command.run(&context),
            Command::Delegation(command) => command.run(&context),
            Command::Trigger(command) => command.run(&context),
            Command::Observe(command) => command.run(&context),
            Command::Propose(command) => command.run(&context),
            Command::Handoff(command) => command.run(&context),
            Command::Approvals(command) => command.run(&context),
            Command::Pending(command) => command.run(&context),
            Command::Approve(command) => command.run(&context),
            Command::Reject(command) => command.run(&context),
            Command::RequestChanges(command) => command.run(&context),
            Command::Settle(command) => command.run(&context),
            Command::Cancel(command) => command.run(&context),
            Command::Gate(command) => command.run(&context),
            Command::Mcp(command) => command.run(&context),
            Command::Runs(command) => command.run(&context),
            Command::Resume(command) => command.run(&context),
            Command::Bundle(command) => command.run(&context),
            Command::Receipt(command) => command.run(&context),
            Command::Verify(command) => command.run(&context),
            Command::Record(command) => command.run(&context),
            Command::Submit(command) => command.run(&context),
            Command::Witness(command) => command.run(&context),
            Command::Log(command) => command.run(&context),
            Command::Completions(command) => command.run(),
            Command::Demo(command) => command.run(&context),
        }
    }
}
