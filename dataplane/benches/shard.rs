//! What a call costs a shard: the real driver with its real sockets, N calls of 1 Mbit/s and PCMU in, one RTMP stream
//! each out to the embedded server, and nothing of the control plane. Prints CPU of the shard's thread alone.
//!
//! `cargo bench -p sipcast-dataplane --bench shard -- calls=1,10,100 seconds=5 sound=aac|source|none gather_ms=5`

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::Receiver;
use sipcast_contract::cores::ShardCores;
use sipcast_contract::media::{
    AudioCodec, AudioFormat, AudioMedia, Direction, H264Format, MediaTransport, VideoFeedback, VideoMedia,
};
use sipcast_contract::options::ShardOptions;
use sipcast_contract::statistics::ShardStatistics;
use sipcast_contract::{
    BroadcastId, Command, MediaOptions, MediaWanted, NegotiatedMedia, Report, RtmpTarget, RtmpUrl, Secret,
    TargetAudio, TargetId, TargetState,
};
use sipcast_dataplane::{Dataplane, TlsRoots};
use sipcast_origin::{Origin, OriginOptions};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How long anything may take that must happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// After the last target publishes, before CPU is counted.
const WARM_UP: Duration = Duration::from_secs(2);

struct Settings {
    calls: Vec<usize>,
    seconds: u64,
    sound: Sound,
    gather: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sound {
    /// PCMU transcoded.
    Aac,
    /// PCMU as it came.
    Source,
    /// None.
    None,
}

fn main() {
    let settings = settings();
    println!(
        "{:>6} {:>12} {:>8} {:>10} {:>10} {:>12} {:>10} {:>16} {:>6}",
        "calls",
        "% core/call",
        "user %",
        "turns/s",
        "wakes/s",
        "datagrams/s",
        "KiB/call",
        "p50, p99 ms",
        "lost"
    );
    for &calls in &settings.calls {
        measure(calls, &settings);
    }
}

fn settings() -> Settings {
    let mut settings =
        Settings { calls: vec![1, 10, 100], seconds: 5, sound: Sound::Aac, gather: Duration::from_millis(5) };
    for word in std::env::args().skip(1) {
        // Cargo adds words of its own.
        let Some((key, value)) = word.split_once('=') else { continue };
        match key {
            "calls" => {
                settings.calls = value.split(',').map(|count| count.parse().expect("calls=1,10")).collect()
            }
            "seconds" => settings.seconds = value.parse().expect("seconds=5"),
            "gather_ms" => settings.gather = Duration::from_millis(value.parse().expect("gather_ms=5")),
            "sound" => {
                settings.sound = match value {
                    "aac" => Sound::Aac,
                    "source" => Sound::Source,
                    "none" => Sound::None,
                    _ => panic!("sound=aac, source or none"),
                }
            }
            _ => panic!("calls=, seconds=, sound= or gather_ms="),
        }
    }
    settings
}

fn measure(calls: usize, settings: &Settings) {
    let origin = Origin::bind(OriginOptions { rtmp_bind: (LOCALHOST, 0).into(), ..OriginOptions::default() })
        .expect("a free port");
    let options = ShardOptions {
        rtp_port_min: 20_000,
        rtp_port_max: 29_999,
        gather: settings.gather,
        broadcasts_max: calls,
        pool_slots: 65_000,
        cores: ShardCores::Any,
    };
    let dataplane = Dataplane::start(1, &options, &TlsRoots::none()).expect("an io_uring");
    let (commands, reports) = (dataplane.senders().remove(0), dataplane.reports());
    let resident = resident_kib();
    let (sound_out, pictures_out) = (bind(), bind());
    let mut calls_to: Vec<(SocketAddr, SocketAddr)> = Vec::new();
    for call in 0..calls as u64 {
        let wanted = MediaWanted { audio: true, video: true };
        let media = MediaOptions { silent_audio: settings.sound != Sound::None, ..MediaOptions::default() };
        let broadcast = BroadcastId(call);
        commands
            .send(Command::Open { broadcast, wanted, bind: LOCALHOST, options: Box::new(media) })
            .expect("room");
        let ports = wait(&reports, |report| match report {
            Report::Opened { audio_port, video_port, .. } => (*audio_port).zip(*video_port),
            _ => None,
        });
        calls_to.push(((LOCALHOST, ports.0).into(), (LOCALHOST, ports.1).into()));
        let media = negotiated(&sound_out, &pictures_out, settings.sound);
        commands.send(Command::SetMedia { broadcast, media: Box::new(media) }).expect("room");
        let url = RtmpUrl::parse(&format!("rtmp://{}/live", origin.rtmp_address())).expect("valid");
        let mut spec = RtmpTarget::new(url, Secret::new(format!("call{call}")), vec![origin.rtmp_address()]);
        if settings.sound == Sound::Source {
            spec.audio = TargetAudio::Source;
        }
        let target = TargetId(call);
        commands.send(Command::AddTarget { broadcast, target, spec: Box::new(spec) }).expect("room");
        wait(&reports, |report| {
            matches!(report, Report::Target { state: TargetState::Publishing, .. }).then_some(())
        });
    }
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let sender = {
        let (stop, sent, sound) = (stop.clone(), sent.clone(), settings.sound);
        std::thread::spawn(move || {
            Sender { sound_out, pictures_out, sent, sound: tones() }.run(&calls_to, sound, &stop)
        })
    };
    std::thread::sleep(WARM_UP);
    let thread = shard_thread();
    let before = (Usage::of(&thread), statistics(&reports), Instant::now());
    std::thread::sleep(Duration::from_secs(settings.seconds));
    let after = (Usage::of(&thread), statistics(&reports));
    let seconds = before.2.elapsed().as_secs_f64();
    let loaded = resident_kib();
    stop.store(true, Ordering::Relaxed);
    sender.join().expect("the sender only sends");
    // What was sent last is counted by then.
    std::thread::sleep(Duration::from_millis(1500));
    let end = statistics(&reports);
    let cpu = (after.0.cpu - before.0.cpu).as_secs_f64() / seconds;
    let ticks = (after.0.user - before.0.user, after.0.system - before.0.system);
    println!(
        "{calls:>6} {:>12.4} {:>8.0} {:>10.0} {:>10.0} {:>12.0} {:>10} {:>8.2} {:>7.2} {:>6}",
        cpu * 100.0 / calls as f64,
        ticks.0 as f64 / (ticks.0 + ticks.1).max(1) as f64 * 100.0,
        (after.1.turns - before.1.turns) as f64 / seconds,
        (after.0.waits - before.0.waits) as f64 / seconds,
        (after.1.datagrams - before.1.datagrams) as f64 / seconds,
        loaded.saturating_sub(resident) / calls as u64,
        after.1.added_latency.quantile(0.5).as_secs_f64() * 1e3,
        after.1.added_latency.quantile(0.99).as_secs_f64() * 1e3,
        sent.load(Ordering::Relaxed).saturating_sub(end.datagrams),
    );
    commands.send(Command::Stop).expect("room");
    dataplane.stop();
}

fn bind() -> UdpSocket {
    UdpSocket::bind((LOCALHOST, 0)).expect("a free port")
}

fn wait<T>(reports: &Receiver<Report>, mut pick: impl FnMut(&Report) -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        let report = reports.recv_deadline(until).expect("the shard answers");
        if let Some(picked) = pick(&report) {
            return picked;
        }
    }
}

