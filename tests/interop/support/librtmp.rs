//! librtmp as publisher: the program of `librtmp/publisher.c`, which sends a clip at the pace of its time stamps.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::process::{Process, directory, run};

/// A running publisher.
pub struct LibrtmpPublisher {
    process: Process,
}

impl LibrtmpPublisher {
    /// Starts to publish a clip of that many seconds (640x360, 30 pictures/s, AAC of 48 kHz) and waits until the server
    /// let it.
    pub fn start(url: &str, clip_seconds: u32) -> Self {
        let directory = directory("librtmp");
        let (program, clip) = (directory.join("publisher"), directory.join("clip.flv"));
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/interop/librtmp/publisher.c");
        run(Command::new("cc").arg("-o").arg(&program).arg(source).arg("-lrtmp"));
        run(Command::new("ffmpeg")
            .args(["-v", "error", "-f", "lavfi", "-i", "testsrc=size=640x360:rate=30"])
            .args(["-f", "lavfi", "-i", "sine=sample_rate=48000", "-t", &clip_seconds.to_string()])
            .args([
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-g",
                "30",
                "-pix_fmt",
                "yuv420p",
                "-c:a",
                "aac",
            ])
            .arg(&clip));
        let mut process = Process::start("publisher", &directory, Command::new(program).arg(url).arg(clip));
        process.wait_for_output("publishing", Duration::from_secs(20));
        Self { process }
    }

    /// Waits until the clip is over and asserts that librtmp had nothing to complain about.
    pub fn end(mut self) {
        let status = self.process.wait_for_end(Duration::from_secs(60));
        assert!(status.success(), "{status}: {}", self.process.output());
        assert_eq!(self.process.output().trim(), "publishing");
    }
}
