//! `/call/send_dtmf`.

use serde_json::json;
use sipcast_contract::dtmf::parse;
use sipcast_contract::{Command, Report};
use sipcast_sip::event::CallEvent;

use super::bench::{Act, Bench, order, within};

fn digits(text: &str, kind: &str) -> serde_json::Value {
    json!({"callId": "a", "dtmf": text, "type": kind})
}

#[tokio::test]
async fn digits_before_the_answer_wait_and_keep_their_order() {
    let mut bench = Bench::new();
    let mut call = bench.place(order("a")).await;
    let answer = bench.post("call/send_dtmf", digits("47", "RFC2833")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(bench.post("call/send_dtmf", digits("11#", "RFC2833")).await.status, 200);
    assert_eq!(bench.post("call/send_dtmf", digits("9", "INFO")).await.status, 200);
    call.answer().await;
    let mut sent = Vec::new();
    while sent.len() < 2 {
        if let Command::SendDtmf { broadcast, steps } = bench.command().await {
            sent.push(steps);
            if sent.len() == 2 {
                assert!(call.acts.try_recv().is_err(), "INFO does not overtake events");
                bench.reports.send(Report::DtmfSent { broadcast }).expect("heard");
            }
        }
    }
    assert_eq!(sent, [parse("47").expect("valid"), parse("11#").expect("valid")]);
    assert_eq!(call.act().await, Act::Info(parse("9").expect("valid")));
}

#[tokio::test]
async fn the_way_of_digits_follows_type_and_peer() {
    let mut bench = Bench::new();
    let mut call = bench.place(order("a")).await;
    call.answer().await;
    bench.call_with_status("a", "ESTABLISHED").await;
    for kind in ["INFO", "INFO_RELAY", "info"] {
        assert_eq!(bench.post("call/send_dtmf", digits("5", kind)).await.status, 200);
        assert_eq!(call.act().await, Act::Info(parse("5").expect("valid")));
    }
    // A re-INVITE takes telephone-event away.
    call.agree(false).await;
    call.tell(CallEvent::Hold(true)).await;
    bench.call_with_status("a", "HOLD").await;
    assert_eq!(bench.post("call/send_dtmf", json!({"callId": "a", "dtmf": "6"})).await.status, 200);
    assert_eq!(call.act().await, Act::Info(parse("6").expect("valid")));
}

#[tokio::test]
async fn digits_that_do_not_fit_are_refused_not_lost() {
    let mut bench = Bench::new();
    let mut call = bench.place(order("a")).await;
    call.answer().await;
    bench.call_with_status("a", "ESTABLISHED").await;
    let answer = bench.post("call/send_dtmf", digits(&"1".repeat(64), "INFO")).await;
    assert_eq!((answer.status, &answer.json()["field"]), (409, &json!("dtmf")));
    assert_eq!(bench.post("call/send_dtmf", digits("2", "INFO")).await.status, 200);
    assert_eq!(call.act().await, Act::Info(parse("2").expect("valid")));
}

#[tokio::test]
async fn digits_beyond_what_the_shard_queues_are_refused_until_it_has_sent_them() {
    let mut bench = Bench::new();
    let call = bench.place(order("a")).await;
    call.answer().await;
    bench.call_with_status("a", "ESTABLISHED").await;
    assert_eq!(bench.post("call/send_dtmf", digits(&"1".repeat(64), "RFC2833")).await.status, 200);
    assert_eq!(bench.post("call/send_dtmf", digits("2", "RFC2833")).await.status, 409);
    let broadcast = loop {
        if let Command::SendDtmf { broadcast, .. } = bench.command().await {
            break broadcast;
        }
    };
    bench.reports.send(Report::DtmfSent { broadcast }).expect("heard");
    within(async {
        while bench.post("call/send_dtmf", digits("3", "RFC2833")).await.status != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn digits_for_a_call_that_is_being_ended_find_none() {
    let mut bench = Bench::new();
    let call = bench.place(order("a")).await;
    call.answer().await;
    bench.call_with_status("a", "ESTABLISHED").await;
    assert_eq!(bench.post("call/terminate", json!({"callId": "a"})).await.status, 200);
    assert_eq!(bench.post("call/send_dtmf", digits("1", "INFO")).await.status, 404);
}

#[tokio::test]
async fn wrong_digits_are_refused() {
    let mut bench = Bench::new();
    assert_eq!(bench.post("call/send_dtmf", digits("1", "RFC2833")).await.status, 404);
    bench.place(order("a")).await;
    for (body, field) in [
        (digits("12x", "RFC2833"), "dtmf"),
        (digits("", "RFC2833"), "dtmf"),
        (digits(" ", "RFC2833"), "dtmf"),
        (digits(&"1".repeat(65), "RFC2833"), "dtmf"),
        (digits("1", "MORSE"), "type"),
        (json!({"dtmf": "1"}), "callId"),
        (json!({"callId": "a", "dtmf": ["1"]}), "dtmf"),
    ] {
        let answer = bench.post("call/send_dtmf", body.clone()).await;
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!(field)), "{body}");
    }
    assert_eq!(bench.post("call/send_dtmf", digits(&"1".repeat(64), "RFC2833")).await.status, 200);
    assert_eq!(bench.post("call/send_dtmf", digits("1", "RFC2833")).await.status, 409, "64 wait already");
}