/// The latest figures: of the next report, when those that wait are gone.
fn statistics(reports: &Receiver<Report>) -> ShardStatistics {
    while reports.try_recv().is_ok() {}
    wait(reports, |report| match report {
        Report::Statistics(statistics) => Some((**statistics).clone()),
        _ => None,
    })
}

fn negotiated(sound: &UdpSocket, pictures: &UdpSocket, wanted: Sound) -> NegotiatedMedia {
    let transport = |socket: &UdpSocket| {
        let address = socket.local_addr().expect("bound");
        MediaTransport {
            remote_rtp: Some(address),
            remote_rtcp: Some(address),
            rtcp_mux: true,
            direction: Direction::RecvOnly,
            srtp: None,
        }
    };
    let audio = AudioMedia {
        transport: transport(sound),
        formats: vec![AudioFormat { payload_type: 0, codec: AudioCodec::Pcmu }],
        taken: None,
        telephone_event: None,
        comfort_noise: None,
        packet_time_ms: 20,
    };
    let video = VideoMedia {
        transport: transport(pictures),
        formats: vec![H264Format { payload_type: 96, packetization_mode: 1, parameter_sets: vec![] }],
        feedback: VideoFeedback { pli: true, fir: true, ..VideoFeedback::default() },
        taken: vec![],
    };
    NegotiatedMedia { audio: (wanted != Sound::None).then_some(audio), video: Some(video) }
}

