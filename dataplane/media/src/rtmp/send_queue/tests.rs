use super::*;
use crate::rtmp::random::SplitMix64;
use sipcast_contract::TargetRules;
use sipcast_pool::Pool;
use std::time::Duration;

/// A message of `segments` segments of `len` bytes, all of one slot.
fn body(pool: &Pool, segments: usize, len: usize) -> Vec<Segment> {
    let whole = pool.claim().expect("free").freeze(0..len);
    vec![whole; segments]
}

fn push(queue: &mut SendQueue, kind: MessageKind, timestamp_ms: u32, body: &[Segment]) {
    queue.push(&Message { kind, timestamp_ms, body, arrival: Timestamp::ZERO });
}

/// Takes everything out: kinds and times, `None` for tracks.
fn drain(queue: &mut SendQueue) -> Vec<Option<(MessageKind, u32)>> {
    let mut out = Vec::new();
    while let Some(next) = queue.begin_next() {
        match next {
            Next::Tracks(_) => out.push(None),
            Next::Message(message) => {
                let bytes: usize = std::iter::from_fn(|| queue.next_segment()).map(|s| s.len()).sum();
                assert_eq!(bytes, message.bytes);
                out.push(Some((message.kind, message.timestamp_ms)));
            }
        }
    }
    assert!(queue.segments.is_empty() && queue.bytes == 0);
    out
}

use MessageKind::{Audio, IdrPicture, Picture};

#[test]
fn bytes_at_the_limit_fit_and_one_more_does_not() {
    let pool = Pool::new(8, 65_535);
    let big = body(&pool, 28, 32_768);
    let mut queue = SendQueue::new(TargetRules::MESSAGE_BYTES_MAX);
    push(&mut queue, IdrPicture, 0, &big);
    push(&mut queue, Picture, 1, &big);
    assert_eq!((queue.bytes, queue.dropped()), (SEND_QUEUE_BYTES_MAX - SEND_QUEUE_SOUND_BYTES, (0, 0)));
    let one = body(&pool, 1, 1);
    push(&mut queue, Picture, 2, &one);
    assert_eq!(queue.dropped(), (1, 0));
    assert!(!queue.wants_idr(), "there is no room for one");
    drop((big, one));
    assert_eq!(drain(&mut queue), [Some((IdrPicture, 0)), Some((Picture, 1))]);
    assert!(queue.wants_idr());
    assert_eq!(pool.held(), 0);
}

#[test]
fn slices_at_the_limit_fit_and_one_more_does_not() {
    let pool = Pool::new(8, 16);
    let one = body(&pool, 1, 1);
    let mut queue = SendQueue::new(TargetRules::MESSAGE_BYTES_MAX);
    let slices = SEND_QUEUE_SLICES_MAX - SEND_QUEUE_SOUND_SLICES;
    push(&mut queue, IdrPicture, 0, &body(&pool, slices - 1, 1));
    push(&mut queue, Picture, 1, &one);
    assert_eq!(queue.dropped(), (0, 0));
    push(&mut queue, Picture, 2, &one);
    assert_eq!(queue.dropped(), (1, 0));
    queue.clear();
    drop(one);
    assert_eq!(pool.held(), 0);
}

#[test]
fn media_time_at_the_limit_fits_and_one_more_does_not() {
    let pool = Pool::new(8, 16);
    let one = body(&pool, 1, 1);
    for begin in [0, u32::MAX - 100] {
        let mut queue = SendQueue::new(TargetRules::MESSAGE_BYTES_MAX);
        push(&mut queue, IdrPicture, begin, &one);
        push(&mut queue, Picture, begin.wrapping_add(SEND_QUEUE_PICTURES_MS_MAX), &one);
        assert_eq!((queue.dropped(), queue.queued_ms()), ((0, 0), SEND_QUEUE_PICTURES_MS_MAX));
        push(&mut queue, Picture, begin.wrapping_add(SEND_QUEUE_PICTURES_MS_MAX + 1), &one);
        assert_eq!(queue.dropped(), (1, 0));
    }
}

#[test]
fn after_a_dropped_picture_only_an_idr_picture_goes_on() {
    let pool = Pool::new(8, 16);
    let one = body(&pool, 1, 1);
    let mut queue = SendQueue::new(TargetRules::MESSAGE_BYTES_MAX);
    push(&mut queue, IdrPicture, 0, &one);
    push(&mut queue, Picture, 6000, &one);
    drain(&mut queue);
    push(&mut queue, Picture, 6030, &one);
    push(&mut queue, Audio, 6031, &one);
    push(&mut queue, IdrPicture, 6060, &one);
    push(&mut queue, Picture, 6090, &one);
    assert_eq!(drain(&mut queue), [Some((Audio, 6031)), Some((IdrPicture, 6060)), Some((Picture, 6090))]);
    assert_eq!(queue.dropped(), (2, 0));
}

