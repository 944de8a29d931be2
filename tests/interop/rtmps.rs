//! RTMPS of the whole process: nginx's stream module (OpenSSL) takes TLS off in front of its rtmp module, with a
//! certificate of a private authority.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;

use crate::support::live_call::LiveCall;
use crate::support::nginx::Nginx;
use crate::support::playback::{assert_plays, pictures};
use crate::support::process::directory;
use crate::support::wait_for;

/// Pictures that a server must have taken: two seconds.
const PICTURES: usize = 60;

#[test]
fn a_server_of_a_known_authority_gets_the_call_also_after_it_was_away() {
    let mut server = Nginx::start_with_tls("localhost");
    let url = format!("rtmps://localhost:{}/live", server.tls_port);
    let call = LiveCall::with("secure", &url, &[&roots(&server)]);
    let target = call.targets()[0]["targetId"].as_str().expect("a name").to_owned();
    wait_for_recording(&server, 0);
    assert_eq!(call.target(&target)["tls"], "verified");
    server.kill();
    let lost = call.wait_for_target(&target, "loss", |target| target["state"] == "RECONNECTING");
    assert!(lost["fault"].is_string(), "{lost}");
    server.restart();
    wait_for_recording(&server, 1);
    let again = call.wait_for_pictures(&target, 30);
    assert!(again["reconnects"].as_u64() > Some(0) && again["fault"].is_null(), "{again}");
    call.end();
    // The first recording was cut by the crash: its last tag may be.
    assert_plays(&server.recordings()[1], PICTURES);
}

#[test]
fn a_server_of_an_unknown_authority_gets_nothing_unless_the_order_says_so() {
    let server = Nginx::start_with_tls("localhost");
    let url = format!("rtmps://localhost:{}/live", server.tls_port);
    let call = LiveCall::to(&url, "unknown");
    let target = call.targets()[0]["targetId"].as_str().expect("a name").to_owned();
    let refused = call.wait_for_target(&target, "refusal", |target| target["fault"].is_string());
    let fault = refused["fault"].as_str().expect("text");
    assert!(fault.contains("not trusted") && fault.contains("rtmp.tls_roots"), "{fault}");
    assert_eq!(refused["state"], "RECONNECTING");
    assert_eq!(call.sipcast.statistics()["broadcasts"][0]["targets"][0]["fault"], fault);
    assert!(server.recordings().is_empty(), "it was published all the same");

    let target = call.add(&json!({ "rtmpUrl": url, "rtmpStream": "taken", "rtmpTlsVerify": false }));
    wait_for_recording(&server, 0);
    let taken = call.wait_for_pictures(&target, 30);
    assert_eq!((&taken["tls"], &taken["fault"]), (&json!("unverified"), &json!(null)));
    call.end();
    assert_eq!(server.recordings().len(), 1);
    assert_plays(&server.recordings()[0], PICTURES);
}

#[test]
fn roots_that_were_replaced_are_in_force_after_sighup() {
    let server = Nginx::start_with_tls("localhost");
    let url = format!("rtmps://localhost:{}/live", server.tls_port);
    let roots = directory("roots").join("roots.pem");
    std::fs::write(&roots, stranger()).expect("a writable directory");
    let written = std::fs::metadata(&roots).and_then(|file| file.modified()).expect("a time");
    let call = LiveCall::with("renewed", &url, &[&format!("rtmp.tls_roots={}", roots.display())]);
    let target = call.targets()[0]["targetId"].as_str().expect("a name").to_owned();
    let refused = call.wait_for_target(&target, "refusal", |target| target["fault"].is_string());
    assert!(refused["fault"].as_str().expect("text").contains("not trusted"), "{refused}");
    // As old as the one it replaces: it is the signal that makes it known.
    std::fs::copy(server.roots(), &roots).expect("writable");
    let file = std::fs::File::options().write(true).open(&roots).expect("writable");
    file.set_modified(written).expect("our own file");
    call.sipcast.signal("HUP");
    wait_for_recording(&server, 0);
    assert_eq!(call.target(&target)["tls"], "verified");
    call.end();
    assert_plays(&server.recordings()[0], PICTURES);
}

#[test]
fn a_certificate_for_another_host_is_refused_by_name_and_by_address() {
    let server = Nginx::start_with_tls("other.example");
    let url = |host: &str| format!("rtmps://{host}:{}/live", server.tls_port);
    let call = LiveCall::with("another", &url("localhost"), &[&roots(&server)]);
    let by_name = call.targets()[0]["targetId"].as_str().expect("a name").to_owned();
    let by_address = call.add(&json!({ "rtmpUrl": url("127.0.0.1"), "rtmpStream": "address" }));
    for target in [by_name, by_address] {
        let refused = call.wait_for_target(&target, "refusal", |target| target["fault"].is_string());
        let fault = refused["fault"].as_str().expect("text");
        assert!(fault.contains("for another host"), "{fault}");
        assert_eq!((&refused["tls"], &refused["bytesSent"]), (&json!("verified"), &json!(0)));
    }
    // Plain RTMP to a port of TLS, and TLS to one of plain RTMP, say what to do.
    let plain = call.add(&json!({
        "rtmpUrl": format!("rtmp://127.0.0.1:{}/live", server.tls_port), "rtmpStream": "plain",
    }));
    let secure = call.add(&json!({
        "rtmpUrl": format!("rtmps://localhost:{}/live", server.port), "rtmpStream": "secure",
    }));
    for (target, remedy) in [(plain, "use rtmps://"), (secure, "use rtmp://")] {
        let refused = call.wait_for_target(&target, "refusal", |target| target["fault"].is_string());
        assert!(refused["fault"].as_str().expect("text").contains(remedy), "{refused}");
    }
    assert!(server.recordings().is_empty(), "it was published all the same");
    call.end();
}

/// Roots of an authority that nobody here has a certificate of.
fn stranger() -> String {
    let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, "stranger");
    let key = KeyPair::generate().expect("random bytes");
    CertifiedIssuer::self_signed(parameters, key).expect("a key that can sign").pem()
}

fn roots(server: &Nginx) -> String {
    format!("rtmp.tls_roots={}", server.roots().display())
}

fn wait_for_recording(server: &Nginx, index: usize) {
    wait_for("pictures at the server", Duration::from_secs(40), || {
        (pictures(server.recordings().get(index)?) >= PICTURES).then_some(())
    });
}
