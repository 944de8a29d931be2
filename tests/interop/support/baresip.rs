//! baresip as callee: answers at once, sends H.264 of a test clip and G.711 with a beep each second.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::authority::Identity;
use super::ports;
use super::process::{Process, directory, run};

/// A running baresip.
pub struct Baresip {
    /// Its SIP port.
    pub port: u16,
    /// First and last RTP port.
    pub rtp_ports: (u16, u16),
    _process: Process,
}

/// Seconds of the clip; longer than any call of the scenarios.
const CLIP_SECONDS: &str = "60";

/// Beep at the start of every second, in ms.
const BEEP_MS: u32 = 100;

impl Baresip {
    /// Starts one that is called directly. `codec`: PCMU or PCMA.
    pub fn start(codec: &str) -> Self {
        Self::start_with(&format!("<sip:callee@127.0.0.1>;regint=0;answermode=auto;audio_codecs={codec}"))
    }

    /// Starts one that protects its media; `encryption`: `srtp` (if it is offered), `srtp-mand` (SAVP only).
    pub fn start_with_srtp(encryption: &str) -> Self {
        Self::start_with(&format!(
            "<sip:callee@127.0.0.1>;regint=0;answermode=auto;audio_codecs=PCMU;mediaenc={encryption}"
        ))
    }

    /// Starts one with an account line of its own.
    pub fn start_with(account: &str) -> Self {
        Self::start_saying(account, &clip().1)
    }

    /// Starts one that says what a WAV file holds, in the rate and channels of its codec, from the start of each call.
    pub fn start_saying(account: &str, sound: &Path) -> Self {
        Self::start_configured(account, sound, "", &from_clip())
    }

    /// Starts one that sends the pictures back that it is sent, decoded and encoded again; none before that.
    pub fn start_mirror() -> Self {
        let mirror = "video_source vidbridge,mirror\nvideo_display vidbridge,mirror\nmodule vidbridge.so\n";
        let account = "<sip:callee@127.0.0.1>;regint=0;answermode=auto;audio_codecs=PCMU";
        Self::start_configured(account, &clip().1, "", mirror)
    }

    /// Starts one that also listens for TLS, one port above, and trusts `roots`.
    pub fn start_tls(account: &str, identity: &Identity, roots: &Path) -> Self {
        let tls = format!("sip_certificate {}\nsip_cafile {}\n", identity.both.display(), roots.display());
        Self::start_configured(account, &clip().1, &tls, &from_clip())
    }

    fn start_configured(account: &str, sound: &Path, settings: &str, video: &str) -> Self {
        let port = ports::free(2);
        let rtp_port = ports::free(20);
        let directory = directory("baresip");
        let configuration = format!(
            "poll_method epoll\nsip_listen 127.0.0.1:{port}\nnet_interface 127.0.0.1\n\
             module_path /usr/lib/baresip/modules\n\
             audio_player aubridge,nil\naudio_source aufile,{}\n{video}\
             video_size 640x360\nvideo_bitrate 1000000\nvideo_fps 30\n\
             rtp_ports {rtp_port}-{}\nrtcp_enable yes\nrtcp_mux no\n\
             module g711.so\nmodule aufile.so\nmodule aubridge.so\nmodule avcodec.so\nmodule avformat.so\n\
             module srtp.so\nmodule g722.so\nmodule opus.so\n\
             module_app account.so\nmodule_app menu.so\navcodec_h264enc libx264\n{settings}",
            sound.display(),
            rtp_port + 19,
        );
        std::fs::write(directory.join("config"), configuration).expect("a writable directory");
        std::fs::write(directory.join("accounts"), format!("{account}\n")).expect("a writable directory");
        let mut command = Command::new("baresip");
        command.arg("-f").arg(&directory).arg("-v");
        let mut process = Process::start("baresip", &directory, &mut command);
        process.wait_for_output("baresip is ready", Duration::from_secs(15));
        Self { port, rtp_ports: (rtp_port, rtp_port + 19), _process: process }
    }
}

/// Settings for pictures of the test clip.
fn from_clip() -> String {
    format!("video_source avformat,{}\n", clip().0.display())
}

/// Test clip and beeps, made once per run.
fn clip() -> &'static (PathBuf, PathBuf) {
    static CLIP: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    CLIP.get_or_init(|| {
        let directory = directory("clip");
        let (clip, beeps) = (directory.join("clip.mkv"), directory.join("beeps.wav"));
        let beep = format!("volume=volume='if(lt(mod(t,1),{}),1,0)':eval=frame", f64::from(BEEP_MS) / 1000.0);
        ffmpeg(
            &["-f", "lavfi", "-i", "testsrc=size=640x360:rate=30,format=yuv420p", "-t", CLIP_SECONDS],
            &["-c:v", "libx264", "-preset", "ultrafast"],
            &clip,
        );
        // Frames of 1 ms, so that each beep begins and ends on its sample.
        let source = format!("sine=frequency=1000:sample_rate=8000:samples_per_frame=8,{beep}");
        ffmpeg(
            &["-f", "lavfi", "-i", &source, "-t", CLIP_SECONDS],
            &["-ac", "1", "-c:a", "pcm_s16le"],
            &beeps,
        );
        (clip, beeps)
    })
}

fn ffmpeg(input: &[&str], output: &[&str], file: &Path) {
    run(Command::new("ffmpeg").args(["-v", "error", "-y"]).args(input).args(output).arg(file));
}
