//! Running other programs.

use std::{
    env,
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

/// A step that worked, or why it did not.
pub type Step = Result<(), String>;

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Whether a program of this name or path is there.
pub fn exists(program: &str) -> bool {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths).any(|directory| directory.join(program).is_file())
}

/// Runs a program in the root of the repository and shows what it prints.
pub fn run(program: &str, arguments: &[&str]) -> Step {
    eprintln!("$ {program} {}", arguments.join(" "));
    let status = Command::new(program).args(arguments).current_dir(root()).status();
    ended(program, arguments, status)
}

/// Runs a program in the root of the repository; what it prints, on either way, goes into a file.
pub fn run_into(file: &Path, program: &str, arguments: &[&str]) -> Step {
    let status = File::create(file).and_then(|file| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(root()).stdout(file.try_clone()?).stderr(file).status()
    });
    ended(program, arguments, status)
}

fn ended(program: &str, arguments: &[&str], status: io::Result<ExitStatus>) -> Step {
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} {}: {status}", arguments.join(" "))),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// Whether a program ends well; what it prints is not shown.
pub fn holds(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    output.is_ok_and(|output| output.status.success())
}
