//! An RTMP server that keeps what is published to it.

use bytes::Bytes;
use sipcast_media::rtmp::{MediaKind, ServerEvent, ServerSession};

use super::callee::NalUnits;

pub struct Sink {
    seed: u64,
    session: Option<ServerSession>,
    /// Refuses connections.
    pub is_down: bool,
    /// Takes no bytes.
    pub is_stalled: bool,
    /// Takes so many bytes in a millisecond; `None`: any.
    pub bytes_per_ms: Option<usize>,
    /// Bytes of the send in flight, and how many of them are still on the way.
    in_flight: Vec<u8>,
    debt: usize,
    /// Refuses so many publishers: the name is taken.
    pub names_taken: u32,
    pub pictures: Vec<Picture>,
    /// Timestamp and body of each audio message, sequence headers left out.
    pub sounds: Vec<(u32, Bytes)>,
    /// AVCDecoderConfigurationRecords.
    pub avc_configs: Vec<Bytes>,
    pub audio_configs: Vec<Bytes>,
    pub metadata: Vec<Bytes>,
    pub connections: u32,
    pub unpublished: u32,
    /// Bytes that came from slots of received datagrams.
    pub received_slot_bytes: u64,
}

pub struct Picture {
    pub timestamp_ms: u32,
    pub is_key: bool,
    pub nal_units: NalUnits,
}

impl Sink {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            session: None,
            is_down: false,
            is_stalled: false,
            bytes_per_ms: None,
            in_flight: Vec::new(),
            debt: 0,
            names_taken: 0,
            pictures: Vec::new(),
            sounds: Vec::new(),
            avc_configs: Vec::new(),
            audio_configs: Vec::new(),
            metadata: Vec::new(),
            connections: 0,
            unpublished: 0,
            received_slot_bytes: 0,
        }
    }

    pub fn connect(&mut self) {
        self.connections += 1;
        self.in_flight.clear();
        self.debt = 0;
        self.session = Some(ServerSession::new(self.seed));
    }

    pub fn disconnect(&mut self) {
        self.session = None;
    }

    pub fn takes_bytes(&self) -> bool {
        self.session.is_some() && !self.is_stalled && self.debt == 0
    }

    /// Takes a send, which is under way as long as the rate wants.
    pub fn send(&mut self, bytes: &[u8]) {
        self.in_flight.extend_from_slice(bytes);
        self.debt = if self.bytes_per_ms.is_some() { self.in_flight.len() } else { 0 };
    }

    /// The send that arrived just now; gives its length.
    pub fn arrive(&mut self) -> usize {
        let bytes = std::mem::take(&mut self.in_flight);
        if !bytes.is_empty() {
            self.take(&bytes);
        }
        bytes.len()
    }

    pub fn pass_millisecond(&mut self) {
        self.debt = self.debt.saturating_sub(self.bytes_per_ms.unwrap_or(usize::MAX));
    }

    pub fn take(&mut self, bytes: &[u8]) {
        let session = self.session.as_mut().expect("connected");
        session.handle_input(bytes).expect("valid RTMP");
        while let Some(event) = session.poll_event() {
            match event {
                ServerEvent::PublishRequested { stream } => {
                    assert_eq!(stream.reveal(), "key");
                    if self.names_taken > 0 {
                        self.names_taken -= 1;
                        session.reject("NetStream.Publish.BadName", "taken");
                    } else {
                        session.accept();
                    }
                }
                ServerEvent::Metadata(metadata) => self.metadata.push(metadata),
                ServerEvent::Media { kind: MediaKind::Video, timestamp_ms, body } => match body[1] {
                    0 => self.avc_configs.push(body.slice(5..)),
                    1 => self.pictures.push(Picture {
                        timestamp_ms,
                        is_key: body[0] >> 4 == 1,
                        nal_units: nal_units(&body[5..]),
                    }),
                    other => panic!("AVC packet type {other}"),
                },
                ServerEvent::Media { kind: MediaKind::Audio, timestamp_ms, body } => match body[1] {
                    0 => self.audio_configs.push(body.slice(2..)),
                    _ => self.sounds.push((timestamp_ms, body)),
                },
                ServerEvent::Unpublished => self.unpublished += 1,
                _ => {}
            }
        }
    }

    pub fn answer(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(session) = &mut self.session {
            session.take_output(&mut out);
        }
        out
    }

    /// Every picture is one that was sent, bit for bit, in order, and after a gap comes an IDR picture.
    /// Gives how many gaps there were.
    pub fn assert_exact(&self, sent: &[NalUnits]) -> usize {
        let mut next = None;
        let mut gaps = 0;
        for picture in &self.pictures {
            let from = next.unwrap_or(0);
            let found = sent[from..].iter().position(|units| *units == picture.nal_units);
            let at = from + found.expect("a picture that was sent, in order");
            if next != Some(at) {
                assert!(picture.is_key, "after a gap comes an IDR picture");
                gaps += usize::from(next.is_some());
            }
            next = Some(at + 1);
        }
        gaps
    }

    pub fn assert_monotone(&self) {
        let pictures: Vec<u32> = self.pictures.iter().map(|picture| picture.timestamp_ms).collect();
        let sounds: Vec<u32> = self.sounds.iter().map(|(timestamp_ms, _)| *timestamp_ms).collect();
        for times in [pictures, sounds] {
            assert!(times.is_sorted_by(|a, b| a < b), "time goes on: {times:?}");
        }
    }
}

/// NAL units behind lengths of 4 bytes.
pub fn nal_units(mut body: &[u8]) -> NalUnits {
    let mut out = NalUnits::new();
    while let Some((len, rest)) = body.split_first_chunk::<4>() {
        let (unit, rest) = rest.split_at(u32::from_be_bytes(*len) as usize);
        out.push(unit.to_vec());
        body = rest;
    }
    out
}
