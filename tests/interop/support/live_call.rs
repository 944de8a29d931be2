//! A call that is published to targets: what the scenarios of the RTMP side begin with.

use std::any::Any;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sipcast_perf::callee::VideoOptions;

use super::baresip::Baresip;
use super::callee::TestCallee;
use super::http::{Answer, request};
use super::sipcast::{Sipcast, order};

/// A call that is up.
pub struct LiveCall {
    /// What publishes it.
    pub sipcast: Sipcast,
    name: String,
    _callee: Box<dyn Any>,
}

/// How long anything may take that depends on a connection.
const LIMIT: Duration = Duration::from_secs(90);

impl LiveCall {
    /// Calls baresip by an order of that name and waits until the call is up. The stream's name is `rtmp_` and the
    /// order's. baresip's clip lasts a minute.
    pub fn to(rtmp_url: &str, name: &str) -> Self {
        Self::with(name, rtmp_url, &[])
    }

    /// With settings of sipcast.
    pub fn with(name: &str, rtmp_url: &str, settings: &[&str]) -> Self {
        let baresip = Baresip::start("PCMU");
        Self::start(order(name, baresip.port, rtmp_url, name), Box::new(baresip), settings)
    }

    /// Calls the test callee, which sends for as long as it is asked to, with a backup of the target.
    pub fn with_backup(name: &str, rtmp_url: &str, backup_url: &str) -> Self {
        let callee = TestCallee::start();
        let mut order = order(name, callee.port, rtmp_url, name);
        order["rtmpBackupUrl"] = backup_url.into();
        Self::start(order, Box::new(callee), &[])
    }

    /// Calls the test callee, whose IDR pictures are longer than an RTMP chunk of sipcast's.
    pub fn with_large_pictures(name: &str, rtmp_url: &str) -> Self {
        let video = VideoOptions {
            width: 1280,
            height: 720,
            frame_rate: 15,
            bit_rate_bps: 8_000_000,
            ..VideoOptions::default()
        };
        let callee = TestCallee::start_with(video);
        Self::start(order(name, callee.port, rtmp_url, name), Box::new(callee), &[])
    }

    fn start(order: Value, callee: Box<dyn Any>, settings: &[&str]) -> Self {
        let sipcast = Sipcast::start(settings);
        let answer = sipcast.post("call/startup", &order);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let name = order["callId"].as_str().expect("text").to_owned();
        sipcast.wait_for_status(&name, "ESTABLISHED", LIMIT);
        Self { sipcast, name, _callee: callee }
    }

    /// URL of the embedded server's application.
    pub fn origin_url(&self) -> String {
        format!("rtmp://127.0.0.1:{}/live", self.sipcast.origin_port)
    }

    /// Adds a target by `/v1`; gives its `targetId`.
    pub fn add(&self, target: &Value) -> String {
        let answer = self.ask("POST", "/targets", &target.to_string());
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.json()["targetId"].as_str().expect("a name").to_owned()
    }

    /// Takes a target off the air by `/v1`.
    pub fn remove(&self, target_id: &str) {
        let answer = self.ask("DELETE", &format!("/targets/{target_id}"), "");
        assert_eq!(answer.status, 204, "{}", answer.body);
    }

    /// All targets as `/v1` shows them.
    pub fn targets(&self) -> Vec<Value> {
        let answer = self.ask("GET", "/targets", "");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["targets"].as_array().expect("a list").clone()
    }

    /// A target as `/v1` shows it.
    pub fn target(&self, target_id: &str) -> Value {
        let answer = self.ask("GET", &format!("/targets/{target_id}"), "");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// Waits until a target is as wanted; gives it as it was then.
    pub fn wait_for_target(&self, target_id: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let target = self.target(target_id);
            if wanted(&target) {
                return target;
            }
            assert!(start.elapsed() < LIMIT, "no {what}: {target}: {}", self.sipcast.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a target is on the air and took so many pictures more than it had.
    pub fn wait_for_pictures(&self, target_id: &str, count: u64) -> Value {
        let before = pictures(&self.target(target_id));
        self.wait_for_target(target_id, "pictures", |target| {
            target["state"] == "PUBLISHING" && pictures(target) >= before + count
        })
    }

    /// Hangs up, ends sipcast, and asserts that everything came home.
    pub fn end(self) {
        assert_eq!(self.sipcast.call(&self.name).expect("the call is still up")["status"], "ESTABLISHED");
        let order = json!({ "callId": self.name });
        assert_eq!(self.sipcast.post("call/terminate", &order).status, 200);
        self.sipcast.stop();
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let rest: SocketAddr = self.sipcast.rest;
        let path = format!("/v1/broadcasts/{}{path}", self.name);
        request(rest, method, &path, body).expect("an answer")
    }
}

fn pictures(target: &Value) -> u64 {
    target["accessUnits"].as_u64().expect("a number")
}
