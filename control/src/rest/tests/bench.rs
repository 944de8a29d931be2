//! A control plane with a scripted SIP side and a scripted shard, and a client that asks its router.

use std::fs::File;
use std::io::{Read, pipe};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use crossbeam::channel::Sender;
use crossbeam::queue::ArrayQueue;
use serde_json::{Value, json};
use sipcast_contract::dtmf::DtmfStep;
use sipcast_contract::media::{AudioMedia, MediaTransport, TelephoneEvent};
use sipcast_contract::report::Refusal;
use sipcast_contract::{
    BroadcastId, Command, CommandSender, Direction, NegotiatedMedia, Report, ShardId, TargetState,
};
use sipcast_sip::event::{CallEnd, CallEvent, CallStatus};
use sipcast_sip::order::{Account, CallOrder};
use tokio::sync::mpsc;
use tower::ServiceExt;

use crate::dialer::{BoxFuture, CallLine, Dialed, Dialer};
use crate::{ControlOptions, ControlPlane};

pub(crate) struct Bench {
    pub(crate) control: ControlPlane,
    pub(crate) calls: mpsc::UnboundedReceiver<PlacedCall>,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) reports: Sender<Report>,
}

pub(crate) struct PlacedCall {
    pub(crate) order: CallOrder,
    pub(crate) events: mpsc::Sender<CallEvent>,
    pub(crate) acts: mpsc::UnboundedReceiver<Act>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Act {
    HangUp,
    Info(Vec<DtmfStep>),
    Keyframe,
    Pictures(bool),
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }
}

struct ScriptedDialer {
    calls: mpsc::UnboundedSender<PlacedCall>,
}

struct ScriptedLine {
    events: mpsc::Sender<CallEvent>,
    acts: mpsc::UnboundedSender<Act>,
}

