//! The agent's side: reads an alert and writes a workflow for it. Any program could stand here, a model above all; nothing that it
//! writes is trusted.

use std::{fs, path::PathBuf};

use clap::Args;
use serde_json::Value;

use crate::{
    service,
    stop::{Stop, USAGE},
};

/// Read an alert, and write a workflow that answers it.
#[derive(Args, Debug)]
pub struct Agent {
    /// The alert, as JSON
    alert: PathBuf,
    /// Where to write the workflow
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Agent {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Stop`] for an alert that it does not understand.
    pub fn run(&self) -> Result<(), Stop> {
        let alert = fs::read_to_string(&self.alert).map_err(|error| Stop::file(&self.alert, &error))?;
        let alert: Value = serde_json::from_str(&alert).map_err(|error| Stop::file(&self.alert, &error))?;
        let service =
            service::name(&alert).ok_or_else(|| Stop::new(USAGE, "alert", "it names no service"))?;
        fs::write(&self.out, workflow(service)).map_err(|error| Stop::file(&self.out, &error))
    }
}

/// What it writes: retries are bounded, the back-off is made as long as the provider's limit wants, the change is tested and deployed.
fn workflow(service: &str) -> String {
    let (attempts, backoff) = (5, 200);
    format!(
        r#"// Bound the retries of {service}.
pub fn main() {{
    let service = "{service}";
    let config = read_status(#{{service: service}}).config;
    let config = config.replace("attempts = unlimited", "attempts = {attempts}");
    let config = config.replace("backoff_ms = 0", "backoff_ms = {backoff}");

    let tested = run_tests(#{{service: service, config: config}});
    if !tested.passed {{
        panic!("the change does not hold");
    }}
    deploy(#{{service: service, config: config}});
    "deployed"
}}
"#
    )
}
