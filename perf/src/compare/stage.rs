//! One comparison's sources and sink, and on them one system after the other with its calls.
//! Takes: a system and how many calls. Gives: its processes with every call's picture at the sink.
//! Leaves out: measuring (`measure`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep};

use super::gateway::Gateway;
use super::peers::{self, PeerCall};
use super::system::System;
use crate::callee::{
    Callee, CalleeOptions, CalleeStatistics, Departure, Lateness, PictureSource, PictureTail,
    UnsignalledCalls, VideoOptions, picture_tails,
};
use crate::floor::PORTS_PER_CALL;
use crate::load::options::{MediaChoice, OwnSipcast};
use crate::load::product::Product;
use crate::load::rest::Order;
use crate::ports;
use crate::sink::Sink;

/// How long all calls of a system may take to come up.
const UP_TIME: Duration = Duration::from_secs(60);
/// How long one call may take to be answered.
const ANSWER_TIME: Duration = Duration::from_secs(15);
/// How often progress is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Callees and sink, the same for every system.
pub(super) struct Stage {
    callee: Callee,
    unsignalled: UnsignalledCalls,
    pub sink: Sink,
    pub tails: Vec<PictureTail>,
    /// Where the calls are published; the sink unless another server was named.
    server: SocketAddr,
    app: String,
    directory: PathBuf,
}

/// The programs under comparison that are ours.
pub(super) struct Programs {
    pub sipcast: PathBuf,
    pub floor: PathBuf,
}

/// A system that carries its calls.
pub(super) struct Scene {
    pub system: System,
    pub calls: u16,
    subject: Subject,
    stream_prefix: String,
    /// Number of its first call, as departures count.
    first_call: u32,
}

enum Subject {
    Sipcast(Box<Product>),
    Others(Gateway),
}

