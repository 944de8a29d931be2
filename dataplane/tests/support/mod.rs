//! What the driver's scenarios share: a running shard, a callee on UDP, an RTMP server that stops reading.
#![allow(dead_code, reason = "each scenario uses its part")]

pub mod callee;
pub mod deaf_server;
pub mod tls_front;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crossbeam::channel::Receiver;
use sipcast_contract::cores::ShardCores;
use sipcast_contract::options::ShardOptions;
use sipcast_contract::report::Refusal;
use sipcast_contract::statistics::{BroadcastStatistics, ShardStatistics, TargetStatistics};
use sipcast_contract::{
    BroadcastId, Command, CommandSender, MediaOptions, MediaWanted, Report, RtmpTarget, RtmpUrl, Secret,
    TargetId, TargetState, TlsTrust,
};
use sipcast_dataplane::{Dataplane, TlsRoots};
use sipcast_origin::{Origin, OriginOptions, StreamName, StreamStatistics};

use callee::Callee;

pub const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Longest wait for anything that must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One shard with its reports.
pub struct Node {
    dataplane: Dataplane,
    commands: CommandSender,
    reports: Receiver<Report>,
    /// State changes that no wait has asked for yet.
    seen: Vec<Report>,
    pub statistics: Option<ShardStatistics>,
}

impl Node {
    pub fn start(pool_slots: u32) -> Self {
        Self::trusting(pool_slots, &TlsRoots::none())
    }

    /// Believes certificates of these roots.
    pub fn trusting(pool_slots: u32, roots: &TlsRoots) -> Self {
        let (rtp_port_min, rtp_port_max) = port_range(20);
        let gather = Duration::from_millis(5);
        let options = ShardOptions {
            rtp_port_min,
            rtp_port_max,
            gather,
            broadcasts_max: 8,
            pool_slots,
            cores: ShardCores::Any,
        };
        Self::begun(&options, roots)
    }

    pub fn with(options: ShardOptions) -> Self {
        Self::begun(&options, &TlsRoots::none())
    }

    fn begun(options: &ShardOptions, roots: &TlsRoots) -> Self {
        let dataplane = Dataplane::start(1, options, roots).expect("an io_uring");
        let commands = dataplane.senders().remove(0);
        let reports = dataplane.reports();
        Self { dataplane, commands, reports, seen: Vec::new(), statistics: None }
    }

    pub fn send(&self, command: Command) {
        self.commands.send(command).expect("room");
    }