/// 30 pictures and 50 packets of PCMU a second for each call.
struct Sender {
    sound_out: UdpSocket,
    pictures_out: UdpSocket,
    sent: Arc<AtomicU64>,
    /// Four seconds of PCMU.
    sound: Vec<u8>,
}

/// What comes next of one call.
struct Call {
    pictures: u64,
    packets: u16,
    sounds: u64,
    phase: f64,
}

const PICTURE_TIME: Duration = Duration::from_nanos(33_333_333);
const SOUND_TIME: Duration = Duration::from_millis(20);
const IDR_INTERVAL: u64 = 60;
/// Lengths of pictures, in bytes: 1 Mbit/s.
const PICTURE_LEN: usize = 3_731;
const IDR_LEN: usize = 8 * PICTURE_LEN;
const FRAGMENT_LEN: usize = 1_200;
/// 640x360 at 30 pictures/s.
const SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00,
    0x00, 0x03, 0x00, 0x3c, 0x0f, 0x16, 0x2e, 0x48,
];
const PPS: &[u8] = &[0x68, 0xcb, 0x83, 0xcb, 0x20];

impl Sender {
    fn run(self, to: &[(SocketAddr, SocketAddr)], sound: Sound, stop: &AtomicBool) {
        // Multiples of the golden ratio are spread evenly for every number of calls.
        let phase = |call: usize| (call as f64 * 0.618_033_988_749_895).fract();
        let mut calls: Vec<Call> = (0..to.len())
            .map(|call| Call { pictures: 0, packets: 65_000, sounds: 0, phase: phase(call) })
            .collect();
        let start = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let now = start.elapsed();
            for ((index, call), (sound_to, pictures_to)) in calls.iter_mut().enumerate().zip(to) {
                while PICTURE_TIME.mul_f64(call.pictures as f64 + call.phase) <= now {
                    self.send_picture(call, index as u32, *pictures_to);
                }
                while sound != Sound::None && SOUND_TIME.mul_f64(call.sounds as f64 + call.phase) <= now {
                    self.send_sound(call, index as u32, *sound_to);
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn send_picture(&self, call: &mut Call, index: u32, to: SocketAddr) {
        // Calls have their IDR pictures at different times.
        let is_idr = call.pictures == 0 || (call.pictures + u64::from(index)).is_multiple_of(IDR_INTERVAL);
        if is_idr {
            let sets = [SPS, PPS].map(|set| [&(set.len() as u16).to_be_bytes()[..], set].concat()).concat();
            self.send(call, index, false, &[&[24], &sets[..]].concat(), to);
        }
        let (header, len) = if is_idr { (0x65u8, IDR_LEN) } else { (0x41, PICTURE_LEN) };
        let count = len.div_ceil(FRAGMENT_LEN);
        let mut payload = [0x5a; FRAGMENT_LEN + 2];
        payload[0] = header & 0xe0 | 28;
        for fragment in 0..count {
            let (is_first, is_last) = (fragment == 0, fragment + 1 == count);
            payload[1] = u8::from(is_first) << 7 | u8::from(is_last) << 6 | header & 0x1f;
            // first_mb_in_slice = 0, slice_type P or I.
            payload[2] = if is_idr { 0x88 } else { 0xe0 };
            let bytes = (len - fragment * FRAGMENT_LEN).min(FRAGMENT_LEN);
            self.send(call, index, is_last, &payload[..bytes + 2], to);
        }
        call.pictures += 1;
    }

    fn send(&self, call: &mut Call, index: u32, marker: bool, payload: &[u8], to: SocketAddr) {
        call.packets = call.packets.wrapping_add(1);
        let mut bytes = [0; 12 + FRAGMENT_LEN + 2];
        bytes[..2].copy_from_slice(&[0x80, 96 | u8::from(marker) << 7]);
        bytes[2..4].copy_from_slice(&call.packets.to_be_bytes());
        bytes[4..8].copy_from_slice(&((call.pictures * 3000) as u32).to_be_bytes());
        bytes[8..12].copy_from_slice(&(0x1000_0000 | index).to_be_bytes());
        bytes[12..12 + payload.len()].copy_from_slice(payload);
        self.pictures_out.send_to(&bytes[..12 + payload.len()], to).expect("loopback");
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    fn send_sound(&self, call: &mut Call, index: u32, to: SocketAddr) {
        let mut bytes = [0; 12 + 160];
        bytes[0] = 0x80;
        bytes[2..4].copy_from_slice(&(call.sounds as u16).to_be_bytes());
        bytes[4..8].copy_from_slice(&((call.sounds * 160) as u32).to_be_bytes());
        bytes[8..12].copy_from_slice(&(0x2000_0000 | index).to_be_bytes());
        let at = (call.sounds * 160) as usize % self.sound.len();
        bytes[12..].copy_from_slice(&self.sound[at..at + 160]);
        self.sound_out.send_to(&bytes, to).expect("loopback");
        self.sent.fetch_add(1, Ordering::Relaxed);
        call.sounds += 1;
    }
}

/// Two swelling tones, so that the encoder does not have it easy.
fn tones() -> Vec<u8> {
    let octet = |n| {
        let turn = std::f64::consts::TAU * f64::from(n) / 8000.0;
        let swell = 0.55 + 0.45 * (1.5 * turn).sin();
        mu_law((swell * (6000.0 * (220.0 * turn).sin() + 3000.0 * (1310.0 * turn).sin())) as i32)
    };
    (0..32_000).map(octet).collect()
}

/// ITU-T G.711, µ-law, by its segments.
fn mu_law(sample: i32) -> u8 {
    let magnitude = sample.abs().min(32_635) + 132;
    let exponent = 24 - (magnitude as u32).leading_zeros();
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    let sign = if sample < 0 { 0x80 } else { 0 };
    !(sign | (exponent << 4) as u8 | mantissa as u8)
}

/// What Linux counts of a thread (proc(5)).
struct Usage {
    cpu: Duration,
    /// Clock ticks, by sampling.
    user: u64,
    system: u64,
    /// Times it slept.
    waits: u64,
}

impl Usage {
    fn of(thread: &str) -> Self {
        let read = |file: &str| std::fs::read_to_string(format!("{thread}/{file}")).expect("the thread runs");
        let first = |text: &str| text.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
        let stat = read("stat");
        let mut fields = stat[stat.rfind(')').expect("proc(5)")..].split_ascii_whitespace().skip(12);
        let mut tick = || fields.next().and_then(|field| field.parse().ok()).expect("proc(5)");
        let status = read("status");
        let waits = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        Self {
            cpu: Duration::from_nanos(first(&read("schedstat")).expect("proc(5)")),
            user: tick(),
            system: tick(),
            waits: waits.and_then(first).expect("proc(5)"),
        }
    }
}

fn shard_thread() -> String {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let mut paths = tasks.flatten().map(|task| task.path());
    let found = paths
        .find(|path| std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == "shard-0"));
    found.expect("the shard's thread").display().to_string()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|value| value.split_ascii_whitespace().next()?.parse().ok()).expect("proc(5)")
}
