//! `perf load` refuses what it cannot run, says what to change, and tells that by its exit code.

use std::process::{Command, Output};

fn load(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_perf")).arg("load").args(arguments).output().expect("perf runs")
}

#[test]
fn options_that_are_wrong_are_named_and_end_with_2() {
    for (arguments, problem) in [
        (&[][..], "--calls"),
        (&["--calls", "0"], "--calls: from 1 to"),
        (&["--calls", "1,x"], "invalid value 'x'"),
        (&["--calls", "2", "--mix", "1M/mp3"], "the codec must be one of PCMU"),
        (&["--calls", "2", "--mix", "1M", "--bit-rate", "2M"], "cannot be used with"),
        (&["--calls", "2", "--churn", "3/s"], "--churn: at most one change a second"),
        (&["--calls", "2", "--loss", "101%"], "from 0% to 100%"),
        (&["--calls", "2", "--no-audio", "--no-video"], "leave nothing to send"),
        (&["--calls", "2", "--target", "http://host/live"], "--target: expected rtmp://"),
        (&["--calls", "2", "--set", "gather_ms=0"], "media.gather_ms=0"),
        (&["--calls", "2", "--api-key-env", "NAME"], "--rest"),
        (&["--calls", "2", "--rest", "http://127.0.0.1:1", "--shards", "2"], "cannot be used with"),
        (
            &["--calls", "2", "--rest", "http://127.0.0.1:1", "--api-key-env", "NO_SUCH_NAME"],
            "no such variable",
        ),
    ] {
        let output = load(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(problem), "{arguments:?}: {text}");
    }
}

#[test]
fn a_sipcast_that_does_not_answer_is_no_verdict() {
    let output = load(&["--calls", "1", "--rest", "http://127.0.0.1:1", "--quiet"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
}
