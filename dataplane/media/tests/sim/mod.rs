//! A whole broadcast in virtual time: a seeded callee, a seeded network, the real pipeline, RTMP servers.
//! The seed alone replays a run; every test ends with [`World::finish`], which wants all leases home.
#![allow(dead_code, reason = "each scenario uses its part")]

pub mod callee;
pub mod link;
pub mod sink;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use sipcast_contract::dtmf::DtmfStep;
use sipcast_contract::media::{
    AudioCodec, AudioFormat, AudioMedia, H264Format, H264Taken, MediaTransport, TelephoneEvent,
    VideoFeedback, VideoMedia,
};
use sipcast_contract::{
    Direction, MediaOptions, MediaWanted, NegotiatedMedia, RtmpTarget, RtmpUrl, Secret, TargetId,
    TargetRules, TargetState, Timestamp,
};
use sipcast_media::pipeline::{Event, Pipeline, Port, Workspace};
use sipcast_media::rtmp::TargetAction;
use sipcast_pool::{Pool, Segment};

use callee::Callee;
use link::Link;
use sink::Sink;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// What one datagram from us said.
pub struct Sent {
    pub at: Timestamp,
    pub port: Port,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

pub struct World {
    /// Milliseconds in which a send was due.
    pub sends_due: u64,
    pub seed: u64,
    pub now: Timestamp,
    pub pipeline: Pipeline,
    pub workspace: Workspace,
    /// Where datagrams are received; apart from headers, so that an address tells which is which.
    pub datagrams: Pool,
    pub headers: Pool,
    pub callee: Callee,
    pub link: Link,
    pub sinks: BTreeMap<TargetId, Sink>,
    pub events: Vec<Event>,
    pub sent: Vec<Sent>,
}

pub const AUDIO: &str = "192.0.2.1:40000";
pub const VIDEO: &str = "192.0.2.1:40002";

pub fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub fn transport(rtp: &str) -> MediaTransport {
    let rtp = address(rtp);
    MediaTransport {
        remote_rtp: Some(rtp),
        remote_rtcp: Some(SocketAddr::new(rtp.ip(), rtp.port() + 1)),
        rtcp_mux: false,
        direction: Direction::RecvOnly,
        srtp: None,
    }
}

pub fn audio() -> AudioMedia {
    AudioMedia {
        transport: transport(AUDIO),
        formats: vec![AudioFormat { payload_type: 0, codec: AudioCodec::Pcmu }],
        taken: Some(AudioFormat { payload_type: 0, codec: AudioCodec::Pcmu }),
        telephone_event: Some(TelephoneEvent { payload_type: 101, clock_rate_hz: 8000 }),
        comfort_noise: None,
        packet_time_ms: 20,
    }
}

pub fn video() -> VideoMedia {
    VideoMedia {
        transport: transport(VIDEO),
        formats: vec![H264Format { payload_type: 96, packetization_mode: 1, parameter_sets: Vec::new() }],
        taken: vec![H264Taken {
            payload_type: 96,
            packetization_mode: 1,
            profile_level_id: [0x42, 0xe0, 0x1f],
        }],
        feedback: VideoFeedback { pli: true, fir: true, ..VideoFeedback::default() },
    }
}

pub fn both() -> NegotiatedMedia {
    NegotiatedMedia { audio: Some(audio()), video: Some(video()) }
}

impl World {
    /// A world one second old, in which nothing is agreed on.
    pub fn new(seed: u64) -> Self {
        Self::with_options(seed, &MediaOptions::default())
    }

    pub fn with_options(seed: u64, options: &MediaOptions) -> Self {
        Self::with_slots(seed, options, 8192)
    }

    /// `slots`: for headers, to let them run out.
    pub fn with_slots(seed: u64, options: &MediaOptions, slots: u16) -> Self {
        println!("seed {seed}");
        let now = Timestamp::from_millis(1000);
        let (datagrams, headers) = (Pool::new(8192, 2048), Pool::new(slots, 2048));
        Self {
            seed,
            now,
            pipeline: Pipeline::new(options, MediaWanted { audio: true, video: true }, seed, now),
            workspace: Workspace::new(headers.clone()),
            datagrams,
            headers,
            callee: Callee::new(seed, now),
            link: Link::new(seed),
            sinks: BTreeMap::new(),
            events: Vec::new(),
            sent: Vec::new(),
            sends_due: 0,
        }
    }

    /// A call with sound and picture, and a target that publishes.
    pub fn call(seed: u64) -> Self {
        let mut world = Self::new(seed);
        world.pipeline.set_media(&both(), world.now, &mut world.workspace);
        world.add_target(1);
        world
    }

    pub fn add_target(&mut self, id: u64) -> TargetId {
        self.add_target_with(id, TargetRules::default())
    }

    /// A target whose service demands something.
    pub fn add_target_with(&mut self, id: u64, rules: TargetRules) -> TargetId {
        let id = TargetId(id);
        let url = RtmpUrl::parse("rtmp://127.0.0.1/live").expect("valid");
        let spec = RtmpTarget::new(url, Secret::new("key".to_owned()), vec![address("127.0.0.1:1935")]);
        let spec = RtmpTarget { rules, ..spec };
        self.pipeline.add_target(id, spec, self.now).expect("taken");
        self.sinks.insert(id, Sink::new(self.seed ^ id.0));
        id
    }

    pub fn sink(&self, id: u64) -> &Sink {
        &self.sinks[&TargetId(id)]
    }

    pub fn sink_mut(&mut self, id: u64) -> &mut Sink {
        self.sinks.get_mut(&TargetId(id)).expect("a sink")
    }

