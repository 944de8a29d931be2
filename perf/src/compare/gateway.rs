//! The processes under comparison: started for N calls, watched, ended.
//! Takes: a command line, or several. Gives: process IDs; what they said when one of them ends early.
//! Leaves out: what they use (`usage`), and the product, which has a harness of its own (`load`).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long they may take to end when asked to.
const END_TIME: Duration = Duration::from_secs(5);
/// Octets of a process's output that an error shows.
const OUTPUT_SHOWN: usize = 2_000;

/// Processes that carry the calls of one run. Dropping it kills them.
pub(super) struct Gateway {
    processes: Vec<Process>,
}

struct Process {
    child: Child,
    pid: u32,
    output: PathBuf,
}

impl Gateway {
    pub const fn new() -> Self {
        Self { processes: Vec::new() }
    }

    /// Starts one more process; what it prints goes to a file in `directory`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self, program: &Path, arguments: &[String], directory: &Path) -> anyhow::Result<()> {
        let output = directory.join(format!("gateway-{}.log", self.processes.len()));
        let file = File::create(&output).with_context(|| format!("create {}", output.display()))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            // A group of its own: Ctrl-C is ours to pass on.
            .process_group(0);
        let child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let pid = child.id().with_context(|| format!("{} ended at once", program.display()))?;
        self.processes.push(Process { child, pid, output });
        Ok(())
    }

    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(|process| process.pid).collect()
    }

    /// Sees whether all still run.
    ///
    /// # Errors
    /// Shows what the first that ended has said.
    pub fn check(&mut self) -> anyhow::Result<()> {
        for process in &mut self.processes {
            if let Some(status) = process.child.try_wait()? {
                anyhow::bail!("process {} ended with {status}: {}", process.pid, said(&process.output));
            }
        }
        Ok(())
    }

    /// Whether every process has printed something.
    pub fn has_spoken(&self) -> bool {
        let len = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
        self.processes.iter().all(|process| len(&process.output) > 0)
    }

    /// Asks all to end, and makes those that do not.
    pub async fn stop(mut self) {
        let pids: Vec<String> = self.processes.iter().map(|process| process.pid.to_string()).collect();
        if !pids.is_empty() {
            // There is no safe call for it in the standard library; kill(1) is POSIX.
            let _ = Command::new("kill").arg("-TERM").args(pids).stderr(Stdio::null()).status().await;
        }
        for process in &mut self.processes {
            if timeout(END_TIME, process.child.wait()).await.is_err() {
                let _ = process.child.kill().await;
            }
        }
    }
}

/// The end of what a process printed.
fn said(output: &Path) -> String {
    let octets = fs::read(output).unwrap_or_default();
    let shown = &octets[octets.len().saturating_sub(OUTPUT_SHOWN)..];
    String::from_utf8_lossy(shown).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> [String; 2] {
        ["-c".to_owned(), script.to_owned()]
    }

    #[tokio::test]
    async fn one_that_ends_is_noticed_with_its_last_words_and_the_others_end_with_it() {
        let directory = std::env::temp_dir().join(format!("perf-gateway-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let mut gateway = Gateway::new();
        gateway.start(Path::new("sh"), &shell("sleep 60"), &directory).unwrap();
        gateway.check().unwrap();
        assert!(!gateway.has_spoken());
        gateway.start(Path::new("sh"), &shell("echo no such codec; exit 3"), &directory).unwrap();
        gateway.processes[1].child.wait().await.unwrap();
        let error = gateway.check().unwrap_err().to_string();
        assert!(error.contains("no such codec"), "{error}");
        let pid = gateway.pids()[0];
        gateway.stop().await;
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        fs::remove_dir_all(&directory).unwrap();
    }
}
