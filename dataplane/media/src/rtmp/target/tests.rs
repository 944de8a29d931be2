use super::*;
use crate::flv::audio;
use crate::rtmp::publisher::tests::spec;
use crate::rtmp::{MediaKind, ServerEvent, ServerSession};
use bytes::Bytes;
use sipcast_contract::limits::{ACCESS_UNIT_SLICES_MAX, IOVECS_MAX, SEND_QUEUE_MS_MAX};
use sipcast_pool::{Pool, Segment};

/// A target, a pool, and a server in memory.
struct Scene {
    pool: Pool,
    arena: Arena,
    out: ChunkList,
    target: Target,
    server: ServerSession,
    random: SplitMix64,
    now: Timestamp,
    /// What the server got: kind, time, body.
    media: Vec<(MediaKind, u32, Vec<u8>)>,
    accepts: bool,
    unpublished: usize,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let pool = Pool::new(4096, 2048);
        let now = Timestamp::from_millis(1000);
        Self {
            arena: Arena::new(pool.clone()),
            pool,
            out: ChunkList::new(),
            target: Target::new(spec(), seed, now),
            server: ServerSession::new(seed),
            random: SplitMix64::new(seed),
            now,
            media: Vec::new(),
            accepts: true,
            unpublished: 0,
        }
    }

    /// Publishing, with tracks set.
    fn publishing(seed: u64) -> Self {
        let mut scene = Self::new(seed);
        scene.target.set_tracks(&tracks(true, true), scene.now);
        assert!(matches!(scene.actions()[..], [TargetAction::Connect(_)]));
        scene.connect();
        assert_eq!(scene.target.state(), TargetState::Publishing);
        let expected = [TargetAction::StateChanged(TargetState::Publishing), TargetAction::RequestKeyframe];
        assert_eq!(scene.actions(), expected);
        scene
    }

    fn connect(&mut self) {
        self.server = ServerSession::new(self.random.next_u64());
        self.target.handle_connected(self.now);
        self.exchange();
    }

    fn actions(&mut self) -> Vec<TargetAction> {
        std::iter::from_fn(|| self.target.poll_action()).collect()
    }

    /// Bytes go both ways until both are silent, in random pieces.
    fn exchange(&mut self) {
        let mut rounds = 0;
        loop {
            let sent = self.send();
            let mut reply = Vec::new();
            self.server.take_output(&mut reply);
            for piece in pieces(&reply, &mut self.random) {
                self.target.handle_input(piece, self.now);
            }
            if sent == 0 && reply.is_empty() {
                return;
            }
            rounds += 1;
            assert!(rounds < 1000);
        }
    }

    /// One send of the target, into the server.
    fn send(&mut self) -> usize {
        self.target.fill_send(&mut self.arena, &mut self.out, self.now);
        assert!(self.out.segments.len() <= IOVECS_MAX);
        let bytes: Vec<u8> = self.out.segments.iter().flat_map(|s| s.iter().copied()).collect();
        assert_eq!(bytes.len(), self.out.bytes);
        self.out.clear();
        for piece in pieces(&bytes, &mut self.random) {
            self.server.handle_input(piece).expect("valid chunks");
        }
        while let Some(event) = self.server.poll_event() {
            match event {
                ServerEvent::PublishRequested { stream } => {
                    assert_eq!(stream.reveal(), "s3cret");
                    if self.accepts {
                        self.server.accept();
                    } else {
                        self.server.reject("NetStream.Publish.BadName", "taken");
                    }
                }
                ServerEvent::Metadata(data) => self.media.push((MediaKind::Metadata, 0, data.to_vec())),
                ServerEvent::Media { kind, timestamp_ms, body } => {
                    self.media.push((kind, timestamp_ms, body.to_vec()));
                }
                ServerEvent::Unpublished => self.unpublished += 1,
                ServerEvent::Connected { app, .. } => assert_eq!(app, "live?token=t0ken"),
                ServerEvent::PlayRequested { .. } | ServerEvent::Closed => {}
            }
        }
        if !bytes.is_empty() {
            self.target.handle_sent(bytes.len(), self.now);
        }
        bytes.len()
    }

    fn body(&mut self, len: usize, slice: usize) -> Vec<Segment> {
        let mut left = len;
        std::iter::from_fn(|| {
            let len = left.min(slice);
            left -= len;
            (len > 0).then(|| {
                let mut lease = self.pool.claim().expect("free");
                self.random.fill(&mut lease[..len]);
                lease.freeze(0..len)
            })
        })
        .collect()
    }

    fn push(&mut self, kind: MessageKind, timestamp_ms: u32, body: &[Segment]) {
        self.target.push(&Message { kind, timestamp_ms, body, arrival: self.now });
    }

    fn push_new(&mut self, kind: MessageKind, timestamp_ms: u32, len: usize) -> Vec<u8> {
        let body = self.body(len, 1400);
        self.push(kind, timestamp_ms, &body);
        body.iter().flat_map(|s| s.iter().copied()).collect()
    }

    /// Kinds and times of what arrived, without bodies; forgets it.
    fn arrived(&mut self) -> Vec<(MediaKind, u32)> {
        std::mem::take(&mut self.media).into_iter().map(|(kind, ms, _)| (kind, ms)).collect()
    }

    fn pass(&mut self, duration: Duration) {
        self.now = self.now + duration;
        self.target.handle_timeout(self.now);
    }

    fn ends_with_all_leases_home(mut self) {
        assert_eq!(self.pool.bytes_copied(), 0);
        self.target.stop(self.now);
        self.exchange();
        assert_eq!(self.target.state(), TargetState::Ended(None));
        assert_eq!(self.target.next_timeout(), None);
        let Self { pool, arena, target, .. } = self;
        drop(arena);
        assert_eq!(pool.held(), 0);
        drop(target);
    }
}

