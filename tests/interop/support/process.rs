//! A child process that ends with its test, its output in a file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::wait_for;

/// A running peer.
pub struct Process {
    name: String,
    child: Child,
    output: PathBuf,
}

/// A new empty directory for one peer.
pub fn directory(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let unique = format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique);
    std::fs::create_dir_all(&path).expect("a writable target directory");
    path
}

/// Runs `command` to its end and gives its standard output; fails the test unless it succeeds.
pub fn run(command: &mut Command) -> Vec<u8> {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run installs it"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

impl Process {
    /// Starts `command`, its output in `directory`.
    pub fn start(name: &str, directory: &Path, command: &mut Command) -> Self {
        let output = directory.join(format!("{name}.log"));
        let file = File::create(&output).expect("a writable directory");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("descriptors"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}; tests/run installs it"));
        Self { name: name.to_owned(), child, output }
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).expect("just created")).into_owned()
    }

    /// Waits until its output contains `text`.
    pub fn wait_for_output(&mut self, text: &str, limit: Duration) {
        wait_for(&format!("{text:?} from {} (see {})", self.name, self.output.display()), limit, || {
            if let Some(status) = self.child.try_wait().expect("our child") {
                panic!("{} ended with {status}: {}", self.name, self.output());
            }
            self.output().contains(text).then_some(())
        });
    }

    /// Sends a signal, by its name without SIG.
    pub fn signal(&self, name: &str) {
        run(Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()));
    }

    /// Waits for its end.
    pub fn wait_for_end(&mut self, limit: Duration) -> ExitStatus {
        wait_for(&format!("end of {} (see {})", self.name, self.output.display()), limit, || {
            self.child.try_wait().expect("our child")
        })
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_none()
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            self.signal("TERM");
            for _ in 0..50 {
                if !self.is_running() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            // Both fail only when it has just ended.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
