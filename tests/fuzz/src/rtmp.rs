//! RTMP (Adobe RTMP 1.0) in both directions: a client's bytes at the embedded server, a server's bytes at a target.

use std::time::Duration;

use bytes::Bytes;
use sipcast_contract::picture::picture_line;
use sipcast_contract::sound::{LineId, line};
use sipcast_contract::{MediaOptions, MediaWanted, RtmpTarget, RtmpUrl, Secret, TargetId, Timestamp};
use sipcast_media::pipeline::{Event, Pipeline, Workspace};
use sipcast_media::rtmp::{ChunkList, MediaKind, ServerEvent, ServerSession, Target, TargetAction};
use sipcast_pool::{Arena, Pool};

use crate::input::Input;

/// A client's bytes at a server session, in pieces: handshake, chunks, commands, media. The first byte says whether
/// requests are accepted.
pub fn server_input(data: &[u8]) {
    let mut input = Input::new(data);
    let accepts = input.byte().is_multiple_of(2);
    let mut session = ServerSession::new(7);
    let mut output = Vec::new();
    // The handshake is the same 3073 bytes for everybody: given, so that an input begins with what matters.
    let mut client_hello = vec![3];
    client_hello.resize(1 + 1536 + 1536, 0);
    session.handle_input(&client_hello).expect("a handshake");
    while !input.is_empty() {
        let piece = input.counted(4096);
        if session.handle_input(piece).is_err() {
            break;
        }
        while let Some(event) = session.poll_event() {
            match event {
                ServerEvent::PublishRequested { .. } | ServerEvent::PlayRequested { .. } if accepts => {
                    session.accept();
                    session.send_media(MediaKind::Video, 40, &Bytes::from_static(&[0x17, 0, 0, 0, 0]));
                }
                ServerEvent::PublishRequested { .. } | ServerEvent::PlayRequested { .. } => {
                    session.reject("NetStream.Publish.BadName", "taken");
                }
                ServerEvent::Media { body, .. } => assert!(!body.is_empty(), "media is never empty"),
                _ => {}
            }
        }
        output.clear();
        session.take_output(&mut output);
        // What one input may provoke: an answer a command, and a command takes more bytes than its answer's tenth.
        assert!(output.len() <= 64 * 1024 + 16 * piece.len(), "{} bytes of answers", output.len());
    }
}

/// A server's bytes at a target that connects, publishes and reconnects, with time going by between the pieces.
pub fn target_input(data: &[u8]) {
    let pool = Pool::new(64, 2048);
    let mut arena = Arena::new(pool.clone());
    let mut now = Timestamp::from_millis(1000);
    let url = RtmpUrl::parse("rtmp://user:password@127.0.0.1/live?token=t").expect("valid");
    let addresses = vec!["127.0.0.1:1935".parse().expect("an address")];
    let mut target = Target::new(RtmpTarget::new(url, Secret::new("key".to_owned()), addresses), 7, now);
    let mut chunks = ChunkList::default();
    let mut input = Input::new(data);
    while !input.is_empty() {
        match input.byte() % 8 {
            0 => target.handle_disconnected(now),
            1 => target.handle_connect_failed(now),
            2 => now = now + Duration::from_millis(u64::from(input.number())),
            _ => target.handle_input(input.counted(2048), now),
        }
        if target.next_timeout().is_some_and(|at| at <= now) {
            target.handle_timeout(now);
        }
        let mut actions = 0;
        while let Some(action) = target.poll_action() {
            actions += 1;
            assert!(actions < 100, "actions come to an end");
            if matches!(action, TargetAction::Connect(_)) {
                target.handle_connected(now);
                // A server's part of the handshake, so that an input begins with what matters.
                let mut server_hello = vec![3];
                server_hello.resize(1 + 1536 + 1536, 0);
                target.handle_input(&server_hello, now);
            }
        }
        for _ in 0..4 {
            chunks.clear();
            target.fill_send(&mut arena, &mut chunks, now);
            let sent = chunks.bytes;
            chunks.clear();
            if sent == 0 {
                break;
            }
            target.handle_sent(sent, now);
        }
    }
    drop((target, chunks));
    arena.close();
    assert_eq!(pool.held(), 0, "all leases are home");
}