fn pieces<'a>(mut bytes: &'a [u8], random: &mut SplitMix64) -> Vec<&'a [u8]> {
    let most = [3, 100, 5000, 1 << 20][random.below(4) as usize];
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(bytes.len().min(1 + random.below(most) as usize));
        out.push(piece);
        bytes = rest;
    }
    out
}

fn tracks(has_video: bool, has_audio: bool) -> Rc<Tracks> {
    Rc::new(Tracks {
        avc_config: has_video.then(|| Bytes::from_static(&[1, 66, 0, 31])),
        audio_config: has_audio.then(|| Bytes::from_static(&[0x11, 0x88])),
        audio_format: audio::SoundFormat::Aac,
        width: 640,
        height: 360,
        frame_rate: 30.0,
        audio_sample_rate_hz: 48_000,
        audio_channels: 1,
        audio_bit_rate_bps: 64_000,
        has_video,
        has_audio,
    })
}

use MediaKind::{Audio as A, Metadata as M, Video as V};
use MessageKind::{Audio, IdrPicture, Picture};

#[test]
fn what_is_pushed_arrives_in_order_behind_its_headers() {
    for seed in 0..20 {
        let mut scene = Scene::publishing(seed);
        let mut expected = Vec::new();
        let mut ms = [0, 0xff_ff00, 0xffff_ff00][scene.random.below(3) as usize];
        let begin = ms;
        for turn in 0..100 {
            let kind = match turn {
                0 => IdrPicture,
                _ => [Audio, Picture, IdrPicture][scene.random.below(3) as usize],
            };
            let len = [1, 300, 1400, 60_000, 150_000][scene.random.below(5) as usize];
            let body = scene.push_new(kind, ms, len);
            expected.push((if kind == Audio { A } else { V }, ms, body));
            ms = ms.wrapping_add(scene.random.below(30) as u32);
            if scene.random.below(3) == 0 || scene.target.queue.queued_ms() > 1000 || turn % 8 == 0 {
                scene.exchange();
            }
        }
        scene.exchange();
        let headers: Vec<_> = scene.media.drain(..3).collect();
        assert_eq!((headers[0].0, headers[1].0, headers[2].0), (M, V, A));
        assert_eq!(headers[1].2, [0x17, 0, 0, 0, 0, 1, 66, 0, 31]);
        assert_eq!(headers[2].2, [0xaf, 0, 0x11, 0x88]);
        assert_eq!((headers[1].1, headers[2].1), (begin, begin));
        assert!(scene.media == expected, "seed {seed}");
        let figures = scene.target.statistics(scene.now);
        let pictures = expected.iter().filter(|message| message.0 == V).count() as u64;
        assert_eq!((figures.access_units, figures.access_units_dropped, figures.queue_ms), (pictures, 0, 0));
        scene.target.stop(scene.now);
        scene.exchange();
        assert_eq!(scene.unpublished, 1);
        let ended = [TargetAction::Disconnect, TargetAction::StateChanged(TargetState::Ended(None))];
        assert_eq!(scene.actions(), ended);
        scene.ends_with_all_leases_home();
    }
}

