//! The process under test.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::http::{Answer, request};
use super::process::{Process, directory};
use super::{ports, wait_for};

/// A running `sipcast serve`.
pub struct Sipcast {
    /// REST API and page.
    pub rest: SocketAddr,
    /// SIP port.
    pub sip_port: u16,
    /// RTMP port of the embedded server.
    pub origin_port: u16,
    /// First and last RTP port.
    pub rtp_ports: (u16, u16),
    process: Process,
}

/// RTP ports a test's sipcast has.
const RTP_PORTS: u16 = 40;

impl Sipcast {
    /// Sends a signal, by its name without SIG.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Starts one with default settings and these on top.
    pub fn start(settings: &[&str]) -> Self {
        let rest: SocketAddr = (Ipv4Addr::LOCALHOST, ports::free(1)).into();
        let (sip_port, origin_port, rtp_port) = (ports::free(1), ports::free(1), ports::free(RTP_PORTS));
        let directory = directory("sipcast");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sipcast"));
        command.current_dir(&directory).arg("serve");
        for setting in [
            format!("rest.listen={rest}"),
            format!("sip.listen=127.0.0.1:{sip_port}"),
            format!("origin.listen=127.0.0.1:{origin_port}"),
            "media.address=127.0.0.1".to_owned(),
            format!("media.port_min={rtp_port}"),
            format!("media.port_max={}", rtp_port + RTP_PORTS - 1),
            "log.level=debug".to_owned(),
        ]
        .into_iter()
        .chain(settings.iter().map(|s| (*s).to_owned()))
        {
            command.arg("--set").arg(setting);
        }
        let process = Process::start("sipcast", &directory, &mut command);
        let mut sipcast =
            Self { rest, sip_port, origin_port, rtp_ports: (rtp_port, rtp_port + RTP_PORTS - 1), process };
        wait_for("answer from sipcast's REST API", Duration::from_secs(20), || {
            assert!(sipcast.process.is_running(), "{}", sipcast.log());
            request(rest, "GET", "/statistics", "")
        });
        sipcast
    }

    /// POSTs `body` to a method under /rest-api.
    pub fn post(&self, method: &str, body: &Value) -> Answer {
        request(self.rest, "POST", &format!("/rest-api/{method}"), &body.to_string()).expect("an answer")
    }

    /// The Call object of `call_id`, while there is one.
    pub fn call(&self, call_id: &str) -> Option<Value> {
        let answer = self.post("call/find", &json!({ "callId": call_id }));
        match answer.status {
            200 => Some(answer.json()[0].clone()),
            404 => None,
            status => panic!("find answered {status}: {}", answer.body),
        }
    }

    /// Waits until the call has `status`.
    pub fn wait_for_status(&self, call_id: &str, status: &str, limit: Duration) -> Value {
        let mut last = Value::Null;
        wait_for(&format!("status {status} of {call_id}"), limit, || {
            let call = self.call(call_id)?;
            assert!(
                call["status"] == status || !is_final(&call["status"]),
                "wanted {status}, ended as {call}: {}",
                self.log()
            );
            last = call.clone();
            (call["status"] == status).then_some(call)
        })
    }

    /// Figures of this moment.
    pub fn statistics(&self) -> Value {
        request(self.rest, "GET", "/statistics", "").expect("an answer").json()
    }

    /// The SIP messages of a call.
    pub fn ladder(&self, call_id: &str) -> Value {
        request(self.rest, "GET", &format!("/calls/{call_id}/ladder"), "").expect("an answer").json()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Ends it as an operator does and asserts that everything came home.
    pub fn stop(mut self) {
        self.process.signal("INT");
        let status = self.process.wait_for_end(Duration::from_secs(15));
        assert!(status.success(), "{status}: {}", self.log());
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

fn is_final(status: &Value) -> bool {
    ["FINISH", "BUSY", "FAILED"].iter().any(|last| status == last)
}

/// An order for a call to a callee on loopback, to be changed as the test needs.
pub fn order(call_id: &str, callee_port: u16, rtmp_url: &str, stream: &str) -> Value {
    json!({
        "callId": call_id, "callee": "callee", "rtmpUrl": rtmp_url, "rtmpStream": stream,
        "hasAudio": "true", "hasVideo": "true",
        "sipLogin": "caster", "sipAuthenticationName": "caster", "sipPassword": PASSWORD,
        "sipDomain": "127.0.0.1", "sipOutboundProxy": "127.0.0.1", "sipPort": callee_port.to_string(),
        "sipRegisterRequired": "false", "appKey": "defaultApp",
    })
}

/// The password of every order, so that tests can look for it where it must not be.
pub const PASSWORD: &str = "s3cret-Pa55word";

/// Somewhere for a scenario's files.
pub fn scratch(name: &str) -> PathBuf {
    directory(name)
}
