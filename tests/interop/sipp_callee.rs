//! sipp as callee: the ways a call can go, each by a scenario that checks our side of it message by message.

use std::time::Duration;

use serde_json::json;

use crate::support::ports;
use crate::support::sipcast::{PASSWORD, Sipcast, order};
use crate::support::sipp::Sipp;
use crate::support::wait_for;

const SOON: Duration = Duration::from_secs(20);

/// Nobody listens there: these scenarios are about the call.
const NOWHERE: &str = "rtmp://127.0.0.1:9/live";

fn call(sipcast: &Sipcast, callee: &Sipp) {
    let answer = sipcast.post("call/startup", &order("call", callee.port, NOWHERE, "call"));
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert!(sipcast.call("call").is_some(), "findable at once");
}

fn hang_up(sipcast: &Sipcast) {
    let answer = sipcast.post("call/terminate", &json!({ "callId": "call" }));
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

fn gone(sipcast: Sipcast) {
    wait_for("404 after the grace time", SOON, || sipcast.call("call").is_none().then_some(()));
    sipcast.stop();
}

fn short_grace() -> Sipcast {
    Sipcast::start(&["rest.finished_call_grace_s=1"])
}

#[test]
fn digest_with_a_stale_nonce() {
    let (sipcast, callee) =
        (short_grace(), Sipp::start("digest", &[("username", "caster"), ("password", PASSWORD)]));
    call(&sipcast, &callee);
    sipcast.wait_for_status("call", "ESTABLISHED", SOON);
    hang_up(&sipcast);
    callee.assert_passed();
    let log = sipcast.log();
    assert!(!log.contains(PASSWORD) && !log.contains("response="), "{log}");
    gone(sipcast);
}

#[test]
fn busy() {
    let (sipcast, callee) = (short_grace(), Sipp::start("busy", &[]));
    call(&sipcast, &callee);
    let call = sipcast.wait_for_status("call", "BUSY", SOON);
    assert_eq!(call["sipStatus"], 486);
    callee.assert_passed();
    gone(sipcast);
}

#[test]
fn decline() {
    let (sipcast, callee) = (short_grace(), Sipp::start("decline", &[]));
    call(&sipcast, &callee);
    let call = sipcast.wait_for_status("call", "FAILED", SOON);
    assert_eq!(call["sipStatus"], 603);
    callee.assert_passed();
    gone(sipcast);
}

#[test]
fn hanging_up_before_the_answer_cancels() {
    let (sipcast, callee) = (short_grace(), Sipp::start("no_answer", &[]));
    call(&sipcast, &callee);
    sipcast.wait_for_status("call", "RING", SOON);
    hang_up(&sipcast);
    sipcast.wait_for_status("call", "FINISH", SOON);
    callee.assert_passed();
    gone(sipcast);
}

#[test]
fn no_answer_in_time_cancels() {
    let sipcast = Sipcast::start(&["sip.ring_timeout_s=2", "rest.finished_call_grace_s=1"]);
    let callee = Sipp::start("no_answer", &[]);
    call(&sipcast, &callee);
    sipcast.wait_for_status("call", "FAILED", SOON);
    callee.assert_passed();
    gone(sipcast);
}

#[test]
fn a_redirect_is_followed() {
    let second_port = ports::free(1);
    let second = Sipp::start_on(second_port, "answer_until_bye", &[]);
    let first = Sipp::start("redirect", &[("next_port", &second_port.to_string())]);
    let sipcast = short_grace();
    let mut order = order("call", first.port, NOWHERE, "call");
    // An outbound proxy would stay in the way, as it should.
    order.as_object_mut().expect("an object").remove("sipOutboundProxy");
    assert_eq!(sipcast.post("call/startup", &order).status, 200);
    sipcast.wait_for_status("call", "ESTABLISHED", SOON);
    hang_up(&sipcast);
    first.assert_passed();
    second.assert_passed();
    gone(sipcast);
}

#[test]
fn the_callee_hangs_up() {
    let (sipcast, callee) = (short_grace(), Sipp::start("bye", &[]));
    call(&sipcast, &callee);
    sipcast.wait_for_status("call", "ESTABLISHED", SOON);
    sipcast.wait_for_status("call", "FINISH", SOON);
    callee.assert_passed();
    gone(sipcast);
}

#[test]
fn early_media() {
    let (sipcast, callee) = (short_grace(), Sipp::start("early_media", &[]));
    call(&sipcast, &callee);
    sipcast.wait_for_status("call", "RING_MEDIA", SOON);
    sipcast.wait_for_status("call", "ESTABLISHED", SOON);
    hang_up(&sipcast);
    callee.assert_passed();
    gone(sipcast);
}

#[test]
fn hold_and_resume() {
    let (sipcast, callee) = (short_grace(), Sipp::start("hold_resume", &[]));
    call(&sipcast, &callee);
    sipcast.wait_for_status("call", "ESTABLISHED", SOON);
    sipcast.wait_for_status("call", "HOLD", SOON);
    sipcast.wait_for_status("call", "ESTABLISHED", SOON);
    // The last re-INVITE of the scenario follows half a second after the one before.
    std::thread::sleep(Duration::from_secs(2));
    hang_up(&sipcast);
    callee.assert_passed();
    gone(sipcast);
}

#[test]
fn hold_in_all_forms() {
    let (sipcast, callee) = (short_grace(), Sipp::start("hold_forms", &[]));
    call(&sipcast, &callee);
    sipcast.wait_for_status("call", "ESTABLISHED", SOON);
    // With sendonly the callee goes on sending, and recvonly is no hold (RFC 3264 §8.4).
    for form in ["inactive", "0.0.0.0"] {
        wait_for(&format!("hold: {form}"), SOON, || {
            (sipcast.call("call")?["status"] == "HOLD").then_some(())
        });
        sipcast.wait_for_status("call", "ESTABLISHED", SOON);
    }
    wait_for("all seven ACKs and our own", SOON, || {
        let ladder = sipcast.ladder("call");
        let lines = ladder["entries"].as_array()?.iter().filter_map(|entry| entry["startLine"].as_str());
        (lines.filter(|line| line.starts_with("ACK")).count() == 8).then_some(())
    });
    hang_up(&sipcast);
    callee.assert_passed();
    gone(sipcast);
}

#[test]
fn update_refreshes_and_holds() {
    let (sipcast, callee) = (short_grace(), Sipp::start("update", &[]));
    call(&sipcast, &callee);
    sipcast.wait_for_status("call", "HOLD", SOON);
    sipcast.wait_for_status("call", "ESTABLISHED", SOON);
    hang_up(&sipcast);
    callee.assert_passed();
    gone(sipcast);
}

#[test]
fn an_offer_is_made_in_mid_call() {
    let (sipcast, callee) = (short_grace(), Sipp::start("late_offer", &[]));
    call(&sipcast, &callee);
    sipcast.wait_for_status("call", "ESTABLISHED", SOON);
    wait_for("the ACK with an answer", SOON, || {
        let ladder = sipcast.ladder("call");
        let answered = |entry: &serde_json::Value| {
            let text = entry["text"].as_str().unwrap_or_default();
            entry["startLine"].as_str().is_some_and(|line| line.starts_with("ACK"))
                && text.contains("m=audio")
        };
        ladder["entries"].as_array()?.iter().any(answered).then_some(())
    });
    hang_up(&sipcast);
    callee.assert_passed();
    gone(sipcast);
}

#[test]
fn early_media_is_acknowledged() {
    let (sipcast, callee) = (short_grace(), Sipp::start("reliable_early_media", &[]));
    call(&sipcast, &callee);
    sipcast.wait_for_status("call", "RING_MEDIA", SOON);
    sipcast.wait_for_status("call", "ESTABLISHED", SOON);
    hang_up(&sipcast);
    callee.assert_passed();
    gone(sipcast);
}

#[test]
fn a_refused_offer_is_followed_by_a_plainer_one() {
    let (sipcast, callee) = (short_grace(), Sipp::start("refuses_keys", &[]));
    let mut order = order("call", callee.port, NOWHERE, "call");
    order["mediaSecurity"] = "opportunistic".into();
    assert_eq!(sipcast.post("call/startup", &order).status, 200);
    sipcast.wait_for_status("call", "ESTABLISHED", SOON);
    hang_up(&sipcast);
    callee.assert_passed();
    gone(sipcast);
}

#[test]
fn nobody_there() {
    let sipcast = short_grace();
    let port = ports::free(1);
    let mut order = order("call", port, NOWHERE, "call");
    order["sipOutboundProxy"] = "127.0.0.1".into();
    assert_eq!(sipcast.post("call/startup", &order).status, 200);
    wait_for("failure by timer B (RFC 3261 §17.1.1.2) or by ICMP", Duration::from_secs(50), || {
        (sipcast.call("call")?["status"] == "FAILED").then_some(())
    });
    gone(sipcast);
}