#[test]
fn a_message_of_more_slices_than_one_send_takes_goes_in_parts() {
    let mut scene = Scene::publishing(1);
    let body = scene.body(ACCESS_UNIT_SLICES_MAX * 900, 900);
    scene.push(IdrPicture, 5, &body);
    scene.push_new(Audio, 6, 10);
    let bytes: Vec<u8> = body.iter().flat_map(|s| s.iter().copied()).collect();
    drop(body);
    let mut sends = 0;
    while scene.send() > 0 {
        sends += 1;
        // Answers to the server come at message borders only: the chunk stream stays whole.
        let mut ping = Vec::new();
        scene.server.take_output(&mut ping);
        scene.target.handle_input(&ping, scene.now);
    }
    assert!(sends >= 3);
    assert!(scene.media[3] == (V, 5, bytes));
    assert_eq!(scene.media[4].0, A);
    scene.ends_with_all_leases_home();
}

#[test]
fn media_begins_with_an_idr_picture_and_audio_waits_for_it() {
    let mut scene = Scene::publishing(2);
    scene.push_new(Picture, 0, 10);
    scene.push_new(Audio, 1, 10);
    assert!(scene.target.wants_keyframe());
    scene.push_new(IdrPicture, 2, 10);
    assert!(!scene.target.wants_keyframe());
    // Sound from before the picture: a player's time begins with the picture.
    scene.push_new(Audio, 1, 10);
    scene.push_new(Audio, 3, 10);
    scene.push_new(Picture, 4, 10);
    scene.exchange();
    assert_eq!(scene.arrived(), [(M, 0), (V, 2), (A, 2), (V, 2), (A, 3), (V, 4)]);
    scene.ends_with_all_leases_home();
}

#[test]
fn audio_waits_two_seconds_at_most() {
    let mut scene = Scene::publishing(3);
    scene.pass(PICTURE_WAIT - Duration::from_nanos(1));
    scene.push_new(Audio, 1, 10);
    scene.pass(Duration::from_nanos(1));
    scene.push_new(Audio, 2, 10);
    scene.push_new(Picture, 3, 10);
    scene.exchange();
    assert_eq!(scene.arrived(), [(M, 0), (V, 2), (A, 2), (A, 2)]);
    assert!(scene.target.wants_keyframe());
    scene.ends_with_all_leases_home();
}

#[test]
fn without_video_audio_goes_at_once() {
    let mut scene = Scene::new(4);
    scene.target.set_tracks(&tracks(false, true), scene.now);
    scene.connect();
    scene.push_new(Audio, 1, 10);
    scene.exchange();
    assert_eq!(scene.arrived(), [(M, 0), (A, 1), (A, 1)]);
    assert!(!scene.target.wants_keyframe());
    scene.ends_with_all_leases_home();
}

