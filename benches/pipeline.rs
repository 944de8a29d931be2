//! The whole pipeline (`sipcast_media::pipeline`): RTP datagrams in, chunk lists out, everything between included:
//! latching, reordering, statistics, timers, queues of the targets. Prints the memory of one pipeline too.
//!
//! Leaves out: receiving and sending (the driver), and the RTMP servers, which are gone once all targets publish.

mod support;

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};

use criterion::Throughput;
use sipcast_contract::limits::SLOT_LEN;
use sipcast_contract::media::{
    AudioCodec, AudioFormat, AudioMedia, Direction, H264Format, MediaTransport, VideoFeedback, VideoMedia,
};
use sipcast_contract::{
    MediaOptions, MediaWanted, NegotiatedMedia, RtmpTarget, RtmpUrl, Secret, TargetId, TargetState, Timestamp,
};
use sipcast_media::pipeline::{Event, Pipeline, Port, Workspace};
use sipcast_media::rtmp::{ServerEvent, ServerSession, TargetAction};
use sipcast_pool::{Pool, Segment};
use support::traffic::{
    AUDIO_PAYLOAD_TYPE, Audio, PICTURES_PER_SECOND, START, VIDEO_PAYLOAD_TYPE, Video, pool,
};
use support::{Stage, TURN, allocation};

fn main() {
    let mut stage = Stage::new("pipeline");
    let datagrams = pool();
    let mut workspace = Workspace::new(Pool::new(16_384, SLOT_LEN));
    for (name, targets) in [(PICTURE_1, 1), (PICTURE_4, 4)] {
        let mut call = Call::publishing(&datagrams, VIDEO_ONLY, targets, &mut workspace);
        let mut video = call.video.take().expect("with video");
        stage.bench_prepared(
            name,
            Throughput::Bytes(BIT_RATE_BPS as u64 / 8 / PICTURES_PER_SECOND),
            TURN,
            |(datagrams, at): &mut (Vec<Segment>, Timestamp)| *at = video.picture(datagrams),
            |(datagrams, at)| call.take_picture(datagrams, *at, &mut workspace),
        );
        call.assert_all_went_through();
    }
    {
        let mut call = Call::publishing(&datagrams, AUDIO_ONLY, 1, &mut workspace);
        let mut audio = call.audio.take().expect("with audio");
        stage.bench_prepared(
            SECOND_OF_SOUND,
            Throughput::Elements(8000),
            4,
            |second: &mut Vec<(Segment, Timestamp)>| second.extend((0..50).map(|_| audio.datagram())),
            |second| {
                second.drain(..).for_each(|(datagram, at)| call.take_sound(datagram, at, &mut workspace))
            },
        );
        call.assert_all_went_through();
    }
    {
        let mut call = Call::publishing(&datagrams, BOTH, 1, &mut workspace);
        let (mut video, mut audio) = (call.video.take().expect("both"), call.audio.take().expect("both"));
        stage.bench_prepared(
            SECOND_OF_CALL,
            Throughput::Elements(1),
            4,
            |second: &mut Second| second.prepare(&mut video, &mut audio),
            |second| second.play(&mut call, &mut workspace),
        );
        call.assert_all_went_through();
    }
    stage.print_ratio(PICTURE_4, PICTURE_1, 1.0);
    stage.print_ratio(SECOND_OF_SOUND, PICTURE_1, PICTURES_PER_SECOND as f64);
    stage.print_ratio(SECOND_OF_CALL, SECOND_OF_SOUND, 1.0);
    print_memory(&datagrams, &mut workspace);
    stage.finish();
}

/// Memory of one pipeline: what a second one takes, when all that they share is warm.
fn print_memory(datagrams: &Pool, workspace: &mut Workspace) {
    for (name, media) in [("picture and sound", BOTH), ("picture alone", VIDEO_ONLY)] {
        warm(&mut Call::publishing(datagrams, media, 1, workspace), workspace);
        let before = (allocation::live_bytes(), allocation::c_heap_bytes());
        let mut call = Call::publishing(datagrams, media, 1, workspace);
        warm(&mut call, workspace);
        // What the bench itself keeps.
        (call.video, call.audio) = (None, None);
        println!(
            "memory of a pipeline with {name}, 1 target: {} bytes on the heap, {} with the C library's, {} inline",
            allocation::live_bytes() - before.0,
            allocation::c_heap_bytes() - before.1,
            size_of::<Pipeline>(),
        );
    }
}

