//! `cargo xtask test`: installs what the tests need, then runs all of them.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use crate::{
    interop, mcp,
    run::{Step, exists, holds, root, run, run_into},
    vectors,
};

/// Debian packages by the program that shows they are there.
const PROGRAMS: [(&str, &str); 12] = [
    ("git", "git"),
    ("c++", "g++"),
    ("python3", "python3"),
    ("ld.lld", "lld"),
    ("go", "golang-go"),
    ("ssh-agent", "openssh-client"),
    ("strace", "strace"),
    ("faketime", "faketime"),
    ("curl", "curl"),
    ("jq", "jq"),
    ("node", "nodejs"),
    ("npm", "npm"),
];

/// What a build for wasm32 takes where rustup has no such target.
const WASM_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// The crates that do no I/O.
const PURE: [&str; 4] =
    ["counterfoil-tlog", "counterfoil-receipt", "counterfoil-policy", "counterfoil-verify"];

/// Runs `cargo xtask test [--no-install] [--full]`.
pub fn test(flags: &[&str]) -> Step {
    let install = !flags.contains(&"--no-install");
    if install {
        install_packages()?;
        mcp::install()?;
    } else {
        mcp::say_what_is_skipped();
    }
    interop::build(install)?;
    let python = provide_python(install)?;
    let programs = format!("COUNTERFOIL_INTEROP={}", text(&root().join(interop::PROGRAMS)));
    let with_packages = format!("COUNTERFOIL_PYTHON={python}");
    let with_sdks = format!("COUNTERFOIL_MCP={}", text(&root().join(mcp::PACKAGES)));
    // Most tests that take long wait for something, such as a time that has to be out.
    let threads = std::env::var("RUST_TEST_THREADS").unwrap_or_else(|_| {
        (2 * thread::available_parallelism().map_or(1, std::num::NonZero::get)).to_string()
    });
    let threads = format!("RUST_TEST_THREADS={threads}");
    let effort: &[&str] = if flags.contains(&"--full") { &["COUNTERFOIL_EFFORT=full"] } else { &[] };
    // What is started in the background ignores these, and so does all that it starts: the tests send them.
    let signals: &[&str] = &["--default-signal=INT,QUIT,HUP"];
    let signals = if holds("env", &[signals, &["true"]].concat()) { signals } else { &[] };
    let with = [signals, &[programs.as_str(), &with_packages, &with_sdks, &threads], effort].concat();
    run_tests(&with)?;
    let faults = vectors::check(&root());
    if !faults.is_empty() {
        return Err(faults.join("\n"));
    }
    check_independently(&python)?;
    build_for_wasm()
}

/// Halves of the tests' binaries, by name, that take about as long as each other.
const HALVES: [&[&str]; 2] = [&["--test", "[a-m]*"], &["--lib", "--bins", "--examples", "--test", "[!a-m]*"]];

/// Builds all tests, then runs them, half of the binaries beside the other; what the second half prints is shown after the first's.
fn run_tests(with: &[&str]) -> Step {
    let cargo = ["cargo", "test", "--workspace", "--locked"];
    let tests = |flags: &[&'static str]| [with, &cargo, flags].concat();
    run("env", &tests(&["--no-run"]))?;
    let [first, second] = HALVES.map(|half| tests(&[&["--no-fail-fast"], half].concat()));
    let target = root().join("target");
    fs::create_dir_all(&target).map_err(|error| error.to_string())?;
    let printed = target.join("tests-second-half.txt");
    let (first, second) = thread::scope(|threads| {
        let second = threads.spawn(|| run_into(&printed, "env", &second));
        (run("env", &first), second.join().unwrap_or_else(|_| Err("a thread panicked".to_owned())))
    });
    eprintln!("$ cargo test {}", HALVES[1].join(" "));
    println!("{}", read(&printed)?);
    let documented = run("env", &tests(&["--no-fail-fast", "--doc"]));
    first.and(second).and(documented)
}

/// The tests' Debian packages, by apt, and only those that are missing.
fn install_packages() -> Step {
    let mut missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !exists(program)).map(|(_, package)| *package).collect();
    if !holds("python3", &["-c", "import venv, ensurepip"]) {
        missing.push("python3-venv");
    }
    if !has_wasm_target() && !exists("/usr/bin/cargo") {
        missing.extend(WASM_PACKAGES);
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !exists("apt-get") {
        return Err(format!(
            "these are missing and there is no apt-get to install them: {}",
            missing.join(" ")
        ));
    }
    println!("installing Debian packages: {}", missing.join(" "));
    let apt = |arguments: &[&str]| {
        let is_root = holds("sh", &["-c", "test $(id -u) = 0"]);
        if is_root { run("apt-get", arguments) } else { run("sudo", &[&["apt-get"], arguments].concat()) }
    };
    apt(&["update", "-qq"])?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], missing.as_slice()].concat())
}