#[test]
fn changed_tracks_are_sent_in_order_and_identical_ones_are_not() {
    let mut scene = Scene::publishing(5);
    scene.push_new(IdrPicture, 0, 10);
    scene.target.set_tracks(&tracks(true, true), scene.now);
    scene.push_new(Picture, 1, 10);
    let changed =
        Tracks { avc_config: Some(Bytes::from_static(&[1, 77, 0, 31])), ..(*tracks(true, true)).clone() };
    scene.target.set_tracks(&Rc::new(changed.clone()), scene.now);
    scene.push_new(IdrPicture, 2, 10);
    let changed = Tracks { width: 1280, ..changed };
    scene.target.set_tracks(&Rc::new(changed), scene.now);
    scene.push_new(Audio, 3, 10);
    scene.exchange();
    let expected = [(M, 0), (V, 0), (A, 0), (V, 0), (V, 1), (V, 2), (V, 2), (M, 0), (A, 3)];
    assert_eq!(scene.arrived(), expected);
    scene.ends_with_all_leases_home();
}

#[test]
fn a_lost_connection_is_tried_again_and_the_stream_goes_on() {
    let mut scene = Scene::publishing(6);
    scene.push_new(IdrPicture, 1000, 3000);
    scene.exchange();
    scene.arrived();
    scene.push_new(Picture, 1030, 3000);
    scene.target.handle_disconnected(scene.now);
    let lost = TargetState::Reconnecting(TargetFault::ClosedByServer);
    assert_eq!(scene.actions(), [TargetAction::StateChanged(lost)]);
    scene.push_new(IdrPicture, 1060, 3000);
    scene.target.set_addresses(vec!["127.0.0.9:1935".parse().expect("valid")], scene.now);
    scene.pass(Duration::from_millis(500));
    let connect = TargetAction::Connect("127.0.0.9:1935".parse().expect("valid"));
    assert_eq!(scene.actions(), [TargetAction::StateChanged(TargetState::Connecting), connect]);
    scene.target.handle_connect_failed(scene.now);
    scene.pass(Duration::from_millis(800));
    assert_eq!(scene.actions()[2], connect);
    scene.connect();
    scene.push_new(Picture, 3000, 10);
    scene.push_new(Audio, 3010, 10);
    scene.push_new(IdrPicture, 3030, 10);
    scene.exchange();
    assert_eq!(scene.arrived(), [(M, 0), (V, 3030), (A, 3030), (V, 3030)]);
    assert_eq!(scene.target.statistics(scene.now).reconnects, 2);
    scene.ends_with_all_leases_home();
}

#[test]
fn a_restarted_server_has_the_picture_back_within_three_seconds() {
    for seed in 0..30 {
        let mut scene = Scene::publishing(seed);
        scene.pass(Duration::from_secs(20));
        scene.target.handle_disconnected(scene.now);
        let up = scene.now + Duration::from_secs(1 + seed % 25);
        while scene.target.state() != TargetState::Publishing {
            scene.now = scene.target.next_timeout().expect("tries for ever");
            scene.target.handle_timeout(scene.now);
            if scene.now < up {
                scene.target.handle_connect_failed(scene.now);
            } else {
                scene.connect();
            }
        }
        assert!(scene.now - up <= Duration::from_millis(2500), "seed {seed}: {:?}", scene.now - up);
        scene.ends_with_all_leases_home();
    }
}

#[test]
fn a_refused_name_is_tried_again() {
    let mut scene = Scene::new(7);
    scene.accepts = false;
    scene.connect();
    assert_eq!(scene.target.state(), TargetState::Reconnecting(TargetFault::NameTaken));
    assert!(scene.actions().contains(&TargetAction::Disconnect));
    scene.accepts = true;
    scene.pass(Duration::from_millis(1000));
    scene.connect();
    assert_eq!(scene.target.state(), TargetState::Publishing);
    scene.ends_with_all_leases_home();
}

