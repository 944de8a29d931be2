//! What the callee sends: a moving picture with a flash each second, a beep at each flash, reports that join them.

mod caller;

use std::time::{Duration, Instant};

use caller::{Caller, Depacketizer, next_idr, receive_report, receive_rtp};
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;
use sipcast_perf::callee::{
    Callee, CalleeEvent, CalleeOptions, PacketizationMode, PictureSource, VideoOptions, flash_region,
};

fn mu_law(octet: u8) -> i32 {
    let octet = !octet;
    let magnitude = ((i32::from(octet & 0x0f) << 3) + 0x84) << ((octet >> 4) & 7);
    if octet & 0x80 != 0 { 0x84 - magnitude } else { magnitude - 0x84 }
}

/// Luma in the middle of the flash, and a sum over a line that scrolls.
fn look(picture: &impl YUVSource) -> (u8, u64) {
    let (width, height) = picture.dimensions();
    let (left, top, flash_width, flash_height) = flash_region(width, height);
    let stride = picture.strides().0;
    let flash = picture.y()[(top + flash_height / 2) * stride + left + flash_width / 2];
    let line = &picture.y()[2 * stride..2 * stride + width];
    let weighted = line.iter().enumerate().map(|(at, luma)| at as u64 * u64::from(*luma)).sum();
    (flash, weighted)
}

/// Seconds since a report, by the clock of the stream.
fn wall(report: (f64, u32), timestamp: u32, clock: f64) -> f64 {
    report.0 + f64::from(timestamp.wrapping_sub(report.1) as i32) / clock
}

