//! `counterfoil mcp serve`: what an agent itself does here, as tools: it proposes, waits, goes on with a run, verifies, shows receipts.
//!
//! Nothing here approves or executes. The agent's key is read at the start and leaves this process as signatures only; every answer
//! about a run stands on a bundle that was verified under the trust file, but for `approvals`, which says that it does not.

mod answer;
mod bundles;
mod handler;
mod limits;
mod lines;
mod list;
mod propose;
mod reading;
mod standing;
mod tools;
mod wait;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Args;
use counterfoil_receipt::{Role, RunId, body::Audience};
use counterfoil_verify::RunState;
use rmcp::ServiceExt as _;

use crate::{
    advice,
    agent::audience,
    context::Context,
    error::{Failure, Outcome},
    remote::Actor,
    text::printable,
};

/// Offer an agent what it needs of Counterfoil, as tools of an MCP server on standard input and output.
///
/// The tools propose, wait for people, give the verified state of a run, verify, list receipts and approvals, and cancel. None of them
/// approves or executes anything. Every answer about a run is verified under the trust file. The agent's key is read at the start:
/// DIR/keys/agent.key, or the one that --key names.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example, in a client's configuration:
  {\"mcpServers\": {\"counterfoil\": {\"command\": \"counterfoil\", \"args\": [\"mcp\", \"serve\", \"-C\", \"/home/ana/work\"]}}}

With a key, a server and a runtime of its own:
  {\"mcpServers\": {\"counterfoil\": {\"command\": \"counterfoil\", \"args\": [\"mcp\", \"serve\", \"-C\", \"/home/ana/work\",
    \"--server\", \"https://log.example.org\", \"--key\", \"/home/ana/keys/agent.key\", \"--for\", \"group:deployers\"],
    \"env\": {\"COUNTERFOIL_TOKEN\": \"…\"}}}}")]
pub struct Serve {
    /// Who may execute what is proposed: a principal, or group:NAME
    #[arg(long = "for", value_name = "WHO", default_value = "runtime", value_parser = audience)]
    audience: Audience,
    /// A directory of which `verify` may read bundles; without one it reads no files
    #[arg(long, value_name = "DIR")]
    bundles: Option<PathBuf>,
}

/// What the tools work with.
pub struct Agent {
    context: Context,
    actor: Actor,
    audience: Audience,
    bundles: Option<bundles::Bundles>,
    /// Held while something is proposed, so that the same is not proposed twice at once.
    proposing: Mutex<()>,
    /// Set once the client is gone.
    gone: Arc<AtomicBool>,
}

/// A call that is worked on.
pub struct Call {
    cancelled: Arc<AtomicBool>,
    gone: Arc<AtomicBool>,
}

impl Call {
    /// Whether nobody waits for the answer any more.
    fn is_over(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || self.gone.load(Ordering::Relaxed)
    }
}

impl Serve {
    /// Serves until the client closes the input.
    pub fn run(&self, context: &Context) -> Outcome {
        let actor = Actor::new(context, Role::Agent)?;
        if actor.key.role() != Role::Agent {
            let message = format!("the key of {} is one of role {}", actor.key.principal(), actor.key.role());
            return Err(Failure::new("role-not-allowed", message, "name a key of role agent with --key"));
        }
        let bundles = self.bundles.as_deref().map(bundles::Bundles::at).transpose()?;
        let gone = Arc::new(AtomicBool::new(false));
        let agent = Agent {
            context: context.clone(),
            actor,
            audience: self.audience.clone(),
            bundles,
            proposing: Mutex::new(()),
            gone: Arc::clone(&gone),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(limits::RUNNING)
            .enable_time()
            .build()
            .map_err(|error| Failure::new("threads", format!("no threads: {error}"), "try again"))?;
        let streams = lines::StandardStreams::new(gone);
        let ended = runtime.block_on(async {
            let service = handler::Tools::new(agent).serve(streams).await;
            match service {
                Ok(service) => service.waiting().await.map(|_| ()).map_err(|error| error.to_string()),
                // A client that closes the input before it asks anything ends this as any other does.
                Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        });
        // What still waits for the log waits for nobody.
        runtime.shutdown_background();
        let message = |why: String| {
            Failure::new(
                "mcp-ended",
                format!("the connection ended: {}", printable(&why)),
                "start the client again",
            )
        };
        ended.map(|()| 0).map_err(message)
    }
}

impl Agent {
    /// The verified state of a run now.
    fn state<T>(
        &self,
        run: RunId,
        tell: impl FnOnce(&counterfoil_client::View, &RunState<'_>) -> T,
    ) -> Outcome<T> {
        let view = self.actor.view(run)?;
        let state = RunState::of(view.verdict(), run, self.actor.client.trust().require());
        let state = state.map_err(|why| {
            let message = format!("the state of run {run} is not shown: {}", why.detail);
            let hint = why.finding.as_ref().map_or("check the run's id", |finding| advice::on(finding.code));
            Failure::new(why.code, message, hint).with_status(why.conclusion.exit_code())
        })?;
        Ok(tell(&view, &state))
    }
}