#[test]
fn a_slow_target_drops_pictures_and_asks_for_one_idr_picture() {
    let mut scene = Scene::publishing(8);
    scene.push_new(IdrPicture, 0, 10);
    scene.exchange();
    scene.actions();
    for ms in 0..7 {
        scene.push_new(Picture, 1000 * ms, 10);
        scene.push_new(Audio, 1000 * ms + 1, 10);
    }
    let figures = scene.target.statistics(scene.now);
    assert!(figures.access_units_dropped > 0 && figures.queue_ms <= SEND_QUEUE_MS_MAX);
    assert_eq!(scene.actions(), []);
    scene.exchange();
    assert_eq!(scene.actions(), [TargetAction::RequestKeyframe]);
    scene.arrived();
    scene.push_new(Picture, 7000, 10);
    scene.push_new(IdrPicture, 7030, 10);
    scene.exchange();
    assert_eq!(scene.arrived(), [(V, 7030)]);
    scene.ends_with_all_leases_home();
}

#[test]
fn a_send_that_stalls_ends_the_connection() {
    let mut scene = Scene::publishing(9);
    scene.push_new(IdrPicture, 0, 10);
    scene.actions();
    scene.target.fill_send(&mut scene.arena, &mut scene.out, scene.now);
    assert!(!scene.out.is_empty());
    scene.push_new(Picture, 1, 10);
    scene.pass(SEND_TIMEOUT - Duration::from_nanos(1));
    assert_eq!(scene.target.state(), TargetState::Publishing);
    scene.pass(Duration::from_nanos(1));
    let timed_out = TargetState::Reconnecting(TargetFault::TimedOut);
    assert_eq!(scene.actions(), [TargetAction::Disconnect, TargetAction::StateChanged(timed_out)]);
    scene.out.clear();
    scene.ends_with_all_leases_home();
}

#[test]
fn phases_without_an_answer_time_out() {
    let mut scene = Scene::new(10);
    scene.actions();
    scene.pass(PHASE_TIMEOUT);
    let unreachable = TargetState::Reconnecting(TargetFault::Unreachable);
    assert_eq!(scene.actions(), [TargetAction::Disconnect, TargetAction::StateChanged(unreachable)]);
    scene.pass(Duration::from_millis(500));
    scene.target.handle_connected(scene.now);
    scene.pass(PHASE_TIMEOUT);
    assert_eq!(scene.target.state(), TargetState::Reconnecting(TargetFault::TimedOut));
    scene.ends_with_all_leases_home();
}

#[test]
fn stopping_sends_what_is_queued_and_takes_two_seconds_at_most() {
    let mut scene = Scene::publishing(11);
    scene.push_new(IdrPicture, 0, 10);
    scene.target.stop(scene.now);
    scene.push_new(Picture, 1, 10);
    scene.exchange();
    assert_eq!(scene.arrived().last(), Some(&(V, 0)));
    assert_eq!((scene.unpublished, scene.target.state()), (1, TargetState::Ended(None)));
    let mut scene = Scene::publishing(12);
    scene.push_new(IdrPicture, 0, 10);
    scene.target.stop(scene.now);
    scene.pass(CLOSING_TIMEOUT);
    assert_eq!(scene.target.state(), TargetState::Ended(None));
    scene.ends_with_all_leases_home();
}

#[test]
fn garbage_of_the_server_is_a_protocol_fault() {
    for seed in 0..50 {
        let mut scene = Scene::publishing(seed);
        let mut garbage = vec![0; 3000];
        scene.random.fill(&mut garbage);
        scene.target.handle_input(&garbage, scene.now);
        scene.target.handle_input(&garbage, scene.now);
        let state = scene.target.state();
        assert!(
            matches!(state, TargetState::Publishing | TargetState::Reconnecting(TargetFault::Protocol)),
            "seed {seed}: {state:?}"
        );
    }
}