    /// The first report that `pick` takes; earlier ones that it passes over are kept for later waits.
    pub fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(&Report) -> Option<T>) -> T {
        if let Some(at) = self.seen.iter().position(|report| pick(report).is_some()) {
            let report = self.seen.remove(at);
            return pick(&report).expect("picked a moment ago");
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let report = self
                .reports
                .recv_deadline(until)
                .unwrap_or_else(|_| panic!("never: {what}; {:?}", self.seen));
            if let Report::Statistics(statistics) = &report {
                self.statistics = Some((**statistics).clone());
            }
            if let Some(picked) = pick(&report) {
                return picked;
            }
            if !matches!(report, Report::Statistics(_)) {
                self.seen.push(report);
            }
        }
    }

    pub fn order(&self, id: u64) {
        self.send(Command::Open {
            broadcast: BroadcastId(id),
            wanted: MediaWanted { audio: true, video: true },
            bind: LOCALHOST,
            options: Box::new(MediaOptions::default()),
        });
    }

    pub fn try_open(&mut self, id: u64) -> Result<(u16, u16), Refusal> {
        self.order(id);
        self.wait("opened or refused", |report| match report {
            Report::Opened { broadcast, audio_port, video_port } if broadcast.0 == id => {
                Some(Ok((audio_port.expect("wanted"), video_port.expect("wanted"))))
            }
            Report::Refused { broadcast, reason } if broadcast.0 == id => Some(Err(*reason)),
            _ => None,
        })
    }

    /// Opens a broadcast whose callee sends `packets` packets a picture.
    pub fn open(&mut self, id: u64, packets: usize) -> Callee {
        let (audio, video) = self.try_open(id).expect("room and ports");
        let callee = Callee::start(audio, video, packets);
        self.send(Command::SetMedia { broadcast: BroadcastId(id), media: Box::new(callee.media()) });
        callee
    }

    pub fn add_target(&mut self, id: u64, target: u64, server: SocketAddr, stream: &str) {
        self.send(Command::AddTarget {
            broadcast: BroadcastId(id),
            target: TargetId(target),
            spec: Box::new(RtmpTarget::new(
                RtmpUrl::parse(&format!("rtmp://{server}/live")).expect("valid"),
                Secret::new(stream.to_owned()),
                vec![server],
            )),
        });
    }

    pub fn add_rtmps_target(
        &mut self,
        id: u64,
        target: u64,
        host: &str,
        server: SocketAddr,
        stream: &str,
        tls: TlsTrust,
    ) {
        let url = RtmpUrl::parse(&format!("rtmps://{host}:{}/live", server.port())).expect("valid");
        let spec = RtmpTarget { tls, ..RtmpTarget::new(url, Secret::new(stream.to_owned()), vec![server]) };
        let (broadcast, target) = (BroadcastId(id), TargetId(target));
        self.send(Command::AddTarget { broadcast, target, spec: Box::new(spec) });
    }

    pub fn wait_state(&mut self, id: u64, target: u64, wanted: impl Fn(TargetState) -> bool) {
        self.wait("the target's state", |report| match report {
            Report::Target { broadcast, target: t, state } if (broadcast.0, t.0) == (id, target) => {
                wanted(*state).then_some(())
            }
            _ => None,
        });
    }

    pub fn wait_publishing(&mut self, id: u64, target: u64) {
        self.wait_state(id, target, |state| state == TargetState::Publishing);
    }

    /// Figures of the next report that satisfies `wanted`.
    pub fn wait_statistics(&mut self, what: &str, wanted: impl Fn(&ShardStatistics) -> bool) {
        self.wait(what, |report| match report {
            Report::Statistics(statistics) => wanted(statistics).then_some(()),
            _ => None,
        });
    }

    pub fn close(&mut self, id: u64) {
        self.send(Command::Close { broadcast: BroadcastId(id) });
        self.wait("closed", |report| {
            matches!(report, Report::Closed { broadcast, .. } if broadcast.0 == id).then_some(())
        });
    }

    /// Stops: every slot is home and the thread ends.
    pub fn finish(mut self) {
        self.send(Command::Stop);
        let missing = self.wait("stopped", |report| match report {
            Report::Stopped { slots_missing, .. } => Some(*slots_missing),
            _ => None,
        });
        assert_eq!(missing, 0, "slots did not come home");
        self.dataplane.stop();
    }
}

/// Figures of one broadcast, default when it is not listed.
pub fn broadcast(statistics: &ShardStatistics, id: u64) -> BroadcastStatistics {
    let mut all = statistics.broadcasts.iter();
    all.find(|(broadcast, _)| broadcast.0 == id).map(|(_, figures)| figures.clone()).unwrap_or_default()
}

/// Figures of one target, default when it is not listed.
pub fn target(statistics: &ShardStatistics, id: u64, target: u64) -> TargetStatistics {
    let targets = broadcast(statistics, id).targets;
    targets.into_iter().find(|(t, _)| t.0 == target).map(|(_, figures)| figures).unwrap_or_default()
}

/// `len` UDP ports of which the first two are free.
pub fn port_range(len: u16) -> (u16, u16) {
    loop {
        let socket = UdpSocket::bind((LOCALHOST, 0)).expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        if port.is_multiple_of(2) && port < u16::MAX - len && UdpSocket::bind((LOCALHOST, port + 1)).is_ok() {
            return (port, port + len - 1);
        }
    }
}

/// An RTMP server on `port`; 0: a free one.
pub fn origin(port: u16) -> Origin {
    until("the RTMP port is free", || {
        let options = OriginOptions { rtmp_bind: (LOCALHOST, port).into(), ..OriginOptions::default() };
        Origin::bind(options).ok()
    })
}

/// What the server knows of `live/stream`.
pub fn stream(origin: &Origin, stream: &str) -> Option<StreamStatistics> {
    origin.stream_statistics(&StreamName::new("live", stream).expect("a stream name"))
}

/// Waits until `live/stream` has `more` pictures more than now, and gives its figures.
pub fn wait_pictures(origin: &Origin, name: &str, more: u64) -> StreamStatistics {
    let before = stream(origin, name).map_or(0, |figures| figures.pictures);
    until("pictures arrive", || stream(origin, name).filter(|figures| figures.pictures >= before + more))
}

/// Waits for what nobody announces.
pub fn until<T>(what: &str, condition: impl Fn() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
