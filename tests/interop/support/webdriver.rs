//! Chromium, headless, driven over the WebDriver protocol (W3C WebDriver, §8 to §17).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::http::request;
use super::process::{Process, directory};
use super::{ports, wait_for};

/// One browser window.
pub struct Browser {
    driver: SocketAddr,
    session: String,
    _process: Process,
}

/// Key under which an element's reference travels (§12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

impl Browser {
    /// Opens a window of `width` x `height`.
    pub fn open(width: u32, height: u32) -> Self {
        let port = ports::free(1);
        let driver: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
        let directory = directory("chromium");
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}"));
        let process = Process::start("chromedriver", &directory, &mut command);
        wait_for("chromedriver", Duration::from_secs(15), || request(driver, "GET", "/status", ""));
        let capabilities = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--autoplay-policy=no-user-gesture-required", "--mute-audio", "--disable-dev-shm-usage",
            format!("--user-data-dir={}", directory.join("profile").display()),
            format!("--window-size={width},{height}"),
        ] } } } });
        let answer =
            request(driver, "POST", "/session", &capabilities.to_string()).expect("chromedriver answers");
        let session =
            answer.json()["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned();
        Self { driver, session, _process: process }
    }

    /// Loads a page.
    pub fn go(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// Runs JavaScript and gives what it returns.
    pub fn run(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Replaces the text of the field with this id.
    pub fn fill(&self, id: &str, text: &str) {
        let element = self.element(id);
        self.post(&format!("element/{element}/clear"), &json!({}));
        self.post(&format!("element/{element}/value"), &json!({ "text": text }));
    }

    /// Clicks the element with this id as a person does.
    pub fn click(&self, id: &str) {
        let element = self.element(id);
        self.post(&format!("element/{element}/click"), &json!({}));
    }

    /// Text of the element with this id.
    pub fn text(&self, id: &str) -> String {
        self.run(&format!("return document.getElementById({id:?}).textContent.trim()"))
            .as_str()
            .expect("a text")
            .to_owned()
    }

    /// Writes a picture of the window to `file`.
    pub fn screenshot(&self, file: &Path) {
        let answer = request(self.driver, "GET", &self.path("screenshot"), "").expect("chromedriver answers");
        let picture = answer.json()["value"].as_str().expect("base64").to_owned();
        std::fs::write(file, decode_base64(&picture)).expect("a writable target directory");
    }

    fn element(&self, id: &str) -> String {
        let found = self.post("element", &json!({ "using": "css selector", "value": format!("#{id}") }));
        found[ELEMENT].as_str().unwrap_or_else(|| panic!("no #{id}: {found}")).to_owned()
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        let answer = request(self.driver, "POST", &self.path(command), &body.to_string())
            .expect("chromedriver answers");
        assert_eq!(answer.status, 200, "{command} {body}: {}", answer.body);
        answer.json()["value"].clone()
    }

    fn path(&self, command: &str) -> String {
        format!("/session/{}/{command}", self.session)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver closes the window; if it is gone already, so is the window.
        let _ = request(self.driver, "DELETE", &format!("/session/{}", self.session), "");
    }
}

fn decode_base64(text: &str) -> Vec<u8> {
    let value = |c: u8| -> u32 {
        match c {
            b'A'..=b'Z' => u32::from(c - b'A'),
            b'a'..=b'z' => u32::from(c - b'a') + 26,
            b'0'..=b'9' => u32::from(c - b'0') + 52,
            b'+' => 62,
            _ => 63,
        }
    };
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = group.iter().fold(0, |bits, c| bits << 6 | value(*c)) << (6 * (4 - group.len()));
        out.extend(&bits.to_be_bytes()[1..group.len()]);
    }
    out
}
