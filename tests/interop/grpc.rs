//! gRPC from another language: a Python client that knows the service by reflection alone runs a call to the test
//! callee and the embedded origin from order to end, watches it, and is refused what is wrong.

use std::net::{Ipv4Addr, SocketAddr};

use crate::support::process::run;
use crate::support::sipcast::Sipcast;
use crate::support::{callee, ports, python};

#[test]
fn a_python_client_runs_a_call() {
    let grpc: SocketAddr = (Ipv4Addr::LOCALHOST, ports::free(1)).into();
    let callee = callee::TestCallee::start();
    let sipcast = Sipcast::start(&["grpc.enabled=true", &format!("grpc.listen={grpc}")]);
    let origin = format!("rtmp://127.0.0.1:{}/live", sipcast.origin_port);
    let mut client = python::script("grpc_client.py");
    client.args([grpc.to_string(), callee.port.to_string(), origin]);
    let printed = run(&mut client);
    assert!(String::from_utf8_lossy(&printed).starts_with("passed"));
    assert!(!sipcast.log().contains("s3cret"), "{}", sipcast.log());
    sipcast.stop();
}
