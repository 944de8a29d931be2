//! RTP, RTCP, H.264 and sound of a whole call (RFC 3550, RFC 6184, RFC 4585): any datagrams from anywhere, on all four
//! ports, through the pipeline to a target's queue.

use std::net::SocketAddr;
use std::time::Duration;

use sipcast_contract::media::{
    AudioCodec, AudioFormat, AudioMedia, H264Format, MediaTransport, TelephoneEvent, VideoFeedback,
    VideoMedia,
};
use sipcast_contract::{
    Direction, MediaOptions, MediaWanted, NegotiatedMedia, RtmpTarget, RtmpUrl, Secret, TargetId, Timestamp,
};
use sipcast_media::pipeline::{Event, Pipeline, Port, Workspace};
use sipcast_media::rtmp::TargetAction;
use sipcast_pool::Pool;

use crate::input::Input;

const PORTS: [Port; 4] = [Port::AudioRtp, Port::AudioRtcp, Port::VideoRtp, Port::VideoRtcp];

/// Datagrams with time between them; each is a header byte (port, source, time) and a counted payload.
pub fn call(data: &[u8]) {
    let (datagrams, headers) = (Pool::new(512, 2048), Pool::new(512, 2048));
    let mut workspace = Workspace::new(headers.clone());
    let mut now = Timestamp::from_millis(1000);
    let mut pipeline =
        Pipeline::new(&MediaOptions::default(), MediaWanted { audio: true, video: true }, 7, now);
    pipeline.set_media(&media(), now, &mut workspace);
    let url = RtmpUrl::parse("rtmp://127.0.0.1/live").expect("valid");
    let target = RtmpTarget::new(url, Secret::new("key".to_owned()), vec![address(1935)]);
    pipeline.add_target(TargetId(1), target, now).expect("the first target");
    let mut input = Input::new(data);
    while !input.is_empty() {
        let head = input.byte();
        let port = PORTS[usize::from(head & 3)];
        let from = address(if head & 4 == 0 { 4000 } else { 5000 } + 2 * u16::from(head & 3));
        let payload = input.counted(1500);
        if let Ok(mut lease) = datagrams.claim() {
            lease[..payload.len()].copy_from_slice(payload);
            pipeline.handle_datagram(port, from, lease.freeze(0..payload.len()), now, &mut workspace);
        }
        now = now + Duration::from_millis(u64::from(head >> 3));
        serve(&mut pipeline, &mut workspace, now);
    }
    assert_eq!(datagrams.bytes_copied(), 0, "no payload was copied");
    pipeline.close(now, &mut workspace);
    serve(&mut pipeline, &mut workspace, now + Duration::from_secs(10));
    drop(pipeline);
    workspace.close();
    assert_eq!((datagrams.held(), headers.held()), (0, 0), "all leases are home");
}

fn serve(pipeline: &mut Pipeline, workspace: &mut Workspace, now: Timestamp) {
    if pipeline.next_timeout().is_some_and(|at| at <= now) {
        pipeline.handle_timeout(now, workspace);
    }
    let mut events = 0;
    while let Some(event) = pipeline.poll_event() {
        events += 1;
        assert!(events < 1000, "events come to an end");
        if let Event::Target(id, TargetAction::Connect(_)) = event
            && let Some(target) = pipeline.target_mut(id)
        {
            target.handle_connect_failed(now);
        }
    }
    let mut datagrams = 0;
    while pipeline.poll_transmit(workspace).is_some() {
        datagrams += 1;
        assert!(datagrams < 1000, "datagrams come to an end");
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn media() -> NegotiatedMedia {
    let transport = |port| MediaTransport {
        remote_rtp: Some(address(port)),
        remote_rtcp: Some(address(port + 2)),
        direction: Direction::RecvOnly,
        ..MediaTransport::default()
    };
    let codecs = [
        (0, AudioCodec::Pcmu),
        (8, AudioCodec::Pcma),
        (9, AudioCodec::G722),
        (97, AudioCodec::SpeexNarrowband),
        (98, AudioCodec::SpeexWideband),
        (99, AudioCodec::SpeexUltraWideband),
        (100, AudioCodec::Opus),
    ];
    NegotiatedMedia {
        audio: Some(AudioMedia {
            transport: transport(4000),
            formats: codecs.map(|(payload_type, codec)| AudioFormat { payload_type, codec }).to_vec(),
            taken: Some(AudioFormat { payload_type: codecs[0].0, codec: codecs[0].1 }),
            telephone_event: Some(TelephoneEvent { payload_type: 101, clock_rate_hz: 8000 }),
            comfort_noise: Some(13),
            packet_time_ms: 20,
        }),
        video: Some(VideoMedia {
            transport: transport(4004),
            formats: vec![H264Format { payload_type: 96, packetization_mode: 1, parameter_sets: Vec::new() }],
            taken: Vec::new(),
            feedback: VideoFeedback { pli: true, fir: true, nack: true, tmmbr: true },
        }),
    }
}
