//! Python programs as clients of the APIs, in the environment that `tests/run` makes.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A command that runs `tests/interop/python/<script>`.
pub fn script(script: &str) -> Command {
    let mut command = Command::new(program("python"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/python").join(script));
    command
}

/// A program of the environment.
pub fn program(name: &str) -> PathBuf {
    let target =
        Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a directory of the target directory");
    let environment = std::env::var_os("TEST_PYTHON").map_or(target.join("test-python"), PathBuf::from);
    environment.join("bin").join(name)
}