/// A server's bytes at a broadcast that pulls its stream: chunks, commands, FLV bodies, aggregates, with reconnections and
/// time between them. The server plays by the time that the input begins, and its sound and pictures go on to another
/// broadcast.
pub fn player_input(data: &[u8]) {
    let pool = Pool::new(512, 2048);
    let mut workspace = Workspace::new(pool.clone());
    let mut now = Timestamp::from_millis(1000);
    let wanted = MediaWanted { audio: false, video: false };
    let mut pipeline = Pipeline::new(&MediaOptions::default(), wanted, 7, now);
    let url = RtmpUrl::parse("rtmp://127.0.0.1/live").expect("valid");
    let addresses = vec!["127.0.0.1:1935".parse().expect("an address")];
    let spec = RtmpTarget::new(url, Secret::new("talk".to_owned()), addresses);
    pipeline.add_target(TARGET, spec.clone(), now).expect("room for one");
    pipeline.set_muted(TARGET, true);
    pipeline.pull(PULL, RtmpTarget { plays: true, ..spec }, now);
    let (sound, mut heard) = line();
    let (pictures, mut seen) = picture_line();
    assert!(pipeline.add_line(LineId(1), sound, None));
    pipeline.add_pictures(LineId(1), pictures, now);
    let mut server = ServerSession::new(7);
    let mut input = Input::new(data);
    play(&mut pipeline, &mut server, &mut workspace, now);
    while !input.is_empty() {
        match input.byte() % 8 {
            0 => with_pull(&mut pipeline, |pull| pull.handle_disconnected(now)),
            1 => now = now + Duration::from_millis(u64::from(input.number())),
            _ => {
                let piece = input.counted(4096);
                with_pull(&mut pipeline, |pull| pull.handle_input(piece, now));
            }
        }
        if pipeline.next_timeout().is_some_and(|at| at <= now) {
            pipeline.handle_timeout(now, &mut workspace);
        }
        pipeline.serve_studio(now, &mut workspace);
        play(&mut pipeline, &mut server, &mut workspace, now);
        heard.trim(0);
        while seen.pull().is_some() {}
    }
    pipeline.close(now, &mut workspace);
    drop(pipeline);
    workspace.close();
    assert_eq!(pool.held(), 0, "all leases are home");
}

/// Carries out what the pull wants: a server that accepts it, as often as it connects.
fn play(pipeline: &mut Pipeline, server: &mut ServerSession, workspace: &mut Workspace, now: Timestamp) {
    let mut events = 0;
    loop {
        while let Some(event) = pipeline.poll_event() {
            events += 1;
            assert!(events < 1000, "events come to an end");
            if let Event::Target(PULL, TargetAction::Connect(_)) = event {
                *server = ServerSession::new(7);
                with_pull(pipeline, |pull| pull.handle_connected(now));
            }
        }
        let Workspace { arena, chunks, .. } = workspace;
        let mut output = Vec::new();
        with_pull(pipeline, |pull| {
            chunks.clear();
            pull.fill_send(arena, chunks, now);
            let said: Vec<u8> = chunks.segments.iter().flat_map(|segment| segment.iter().copied()).collect();
            // After nonsense from the input the session may be out of step: then it says nothing more.
            if server.handle_input(&said).is_ok() {
                while let Some(event) = server.poll_event() {
                    if let ServerEvent::PlayRequested { .. } = event {
                        server.accept();
                    }
                }
                server.take_output(&mut output);
            }
            chunks.clear();
            if !said.is_empty() {
                pull.handle_sent(said.len(), now);
            }
            pull.handle_input(&output, now);
        });
        pipeline.serve_studio(now, workspace);
        if output.is_empty() {
            return;
        }
    }
}

fn with_pull(pipeline: &mut Pipeline, act: impl FnOnce(&mut Target)) {
    if let Some(pull) = pipeline.target_mut(PULL) {
        act(pull);
    }
}

const PULL: TargetId = TargetId(1);
const TARGET: TargetId = TargetId(2);