    pub fn send_dtmf(&mut self, steps: &[DtmfStep]) -> bool {
        self.pipeline.send_dtmf(steps, self.now).is_ok()
    }

    /// Lets `ms` milliseconds pass.
    pub fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now = self.now + Duration::from_millis(1);
            self.tick();
        }
    }

    /// Hands in one datagram as it is.
    pub fn receive(&mut self, port: Port, from: SocketAddr, bytes: &[u8]) {
        let datagram = self.segment(bytes);
        self.pipeline.handle_datagram(port, from, datagram, self.now, &mut self.workspace);
    }

    pub fn segment(&self, bytes: &[u8]) -> Segment {
        let mut lease = self.datagrams.claim().expect("a free slot");
        lease[..bytes.len()].copy_from_slice(bytes);
        lease.freeze(0..bytes.len())
    }

    /// Whether `segment` lies in a slot that was received into.
    pub fn is_received(&self, segment: &Segment) -> bool {
        let start = self.datagrams.slot_address(0) as usize;
        let len = self.datagrams.slots() as usize * self.datagrams.slot_len();
        (start..start + len).contains(&(segment.as_ptr() as usize))
    }

    pub fn state(&mut self, id: u64) -> TargetState {
        self.pipeline.target_mut(TargetId(id)).expect("a target").state()
    }

    /// PLI and FIR that went out.
    pub fn keyframe_requests(&self) -> usize {
        self.sent.iter().filter(|sent| callee::asks_for_keyframe(&sent.bytes)).count()
    }

    /// Closes the broadcast; everything must come home without a payload byte copied.
    pub fn finish(mut self) {
        self.pipeline.close(self.now, &mut self.workspace);
        self.link.clear();
        self.callee.is_sending = false;
        self.run(3000);
        assert!(self.pipeline.is_ended(), "all targets have said goodbye");
        let Self { pipeline, mut workspace, datagrams, headers, sinks, .. } = self;
        drop((pipeline, sinks));
        workspace.close();
        assert_eq!((datagrams.held(), headers.held()), (0, 0), "all leases are home");
        assert_eq!(datagrams.bytes_copied(), 0, "no payload was copied");
    }

    fn tick(&mut self) {
        for (port, from, bytes) in self.callee.poll(self.now) {
            let bytes = self.callee.protect(port, bytes);
            self.link.send(self.now, port, from, bytes);
        }
        while let Some((port, from, bytes)) = self.link.poll(self.now) {
            self.receive(port, from, &bytes);
        }
        if self.pipeline.next_timeout().is_some_and(|at| at <= self.now) {
            self.pipeline.handle_timeout(self.now, &mut self.workspace);
        }
        // The world sends at once, whatever is due: what the driver would do is counted.
        self.sends_due += u64::from(self.pipeline.take_send_due());
        self.sinks.values_mut().for_each(Sink::pass_millisecond);
        self.drain();
        let next = self.pipeline.next_timeout();
        assert!(
            next.is_none_or(|at| at > self.now),
            "all that was due is served: {next:?} at {:?}",
            self.now
        );
    }

    fn drain(&mut self) {
        while let Some(event) = self.pipeline.poll_event() {
            if let Event::Target(id, action) = &event {
                self.act(*id, action);
            }
            self.events.push(event);
        }
        while let Some(transmit) = self.pipeline.poll_transmit(&mut self.workspace) {
            let bytes = transmit.payload.iter().copied().collect::<Vec<u8>>();
            let bytes = self.callee.unprotect(transmit.port, bytes, self.now);
            for again in self.callee.asked_again(&bytes) {
                let from = self.callee.video_from;
                self.link.send(self.now, Port::VideoRtp, from, again);
            }
            if callee::asks_for_keyframe(&bytes) {
                self.callee.keyframe_asked();
            }
            self.sent.push(Sent { at: self.now, port: transmit.port, to: transmit.to, bytes });
        }
        self.exchange();
    }

    fn act(&mut self, id: TargetId, action: &TargetAction) {
        let (Some(sink), Some(target)) = (self.sinks.get_mut(&id), self.pipeline.target_mut(id)) else {
            return;
        };
        match action {
            TargetAction::Connect(_) if sink.is_down => target.handle_connect_failed(self.now),
            TargetAction::Connect(_) => {
                sink.connect();
                target.handle_connected(self.now);
            }
            TargetAction::Disconnect => {
                sink.disconnect();
                target.handle_disconnected(self.now);
            }
            TargetAction::StateChanged(_) | TargetAction::RequestKeyframe => {}
        }
    }

    /// Moves bytes between targets and servers until nothing more is said.
    fn exchange(&mut self) {
        let start = self.datagrams.slot_address(0) as usize;
        let end = start + self.datagrams.slots() as usize * self.datagrams.slot_len();
        for (id, sink) in &mut self.sinks {
            let Some(target) = self.pipeline.sending_target_mut(*id) else { continue };
            while sink.takes_bytes() {
                let arrived = sink.arrive();
                if arrived > 0 {
                    target.handle_sent(arrived, self.now);
                }
                let chunks = &mut self.workspace.chunks;
                chunks.clear();
                target.fill_send(&mut self.workspace.arena, chunks, self.now);
                let bytes = chunks.bytes;
                for segment in &chunks.segments {
                    if (start..end).contains(&(segment.as_ptr() as usize)) {
                        sink.received_slot_bytes += segment.len() as u64;
                    }
                    sink.send(segment);
                }
                chunks.clear();
                let answer = sink.answer();
                if !answer.is_empty() {
                    target.handle_input(&answer, self.now);
                }
                if bytes == 0 && arrived == 0 && answer.is_empty() {
                    break;
                }
            }
        }
    }
}
