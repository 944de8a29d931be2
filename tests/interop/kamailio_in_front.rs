//! Kamailio as registrar and proxy between sipcast and baresip: digest, Record-Route, un-registration.

use std::time::Duration;

use crate::support::baresip::Baresip;
use crate::support::kamailio::Kamailio;
use crate::support::nginx::Nginx;
use crate::support::sipcast::{PASSWORD, Sipcast, order};
use crate::support::wait_for;

#[test]
fn a_call_goes_through_registrar_and_proxy_over_udp() {
    goes_through_registrar_and_proxy("udp");
}

#[test]
fn a_call_goes_through_registrar_and_proxy_over_tcp() {
    goes_through_registrar_and_proxy("tcp");
}

fn goes_through_registrar_and_proxy(transport: &str) {
    let kamailio = Kamailio::start(PASSWORD);
    let nginx = Nginx::start();
    let callee = Baresip::start_with(&format!(
        "<sip:callee@127.0.0.1:{}>;auth_user=callee;auth_pass={PASSWORD};regint=60;answermode=auto;audio_codecs=PCMU",
        kamailio.port
    ));
    wait_for("registration of the callee", Duration::from_secs(20), || {
        kamailio.output().contains("REGISTER of callee").then_some(())
    });
    let sipcast = Sipcast::start(&[]);
    let mut order = order("proxied", kamailio.port, &nginx.url(), "proxied");
    order["sipRegisterRequired"] = true.into();
    order["sipTransport"] = transport.into();
    let answer = sipcast.post("call/startup", &order);
    assert_eq!(answer.status, 200, "{}", answer.body);
    sipcast.wait_for_status("proxied", "ESTABLISHED", Duration::from_secs(20));
    let registered = format!("REGISTER of caster over {transport}");
    assert!(kamailio.output().contains(&registered), "{}", kamailio.output());
    wait_for("pictures", Duration::from_secs(20), || {
        let statistics = sipcast.statistics();
        (statistics["totals"]["accessUnits"].as_u64()? > 30).then_some(())
    });

    assert_eq!(sipcast.post("call/terminate", &serde_json::json!({ "callId": "proxied" })).status, 200);
    wait_for("BYE and un-registration by way of the proxy", Duration::from_secs(20), || {
        let log = kamailio.output();
        let unregistered = log.matches(&registered).count() >= 2;
        let in_dialog = |method| log.contains(&format!("in-dialog {method} over {transport}"));
        (in_dialog("ACK") && in_dialog("BYE") && unregistered).then_some(())
    });
    assert!(!sipcast.log().contains(PASSWORD), "the password is in the log");
    drop(callee);
    sipcast.stop();
}

#[test]
fn a_wrong_password_fails_the_call_with_its_status() {
    let kamailio = Kamailio::start("another password");
    let sipcast = Sipcast::start(&[]);
    let answer =
        sipcast.post("call/startup", &order("refused", kamailio.port, "rtmp://127.0.0.1:1/live", "x"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let call = sipcast.wait_for_status("refused", "FAILED", Duration::from_secs(20));
    assert_eq!(call["sipStatus"], 407, "{call}");
    sipcast.stop();
}
