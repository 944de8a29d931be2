//! The OpenAPI document of `/v1` against the running process: schemathesis makes orders, good and bad, from the
//! document alone and checks that every answer is one that it describes.

use std::path::Path;
use std::process::Command;

use crate::support::process::run;
use crate::support::python;
use crate::support::sipcast::{Sipcast, scratch};

#[test]
fn every_answer_is_as_the_document_says() {
    let sipcast = Sipcast::start(&["rest.finished_call_grace_s=1", "sip.ring_timeout_s=1"]);
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/python/schemathesis.toml");
    let mut schemathesis = Command::new(python::program("schemathesis"));
    schemathesis
        .current_dir(scratch("openapi"))
        .env("NO_COLOR", "1")
        .arg("--config-file")
        .arg(settings)
        .args(["run", &format!("http://{}/v1/openapi.json", sipcast.rest)])
        .args(["--checks", "all", "--seed", "1", "--max-examples", "25", "--include-path-regex", "^/v1"])
        // A stream without an end.
        .args(["--exclude-path", "/v1/events"]);
    let report = String::from_utf8_lossy(&run(&mut schemathesis)).into_owned();
    assert!(report.contains("13 passed") && !report.contains("FAILURES"), "{report}");
    sipcast.stop();
}
