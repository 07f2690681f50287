//! Other people's clients and witnesses, unmodified, built from the Go modules in `tests/interop`.

use std::{fs, path::Path, process::Command};

use crate::run::{Step, exists, root, run};

/// The oldest Go that builds them.
const GO: (u32, u32) = (1, 25);

/// The module of clients, and the test that a tlog-tiles log with `POST /add` has to pass.
const CLIENTS: &str = "tests/interop/clients";
const INTEGRATION: &str = "github.com/transparency-dev/tessera/integration";

/// The module of the witness, and the module of which it wants a version that can't be had.
const WITNESS: &str = "tests/interop/omniwitness";
const OMNIWITNESS: &str = "github.com/transparency-dev/witness/cmd/omniwitness";
const MERKLE: &str = "github.com/transparency-dev/merkle";

/// Where the programs are put, for tests to find.
pub const PROGRAMS: &str = "target/interop/bin";

/// Builds everything; what was built before is only looked at. Without `install`, from modules that are here already.
pub fn build(install: bool) -> Step {
    let go = |module: &str, arguments: &[&str]| go(install, module, arguments);
    go_is_new_enough()?;
    let out = format!("{}/{PROGRAMS}/", root().display());
    fs::create_dir_all(&out).map_err(|error| format!("{out}: {error}"))?;
    go(CLIENTS, &["build", "-o", &out, "./...", "tool"])?;
    go(CLIENTS, &["test", "-c", "-o", &format!("{out}integration.test"), INTEGRATION])?;
    provide_merkle(&go)?;
    go(WITNESS, &["build", "-o", &out, "./...", OMNIWITNESS])
}

fn go_is_new_enough() -> Step {
    if !exists("go") {
        return Err("there is no go: install it, version 1.25 or newer".to_owned());
    }
    let version = output_of_go(CLIENTS, &["env", "GOVERSION"])?;
    let mut numbers = version.trim_start_matches("go").split('.').map(|part| part.parse().unwrap_or(0));
    let found: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found >= GO {
        return Ok(());
    }
    Err(format!("{version} is too old for tests/interop: version {}.{} or newer is needed", GO.0, GO.1))
}

/// The witness wants a version of the Merkle library that the module proxy does not serve, for a function that only its
/// `sign-subtree` calls. It gets the last release, and beside it that function, which refuses.
fn provide_merkle(go: &dyn Fn(&str, &[&str]) -> Step) -> Step {
    let to = root().join("target/interop/merkle");
    if to.join("go.mod").exists() {
        return Ok(());
    }
    go(CLIENTS, &["mod", "download", MERKLE])?;
    let from = output_of_go(CLIENTS, &["list", "-m", "-f", "{{.Dir}}", MERKLE])?;
    let copying = root().join("target/interop/merkle.part");
    let _ = fs::remove_dir_all(&copying);
    copy(Path::new(&from), &copying)
        .and_then(|()| fs::write(copying.join("proof/subtree.go"), REFUSES))
        .and_then(|()| fs::rename(&copying, &to))
        .map_err(|error| format!("{}: {error}", to.display()))
}

const REFUSES: &str = "package proof

import (
\t\"errors\"

\t\"github.com/transparency-dev/merkle\"
)

// VerifySubtreeConsistency is not in this release.
func VerifySubtreeConsistency(_ merkle.LogHasher, _, _, _ uint64, _ [][]byte, _, _ []byte) error {
\treturn errors.New(\"subtree consistency is not in this release\")
}
";

/// Copies files that are read-only into files that are not.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::write(&target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// Go as the modules pin it: this toolchain, these versions, no C.
const ENVIRONMENT: [&str; 3] = ["GOTOOLCHAIN=local", "GOFLAGS=-mod=readonly", "CGO_ENABLED=0"];

fn go(install: bool, module: &str, arguments: &[&str]) -> Step {
    let proxy: &[&str] = if install { &[] } else { &["GOPROXY=off"] };
    run("env", &[&ENVIRONMENT[..], proxy, &["go", "-C", module], arguments].concat())
}

fn output_of_go(module: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("env")
        .args([&ENVIRONMENT[..], &["go", "-C", module], arguments].concat())
        .current_dir(root())
        .output()
        .map_err(|error| format!("go: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("go {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)))
    }
}
