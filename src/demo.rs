//! The demo: a node on loopback, a callee that sends a test picture, an order through the public REST API.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use sipcast_contract::Secret;
use sipcast_control::{ControlPlane, PageDefaults, Statistics};
use sipcast_perf::callee::{Callee, CalleeEvent, CalleeOptions};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::config::Config;
use crate::node::{Node, Signals, runtime};
use crate::telemetry;

/// Settings that a demo has unless told otherwise: all of it on loopback, and a log that leaves the status line alone.
pub const DEFAULTS: [(&str, &str); 4] = [
    ("sip.listen", "127.0.0.1:5060"),
    ("media.address", "127.0.0.1"),
    ("media.shards", "1"),
    ("log.level", "warn"),
];

/// Stream that the demo publishes, before the prefix.
const STREAM: &str = "demo";

/// Stream that the page proposes, so that a call from there does not collide with the demo's own.
const PAGE_STREAM: &str = "my-stream";

/// How often the status line is renewed, on a terminal and elsewhere.
const STATUS_EVERY: Duration = Duration::from_secs(1);
const STATUS_EVERY_TO_FILE: u32 = 10;

/// Runs the demo until a signal ends it.
///
/// # Errors
/// What could not be started, and which setting or flag changes it.
pub fn run(config: Config, callee_listen: SocketAddr) -> anyhow::Result<()> {
    telemetry::start(&config.log)?;
    ensure!(config.origin.enabled, "the demo publishes to the embedded RTMP server: leave origin.enabled on");
    runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        let callee = Callee::start(CalleeOptions { bind: callee_listen, ..CalleeOptions::default() })
            .await
            .context("choose another address or port with --callee-listen ADDRESS:PORT")?;
        let callee_address = callee.local_addr();
        let node = Node::start(&config, Some(page_defaults(&config, callee_address))).await?;
        let digits = tokio::spawn(print_digits(callee.events()));
        let ordered = tokio::select! {
            ordered = order(&node, callee_address) => ordered,
            () = signals.first() => {
                signals.exit_on_the_next();
                return node.stop().await;
            }
        };
        ordered?;
        announce(&node, &config.rtmp.stream_name_prefix);
        let status = tokio::spawn(print_status(node.control.clone()));
        signals.first().await;
        signals.exit_on_the_next();
        status.abort();
        println!("\nending: BYE, unpublish, buffers home ...");
        let stopped = node.stop().await;
        callee.shutdown().await;
        digits.abort();
        stopped?;
        println!("done");
        Ok(())
    })
}

fn page_defaults(config: &Config, callee: SocketAddr) -> PageDefaults {
    PageDefaults {
        sip_login: "demo".to_owned(),
        sip_authentication_name: "demo".to_owned(),
        sip_password: Secret::new("demo".to_owned()),
        sip_domain: callee.ip().to_string(),
        sip_port: callee.port(),
        sip_outbound_proxy: callee.ip().to_string(),
        sip_register_required: false,
        has_audio: true,
        has_video: true,
        rtmp_url: format!("rtmp://{}/live", config.origin.listen),
        rtmp_stream: PAGE_STREAM.to_owned(),
        callee: "test-picture".to_owned(),
    }
}

/// Orders the broadcast as any client would.
async fn order(node: &Node, callee: SocketAddr) -> anyhow::Result<()> {
    let url = node.origin_url.as_deref().context("the embedded RTMP server is on")?;
    let order = json!({
        "callId": "demo", "callee": "test-picture", "rtmpUrl": url, "rtmpStream": STREAM,
        "hasAudio": true, "hasVideo": true,
        "sipLogin": "demo", "sipAuthenticationName": "demo", "sipPassword": "demo",
        "sipDomain": callee.ip().to_string(), "sipOutboundProxy": callee.ip().to_string(),
        "sipPort": callee.port(), "sipRegisterRequired": false, "appKey": "defaultApp",
    });
    let request = Request::post(format!("http://{}/rest-api/call/startup", node.rest_address))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(order.to_string())))
        .context("the order's request")?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let answer = client.request(request).await.context("the REST API does not answer")?;
    let status = answer.status();
    let body = answer.into_body().collect().await.context("the REST API's answer")?.to_bytes();
    ensure!(status == StatusCode::OK, "the order was refused: {status} {}", String::from_utf8_lossy(&body));
    Ok(())
}

