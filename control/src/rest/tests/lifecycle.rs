//! Limits, figures, draining.

use std::time::Duration;

use serde_json::{Value, json};
use sipcast_contract::latency::LatencyHistogram;
use sipcast_contract::statistics::{BroadcastStatistics, ShardStatistics, StreamStatistics};
use sipcast_contract::{BroadcastId, Report, ShardId};

use super::bench::{Act, Bench, options, order, within};
use crate::{ControlOptions, Drained};

fn figures() -> Report {
    let mut added_latency = LatencyHistogram::default();
    added_latency.record(Duration::from_micros(900));
    let video = StreamStatistics { packets: 77, lost: 2, ..StreamStatistics::default() };
    let broadcast = BroadcastStatistics { video, width: 640, height: 360, ..BroadcastStatistics::default() };
    Report::Statistics(Box::new(ShardStatistics {
        shard: ShardId(0),
        turns: 5,
        datagrams: 80,
        truncated: 0,
        no_buffers: 0,
        kernel_drops: 0,
        slots_held: 3,
        slots: 2048,
        sealed_bytes: 0,
        payload_bytes_copied: 0,
        cpu: Duration::from_millis(12),
        broadcasts_max: 1,
        broadcast_cpu: Duration::from_micros(900),
        added_latency,
        broadcasts: vec![(BroadcastId(1), broadcast)],
    }))
}

/// The statistics, once a shard has told some.
async fn told(bench: &Bench) -> Value {
    within(async {
        loop {
            let statistics = bench.get("/statistics").await.json();
            if statistics["shards"].as_array().is_some_and(|shards| !shards.is_empty()) {
                return statistics;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
}

#[tokio::test]
async fn no_more_broadcasts_than_the_shards_can_bear() {
    let mut bench = Bench::new();
    let call = bench.place(order("a")).await;
    bench.reports.send(figures()).expect("heard");
    assert_eq!(told(&bench).await["shards"][0]["broadcastsMax"], 1);
    let refused = bench.post("call/startup", order("b")).await;
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("media.shards"), "it says what to change: {}", refused.body);
    assert_eq!(told(&bench).await["calls"]["refused"], 1);
    call.end(sipcast_sip::event::CallStatus::Finish, 200, "").await;
    bench.call_with_status("a", "FINISH").await;
    bench.place(order("b")).await;
}

#[tokio::test]
async fn no_more_broadcasts_than_allowed() {
    let mut bench = Bench::with(ControlOptions { broadcasts_max: 1, ..options() }, None);
    let call = bench.place(order("a")).await;
    assert_eq!(bench.post("call/startup", order("b")).await.status, 503);
    call.end(sipcast_sip::event::CallStatus::Finish, 200, "").await;
    bench.call_with_status("a", "FINISH").await;
    bench.place(order("b")).await;
}

#[tokio::test]
async fn statistics_as_json_and_as_text() {
    let mut bench = Bench::new();
    bench.place(order("a")).await.answer().await;
    bench.call_with_status("a", "ESTABLISHED").await;
    bench.reports.send(figures()).expect("heard");
    let statistics = told(&bench).await;
    assert_eq!(statistics["calls"]["live"], 1);
    assert_eq!(statistics["calls"]["byStatus"], json!({"ESTABLISHED": 1}));
    assert_eq!(statistics["shards"][0]["broadcasts"], 1);
    assert_eq!(statistics["shards"][0]["cpuMicros"], 12_000);
    assert!(statistics["addedLatency"]["p99Micros"].as_u64().is_some_and(|p99| (900..1100).contains(&p99)));
    assert_eq!(statistics["broadcasts"][0]["video"]["packets"], 77);
    assert_eq!(statistics["totals"]["video"]["lost"], 2);
    assert_eq!(statistics["broadcasts"][0]["targets"][0]["url"], "rtmp://127.0.0.1/live");
    assert!(!statistics.to_string().contains("s3cret"));

    let text = bench.get("/?action=stat").await;
    assert_eq!(text.headers["content-type"], "text/plain; charset=utf-8");
    for line in
        ["-----Call Stats-----", "call_stats.live=1", "ESTABLISHED=1", "-----Shard 0-----", "slots=2048"]
    {
        assert!(text.body.lines().any(|l| l == line), "{line}: {}", text.body);
    }
}

#[tokio::test]
async fn a_drain_hangs_up_refuses_orders_and_waits_for_the_shard() {
    let mut bench = Bench::new();
    let mut calls = Vec::new();
    for id in ["a", "b"] {
        let call = bench.place(order(id)).await;
        call.answer().await;
        calls.push(call);
    }
    let drained = bench.control.shutdown(Duration::from_secs(10)).await;
    assert_eq!(drained, Drained { ended: 2, left: 0 });
    for mut call in calls {
        assert_eq!(call.act().await, Act::HangUp);
    }
    assert_eq!(bench.post("call/startup", order("c")).await.status, 503);
    assert_eq!(
        bench.post("push/startup", json!({"streamName": "x", "rtmpUrl": "rtmp://h/a"})).await.status,
        503
    );
    assert_eq!(bench.control.stop_shards(Duration::from_secs(10)).await, Ok(0));
    assert_eq!(bench.control.statistics().calls.finished, 2);
}
