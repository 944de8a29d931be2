//! The command line: help, configuration errors, taken ports, ending by signal.

use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use crate::support::ports;
use crate::support::process::{Process, directory};
use crate::support::sipcast::Sipcast;

fn sipcast(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sipcast")).args(arguments).output().expect("just built")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_names_commands_and_flags() {
    let help = sipcast(&["--help"]);
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.status.success() && text.contains("serve") && text.contains("demo"), "{text}");
    let help = sipcast(&["serve", "--help"]);
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(text.contains("--config") && text.contains("--rest-listen"), "{text}");
}

#[test]
fn the_example_configuration_is_taken_as_it_is_printed() {
    let file = directory("config").join("sipcast.toml");
    std::fs::write(&file, sipcast(&["example-config"]).stdout).expect("a writable directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    // It gets as far as the port that is taken.
    let output = sipcast(&["serve", "--config", &file.display().to_string(), "--rest-listen", &address]);
    assert!(stderr(&output).contains(&address), "{}", stderr(&output));
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let file = directory("config").join("sipcast.toml");
    std::fs::write(&file, "[rest]\nlisten = \"127.0.0.1:1\"\nport = 5\n").expect("a writable directory");
    let output = sipcast(&["serve", "--config", &file.display().to_string()]);
    let text = stderr(&output);
    assert!(!output.status.success() && text.contains("line 3") && text.contains("port"), "{text}");
}

#[test]
fn each_taken_port_names_its_flag() {
    for flag in ["--rest-listen", "--origin-listen", "--sip-listen"] {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("bound");
        let mut arguments = vec!["serve".to_owned()];
        for other in ["--rest-listen", "--origin-listen", "--sip-listen"] {
            let port = if other == flag { address.port() } else { ports::free(1) };
            arguments.extend([other.to_owned(), format!("127.0.0.1:{port}")]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = sipcast(&arguments);
        let text = stderr(&output);
        assert!(
            !output.status.success() && text.contains(flag) && text.contains(&address.to_string()),
            "{text}"
        );
    }
}

#[test]
fn a_second_interrupt_ends_it_at_once() {
    // A call that rings for ever keeps the first interrupt busy: CANCEL is never answered there.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = silent.local_addr().expect("bound").port();
    let directory = directory("interrupt");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sipcast"));
    let rest = format!("127.0.0.1:{}", ports::free(1));
    command.arg("serve").args(["--rest-listen", &rest, "--set", "origin.enabled=false"]);
    command.args(["--sip-listen", &format!("127.0.0.1:{}", ports::free(1))]);
    let mut process = Process::start("sipcast", &directory, &mut command);
    process.wait_for_output("sipcast is running", Duration::from_secs(15));
    let order = crate::support::sipcast::order("silent", port, "rtmp://127.0.0.1:9/live", "x").to_string();
    let rest = rest.parse().expect("an address");
    let answer =
        crate::support::http::request(rest, "POST", "/rest-api/call/startup", &order).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.body);
    process.signal("INT");
    process.signal("INT");
    let status = process.wait_for_end(Duration::from_secs(15));
    assert!(matches!(status.code(), Some(0 | 130)), "{status}: {}", process.output());
}

#[test]
fn an_interrupt_without_calls_ends_it_cleanly() {
    Sipcast::start(&[]).stop();
}