/// What the tests want of PyPI: the checker, the mail server that e-mail is tested against, and who asks for all that the OpenAPI
/// document describes.
const REQUIREMENTS: [&str; 3] = [
    "test-vectors/check/requirements.txt",
    "crates/notify/tests/smtp/requirements.txt",
    "crates/cli/tests/openapi/requirements.txt",
];

/// A Python with the packages of PyPI that the tests want, in a virtual environment; without `install` the one that is there.
fn provide_python(install: bool) -> Result<String, String> {
    let venv = root().join("target/venv");
    let python = venv.join("bin/python");
    if install {
        make_venv(&venv, &[], &REQUIREMENTS.map(|path| root().join(path)))?;
    }
    Ok(if python.exists() { text(&python) } else { "python3".to_owned() })
}

/// A virtual environment with the packages that these files name, by pip with these options, made unless it is there.
pub fn make_venv(venv: &Path, options: &[&str], requirements: &[PathBuf]) -> Step {
    let wanted = requirements.iter().map(|path| read(path)).collect::<Result<String, _>>()?;
    let installed = venv.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!("installing PyPI packages into {}: {}", venv.display(), wanted.trim().replace('\n', " "));
    run("python3", &["-m", "venv", &text(venv)])?;
    let pip = ["-m", "pip", "install", "-q", "--disable-pip-version-check"];
    let files: Vec<String> = requirements.iter().flat_map(|path| ["-r".to_owned(), text(path)]).collect();
    let words = pip.into_iter().chain(options.iter().copied()).chain(files.iter().map(String::as_str));
    run(&text(&venv.join("bin/python")), &words.collect::<Vec<_>>())?;
    fs::write(installed, wanted).map_err(|error| error.to_string())
}

/// The checker in Python that was written from the specification alone.
fn check_independently(python: &str) -> Step {
    let check = root().join("test-vectors/check");
    run(python, &["-m", "unittest", "discover", "-q", "-s", &text(&check)])?;
    run(python, &[&text(&check.join("check.py")), &text(&root().join("test-vectors"))])
}

/// The pure crates have to build where there is no operating system.
fn build_for_wasm() -> Step {
    let packages: Vec<&str> = PURE.iter().flat_map(|package| ["-p", package]).collect();
    let target =
        ["--release", "--locked", "--target", "wasm32-unknown-unknown", "--target-dir", "target/wasm"];
    if has_wasm_target() {
        return run("cargo", &[&["build"], target.as_slice(), packages.as_slice()].concat());
    }
    if !exists("/usr/bin/cargo") {
        return Err("no wasm32 target: rustup target add wasm32-unknown-unknown".to_owned());
    }
    // Debian's toolchain has the sources of the standard library, not its wasm build.
    let environment =
        ["RUSTC=/usr/bin/rustc", "RUSTC_BOOTSTRAP=1", "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld"];
    let build = ["/usr/bin/cargo", "build", "-Zbuild-std=std,panic_abort"];
    run("env", &[environment.as_slice(), &build, &target, &packages].concat())
}

fn has_wasm_target() -> bool {
    let script = "test -d \"$(rustc --print target-libdir --target wasm32-unknown-unknown)\"";
    holds("sh", &["-c", script])
}

/// A file's text.
pub fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// A path as a word of a command.
pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
