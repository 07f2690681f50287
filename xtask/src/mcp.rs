//! Other people's clients and servers of the Model Context Protocol, from npm and PyPI in the versions that
//! `crates/cli/tests/mcp_sdk` names.

use std::{fs, path::Path, process::Command};

use crate::{
    run::{Step, root, run},
    test::{make_venv, read, text},
};

/// The oldest Node that runs them.
const NODE: u32 = 20;
/// The oldest Python that the versions named are for.
const PYTHON: (u32, u32) = (3, 11);
/// What to do where one of these is too old or missing.
const WITHOUT: &str = "install that, or go on without other people's MCP clients and servers: `cargo xtask test --no-install`, which \
                       then does not test crates/cli/tests/mcp_sdk.rs";

/// What says which versions: npm's, and those of two virtual environments, as the Python SDK 1.x and 2.x can't share one.
const VERSIONS: &str = "crates/cli/tests/mcp_sdk";
const NPM: [&str; 2] = ["package.json", "package-lock.json"];
const PYPI: [(&str, &str); 2] = [("1", "requirements-1.txt"), ("2", "requirements-2.txt")];

/// Where they are put, for tests to find.
pub const PACKAGES: &str = "target/mcp";

/// Installs what is not there in these versions.
pub fn install() -> Step {
    let (from, to) = (root().join(VERSIONS), root().join(PACKAGES));
    let files = NPM.into_iter().chain(PYPI.map(|(_, file)| file)).map(|file| from.join(file));
    let wanted = files.map(|file| read(&file)).collect::<Result<String, _>>()?;
    let installed = to.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    node_is_new_enough()?;
    python_is_new_enough()?;
    fs::create_dir_all(&to).map_err(|error| format!("{}: {error}", to.display()))?;
    for file in NPM {
        fs::copy(from.join(file), to.join(file)).map_err(|error| format!("{file}: {error}"))?;
    }
    println!("installing npm packages into {}: {}", to.display(), npm_packages(&from)?);
    let npm = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"];
    run("npm", &[&npm[..], &[text(&to).as_str()]].concat())?;
    for (venv, file) in PYPI {
        // What is built from source would run what it says on the way.
        make_venv(&to.join(venv), &["--only-binary=:all:"], &[from.join(file)])?;
    }
    fs::write(&installed, wanted).map_err(|error| format!("{}: {error}", installed.display()))
}

/// Says what is not tested where nothing of this is installed.
pub fn say_what_is_skipped() {
    let installed = root().join(PACKAGES).join("installed.txt");
    if !installed.is_file() {
        let why = "there is no target/mcp: `cargo xtask mcp` installs it";
        eprintln!(
            "NOT TESTED with other people's MCP clients and servers (crates/cli/tests/mcp_sdk.rs): {why}"
        );
    }
}

/// What a program says of its version.
fn version_of(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}; {WITHOUT}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn python_is_new_enough() -> Step {
    let script = "import sys; print('%d.%d' % sys.version_info[:2])";
    let version = version_of("python3", &["-c", script])?;
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    let found: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found >= PYTHON {
        return Ok(());
    }
    let (major, minor) = PYTHON;
    Err(format!("Python {version} is too old: version {major}.{minor} or newer is needed; {WITHOUT}"))
}

fn node_is_new_enough() -> Step {
    let version = version_of("node", &["--version"])?;
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
    if major.is_some_and(|major: u32| major >= NODE) {
        return Ok(());
    }
    Err(format!("Node {version} is too old for the MCP SDKs: version {NODE} or newer is needed; {WITHOUT}"))
}

/// The packages that are asked for by name, with their versions.
fn npm_packages(from: &Path) -> Result<String, String> {
    let package: serde_json::Value =
        serde_json::from_str(&read(&from.join(NPM[0]))?).map_err(|error| error.to_string())?;
    let asked = package["dependencies"].as_object().into_iter().flatten();
    let named = asked.map(|(name, version)| format!("{name}@{}", version.as_str().unwrap_or_default()));
    Ok(named.collect::<Vec<_>>().join(" "))
}