/// Lets ten seconds of media go through.
fn warm(call: &mut Call, workspace: &mut Workspace) {
    let (mut video, mut audio) = (call.video.take(), call.audio.take());
    let mut second = Second::default();
    for _ in 0..10 {
        if let Some(audio) = &mut audio {
            second.sound.extend((0..50).map(|_| audio.datagram()));
        }
        if let Some(video) = &mut video {
            second.prepare_pictures(video);
        }
        second.play(call, workspace);
    }
    (call.video, call.audio) = (video, audio);
}

/// The datagrams of one second, by medium.
#[derive(Default)]
struct Second {
    pictures: Vec<(Vec<Segment>, Timestamp)>,
    sound: Vec<(Segment, Timestamp)>,
}

impl Second {
    fn prepare(&mut self, video: &mut Video, audio: &mut Audio) {
        self.sound.extend((0..50).map(|_| audio.datagram()));
        self.prepare_pictures(video);
    }

    fn prepare_pictures(&mut self, video: &mut Video) {
        self.pictures.resize_with(PICTURES_PER_SECOND as usize, Default::default);
        self.pictures.iter_mut().for_each(|(datagrams, at)| *at = video.picture(datagrams));
    }

    /// Both media as time goes on.
    fn play(&mut self, call: &mut Call, workspace: &mut Workspace) {
        let mut sound = self.sound.drain(..).peekable();
        for (datagrams, picture_at) in &mut self.pictures {
            while let Some((datagram, at)) = sound.next_if(|(_, at)| *at <= *picture_at) {
                call.take_sound(datagram, at, workspace);
            }
            call.take_picture(datagrams, *picture_at, workspace);
        }
        sound.for_each(|(datagram, at)| call.take_sound(datagram, at, workspace));
    }
}

/// One broadcast whose targets publish, with what its callee sends.
struct Call {
    pipeline: Pipeline,
    targets: Vec<TargetId>,
    video: Option<Video>,
    audio: Option<Audio>,
}

impl Call {
    /// A call two seconds old.
    fn publishing(datagrams: &Pool, wanted: MediaWanted, targets: u64, workspace: &mut Workspace) -> Self {
        let options = MediaOptions { silent_audio: false, ..MediaOptions::default() };
        let mut pipeline = Pipeline::new(&options, wanted, 7, START);
        pipeline.set_media(&media(wanted), START, workspace);
        let targets: Vec<TargetId> = (1..=targets).map(TargetId).collect();
        let mut servers = Vec::new();
        for id in &targets {
            pipeline.add_target(*id, target(), START).expect("taken");
            servers.push(ServerSession::new(id.0));
        }
        let mut call = Self {
            pipeline,
            targets,
            video: wanted.video.then(|| Video::new(datagrams, BIT_RATE_BPS)),
            audio: wanted.audio.then(|| Audio::new(datagrams)),
        };
        call.exchange(&mut servers, workspace);
        for id in call.targets.clone() {
            let target = call.pipeline.target_mut(id).expect("added");
            assert_eq!(target.state(), TargetState::Publishing);
        }
        call
    }

    /// A picture that came at `at`: everything that one turn of a shard does with it.
    fn take_picture(&mut self, datagrams: &mut Vec<Segment>, at: Timestamp, workspace: &mut Workspace) {
        for datagram in datagrams.drain(..) {
            self.pipeline.handle_datagram(Port::VideoRtp, peer(VIDEO_PORT), datagram, at, workspace);
        }
        self.turn(at, workspace);
    }

    /// A packet of sound that came at `at`.
    fn take_sound(&mut self, datagram: Segment, at: Timestamp, workspace: &mut Workspace) {
        let from = peer(AUDIO_PORT);
        if self.pipeline.handle_datagram(Port::AudioRtp, from, datagram, at, workspace).is_none() {
            self.turn(at, workspace);
        }
    }