#[test]
fn an_exhausted_pool_delays_and_breaks_nothing() {
    let mut scene = Scene::publishing(13);
    let body = scene.push_new(IdrPicture, 0, 10);
    let mut held: Vec<_> = std::iter::from_fn(|| scene.pool.claim().ok()).collect();
    scene.arena.close();
    // The slot just closed goes to whoever asks first: take it, too.
    held.extend(scene.pool.claim());
    assert_eq!(scene.send(), 0);
    assert!(scene.target.wants_send());
    drop(held);
    scene.exchange();
    assert!(scene.media[3] == (V, 0, body));
    scene.ends_with_all_leases_home();
}

#[test]
fn once_warm_nothing_grows() {
    let mut scene = Scene::publishing(15);
    let body = scene.body(100_000, 1400);
    let capacities = |scene: &Scene| {
        let target = &scene.target;
        let queue = target.queue.capacities();
        (queue, target.outgoing.wire_capacity(), target.actions.capacity(), scene.out.segments.capacity())
    };
    let mut warm = None;
    for turn in 0..200 {
        scene.push(if turn % 50 == 0 { IdrPicture } else { Picture }, turn * 33, &body);
        scene.push(Audio, turn * 33 + 1, &body[..1]);
        scene.exchange();
        scene.media.clear();
        if turn == 10 {
            warm = Some(capacities(&scene));
        }
    }
    assert_eq!(warm, Some(capacities(&scene)));
    drop(body);
    scene.ends_with_all_leases_home();
}

#[test]
fn no_secret_is_shown() {
    let shown = format!("{:?}", Scene::publishing(14).target);
    assert!(!["s3cret", "t0ken", "hunter2"].iter().any(|secret| shown.contains(secret)), "{shown}");
}

#[test]
fn a_queue_that_holds_the_whole_pool_is_dropped_up_to_the_next_idr_picture() {
    let mut scene = Scene::publishing(71);
    scene.push_new(MessageKind::IdrPicture, 0, 3000);
    scene.exchange();
    // A small pool, of which the queue takes the rest: nothing is in flight that would free a slot.
    scene.arena.close();
    let others: Vec<_> = (1000..scene.pool.slots()).map(|_| scene.pool.claim().expect("free")).collect();
    scene.push_new(MessageKind::Audio, 1, 100);
    let mut timestamp_ms = 2;
    while scene.pool.held() < scene.pool.slots() {
        let slots = (scene.pool.slots() - scene.pool.held()) as usize;
        scene.push_new(MessageKind::Picture, timestamp_ms, slots.min(100) * 1400);
        timestamp_ms += 1;
    }
    assert_eq!(scene.target.statistics(scene.now).access_units_dropped, 0, "the queue itself has room");
    scene.media.clear();
    scene.actions();
    scene.exchange();
    let dropped = scene.target.statistics(scene.now);
    assert_eq!(scene.arrived(), [(MediaKind::Audio, 1)], "what was begun is whole");
    assert_eq!(dropped.access_units_dropped, u64::from(timestamp_ms) - 2);
    assert_eq!(scene.actions(), [TargetAction::RequestKeyframe]);
    assert_eq!(scene.pool.held() as usize, others.len() + 1, "the arena's");
    scene.push_new(MessageKind::Picture, 100, 3000);
    let second = scene.push_new(MessageKind::IdrPicture, 133, 3000);
    scene.exchange();
    let bodies: Vec<_> = scene.media.iter().map(|(_, _, body)| body.clone()).collect();
    assert_eq!(bodies, [second]);
}