#[test]
fn an_idr_picture_takes_the_place_of_waiting_pictures_but_not_of_audio_or_the_open_message() {
    let pool = Pool::new(8, 65_535);
    let half = body(&pool, 16, 65_535);
    let one = body(&pool, 1, 1);
    let mut queue = SendQueue::new(TargetRules::MESSAGE_BYTES_MAX);
    push(&mut queue, IdrPicture, 0, &one);
    push(&mut queue, Audio, 1, &one);
    queue.push_tracks(Rc::default());
    push(&mut queue, Picture, 2, &half);
    push(&mut queue, Audio, 3, &one);
    push(&mut queue, Picture, 4, &half);
    assert!(matches!(queue.begin_next(), Some(Next::Message(message)) if message.kind == IdrPicture));
    push(&mut queue, IdrPicture, 5, &half);
    assert_eq!(queue.dropped(), (2, 0));
    assert!(queue.next_segment().is_some() && queue.next_segment().is_none());
    let left = drain(&mut queue);
    assert_eq!(left, [Some((Audio, 1)), None, Some((Audio, 3)), Some((IdrPicture, 5))]);
}

#[test]
fn audio_throws_out_pictures_first_and_then_the_oldest_audio() {
    let pool = Pool::new(8, 16);
    let one = body(&pool, 1, 1);
    let mut queue = SendQueue::new(TargetRules::MESSAGE_BYTES_MAX);
    push(&mut queue, IdrPicture, 0, &one);
    push(&mut queue, Audio, 10, &one);
    push(&mut queue, Audio, 30, &one);
    push(&mut queue, Audio, SEND_QUEUE_PICTURES_MS_MAX, &one);
    assert_eq!(queue.dropped(), (0, 0));
    push(&mut queue, Audio, SEND_QUEUE_PICTURES_MS_MAX + 1, &one);
    assert_eq!(queue.dropped(), (1, 0));
    assert!(queue.waits_for_idr);
    push(&mut queue, Audio, 10 + SEND_QUEUE_MS_MAX, &one);
    assert_eq!(queue.dropped(), (1, 0), "sound may wait for longer");
    push(&mut queue, Audio, 20 + SEND_QUEUE_MS_MAX, &one);
    assert_eq!(queue.dropped(), (1, 1));
    let left = [30, 5_000, 5_001, 10_010, 10_020];
    assert_eq!(drain(&mut queue), left.map(|ms| Some((Audio, ms))));
}

#[test]
fn sound_that_has_waited_is_taken_past_pictures_but_not_past_tracks() {
    let pool = Pool::new(8, 16);
    let (one, two) = (body(&pool, 1, 1), body(&pool, 2, 3));
    let mut queue = SendQueue::new(TargetRules::MESSAGE_BYTES_MAX);
    let at = Timestamp::from_millis;
    let push = |queue: &mut SendQueue, kind, timestamp_ms: u32, body: &[Segment]| {
        queue.push(&Message { kind, timestamp_ms, body, arrival: at(timestamp_ms.into()) });
    };
    push(&mut queue, IdrPicture, 0, &two);
    push(&mut queue, Picture, 1, &two);
    push(&mut queue, Audio, 2, &one);
    push(&mut queue, Audio, 22, &two);
    assert!(matches!(queue.begin_next(), Some(Next::Message(message)) if message.kind == IdrPicture));
    assert!(queue.next_segment().is_some());
    let wait = Duration::from_millis(100);
    let mut segments = VecDeque::new();
    assert_eq!(queue.take_sound(wait, at(101), &mut segments), None, "not yet");
    let taken = queue.take_sound(wait, at(102), &mut segments).expect("waited");
    assert_eq!((taken.timestamp_ms, segments.len(), segments[0].len()), (2, 1, 1));
    assert_eq!(queue.take_sound(wait, at(121), &mut segments), None);
    queue.push_tracks(Rc::default());
    push(&mut queue, Audio, 42, &one);
    assert_eq!(queue.take_sound(wait, at(500), &mut segments).map(|sound| sound.timestamp_ms), Some(22));
    assert_eq!(queue.take_sound(wait, at(500), &mut segments), None, "its tracks come first");
    assert_eq!(segments.iter().map(|segment| segment.len()).collect::<Vec<_>>(), [1, 3, 3]);
    assert_eq!(queue.next_segment().map(|segment| segment.len()), Some(3), "the open message is as it was");
    assert_eq!(drain(&mut queue), [Some((Picture, 1)), None, Some((Audio, 42))]);
}

