//! Fan-out: one call to 1, 2, 4, 8 and 16 targets from one packetised copy. Prints what each further target costs
//! per picture, and how little of that is new memory: payload is shared, so only references and headers are per target.
//!
//! Leaves out: sending, which the kernel does once per target.

mod support;

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};

use criterion::Throughput;
use sipcast_contract::limits::SLOT_LEN;
use sipcast_contract::media::{Direction, H264Format, MediaTransport, VideoFeedback, VideoMedia};
use sipcast_contract::{
    MediaOptions, MediaWanted, NegotiatedMedia, RtmpTarget, RtmpUrl, Secret, TargetId, TargetState, Timestamp,
};
use sipcast_media::pipeline::{Event, Pipeline, Port, Workspace};
use sipcast_media::rtmp::{ServerEvent, ServerSession, TargetAction};
use sipcast_pool::{Pool, Segment};
use support::traffic::{PICTURES_PER_SECOND, START, VIDEO_PAYLOAD_TYPE, Video, pool};
use support::{Stage, TURN};

fn main() {
    let mut stage = Stage::new("fan_out");
    let datagrams = pool();
    let mut workspace = Workspace::new(Pool::new(16_384, SLOT_LEN));
    for targets in COUNTS {
        let mut fan_out = FanOut::publishing(targets, &mut workspace);
        let mut video = Video::new(&datagrams, BIT_RATE_BPS);
        stage.bench_prepared(
            &name(targets),
            Throughput::Elements(targets),
            TURN,
            |(datagrams, at): &mut (Vec<Segment>, Timestamp)| *at = video.picture(datagrams),
            |(datagrams, at)| fan_out.take_picture(datagrams, *at, &mut workspace),
        );
        fan_out.assert_all_went_through();
    }
    for targets in &COUNTS[1..] {
        if let (Some(one), Some(many)) = (stage.nanos(&name(1)), stage.nanos(&name(*targets))) {
            let each = (many - one) / (targets - 1) as f64;
            println!(
                "each further target of {targets}: {each:.0} ns per picture, {:.1} us per second of call, {:.2} of the first",
                each * PICTURES_PER_SECOND as f64 / 1000.0,
                each / one
            );
        }
    }
    stage.finish();
}

/// One broadcast whose targets publish.
struct FanOut {
    pipeline: Pipeline,
    targets: Vec<TargetId>,
}

impl FanOut {
    fn publishing(targets: u64, workspace: &mut Workspace) -> Self {
        let options = MediaOptions { silent_audio: false, ..MediaOptions::default() };
        let mut pipeline = Pipeline::new(&options, MediaWanted { audio: false, video: true }, 7, START);
        pipeline.set_media(&NegotiatedMedia { audio: None, video: Some(video()) }, START, workspace);
        let targets: Vec<TargetId> = (1..=targets).map(TargetId).collect();
        for id in &targets {
            pipeline.add_target(*id, target(), START).expect("taken");
        }
        let mut fan_out = Self { pipeline, targets };
        fan_out.connect(workspace);
        fan_out
    }

    /// A picture that came at `at`: everything that one turn of a shard does with it.
    fn take_picture(&mut self, datagrams: &mut Vec<Segment>, at: Timestamp, workspace: &mut Workspace) {
        for datagram in datagrams.drain(..) {
            self.pipeline.handle_datagram(Port::VideoRtp, peer(), datagram, at, workspace);
        }
        if self.pipeline.next_timeout().is_some_and(|due| due <= at) {
            self.pipeline.handle_timeout(at, workspace);
        }
        while let Some(event) = self.pipeline.poll_event() {
            black_box(event);
        }
        while let Some(transmit) = self.pipeline.poll_transmit(workspace) {
            black_box(transmit);
        }
        for id in &self.targets {
            let target = self.pipeline.target_mut(*id).expect("added");
            loop {
                target.fill_send(&mut workspace.arena, &mut workspace.chunks, at);
                let bytes = black_box(&workspace.chunks).bytes;
                workspace.chunks.clear();
                if bytes == 0 {
                    break;
                }
                target.handle_sent(bytes, at);
            }
        }
    }

    /// Lets targets and servers talk until all publish.
    fn connect(&mut self, workspace: &mut Workspace) {
        while let Some(event) = self.pipeline.poll_event() {
            if let Event::Target(id, TargetAction::Connect(_)) = event {
                self.pipeline.target_mut(id).expect("added").handle_connected(START);
            }
        }
        for id in &self.targets {
            let mut server = ServerSession::new(id.0);
            let target = self.pipeline.target_mut(*id).expect("added");
            while target.state() != TargetState::Publishing {
                target.fill_send(&mut workspace.arena, &mut workspace.chunks, START);
                let bytes = workspace.chunks.bytes;
                for segment in &workspace.chunks.segments {
                    server.handle_input(segment).expect("RTMP");
                }
                workspace.chunks.clear();
                while let Some(event) = server.poll_event() {
                    if let ServerEvent::PublishRequested { .. } = event {
                        server.accept();
                    }
                }
                let mut answer = Vec::new();
                server.take_output(&mut answer);
                target.handle_sent(bytes, START);
                target.handle_input(&answer, START);
            }
        }
    }

    /// What was measured was the work, not its refusal.
    fn assert_all_went_through(&self) {
        let statistics = self.pipeline.statistics();
        assert_eq!((statistics.video.lost, statistics.access_units_dropped), (0, 0));
        assert!(statistics.targets.iter().all(|(_, target)| target.access_units_dropped == 0));
        let first = statistics.targets[0].1.access_units;
        assert!(first > 0 && statistics.targets.iter().all(|(_, target)| target.access_units == first));
    }
}

fn video() -> VideoMedia {
    let rtcp = SocketAddr::new(peer().ip(), peer().port() + 1);
    let transport = MediaTransport {
        remote_rtp: Some(peer()),
        remote_rtcp: Some(rtcp),
        direction: Direction::RecvOnly,
        ..MediaTransport::default()
    };
    let format =
        H264Format { payload_type: VIDEO_PAYLOAD_TYPE, packetization_mode: 1, parameter_sets: Vec::new() };
    let feedback = VideoFeedback { pli: true, fir: true, ..VideoFeedback::default() };
    VideoMedia { transport, formats: vec![format], taken: Vec::new(), feedback }
}

fn target() -> RtmpTarget {
    let url = RtmpUrl::parse("rtmp://127.0.0.1/live").expect("valid");
    let addresses = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 1935))];
    RtmpTarget::new(url, Secret::new("key".to_owned()), addresses)
}

fn peer() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 40_002))
}

fn name(targets: u64) -> String {
    format!("picture of 2 Mbit/s, {targets} targets")
}

const COUNTS: [u64; 5] = [1, 2, 4, 8, 16];
const BIT_RATE_BPS: usize = 2_000_000;