#[test]
fn a_target_that_others_starve_tries_again_in_time() {
    let mut scene = Scene::publishing(72);
    scene.push_new(MessageKind::IdrPicture, 0, 3000);
    scene.exchange();
    scene.arena.close();
    scene.media.clear();
    let body = scene.body(100, 1400);
    let mut others = Vec::new();
    while let Ok(lease) = scene.pool.claim() {
        others.push(lease);
    }
    scene.push(MessageKind::Audio, 10, &body);
    drop(body);
    assert_eq!(scene.send(), 0);
    let retry = scene.target.next_timeout().expect("a retry");
    assert_eq!(retry, scene.now + STARVED_RETRY);
    scene.now = retry;
    scene.target.handle_timeout(scene.now);
    assert_eq!(scene.target.next_timeout(), None);
    assert_eq!(scene.send(), 0);
    assert_eq!(scene.target.next_timeout(), Some(scene.now + STARVED_RETRY));
    others.pop();
    scene.exchange();
    assert_eq!((scene.arrived(), scene.target.next_timeout()), (vec![(MediaKind::Audio, 10)], None));
}

#[test]
fn a_changed_picture_is_published_anew_where_the_service_wants_it() {
    let mut scene = Scene::publishing(30);
    scene.target.spec.rules.on_picture_change = PictureChange::Republish;
    scene.push_new(IdrPicture, 0, 10);
    scene.exchange();
    let arrived = scene.arrived().len();
    assert_eq!(arrived, 4);
    scene.actions();
    // Another PPS or SEI makes another record of the same settings: no reason to begin anew.
    let same = Bytes::from_static(&[1, 66, 0, 31, 0xff]);
    scene
        .target
        .set_tracks(&Rc::new(Tracks { avc_config: Some(same), ..(*tracks(true, true)).clone() }), scene.now);
    assert_eq!(scene.target.state(), TargetState::Publishing);
    let changed = Rc::new(Tracks { width: 320, height: 180, ..(*tracks(true, true)).clone() });
    scene.target.set_tracks(&changed, scene.now);
    scene.push_new(IdrPicture, 40, 10);
    scene.exchange();
    assert_eq!(
        (scene.unpublished, scene.arrived()),
        (1, vec![]),
        "nothing of the new picture under the old name"
    );
    let again = TargetState::Reconnecting(TargetFault::PictureChanged);
    assert_eq!(scene.actions(), [TargetAction::Disconnect, TargetAction::StateChanged(again)]);
    scene.pass(REPUBLISH_PAUSE);
    scene.connect();
    scene.push_new(IdrPicture, 80, 10);
    scene.exchange();
    assert_eq!(scene.arrived(), [(M, 0), (V, 80), (A, 80), (V, 80)]);
    let figures = scene.target.statistics(scene.now);
    assert_eq!((figures.republished, figures.reconnects), (1, 0));
    scene.ends_with_all_leases_home();
}

#[test]
fn what_stays_stale_ends_the_connection_and_is_not_sent_again() {
    let mut scene = Scene::publishing(31);
    scene.push_new(IdrPicture, 0, 10);
    scene.exchange();
    scene.arrived();
    scene.actions();
    // Each send finds only what has waited for too long.
    let mut ms = 0;
    let began = scene.now;
    while scene.target.state() == TargetState::Publishing {
        ms += 1000;
        scene.push_new(Audio, ms, 10);
        let late = scene.now + STALE_AGE;
        scene.target.fill_send(&mut scene.arena, &mut scene.out, late);
        let bytes = scene.out.bytes;
        scene.out.clear();
        scene.target.handle_sent(bytes, late);
        scene.pass(Duration::from_secs(1));
    }
    assert!(scene.now - began >= STALE_MAX);
    let too_slow = TargetState::Reconnecting(TargetFault::TooSlow);
    assert_eq!(scene.actions(), [TargetAction::Disconnect, TargetAction::StateChanged(too_slow)]);
    assert_eq!(scene.target.segments_waiting(), 0);
    scene.pass(Duration::from_secs(1));
    scene.connect();
    scene.push_new(IdrPicture, ms + 100, 10);
    scene.exchange();
    assert_eq!(scene.arrived()[1], (V, ms + 100));
    scene.ends_with_all_leases_home();
}