#[test]
fn shedding_takes_pictures_then_sound_and_leaves_the_open_message_and_the_tracks() {
    let pool = Pool::new(8, 16);
    let one = body(&pool, 1, 1);
    let two = body(&pool, 2, 3);
    let mut queue = SendQueue::new(TargetRules::MESSAGE_BYTES_MAX);
    push(&mut queue, IdrPicture, 0, &two);
    push(&mut queue, Audio, 1, &one);
    queue.push_tracks(Rc::default());
    push(&mut queue, Picture, 2, &two);
    assert!(matches!(queue.begin_next(), Some(Next::Message(message)) if message.kind == IdrPicture));
    assert_eq!(queue.segments_waiting(), 3);
    queue.shed();
    assert_eq!((queue.segments_waiting(), queue.dropped()), (1, (1, 0)), "sound goes last");
    queue.shed();
    assert_eq!((queue.segments_waiting(), queue.dropped()), (0, (1, 1)));
    assert!(queue.wants_idr());
    assert_eq!(std::iter::from_fn(|| queue.next_segment()).map(|s| s.len()).sum::<usize>(), 6);
    push(&mut queue, Picture, 3, &one);
    push(&mut queue, Audio, 4, &one);
    push(&mut queue, IdrPicture, 5, &one);
    assert_eq!(drain(&mut queue), [None, Some((Audio, 4)), Some((IdrPicture, 5))]);
    assert_eq!(queue.dropped(), (2, 1));
    let mut sound_only = SendQueue::new(TargetRules::MESSAGE_BYTES_MAX);
    push(&mut sound_only, Audio, 0, &one);
    sound_only.shed();
    assert!(!sound_only.wants_idr(), "no picture is missing");
}

#[test]
fn of_tracks_in_a_row_the_last_count() {
    let pool = Pool::new(8, 16);
    let one = body(&pool, 1, 1);
    let mut queue = SendQueue::new(TargetRules::MESSAGE_BYTES_MAX);
    for ms in 0..100 {
        queue.push_tracks(Rc::default());
        queue.push_tracks(Rc::new(Tracks { width: 5, ..Tracks::default() }));
        push(&mut queue, if ms == 0 { IdrPicture } else { Picture }, ms, &one);
    }
    push(&mut queue, Audio, 6000, &one);
    assert_eq!(queue.records.len(), 2);
    assert!(matches!(queue.begin_next(), Some(Next::Tracks(tracks)) if tracks.width == 5));
}

#[test]
fn empty_messages_and_segments_are_passed_over() {
    let pool = Pool::new(8, 16);
    let mut queue = SendQueue::new(TargetRules::MESSAGE_BYTES_MAX);
    push(&mut queue, Audio, 0, &[]);
    push(&mut queue, Audio, 0, &body(&pool, 3, 0));
    assert!(queue.is_empty());
}

#[test]
fn random_use_stays_inside_the_bounds_and_keeps_references_whole() {
    for seed in 0..40 {
        let mut random = SplitMix64::new(seed);
        let pool = Pool::new(64, 2048);
        let mut queue = SendQueue::new(TargetRules::MESSAGE_BYTES_MAX);
        let sizes = [body(&pool, 1, 100), body(&pool, 30, 1200), body(&pool, 500, 2000)];
        // Pictures are numbered by their arrival: one that is no IDR picture needs the one before it.
        let (mut timestamp_ms, mut pushed, mut shown) = (u32::MAX - 3000, 0, 0);
        for _ in 0..2000 {
            timestamp_ms = timestamp_ms.wrapping_add(random.below(40) as u32);
            let kind = [Audio, Audio, Picture, Picture, Picture, IdrPicture][random.below(6) as usize];
            pushed += u64::from(kind != Audio);
            let body = &sizes[random.below(3) as usize];
            queue.push(&Message { kind, timestamp_ms, body, arrival: Timestamp::from_nanos(pushed) });
            assert!(queue.bytes <= SEND_QUEUE_BYTES_MAX && queue.segments.len() <= SEND_QUEUE_SLICES_MAX);
            assert!(queue.queued_ms() <= SEND_QUEUE_PICTURES_MS_MAX);
            for _ in 0..random.below(3) {
                let Some(Next::Message(message)) = queue.begin_next() else { break };
                let number = message.arrival.as_nanos();
                match message.kind {
                    IdrPicture => shown = number,
                    Picture => {
                        assert_eq!(number, shown + 1, "seed {seed}: a picture without its reference");
                        shown = number;
                    }
                    Audio => {}
                }
                while queue.next_segment().is_some() {}
            }
        }
        assert!(queue.dropped().0 > 0 && shown > 0);
        drop((queue, sizes));
        assert_eq!(pool.held(), 0, "seed {seed}");
    }
}

#[test]
fn a_picture_longer_than_the_server_takes_is_dropped_up_to_the_next_idr_picture() {
    let pool = Pool::new(8, 65_535);
    let (fits, longer) = (body(&pool, 1, 1000), body(&pool, 1, 1001));
    let mut queue = SendQueue::new(1000);
    push(&mut queue, IdrPicture, 0, &fits);
    push(&mut queue, IdrPicture, 40, &longer);
    assert!(queue.wants_idr());
    push(&mut queue, Picture, 80, &fits);
    push(&mut queue, Audio, 85, &longer);
    push(&mut queue, IdrPicture, 120, &fits);
    assert!(!queue.wants_idr());
    assert_eq!((queue.oversized(), queue.dropped()), (1, (2, 0)));
    assert_eq!(drain(&mut queue), [Some((IdrPicture, 0)), Some((Audio, 85)), Some((IdrPicture, 120))]);
}