    fn turn(&mut self, now: Timestamp, workspace: &mut Workspace) {
        if self.pipeline.next_timeout().is_some_and(|at| at <= now) {
            self.pipeline.handle_timeout(now, workspace);
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
                target.fill_send(&mut workspace.arena, &mut workspace.chunks, now);
                let bytes = black_box(&workspace.chunks).bytes;
                workspace.chunks.clear();
                if bytes == 0 {
                    break;
                }
                target.handle_sent(bytes, now);
            }
        }
    }

    /// Lets targets and servers talk until nothing more is said.
    fn exchange(&mut self, servers: &mut [ServerSession], workspace: &mut Workspace) {
        while let Some(event) = self.pipeline.poll_event() {
            if let Event::Target(id, TargetAction::Connect(_)) = event {
                self.pipeline.target_mut(id).expect("added").handle_connected(START);
            }
        }
        let mut answer = Vec::new();
        for (id, server) in self.targets.iter().zip(servers) {
            let target = self.pipeline.target_mut(*id).expect("added");
            loop {
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
                answer.clear();
                server.take_output(&mut answer);
                if bytes == 0 && answer.is_empty() {
                    break;
                }
                target.handle_sent(bytes, START);
                target.handle_input(&answer, START);
            }
        }
    }

    /// What was measured was the work, not its refusal.
    fn assert_all_went_through(&self) {
        let statistics = self.pipeline.statistics();
        assert_eq!((statistics.video.lost, statistics.audio.lost), (0, 0));
        assert_eq!((statistics.access_units_dropped, statistics.silence_samples), (0, 0));
        for (_, target) in &statistics.targets {
            assert_eq!(
                (target.access_units_dropped, target.audio_frames_dropped, target.queue_ms),
                (0, 0, 0)
            );
        }
    }
}

fn media(wanted: MediaWanted) -> NegotiatedMedia {
    let transport = |port| MediaTransport {
        remote_rtp: Some(peer(port)),
        remote_rtcp: Some(peer(port + 1)),
        rtcp_mux: false,
        direction: Direction::RecvOnly,
        srtp: None,
    };
    let audio = AudioMedia {
        transport: transport(AUDIO_PORT),
        formats: vec![AudioFormat { payload_type: AUDIO_PAYLOAD_TYPE, codec: AudioCodec::Pcmu }],
        taken: None,
        telephone_event: None,
        comfort_noise: None,
        packet_time_ms: 20,
    };
    let format =
        H264Format { payload_type: VIDEO_PAYLOAD_TYPE, packetization_mode: 1, parameter_sets: Vec::new() };
    let video = VideoMedia {
        transport: transport(VIDEO_PORT),
        formats: vec![format],
        taken: Vec::new(),
        feedback: VideoFeedback { pli: true, fir: true, ..VideoFeedback::default() },
    };
    NegotiatedMedia { audio: wanted.audio.then_some(audio), video: wanted.video.then_some(video) }
}

fn target() -> RtmpTarget {
    let url = RtmpUrl::parse("rtmp://127.0.0.1/live").expect("valid");
    let addresses = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 1935))];
    RtmpTarget::new(url, Secret::new("key".to_owned()), addresses)
}

fn peer(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), port))
}

const PICTURE_1: &str = "picture of 1 Mbit/s, 1 target";
const PICTURE_4: &str = "picture of 1 Mbit/s, 4 targets";
const SECOND_OF_SOUND: &str = "second of PCMU, 1 target";
const SECOND_OF_CALL: &str = "second of call, 1 target";
const BIT_RATE_BPS: usize = 1_000_000;
const AUDIO_PORT: u16 = 40_000;
const VIDEO_PORT: u16 = 40_002;
const VIDEO_ONLY: MediaWanted = MediaWanted { audio: false, video: true };
const AUDIO_ONLY: MediaWanted = MediaWanted { audio: true, video: false };
const BOTH: MediaWanted = MediaWanted { audio: true, video: true };