impl Stage {
    /// Prepares sources and sink. `server` and `app` name another RTMP server than the sink.
    ///
    /// # Errors
    /// When the pictures cannot be encoded or no port is free.
    pub async fn new(video: VideoOptions, server: Option<(SocketAddr, String)>) -> anyhow::Result<Self> {
        let options = CalleeOptions { video, pictures: PictureSource::Recorded, ..CalleeOptions::default() };
        let callee = Callee::start(options).await?;
        let unsignalled = UnsignalledCalls::prepare(video).await?;
        let tails = tokio::task::spawn_blocking(move || picture_tails(video)).await??;
        let sink = Sink::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).context("sink")?;
        let (server, app) = server.unwrap_or_else(|| (sink.local_addr(), "live".to_owned()));
        let directory = std::env::temp_dir().join(format!("sipcast-compare-{}", std::process::id()));
        std::fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        Ok(Self { callee, unsignalled, sink, tails, server, app, directory })
    }

    /// Whether pictures arrive where they can be seen.
    pub fn publishes_to_sink(&self) -> bool {
        self.server == self.sink.local_addr()
    }

    /// Starts `system` with `calls` and waits until every call is up.
    ///
    /// # Errors
    /// What did not start, with what it said.
    pub async fn play(
        &mut self,
        system: System,
        calls: u16,
        run: usize,
        programs: &Programs,
    ) -> anyhow::Result<Scene> {
        let stream_prefix = format!("{system}-{run}-");
        let mut scene = match system {
            System::Sipcast => self.play_sipcast(&programs.sipcast, calls, stream_prefix).await?,
            _ => self.play_unsignalled(system, calls, stream_prefix, programs).await?,
        };
        let up = self.wait_until_up(&mut scene).await;
        if let Err(error) = up {
            self.end(scene).await;
            return Err(error);
        }
        Ok(scene)
    }

    /// Calls one after the other, so that the order of the callee's calls is that of the streams.
    async fn play_sipcast(&self, program: &Path, calls: u16, stream_prefix: String) -> anyhow::Result<Scene> {
        let product = Product::start(program, &sipcast_options(), IpAddr::from(Ipv4Addr::LOCALHOST)).await?;
        let rtmp_url = format!("rtmp://{}/{}", self.server, self.app);
        let first_call = self.callee.statistics().calls_answered;
        for call in 0..calls {
            let name = stream_name(&stream_prefix, call);
            let order = Order {
                name: &name,
                callee: self.callee.local_addr(),
                tcp: false,
                rtmp_url: &rtmp_url,
                media: MediaChoice::default(),
            };
            product.rest().order(&order).await?;
            let until = Instant::now() + ANSWER_TIME;
            while self.callee.statistics().calls_answered <= first_call + u64::from(call) {
                anyhow::ensure!(Instant::now() < until, "sipcast: call {call} was not answered");
                sleep(POLL).await;
            }
        }
        Ok(Scene {
            system: System::Sipcast,
            calls,
            subject: Subject::Sipcast(Box::new(product)),
            stream_prefix,
            first_call: first_call as u32,
        })
    }

    async fn play_unsignalled(
        &mut self,
        system: System,
        calls: u16,
        stream_prefix: String,
        programs: &Programs,
    ) -> anyhow::Result<Scene> {
        let first_port = ports::free_block(calls * PORTS_PER_CALL)?;
        let mut gateway = Gateway::new();
        let described: Vec<PeerCall> =
            (0..calls).map(|call| self.describe(first_port, call, &stream_prefix)).collect();
        match system {
            System::Floor => {
                let arguments = [
                    ("--calls", calls.to_string()),
                    ("--first-port", first_port.to_string()),
                    ("--server", self.server.to_string()),
                    ("--app", self.app.clone()),
                    ("--stream-prefix", stream_prefix.clone()),
                ];
                let arguments = arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
                let arguments: Vec<String> = std::iter::once("floor".to_owned()).chain(arguments).collect();
                gateway.start(&programs.floor, &arguments, &self.directory)?;
                self.wait_for_floor(&mut gateway).await?;
            }
            System::Ffmpeg | System::FfmpegFast => {
                for (number, call) in described.iter().enumerate() {
                    let description = self.directory.join(format!("call-{number}.sdp"));
                    let text = self
                        .unsignalled
                        .session_description(loopback(call.audio_port), loopback(call.video_port));
                    std::fs::write(&description, text)?;
                    let is_fast = system == System::FfmpegFast;
                    let arguments = peers::ffmpeg(&description, is_fast, &call.rtmp_url);
                    gateway.start(Path::new("ffmpeg"), &arguments, &self.directory)?;
                }
            }
            System::Gstreamer => {
                for call in &described {
                    let arguments = peers::gst_launch(std::slice::from_ref(call));
                    gateway.start(Path::new("gst-launch-1.0"), &arguments, &self.directory)?;
                }
            }
            System::GstreamerOne => {
                gateway.start(
                    Path::new("gst-launch-1.0"),
                    &peers::gst_launch(&described),
                    &self.directory,
                )?;
            }
            System::Sipcast => anyhow::bail!("sipcast takes its calls by SIP"),
        }
        let first_call = self.unsignalled.begun();
        for call in &described {
            self.unsignalled.begin(loopback(call.audio_port), loopback(call.video_port))?;
        }
        Ok(Scene { system, calls, subject: Subject::Others(gateway), stream_prefix, first_call })
    }

    fn describe(&self, first_port: u16, call: u16, stream_prefix: &str) -> PeerCall {
        let first = first_port + call * PORTS_PER_CALL;
        let name = stream_name(stream_prefix, call);
        PeerCall {
            audio_port: first,
            video_port: first + 2,
            parameter_sets: self.unsignalled.parameter_sets().to_owned(),
            rtmp_url: format!("rtmp://{}/{}/{name}", self.server, self.app),
        }
    }

    async fn wait_for_floor(&self, gateway: &mut Gateway) -> anyhow::Result<()> {
        let until = Instant::now() + UP_TIME;
        while !gateway.has_spoken() {
            gateway.check()?;
            anyhow::ensure!(Instant::now() < until, "the floor is not ready");
            sleep(POLL).await;
        }
        Ok(())
    }

    async fn wait_until_up(&self, scene: &mut Scene) -> anyhow::Result<()> {
        let until = Instant::now() + UP_TIME;
        loop {
            scene.check()?;
            let streams = self.sink.counts();
            let seen = streams.iter().filter(|(name, counts)| {
                scene.call_of(name).is_some() && counts.publishing && counts.pictures > 0
            });
            let up = seen.count();
            if up == usize::from(scene.calls) {
                return Ok(());
            }
            if !self.publishes_to_sink() {
                // Nothing can be seen there; what is needed to come up was measured with the sink.
                sleep(UNSEEN_UP_TIME).await;
                return scene.check();
            }
            let calls = scene.calls;
            anyhow::ensure!(Instant::now() < until, "{}: {up} of {calls} calls came up", scene.system);
            sleep(POLL).await;
        }
    }

    /// Counters of the source that serves `system`.
    pub fn sent(&self, system: System) -> CalleeStatistics {
        match system {
            System::Sipcast => self.callee.statistics(),
            _ => self.unsignalled.statistics(),
        }
    }

    /// Notes departures and arrivals of up to `max` pictures from now on.
    pub fn begin_notes(&self, system: System, max: usize) {
        self.sink.note_arrivals(max);
        match system {
            System::Sipcast => {
                self.callee.reset_lateness();
                self.callee.note_departures(max);
            }
            _ => {
                self.unsignalled.reset_lateness();
                self.unsignalled.note_departures(max);
            }
        }
    }

    /// Ends the notes of departures; arrivals go on.
    pub fn take_departures(&self, system: System) -> Vec<Departure> {
        match system {
            System::Sipcast => self.callee.take_departures(),
            _ => self.unsignalled.take_departures(),
        }
    }

    /// How late packets left since the notes began.
    pub fn lateness(&self, system: System) -> Lateness {
        match system {
            System::Sipcast => self.callee.lateness(),
            _ => self.unsignalled.lateness(),
        }
    }

    /// Ends the calls and the processes.
    pub async fn end(&mut self, scene: Scene) {
        let Scene { calls, stream_prefix, subject, .. } = scene;
        match subject {
            Subject::Sipcast(product) => {
                for call in 0..calls {
                    if let Err(error) = product.rest().terminate(&stream_name(&stream_prefix, call)).await {
                        tracing::warn!(%error, "terminate");
                        break;
                    }
                }
                if let Err(error) = product.stop().await {
                    tracing::warn!(%error, "sipcast's end");
                }
            }
            Subject::Others(gateway) => gateway.stop().await,
        }
        self.unsignalled.end();
    }

    /// Ends sources and sink.
    pub async fn close(self) {
        self.callee.shutdown().await;
        self.sink.shutdown();
        // What is left of it does no harm.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Scene {
    /// Processes of the system under comparison.
    pub fn pids(&self) -> Vec<u32> {
        match &self.subject {
            Subject::Sipcast(product) => vec![product.pid()],
            Subject::Others(gateway) => gateway.pids(),
        }
    }

    /// Sees whether all its processes still run.
    ///
    /// # Errors
    /// With what the first that ended has said.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match &mut self.subject {
            Subject::Sipcast(_) => Ok(()),
            Subject::Others(gateway) => gateway.check().with_context(|| self.system.name()),
        }
    }

    /// The number of the call whose stream has `name`, as departures count.
    pub fn call_of(&self, name: &str) -> Option<u32> {
        // sipcast puts its prefix in front of stream names.
        let name = name.strip_prefix("rtmp_").unwrap_or(name);
        let call: u32 = name.strip_prefix(&self.stream_prefix)?.parse().ok()?;
        Some(self.first_call + call)
    }
}

/// Time to come up where nobody sees when that is.
const UNSEEN_UP_TIME: Duration = Duration::from_secs(10);

/// One shard and everything else as it is by default.
fn sipcast_options() -> OwnSipcast {
    OwnSipcast { shards: 1, ..OwnSipcast::default() }
}

fn stream_name(prefix: &str, call: u16) -> String {
    format!("{prefix}{call:05}")
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
