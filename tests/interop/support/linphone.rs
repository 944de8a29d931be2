//! Linphone as callee: its daemon without sound card or camera answers at once; after that it plays a clip into the
//! call, whose H.264 goes out as it is in the file and whose sound goes through its Opus encoder.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::ports;
use super::process::{Process, directory, run};
use super::wait_for;

/// A running linphone-daemon.
pub struct Linphone {
    /// Its SIP port.
    pub port: u16,
    clip: PathBuf,
    commands: PathBuf,
    _process: Process,
}

impl Linphone {
    /// Starts one that will play `sound` beside a moving test picture of 640x360. `encryption`: `none` or `srtp`.
    pub fn start(sound: &Path, encryption: &str) -> Self {
        let port = ports::free(2);
        let rtp_port = ports::free(4);
        let directory = directory("linphone");
        let clip = directory.join("clip.mkv");
        make_clip(sound, &clip);
        // It does not start without a place for its data base.
        std::fs::create_dir_all(directory.join(".local/share/linphone")).expect("a writable directory");
        let configuration = format!(
            "[sip]\nsip_port={port}\nsip_tcp_port=-1\nbind_address=127.0.0.1\nguess_hostname=0\n\
             contact=\"callee\" <sip:callee@127.0.0.1>\nmedia_encryption={encryption}\n\
             [rtp]\naudio_rtp_port={rtp_port}\nvideo_rtp_port={}\n\
             [video]\nenabled=1\ncapture=1\ndisplay=0\nautomatically_accept=1\nautomatically_initiate=1\n\
             device=StaticImage: Static picture\nsize=vga\n\
             [sound]\nechocancellation=0\n",
            rtp_port + 2,
        );
        std::fs::write(directory.join("linphonerc"), configuration).expect("a writable directory");
        // It makes its socket of this name in /tmp.
        let name = format!("sipcast-test-linphone-{}-{port}", std::process::id());
        let mut command = Command::new("linphone-daemon");
        command.env("HOME", &directory).arg("--config").arg(directory.join("linphonerc"));
        command.arg("--log").arg(directory.join("daemon.log")).args(["--auto-answer", "-C", "--pipe", &name]);
        let process = Process::start("linphone", &directory, &mut command);
        let commands = Path::new("/tmp").join(name);
        wait_for("linphone's socket", Duration::from_secs(20), || commands.exists().then_some(()));
        Self { port, clip, commands, _process: process }
    }

    /// Plays the clip into the call that is up.
    pub fn play(&self) {
        let mut commands = UnixStream::connect(&self.commands).expect("linphone listens");
        // In one piece: it takes what one read gives it for a whole command.
        let command = format!("incall-player-start {}\n", self.clip.display());
        commands.write_all(command.as_bytes()).expect("linphone reads");
        // It forgets commands of who has gone before it looks.
        commands.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
        let (mut said, mut buffer) = (String::new(), [0; 256]);
        while !said.contains("Status: ") {
            let len = commands.read(&mut buffer).expect("linphone answers");
            assert_ne!(len, 0, "linphone hung up: {said}");
            said.push_str(&String::from_utf8_lossy(&buffer[..len]));
        }
        assert!(said.contains("Status: Ok"), "{said}");
    }
}

impl Drop for Linphone {
    fn drop(&mut self) {
        // It leaves the socket behind when it is told to end by a signal.
        let _ = std::fs::remove_file(&self.commands);
    }
}

/// Pictures that need no more than Constrained Baseline, an IDR picture each second.
fn make_clip(sound: &Path, clip: &Path) {
    run(Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc=size=640x360:rate=30,format=yuv420p", "-i"])
        .arg(sound)
        .args(["-t", "30", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"])
        .args(["-profile:v", "baseline", "-g", "30", "-c:a", "libopus", "-ac", "2", "-b:a", "64k"])
        .arg(clip));
}
