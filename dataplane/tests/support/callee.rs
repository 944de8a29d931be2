//! A callee on UDP: 30 pictures of H.264 and 50 packets of PCMU a second, an IDR picture every half second.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sipcast_contract::NegotiatedMedia;
use sipcast_contract::media::{
    AudioCodec, AudioFormat, AudioMedia, Direction, H264Format, MediaTransport, VideoFeedback, VideoMedia,
};

use super::LOCALHOST;

/// 640x360 at 30 pictures/s.
const SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00,
    0x00, 0x03, 0x00, 0x3c, 0x0f, 0x16, 0x2e, 0x48,
];
const PPS: &[u8] = &[0x68, 0xcb, 0x83, 0xcb, 0x20];
const MTU: usize = 1200;
pub const IDR_INTERVAL: u64 = 15;

/// Sends until it is dropped.
pub struct Callee {
    audio: SocketAddr,
    video: SocketAddr,
    stops: Arc<AtomicBool>,
    packets: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Callee {
    /// Sends `packets` packets a picture to the shard's ports.
    pub fn start(audio_port: u16, video_port: u16, packets: usize) -> Self {
        let audio = UdpSocket::bind((LOCALHOST, 0)).expect("a free port");
        let video = UdpSocket::bind((LOCALHOST, 0)).expect("a free port");
        let address = |socket: &UdpSocket| socket.local_addr().expect("bound");
        let (audio_address, video_address) = (address(&audio), address(&video));
        audio.connect((LOCALHOST, audio_port)).expect("an address");
        video.connect((LOCALHOST, video_port)).expect("an address");
        let stops = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let thread = {
            let (stops, sent) = (stops.clone(), sent.clone());
            std::thread::spawn(move || Sender::new(audio, video, packets, sent).run(&stops))
        };
        Self { audio: audio_address, video: video_address, stops, packets: sent, thread: Some(thread) }
    }

    /// Datagrams sent so far.
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    pub fn media(&self) -> NegotiatedMedia {
        NegotiatedMedia {
            audio: Some(AudioMedia {
                transport: transport(self.audio),
                formats: vec![AudioFormat { payload_type: 0, codec: AudioCodec::Pcmu }],
                taken: Some(AudioFormat { payload_type: 0, codec: AudioCodec::Pcmu }),
                telephone_event: None,
                comfort_noise: None,
                packet_time_ms: 20,
            }),
            video: Some(VideoMedia {
                transport: transport(self.video),
                formats: vec![H264Format { payload_type: 96, packetization_mode: 1, parameter_sets: vec![] }],
                taken: vec![],
                feedback: VideoFeedback { pli: true, fir: true, ..VideoFeedback::default() },
            }),
        }
    }
}

impl Drop for Callee {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn transport(rtp: SocketAddr) -> MediaTransport {
    MediaTransport {
        remote_rtp: Some(rtp),
        remote_rtcp: Some(rtp),
        rtcp_mux: true,
        direction: Direction::RecvOnly,
        srtp: None,
    }
}

struct Sender {
    audio: UdpSocket,
    video: UdpSocket,
    packets: usize,
    sent: Arc<AtomicU64>,
    sequence_number: u16,
    pictures: u64,
    sounds: u16,
}

impl Sender {
    fn new(audio: UdpSocket, video: UdpSocket, packets: usize, sent: Arc<AtomicU64>) -> Self {
        Self { audio, video, packets, sent, sequence_number: 65_500, pictures: 0, sounds: 65_500 }
    }

    /// The pace of a camera: this thread sleeps because real senders do, not to wait for anything.
    fn run(mut self, stops: &AtomicBool) {
        let start = Instant::now();
        while !stops.load(Ordering::Relaxed) {
            let elapsed = start.elapsed();
            if elapsed >= Duration::from_micros(33_333) * self.pictures as u32 {
                self.send_picture();
            }
            if elapsed >= Duration::from_millis(20) * u32::from(self.sounds.wrapping_sub(65_500)) {
                self.send_sound();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn send_picture(&mut self) {
        let is_idr = self.pictures.is_multiple_of(IDR_INTERVAL);
        if is_idr {
            self.send(SPS, false);
            self.send(PPS, false);
        }
        let header = if is_idr { 0x65 } else { 0x41 };
        let mut payload = [0x5a; MTU];
        payload[0] = header & 0xe0 | 28;
        for index in 0..self.packets {
            let is_last = index + 1 == self.packets;
            payload[1] = u8::from(index == 0) << 7 | u8::from(is_last) << 6 | header & 0x1f;
            // first_mb_in_slice = 0 in the first packet.
            payload[2] = 0x88;
            self.send(&payload, is_last);
        }
        self.pictures += 1;
    }

    fn send(&mut self, payload: &[u8], marker: bool) {
        let time = (self.pictures * 3000) as u32;
        self.sequence_number = self.sequence_number.wrapping_add(1);
        let mut bytes = [0; 12 + MTU];
        bytes[0] = 0x80;
        bytes[1] = 96 | u8::from(marker) << 7;
        bytes[2..4].copy_from_slice(&self.sequence_number.to_be_bytes());
        bytes[4..8].copy_from_slice(&time.to_be_bytes());
        bytes[8..12].copy_from_slice(&[1, 2, 3, 4]);
        bytes[12..12 + payload.len()].copy_from_slice(payload);
        // A shard that has closed its ports answers by ICMP; there is nothing to do about it.
        let _ = self.video.send(&bytes[..12 + payload.len()]);
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    fn send_sound(&mut self) {
        let count = self.sounds.wrapping_sub(65_500);
        let mut bytes = [0xd5; 12 + 160];
        bytes[..2].copy_from_slice(&[0x80, 0]);
        bytes[2..4].copy_from_slice(&self.sounds.to_be_bytes());
        bytes[4..8].copy_from_slice(&(u32::from(count) * 160).to_be_bytes());
        bytes[8..12].copy_from_slice(&[5, 6, 7, 8]);
        let _ = self.audio.send(&bytes);
        self.sounds = self.sounds.wrapping_add(1);
        self.sent.fetch_add(1, Ordering::Relaxed);
    }
}