impl Dialer for ScriptedDialer {
    fn local_address_towards<'a>(&'a self, _: &'a Account) -> BoxFuture<'a, Result<IpAddr, String>> {
        Box::pin(async { Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)) })
    }

    fn call(&self, order: CallOrder) -> Dialed {
        let (events, receiver) = mpsc::channel(16);
        let (acts_in, acts) = mpsc::unbounded_channel();
        let _ = self.calls.send(PlacedCall { order, events: events.clone(), acts });
        Dialed { events: receiver, line: Arc::new(ScriptedLine { events, acts: acts_in }) }
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

impl CallLine for ScriptedLine {
    fn hang_up(&self) {
        let _ = self.acts.send(Act::HangUp);
        let end = CallEnd { status: CallStatus::Finish, sip_status: 200, reason: String::new() };
        let _ = self.events.try_send(CallEvent::Ended(end));
    }

    fn send_dtmf_info(&self, steps: Vec<DtmfStep>) -> bool {
        // As one that is at it already: a whole queue does not fit.
        steps.len() < sipcast_contract::limits::DTMF_QUEUE_MAX && self.acts.send(Act::Info(steps)).is_ok()
    }

    fn request_keyframe(&self) {
        let _ = self.acts.send(Act::Keyframe);
    }

    fn set_sends_pictures(&self, sends: bool) {
        let _ = self.acts.send(Act::Pictures(sends));
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(options(), None)
    }

    /// `refusal`: what the shard answers to every `Open`.
    pub(crate) fn with(options: ControlOptions, refusal: Option<Refusal>) -> Self {
        let (calls_in, calls) = mpsc::unbounded_channel();
        let (commands_in, commands) = mpsc::unbounded_channel();
        let (reports, reports_out) = crossbeam::channel::bounded(64);
        let shard = shard(ShardId(0), refusal, commands_in, reports.clone());
        let dialer = ScriptedDialer { calls: calls_in };
        let control = ControlPlane::start(options, dialer, vec![shard], reports_out).expect("a thread");
        Self { control, calls, commands, reports }
    }

    pub(crate) async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.control.router().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body in memory");
        let body = String::from_utf8(body.to_vec()).expect("text");
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(crate) async fn raw(&self, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post(format!("/rest-api/{path}")).header("content-type", "application/json");
        self.ask(request.body(body.into()).expect("a request")).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.raw(path, body.to_string()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    /// Orders a call and expects 200; gives it when it is placed.
    pub(crate) async fn place(&mut self, order: Value) -> PlacedCall {
        let answer = self.post("call/startup", order).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
        within(self.calls.recv()).await.expect("placed")
    }

    /// The next command of the shard that is not `Open`.
    pub(crate) async fn command(&mut self) -> Command {
        loop {
            match within(self.commands.recv()).await.expect("the shard lives") {
                Command::Open { .. } => {}
                command => return command,
            }
        }
    }

    /// The call as `find` shows it, once `fits` holds for it.
    pub(crate) async fn call_when(&self, call_id: &str, fits: impl Fn(&Value) -> bool) -> Value {
        within(async {
            loop {
                let answer = self.post("call/find", json!({ "callId": call_id })).await;
                if answer.status == 200 && fits(&answer.json()[0]) {
                    return answer.json()[0].clone();
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
    }

    pub(crate) async fn call_with_status(&self, call_id: &str, status: &str) -> Value {
        self.call_when(call_id, |call| call["status"] == status).await
    }

    pub(crate) async fn gone(&self, call_id: &str) {
        within(async {
            while self.post("call/find", json!({ "callId": call_id })).await.status != 404 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

impl PlacedCall {
    pub(crate) async fn tell(&self, event: CallEvent) {
        self.events.send(event).await.expect("followed");
    }

    pub(crate) async fn progress(&self, status: CallStatus, sip_status: u16) {
        self.tell(CallEvent::Progress { status, sip_status }).await;
    }

    pub(crate) async fn agree(&self, telephone_event: bool) {
        let transport = MediaTransport {
            remote_rtp: None,
            remote_rtcp: None,
            rtcp_mux: false,
            direction: Direction::RecvOnly,
            srtp: None,
        };
        let event = TelephoneEvent { payload_type: 101, clock_rate_hz: 8000 };
        let audio = AudioMedia {
            transport,
            formats: Vec::new(),
            taken: None,
            telephone_event: telephone_event.then_some(event),
            comfort_noise: None,
            packet_time_ms: 20,
        };
        let media = Box::new(NegotiatedMedia { audio: Some(audio), video: None });
        self.tell(CallEvent::Media { media, sdp: "v=0\r\n".to_owned() }).await;
    }

    /// Media agreed on, with telephone-event, and answered.
    pub(crate) async fn answer(&self) {
        self.agree(true).await;
        self.tell(CallEvent::Established).await;
    }

    pub(crate) async fn end(&self, status: CallStatus, sip_status: u16, reason: &str) {
        self.tell(CallEvent::Ended(CallEnd { status, sip_status, reason: reason.to_owned() })).await;
    }

    pub(crate) async fn act(&mut self) -> Act {
        within(self.acts.recv()).await.expect("the line lives")
    }
}

pub(crate) fn options() -> ControlOptions {
    ControlOptions { grace: Duration::from_secs(60), ..ControlOptions::default() }
}

/// An order with a direct publication, as the demo pages send it: everything is a string.
pub(crate) fn order(call_id: &str) -> Value {
    json!({
        "callId": call_id, "callee": "8801", "rtmpUrl": "rtmp://127.0.0.1/live", "rtmpStream": call_id,
        "hasAudio": "true", "hasVideo": "true", "sipLogin": "caster", "sipAuthenticationName": "caster",
        "sipPassword": "s3cret", "sipDomain": "pbx.example", "sipOutboundProxy": "pbx.example",
        "sipPort": "5060", "sipRegisterRequired": "false", "appKey": "defaultApp",
    })
}

/// An order that captures into a stream for pushes.
pub(crate) fn capture(call_id: &str, to_stream: &str) -> Value {
    let mut order = order(call_id);
    let fields = order.as_object_mut().expect("an object");
    fields.remove("rtmpUrl");
    fields.remove("rtmpStream");
    fields.insert("toStream".to_owned(), to_stream.into());
    order
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("in time")
}

/// A shard that does what it is told at once: opens, publishes, closes.
fn shard(
    id: ShardId,
    refusal: Option<Refusal>,
    commands: mpsc::UnboundedSender<Command>,
    reports: Sender<Report>,
) -> CommandSender {
    let queue = Arc::new(ArrayQueue::<Command>::new(64));
    let (mut woken, wake) = pipe().expect("a pipe");
    let sender = CommandSender::new(Arc::clone(&queue), Arc::new(File::from(OwnedFd::from(wake))));
    std::thread::spawn(move || {
        while woken.read_exact(&mut [0; 8]).is_ok() {
            while let Some(command) = queue.pop() {
                for report in answers(id, refusal, &command) {
                    if reports.send(report).is_err() {
                        return;
                    }
                }
                if commands.send(command).is_err() {
                    return;
                }
            }
        }
    });
    sender
}

fn answers(id: ShardId, refusal: Option<Refusal>, command: &Command) -> Vec<Report> {
    let state = |broadcast: BroadcastId, target, state| vec![Report::Target { broadcast, target, state }];
    match *command {
        Command::Open { broadcast, wanted, .. } => match refusal {
            Some(reason) => vec![Report::Refused { broadcast, reason }],
            None => vec![Report::Opened {
                broadcast,
                audio_port: wanted.audio.then_some(40_000),
                video_port: wanted.video.then_some(40_002),
            }],
        },
        Command::AddTarget { broadcast, target, .. } => state(broadcast, target, TargetState::Publishing),
        Command::RemoveTarget { broadcast, target } => state(broadcast, target, TargetState::Ended(None)),
        Command::Close { broadcast } => vec![Report::Closed { broadcast, statistics: Box::default() }],
        Command::Stop => vec![Report::Stopped { shard: id, slots_missing: 0 }],
        _ => Vec::new(),
    }
}
