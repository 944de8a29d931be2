//! The OpenAPI document against the running process: schemathesis makes orders, good and bad, from the document alone
//! and checks that every answer is one that it describes.

use std::path::Path;
use std::process::Command;

use crate::support::process::run;
use crate::support::python;
use crate::support::sipcast::{Sipcast, scratch};

#[test]
fn every_answer_is_as_the_document_says() {
    // A stream without an end is left out.
    let report = schemathesis("^/v1", &["--checks", "all", "--exclude-path", "/v1/events"]);
    assert!(report.contains("13 passed") && !report.contains("FAILURES"), "{report}");
}

/// Fields of the compatible APIs are read leniently, and their bodies described as objects only: what is refused is not
/// checked against the document, but every answer is.
#[test]
fn answers_of_the_compatible_apis_are_as_the_document_says() {
    const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
        response_schema_conformance,unsupported_method";
    let report = schemathesis("^/(rest-api|RESTCall)", &["--checks", CHECKS]);
    assert!(report.contains("Tested: 38") && !report.contains("FAILURES"), "{report}");
}

fn schemathesis(paths: &str, arguments: &[&str]) -> String {
    let sipcast = Sipcast::start(&["rest.finished_call_grace_s=1", "sip.ring_timeout_s=1"]);
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/python/schemathesis.toml");
    let mut schemathesis = Command::new(python::program("schemathesis"));
    schemathesis
        .current_dir(scratch("openapi"))
        .env("NO_COLOR", "1")
        .arg("--config-file")
        .arg(settings)
        .args(["run", &format!("http://{}/v1/openapi.json", sipcast.rest)])
        .args(["--seed", "1", "--max-examples", "25", "--include-path-regex", paths])
        .args(arguments);
    let report = String::from_utf8_lossy(&run(&mut schemathesis)).into_owned();
    sipcast.stop();
    report
}