fn announce(node: &Node, prefix: &str) {
    let name = format!("{prefix}{STREAM}");
    let rtmp = node.origin_url.as_deref().unwrap_or_default();
    let rest = node.rest_address;
    println!("sipcast demo: a test callee is phoned and published live. Ctrl-C ends it.");
    println!("  page      http://{rest}/");
    println!("  RTMP      {rtmp}/{name}");
    println!("  HTTP-FLV  http://{rest}/live/{name}.flv");
}

/// Prints the digits that the callee receives, call by call.
async fn print_digits(mut events: Receiver<CalleeEvent>) {
    let mut received: std::collections::HashMap<String, String> = std::collections::HashMap::new();
    loop {
        match events.recv().await {
            Ok(CalleeEvent::Digit { call_id, digit }) => {
                let digits = received.entry(call_id).or_default();
                digits.push(digit);
                println!("\nthe callee received DTMF {digits}");
            }
            Ok(CalleeEvent::Ended { call_id, .. }) => {
                received.remove(&call_id);
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Renews the status line.
async fn print_status(control: ControlPlane) {
    let mut ticks = tokio::time::interval(STATUS_EVERY);
    let to_terminal = std::io::stdout().is_terminal();
    let mut last = Sample::take(&control.statistics());
    for count in 1_u32.. {
        ticks.tick().await;
        let statistics = control.statistics();
        let sample = Sample::take(&statistics);
        let line = sample.since(&last, &statistics);
        last = sample;
        if to_terminal {
            print!("\r\x1b[K{line}");
        } else if count.is_multiple_of(STATUS_EVERY_TO_FILE) {
            println!("{line}");
        }
        // A closed standard output is no reason to end.
        let _ = std::io::stdout().flush();
    }
}

/// Counters that rates are made of.
struct Sample {
    at: Instant,
    pictures: u64,
    received: u64,
    sent: u64,
    shards_cpu: Duration,
    process_cpu: Duration,
}

impl Sample {
    fn take(statistics: &Statistics) -> Self {
        let totals = &statistics.totals;
        Self {
            at: Instant::now(),
            pictures: totals.access_units,
            received: totals.video.bytes + totals.audio.bytes,
            sent: totals.bytes_sent,
            shards_cpu: statistics.shards.iter().map(|shard| shard.statistics.cpu).sum(),
            process_cpu: process_cpu(),
        }
    }

    fn since(&self, last: &Self, statistics: &Statistics) -> String {
        let seconds = (self.at - last.at).as_secs_f64().max(0.001);
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        let percent =
            |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() / seconds * 100.0;
        let totals = &statistics.totals;
        let skew = statistics.broadcasts.iter().find_map(|broadcast| broadcast.statistics.skew_ms);
        format!(
            "calls {}  {:.1} fps  in {:.0} kbit/s  out {:.0} kbit/s  lost {}  A/V skew {}  CPU dataplane {:.1} %, all {:.1} %",
            statistics.calls.live,
            rate(self.pictures, last.pictures),
            rate(self.received, last.received) * 8.0 / 1000.0,
            rate(self.sent, last.sent) * 8.0 / 1000.0,
            totals.video.lost + totals.audio.lost,
            skew.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
            percent(self.shards_cpu, last.shards_cpu),
            percent(self.process_cpu, last.process_cpu),
        )
    }
}

/// User and system time of this process, callee and embedded server included (proc_pid_stat(5), fields 14 and 15).
fn process_cpu() -> Duration {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return Duration::ZERO };
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / CLOCK_TICKS_PER_SECOND)
}

/// USER_HZ, which is 100 on every Linux architecture that sipcast runs on (time(7)).
const CLOCK_TICKS_PER_SECOND: u64 = 100;
