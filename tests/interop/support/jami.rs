//! Jami's daemon as callee: PJSIP with Jami's media, which it wants protected. It is driven over a message bus of its
//! own and answers with a clip for a camera; without sound card its sound is silence.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::ports;
use super::process::{Process, directory, run};
use super::wait_for;

/// A running jamid with one account of SIP that registers nowhere.
pub struct Jami {
    /// Its SIP port.
    pub port: u16,
    bus: String,
    account: String,
    clip: PathBuf,
    _processes: [Process; 2],
}

const SOON: Duration = Duration::from_secs(20);

impl Jami {
    /// Calls until one must have pictures: the thread of its camera now and then begins before its clip is named, and
    /// gives it up for the call ("Immediate exit requested" in its log).
    pub const CALLS_MAX: usize = 6;
    /// How long after its answer pictures come, or none.
    pub const FILMS_WITHIN: Duration = Duration::from_secs(8);

    /// Starts one that listens on loopback.
    pub fn start() -> Self {
        let (port, rtp_port) = (ports::free(2), ports::free(20));
        let directory = directory("jami");
        let clip = directory.join("clip.mkv");
        run(Command::new("ffmpeg")
            .args(["-v", "error", "-f", "lavfi", "-i", "testsrc=size=640x360:rate=30,format=yuv420p"])
            .args(["-t", "30", "-c:v", "libx264", "-preset", "ultrafast"])
            .arg(&clip));
        let socket = directory.join("bus");
        let bus = format!("unix:path={}", socket.display());
        // Without directories of services: the bus must not start another daemon when one is asked for.
        let configuration = directory.join("bus.conf");
        let rules =
            "<allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/>";
        let text = format!(
            "<busconfig><type>session</type><listen>{bus}</listen>\n\
             <policy context=\"default\">{rules}</policy></busconfig>\n"
        );
        std::fs::write(&configuration, text).expect("a writable directory");
        let mut command = Command::new("dbus-daemon");
        command.arg("--nofork").arg(format!("--config-file={}", configuration.display()));
        let bus_process = Process::start("dbus", &directory, &mut command);
        wait_for("the bus", SOON, || socket.exists().then_some(()));
        let mut command = Command::new("/usr/libexec/jamid");
        command.args(["-c", "-d", "-p"]).env("DBUS_SESSION_BUS_ADDRESS", &bus).env("HOME", &directory);
        for variable in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"] {
            command.env(variable, directory.join(variable));
        }
        let process = Process::start("jamid", &directory, &mut command);
        let ask = |method: &str, arguments: &[&str]| ask(&bus, "ConfigurationManager", method, arguments);
        wait_for("jamid on the bus", SOON, || ask("getAccountList", &[]));
        let details = format!(
            "{{'Account.type':'SIP','Account.username':'callee','Account.localInterface':'lo',\
             'Account.localPort':'{port}','Account.publishedPort':'{port}','Account.upnpEnabled':'false',\
             'Account.audioPortMin':'{rtp_port}','Account.audioPortMax':'{}','Account.videoPortMin':'{}',\
             'Account.videoPortMax':'{}','Account.ringtoneEnabled':'false'}}",
            rtp_port + 9,
            rtp_port + 10,
            rtp_port + 19,
        );
        let account = quoted(&ask("addAccount", &[&details]).expect("jamid answers")).expect("an account");
        wait_for("an account that is ready", SOON, || {
            ask("getVolatileAccountDetails", &[&account])?.contains("READY").then_some(())
        });
        Self { port, bus, account, clip, _processes: [process, bus_process] }
    }

    /// Waits for a call and answers it with the clip as camera.
    pub fn answer(&self) {
        self.answer_after("");
    }

    /// The same with a call other than `former`. Gives what jamid calls it.
    pub fn answer_after(&self, former: &str) -> String {
        let call = wait_for("a call at jamid", SOON, || self.call().filter(|call| call != former));
        let medium = |kind: &str, source: &str| {
            format!(
                "{{'MEDIA_TYPE':'MEDIA_TYPE_{kind}','ENABLED':'true','MUTED':'false','SOURCE':'{source}',\
                 'LABEL':'{}_0'}}",
                kind.to_lowercase()
            )
        };
        let media = format!("[{},{}]", medium("AUDIO", ""), medium("VIDEO", &self.camera()));
        let answered = ask(&self.bus, "CallManager", "acceptWithMedia", &[&self.account, &call, &media]);
        assert_eq!(answered.as_deref().map(str::trim), Some("(true,)"));
        call
    }

    fn call(&self) -> Option<String> {
        quoted(&ask(&self.bus, "CallManager", "getCallList", &[&self.account])?)
    }

    fn camera(&self) -> String {
        format!("file://{}", self.clip.display())
    }
}

/// Calls a method of the daemon and gives the answer as text; `None` while there is nobody on the bus.
fn ask(bus: &str, object: &str, method: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new("gdbus")
        .env("DBUS_SESSION_BUS_ADDRESS", bus)
        .args(["call", "--session", "--dest", "cx.ring.Ring"])
        .arg("--object-path")
        .arg(Path::new("/cx/ring/Ring").join(object))
        .args(["--method", &format!("cx.ring.Ring.{object}.{method}")])
        .args(arguments)
        .output()
        .expect("tests/run installs gdbus");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first text in an answer.
fn quoted(answer: &str) -> Option<String> {
    answer.split('\'').nth(1).map(str::to_owned)
}
