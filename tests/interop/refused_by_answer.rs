//! A callee that says no to an offer by its answer, with port 0 in every line: Jami, whose media are protected (SAVP) or none.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::jami::Jami;
use crate::support::sipcast::{Sipcast, order};
use crate::support::wait_for;

const SOON: Duration = Duration::from_secs(30);

/// Nobody listens there: this is about the call.
const NOWHERE: &str = "rtmp://127.0.0.1:9/live";

#[test]
fn jami_is_offered_what_it_takes() {
    let is_any = (0..Jami::CALLS_MAX).any(|_| is_jami_offered_what_it_takes());
    assert!(is_any, "no pictures in {} calls", Jami::CALLS_MAX);
}

/// `false`: Jami sent no picture at all.
fn is_jami_offered_what_it_takes() -> bool {
    let jami = Jami::start();
    let sipcast = Sipcast::start(&["media.shards=1"]);
    let mut body = order("softphone", jami.port, NOWHERE, "softphone");
    body["mediaSecurity"] = "opportunistic".into();
    assert_eq!(sipcast.post("call/startup", &body).status, 200);
    let refused = jami.answer_after("");
    jami.answer_after(&refused);
    sipcast.wait_for_status("softphone", "ESTABLISHED", SOON);
    let ladder = sipcast.ladder("softphone");
    let texts = |start: &str| -> Vec<String> {
        let entries = ladder["entries"].as_array().expect("an array").iter();
        let are = |entry: &&serde_json::Value| {
            entry["direction"] == "out"
                && entry["startLine"].as_str().is_some_and(|line| line.starts_with(start))
        };
        // A repetition has no text.
        let texts = entries.filter(are).filter_map(|entry| entry["text"].as_str()).map(str::to_owned);
        texts.filter(|text| !text.is_empty()).collect()
    };
    let invites = texts("INVITE");
    let forms: Vec<bool> = invites.iter().map(|invite| invite.contains(" RTP/SAVP ")).collect();
    assert_eq!(forms, [false, true], "AVP with keys, then SAVP: {invites:?}");
    assert_eq!(texts("BYE").len(), 1, "the first dialog is ended");
    // Packets are counted once their protection is off.
    let answered = Instant::now();
    let is_filming = wait_for("protected pictures", Duration::from_secs(60), || {
        let received = sipcast.statistics()["totals"]["video"]["packets"].as_u64()?;
        let is_over = received == 0 && answered.elapsed() > Jami::FILMS_WITHIN;
        (is_over || received > 50).then_some(!is_over)
    });
    assert_eq!(sipcast.post("call/terminate", &json!({ "callId": "softphone" })).status, 200);
    wait_for("end of the call", SOON, || sipcast.call("softphone").is_none().then_some(()));
    sipcast.stop();
    is_filming
}