async fn flash_and_beep(pictures: PictureSource) {
    let callee = Callee::start(CalleeOptions { pictures, ..CalleeOptions::default() }).await.unwrap();
    let mut caller = Caller::udp(callee.local_addr()).await;
    caller.call("", "1").await;
    let Caller { audio, video, audio_rtcp, video_rtcp, .. } = &caller;

    let began = Instant::now();
    let (audio_report, video_report) = tokio::join!(receive_report(audio_rtcp), receive_report(video_rtcp));
    assert!(began.elapsed() < Duration::from_millis(100), "first sender reports after {:?}", began.elapsed());

    let sound = async {
        let mut beeps: Vec<f64> = Vec::new();
        let mut samples = 0_u32;
        let mut loud_before = false;
        while samples < 8_000 * 33 / 10 {
            let packet = receive_rtp(audio).await;
            assert_eq!((packet.payload_type, packet.payload.len()), (0, 160));
            samples += 160;
            for (at, window) in packet.payload.chunks(8).enumerate() {
                let loud = window.iter().map(|octet| mu_law(*octet).abs()).max() > Some(8_000);
                let time = wall(audio_report, packet.timestamp.wrapping_add(at as u32 * 8), 8_000.0);
                // A sine comes down between its peaks; 100 ms apart it is another beep.
                if loud && !loud_before && beeps.last().is_none_or(|last| time - last > 0.1) {
                    beeps.push(time);
                }
                loud_before = loud;
            }
        }
        beeps
    };
    let sight = async {
        let mut decoder = Decoder::new().unwrap();
        let mut depacketizer = Depacketizer::default();
        let mut flashes = Vec::new();
        let (mut lit_before, mut line_before, mut still, mut decoded) = (false, 0, 0, 0);
        while decoded < 100 {
            let packet = receive_rtp(video).await;
            let Some((access_unit, _)) = depacketizer.push(&packet) else { continue };
            let Some(picture) = decoder.decode(&access_unit).unwrap() else { continue };
            assert_eq!(picture.dimensions(), (640, 360));
            let (flash, line) = look(&picture);
            if flash > 150 && !lit_before {
                flashes.push(wall(video_report, packet.timestamp, 90_000.0));
            }
            lit_before = flash > 150;
            still += usize::from(line == line_before);
            line_before = line;
            decoded += 1;
        }
        assert!(still < 5, "{still} of 100 pictures did not move");
        assert!(depacketizer.kinds.contains_key(&24) && depacketizer.kinds.contains_key(&28));
        flashes
    };
    let (beeps, flashes) = tokio::join!(sound, sight);
    assert!((3..=4).contains(&flashes.len()), "{flashes:?}");
    for pair in flashes.windows(2) {
        assert!((pair[1] - pair[0] - 1.0).abs() < 0.005, "{flashes:?}");
    }
    let together =
        flashes.iter().filter(|flash| beeps.iter().any(|beep| (**flash - beep).abs() < 0.020)).count();
    assert!(together >= 3, "flashes {flashes:?} beeps {beeps:?}");

    let statistics = callee.statistics();
    assert_eq!((statistics.calls_answered, statistics.pictures_skipped), (1, 0));
    callee.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_flash_and_beep_coincide_by_the_sender_reports() {
    flash_and_beep(PictureSource::Live).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_flash_and_beep_coincide_by_the_sender_reports() {
    flash_and_beep(PictureSource::Recorded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyframe_request_of_any_kind_brings_an_idr_picture_at_once() {
    for pictures in [PictureSource::Live, PictureSource::Recorded] {
        let video = VideoOptions { idr_interval_frames: 300, ..VideoOptions::default() };
        let callee =
            Callee::start(CalleeOptions { pictures, video, ..CalleeOptions::default() }).await.unwrap();
        let mut events = callee.events();
        let mut caller = Caller::udp(callee.local_addr()).await;
        let answer = caller.call("", "1").await;
        let to = std::net::SocketAddr::from(([127, 0, 0, 1], answer.port("video") + 1));
        let mut depacketizer = Depacketizer::default();
        assert_eq!(next_idr(&caller.video, &mut depacketizer).await, 1, "the first picture is one");

        let pli = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        caller.video_rtcp.send_to(&pli, to).await.unwrap();
        assert!(next_idr(&caller.video, &mut depacketizer).await <= 4);

        let fir = [0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0];
        caller.video_rtcp.send_to(&fir, to).await.unwrap();
        assert!(next_idr(&caller.video, &mut depacketizer).await <= 4);

        let xml = "<media_control><vc_primitive><to_encoder><picture_fast_update/></to_encoder></vc_primitive></media_control>";
        let answer = caller.exchange("INFO", "Content-Type: application/media_control+xml\r\n", xml).await;
        assert_eq!(answer.status, 200);
        assert!(next_idr(&caller.video, &mut depacketizer).await <= 4);

        let statistics = callee.statistics();
        assert_eq!((statistics.plis, statistics.firs, statistics.fast_updates), (1, 1, 1));
        assert!(matches!(events.recv().await.unwrap(), CalleeEvent::Answered { .. }));
        assert!(matches!(events.recv().await.unwrap(), CalleeEvent::KeyframeRequested { .. }));
        callee.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_0_is_sent_in_single_nal_units() {
    let video =
        VideoOptions { packetization_mode: PacketizationMode::SingleNalUnit, ..VideoOptions::default() };
    let callee = Callee::start(CalleeOptions { video, ..CalleeOptions::default() }).await.unwrap();
    let mut caller = Caller::udp(callee.local_addr()).await;
    caller.call("", "0").await;
    let (mut depacketizer, mut decoder) = (Depacketizer::default(), Decoder::new().unwrap());
    let mut decoded = 0;
    while decoded < 20 {
        let packet = receive_rtp(&caller.video).await;
        if let Some((access_unit, _)) = depacketizer.push(&packet) {
            decoded += usize::from(decoder.decode(&access_unit).unwrap().is_some());
        }
    }
    assert!(depacketizer.kinds.keys().all(|kind| *kind < 24), "{:?}", depacketizer.kinds);
    callee.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn digits_come_by_rtp_and_by_info() {
    let callee = Callee::start(CalleeOptions::default()).await.unwrap();
    let mut events = callee.events();
    let mut caller = Caller::udp(callee.local_addr()).await;
    let answer = caller.call("", "1").await;
    let to = std::net::SocketAddr::from(([127, 0, 0, 1], answer.port("audio")));
    for (place, event) in [4_u8, 7, 11].into_iter().enumerate() {
        for end in [0x0a, 0x0a, 0x8a, 0x8a, 0x8a] {
            let mut packet = vec![0x80, 101, 0, 1, 0, 0, place as u8 * 4 + 4, 0, 0, 0, 0, 9];
            packet.extend_from_slice(&[event, end, 0, 160]);
            caller.audio.send_to(&packet, to).await.unwrap();
        }
    }
    let mut digits = String::new();
    while digits.len() < 3 {
        if let CalleeEvent::Digit { digit, .. } = events.recv().await.unwrap() {
            digits.push(digit);
        }
    }
    let body = "Signal=9\r\nDuration=160\r\n";
    assert_eq!(caller.exchange("INFO", "Content-Type: application/dtmf-relay\r\n", body).await.status, 200);
    while digits.len() < 4 {
        if let CalleeEvent::Digit { digit, .. } = events.recv().await.unwrap() {
            digits.push(digit);
        }
    }
    assert_eq!(digits, "47#9");
    callee.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_stops_both_streams_and_resume_begins_with_an_idr_picture() {
    for pictures in [PictureSource::Live, PictureSource::Recorded] {
        let callee = Callee::start(CalleeOptions { pictures, ..CalleeOptions::default() }).await.unwrap();
        let mut caller = Caller::udp(callee.local_addr()).await;
        caller.call("", "1").await;
        let mut depacketizer = Depacketizer::default();
        next_idr(&caller.video, &mut depacketizer).await;

        let offer = caller.offer("a=sendonly\r\n", "1");
        let answer = caller.exchange("INVITE", "Content-Type: application/sdp\r\n", &offer).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body().matches("a=recvonly").count(), 2, "{}", answer.text);
        caller.acknowledge().await;
        // What was on its way still comes; then 300 ms of nothing, ten times the distance of two pictures.
        let silent = Duration::from_millis(300);
        let mut datagram = [0; 2_048];
        while let Ok(received) = tokio::time::timeout(silent, caller.video.recv(&mut datagram)).await {
            received.unwrap();
        }
        while let Ok(received) = tokio::time::timeout(silent, caller.audio.recv(&mut datagram)).await {
            received.unwrap();
        }

        let offer = caller.offer("a=sendrecv\r\n", "1");
        let answer = caller.exchange("UPDATE", "Content-Type: application/sdp\r\n", &offer).await;
        assert_eq!(answer.status, 200);
        let mut depacketizer = Depacketizer::default();
        assert_eq!(next_idr(&caller.video, &mut depacketizer).await, 1);
        receive_rtp(&caller.audio).await;
        callee.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_datagrams_on_the_media_ports_are_counted_and_disturb_nothing() {
    let callee = Callee::start(CalleeOptions::default()).await.unwrap();
    let mut caller = Caller::udp(callee.local_addr()).await;
    let answer = caller.call("", "1").await;
    let mut seed = 1_u32;
    for port in
        [answer.port("audio"), answer.port("audio") + 1, answer.port("video"), answer.port("video") + 1]
    {
        for len in 0..64_usize {
            let octets: Vec<u8> = (0..len)
                .map(|at| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if at == 0 { 0x80 | (seed >> 28) as u8 } else { (seed >> 24) as u8 }
                })
                .collect();
            caller.video_rtcp.send_to(&octets, ("127.0.0.1", port)).await.unwrap();
        }
    }
    let mut depacketizer = Depacketizer::default();
    next_idr(&caller.video, &mut depacketizer).await;
    for _ in 0..50 {
        depacketizer.push(&receive_rtp(&caller.video).await);
    }
    assert!(callee.statistics().datagrams_refused > 0);
    callee.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_calls_keep_still_and_every_packet_sent_was_received() {
    let callee =
        Callee::start(CalleeOptions { pictures: PictureSource::Recorded, ..CalleeOptions::default() })
            .await
            .unwrap();
    let mut callers = Vec::new();
    for _ in 0..4 {
        let mut caller = Caller::udp(callee.local_addr()).await;
        caller.call("", "1").await;
        callers.push(caller);
    }
    for caller in &callers {
        let mut depacketizer = Depacketizer::default();
        assert_eq!(next_idr(&caller.video, &mut depacketizer).await, 1);
    }
    callee.set_paused(true);
    let mut received = 0_u64;
    for caller in &callers {
        let mut datagram = [0; 2_048];
        let silent = Duration::from_millis(200);
        while tokio::time::timeout(silent, caller.video.recv(&mut datagram)).await.is_ok() {
            received += 1;
        }
    }
    let sent = callee.statistics().video_packets;
    assert!(received < sent && callee.statistics().calls_active == 4);
    callee.set_paused(false);
    for caller in &callers {
        let mut depacketizer = Depacketizer::default();
        assert_eq!(next_idr(&caller.video, &mut depacketizer).await, 1);
    }
    callee.shutdown().await;
}
