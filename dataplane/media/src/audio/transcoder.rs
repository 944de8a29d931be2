//! One call's audio to AAC on a timeline without gaps (RFC 3551, RFC 5574, RFC 7587; ISO/IEC 14496-3).
//! Takes: payloads of any codec with RTP time and arrival, losses, comfort noise, time. Gives: AAC frames, the
//! AudioSpecificConfig. Leaves out: RTP reordering, FLV and RTMP.
//!
//! | gap before a packet | filled with |
//! | --- | --- |
//! | packets were lost, 120 ms at most | Opus: redundancy in the next packet, else concealment; Speex: concealment |
//! | packets were lost | substitute (G.711, G.722) or concealment of 60 ms, fading; then as below |
//! | none was lost: the sender pauses | comfort noise: of the codec (Opus, Speex) or as RFC 3389 packets ask for |
//! | else | silence |

use std::time::Duration;

use sipcast_codec::OpenError;
use sipcast_codec::aac::EncodeError;
use sipcast_codec::comfort_noise::ComfortNoise;
use sipcast_contract::Timestamp;
use sipcast_contract::media::AudioCodec;
use sipcast_contract::options::AacOptions;
use sipcast_pool::{Arena, Segment};

use super::decoder::{Decoder, PAYLOAD_SAMPLES_MAX, payload_samples};
use super::format::{TICK_GRID, TICKS_PER_SECOND};
use super::frame_encoder::{COMMON_PERIOD_BLOCKS, FrameEncoder};
use super::lines_out::LinesOut;
use super::pcm_queue::{BLOCK_SAMPLES_MAX, Full, GAP_SAMPLES_MAX, PcmQueue, Taken};
use super::position::Position;

/// Audio is overdue when no packet came for this long.
const OVERDUE: Duration = Duration::from_millis(200);

/// Overdue audio is filled up to this age: what is younger may still come.
const SILENCE_AGE: Duration = Duration::from_millis(100);

/// How often silence is added while nothing comes: about two AAC frames of 48 kHz.
const SILENCE_STEP: Duration = Duration::from_millis(40);

/// Longest loss that is concealed whole, and what is concealed of a longer one, in ms. RFC 6716 §2.1.7 has redundancy
/// for the last packet of a loss; farther back it is a guess.
const LOSS_WHOLE_MS: u64 = 120;
const LOSS_HEAD_MS: u64 = 60;

/// Over how much of its end a loss that is not concealed whole fades, in ms.
const FADE_MS: u64 = 20;

/// Comfort noise of one pause; a sender that says nothing for longer has left.
const NOISE_MAX_MS: u64 = 30_000;

/// One call's audio. Drain [`Transcoder::poll_frame`] after each [`Transcoder::push`],
/// [`Transcoder::push_comfort_noise`] and [`Transcoder::handle_timeout`].
pub struct Transcoder {
    /// In ticks.
    position: Position,
    queue: PcmQueue,
    encoder: FrameEncoder,
    /// Of every codec that has come or is to come.
    decoders: Vec<Decoder>,
    /// The one in use.
    current: Option<usize>,
    /// Ticks of one unit of the RTP clock.
    clock_ticks: i64,
    pcm: Box<[i16]>,
    block: Box<[i16; BLOCK_SAMPLES_MAX]>,
    channels: u8,
    sample_rate_hz: u32,
    overdue_at: Timestamp,
    /// Arrival of the latest input; that of the frames which it completes.
    arrival: Timestamp,
    /// Packets were lost before the next one.
    is_lossy: bool,
    noise: ComfortNoise,
    /// What the sender has paused since its latest packet, in ticks.
    paused: u64,
    is_listened: bool,
    /// Silence and noise put in, in ticks.
    silence: u64,
    /// Concealment put in, in ticks.
    concealed: u64,
    packets_refused: u64,
}

/// One AAC frame of 1024 samples a channel.
#[derive(Clone, Debug)]
pub struct AacFrame {
    /// A raw data block, without ADTS.
    pub data: Segment,
    /// Output samples since the start, at which its first sample is heard.
    pub position: u64,
    /// When the datagram that completed it arrived.
    pub arrival: Timestamp,
}

/// Where a payload lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// When its first sample is heard, from the start of the output timeline.
    pub presentation: Duration,
    /// What is cut off its start because it is past.
    pub late: Duration,
}

/// Why there is no transcoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TranscoderError {
    /// No encoder for these options.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The encoder failed on silence.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl Transcoder {
    /// A transcoder whose output sample 0 is at arrival time `start`.
    ///
    /// # Errors
    /// [`TranscoderError`] when the options name no AAC-LC stream that can be produced.
    pub fn new(options: &AacOptions, start: Timestamp) -> Result<Self, TranscoderError> {
        Ok(Self {
            position: Position::new(TICKS_PER_SECOND, TICK_GRID as i64, start),
            queue: PcmQueue::new(),
            encoder: FrameEncoder::new(options)?,
            decoders: Vec::new(),
            current: None,
            clock_ticks: TICK_GRID as i64,
            pcm: vec![0; PAYLOAD_SAMPLES_MAX].into(),
            block: Box::new([0; BLOCK_SAMPLES_MAX]),
            channels: options.channels,
            sample_rate_hz: options.sample_rate_hz,
            overdue_at: start + OVERDUE,
            arrival: start,
            is_lossy: false,
            noise: ComfortNoise::default(),
            paused: 0,
            is_listened: true,
            silence: 0,
            concealed: 0,
            packets_refused: 0,
        })
    }

    /// Makes ready for a codec, so that its first packet allocates nothing.
    pub fn prepare(&mut self, codec: AudioCodec) {
        let decoder = self.decoder(codec);
        self.encoder.prepare(self.decoders[decoder].format());
    }

    /// Whether anybody hears the output. While nobody does, packets are placed but not decoded, and frames hold
    /// silence.
    pub fn set_listened(&mut self, is_listened: bool) {
        if is_listened && !self.is_listened {
            self.decoders.iter_mut().for_each(Decoder::reset);
        }
        self.is_listened = is_listened;
    }

    /// Takes one packet's payload and says where it lies. `rtp_timestamp` is unwrapped; what overlaps with earlier
    /// audio or silence is dropped. Payloads of any length are taken. `None`: it holds no sound, is wholly past, or
    /// found no room.
    pub fn push(
        &mut self,
        codec: AudioCodec,
        rtp_timestamp: i64,
        payload: &[u8],
        arrival: Timestamp,
    ) -> Option<Placed> {
        let samples = payload_samples(codec, payload);
        if samples == 0 {
            self.packets_refused += u64::from(!payload.is_empty());
            return None;
        }
        if self.change_codec(codec, rtp_timestamp, arrival).is_err() {
            self.packets_refused += 1;
            return None;
        }
        let sample_ticks = self.queue.format().sample_ticks();
        let len = samples * sample_ticks as usize;
        let place = self.position.place(rtp_timestamp.saturating_mul(self.clock_ticks), len, arrival);
        self.overdue_at = self.overdue_at.max(arrival + OVERDUE);
        self.arrival = self.arrival.max(arrival);
        if place.late >= len {
            return None;
        }
        // A resumed sender may lie between two samples of this rate: the rest of one is not filled.
        self.fill_gap(place.silence / sample_ticks, payload);
        let late = place.late.div_ceil(sample_ticks as usize);
        let placed = Placed {
            presentation: presentation(self.position.end()),
            late: presentation(late as u64 * sample_ticks),
        };
        self.lay_down(payload, samples, late).then_some(placed)
    }

    /// Takes a comfort noise payload (RFC 3389): what follows up to the next packet of sound is such noise.
    pub fn push_comfort_noise(&mut self, rtp_timestamp: i64, payload: &[u8], arrival: Timestamp) {
        if self.current.is_none() {
            return;
        }
        let place = self.position.place(rtp_timestamp.saturating_mul(self.clock_ticks), 0, arrival);
        self.arrival = self.arrival.max(arrival);
        self.fill_gap(place.silence / self.queue.format().sample_ticks(), &[]);
        self.noise.update(payload);
        self.paused = 0;
    }

    /// Packets were given up: the gap before the next one is a loss, not a pause.
    pub fn note_lost(&mut self) {
        self.is_lossy = true;
    }

    /// RTP time starts anew (new SSRC, hold, re-INVITE): the next packet is placed by its arrival.
    pub fn restart(&mut self) {
        self.position.restart();
        self.noise.update(&[]);
        self.is_lossy = false;
    }

    /// Fills in where audio is overdue.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if now < self.overdue_at {
            return;
        }
        self.overdue_at = now + SILENCE_STEP;
        let format = self.queue.format();
        // Whole blocks, which hold whole frames of every codec's own noise.
        let block = format.block_samples() as u64;
        let missing = self.position.missing(now, SILENCE_AGE) / format.sample_ticks() / block * block;
        if missing > 0 {
            self.fill_pause(missing);
            self.arrival = self.arrival.max(now);
        }
    }

    /// The next AAC frame, written to `arena`; `None` when more input is needed. A frame that finds no room is
    /// lost and counted; the position of the next one shows the gap.
    pub fn poll_frame(&mut self, arena: &mut Arena) -> Option<AacFrame> {
        self.poll_frame_with(arena, &mut LinesOut::default())
    }

    /// The same; every block that it takes for the frame goes over `lines` too.
    pub fn poll_frame_with(&mut self, arena: &mut Arena, lines: &mut LinesOut) -> Option<AacFrame> {
        // Only a driver that slept lets so much silence gather. It is not worth its CPU time: time moves on.
        let periods = (self.queue.silent_blocks_ahead() / COMMON_PERIOD_BLOCKS).saturating_sub(1);
        if periods > 0 {
            self.queue.skip_silent_blocks(periods * COMMON_PERIOD_BLOCKS);
            self.encoder.skip(periods);
        }
        loop {
            if let Some((data, position)) = self.encoder.poll(arena) {
                return Some(AacFrame { data, position, arrival: self.arrival });
            }
            if self.encoder.wants_block() {
                match self.queue.take(&mut self.block)? {
                    Taken::Block(format) => {
                        let len = format.block_samples() * format.channels;
                        if !lines.is_empty() {
                            lines.push_block(format.rate_hz, format.channels, &self.block[..len]);
                        }
                        self.encoder.push_block(format, &self.block[..len]);
                    }
                    Taken::Change(format) => self.encoder.change(format),
                }
            }
        }
    }

    /// When [`Transcoder::handle_timeout`] is wanted next.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        Some(self.overdue_at)
    }

    /// The AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1), 2 bytes for every rate that is offered.
    pub fn audio_specific_config(&self) -> &[u8] {
        self.encoder.audio_specific_config()
    }

    /// An AAC frame of silence that may stand for any frame, for muted targets.
    pub fn silent_frame(&self) -> &[u8] {
        self.encoder.silent_frame()
    }

    /// Where an RTP time lies on the output timeline, from its start; `None` until a packet has anchored RTP time,
    /// and for times before the start.
    pub fn presentation(&self, rtp_timestamp: i64) -> Option<Duration> {
        self.position.presentation(rtp_timestamp.saturating_mul(self.clock_ticks))
    }

    /// Silence and comfort noise put into gaps so far, in samples of the output rate.
    pub fn silence_samples(&self) -> u64 {
        self.output_samples(self.silence)
    }

    /// Concealment put into gaps so far, in samples of the output rate.
    pub fn concealed_samples(&self) -> u64 {
        self.output_samples(self.concealed)
    }

    /// Packets and frames that were lost because they were malformed, [`Transcoder::poll_frame`] was not drained, the
    /// arena had no room or the encoder failed.
    pub fn refused(&self) -> u64 {
        self.packets_refused + self.encoder.frames_lost()
    }

    fn output_samples(&self, ticks: u64) -> u64 {
        (u128::from(ticks) * u128::from(self.sample_rate_hz) / u128::from(TICKS_PER_SECOND)) as u64
    }

    fn decoder(&mut self, codec: AudioCodec) -> usize {
        self.decoders.iter().position(|decoder| decoder.codec() == codec).unwrap_or_else(|| {
            self.decoders.push(Decoder::new(codec, self.channels));
            self.decoders.len() - 1
        })
    }

    /// Takes up another codec. Another format begins with a block: up to there the old codec conceals.
    fn change_codec(
        &mut self,
        codec: AudioCodec,
        rtp_timestamp: i64,
        arrival: Timestamp,
    ) -> Result<(), Full> {
        let before = self.current.map(|current| self.decoders[current].codec());
        if before == Some(codec) {
            return Ok(());
        }
        let next = self.decoder(codec);
        let format = self.decoders[next].format();
        if self.queue.format() != format {
            let missing = self.queue.to_block_end();
            self.conceal(missing, missing, None);
            if self.queue.to_block_end() > 0 {
                return Err(Full);
            }
            self.queue.change(format)?;
        }
        self.decoders[next].reset();
        self.current = Some(next);
        self.is_lossy &= before.is_none();
        // RFC 3551 §4.1: another clock counts in other units.
        let clock_ticks = i64::from(TICKS_PER_SECOND / codec.clock_rate_hz());
        if before.is_some() && clock_ticks != self.clock_ticks {
            self.position.change_clock(rtp_timestamp.saturating_mul(clock_ticks), arrival);
        }
        self.clock_ticks = clock_ticks;
        Ok(())
    }

    /// Lays down a payload of `samples`, of which the first `late` are past.
    fn lay_down(&mut self, payload: &[u8], samples: usize, late: usize) -> bool {
        let rest = samples - late;
        let (Some(current), true) = (self.current, self.is_listened) else {
            return self.lay_silence(rest as u64);
        };
        self.paused = 0;
        if self.noise.is_audible() {
            self.noise.update(&[]);
        }
        let decoder = &mut self.decoders[current];
        let channels = decoder.format().channels;
        let decoded = decoder.decode(payload, &mut self.pcm).unwrap_or(0).min(samples);
        let sound = &self.pcm[late.min(decoded) * channels..decoded * channels];
        if self.queue.push(0, sound).is_err() {
            self.packets_refused += 1;
            return false;
        }
        self.advance(decoded.saturating_sub(late) as u64);
        if decoded < samples {
            // Its length was readable, its content not all.
            self.packets_refused += 1;
            let missing = (samples - decoded.max(late)) as u64;
            self.conceal(missing, missing, None);
        }
        true
    }

    /// Fills `gap` samples before a packet, whose payload is `next`.
    fn fill_gap(&mut self, gap: u64, next: &[u8]) {
        let is_lossy = std::mem::take(&mut self.is_lossy);
        if gap == 0 {
            return;
        }
        if !is_lossy || !self.is_listened {
            self.fill_pause(gap);
            return;
        }
        let per_ms = u64::from(self.queue.format().rate_hz / 1_000);
        if gap <= LOSS_WHOLE_MS * per_ms {
            self.conceal(gap, gap, Some(next));
        } else {
            let head = LOSS_HEAD_MS * per_ms;
            self.conceal(head, head + FADE_MS * per_ms, None);
            self.fill_pause(gap - head);
        }
    }

    /// Lays down `samples` of concealment, silence where there is none. A loss of more than that fades out.
    fn conceal(&mut self, samples: u64, loss: u64, next: Option<&[u8]>) {
        let (Some(current), true) = (self.current, self.is_listened) else {
            self.lay_silence(samples);
            return;
        };
        let decoder = &mut self.decoders[current];
        let format = decoder.format();
        let room = usize::try_from(samples).unwrap_or(usize::MAX).min(self.pcm.len() / format.channels);
        let pcm = &mut self.pcm[..room * format.channels];
        let filled = match next {
            Some(next) if !next.is_empty() => decoder.recover(next, pcm),
            _ => decoder.conceal(pcm),
        };
        let sound = &mut pcm[..filled * format.channels];
        if loss > samples {
            fade_out(sound, FADE_MS as usize * format.rate_hz as usize / 1_000, format.channels);
        }
        if self.queue.push(0, sound).is_err() {
            self.packets_refused += 1;
            return;
        }
        self.advance(filled as u64);
        self.concealed += filled as u64 * format.sample_ticks();
        self.lay_silence(samples - filled as u64);
    }

    /// Lays down `samples` of a pause: comfort noise if there is any, at most as much as the queue has room for, then
    /// silence.
    fn fill_pause(&mut self, samples: u64) {
        let format = self.queue.format();
        let paused_ms = self.paused / u64::from(TICKS_PER_SECOND / 1_000);
        self.paused = self.paused.saturating_add(samples.saturating_mul(format.sample_ticks()));
        let room = GAP_SAMPLES_MAX.min(self.pcm.len()) / format.channels;
        let count = usize::try_from(samples).unwrap_or(usize::MAX).min(room);
        let pcm = &mut self.pcm[..count * format.channels];
        let decoder = self.current.map(|current| &mut self.decoders[current]);
        let filled = match decoder {
            _ if !self.is_listened || paused_ms >= NOISE_MAX_MS => 0,
            Some(decoder) if decoder.fills_pauses() => decoder.conceal(pcm),
            Some(_) if self.noise.is_audible() => {
                self.noise.fill(pcm);
                count
            }
            _ => 0,
        };
        let noise = &self.pcm[..filled * format.channels];
        if filled > 0 && self.queue.push(0, noise).is_err() {
            self.packets_refused += 1;
            return;
        }
        self.advance(filled as u64);
        self.silence += samples * format.sample_ticks();
        self.lay_silence(samples - filled as u64);
    }

    fn lay_silence(&mut self, samples: u64) -> bool {
        if self.queue.push(samples, &[]).is_err() {
            self.packets_refused += 1;
            return false;
        }
        self.advance(samples);
        true
    }

    fn advance(&mut self, samples: u64) {
        self.position.advance(samples * self.queue.format().sample_ticks());
    }
}

fn presentation(ticks: u64) -> Duration {
    let rate = u64::from(TICKS_PER_SECOND);
    Duration::from_secs(ticks / rate) + Duration::from_nanos(ticks % rate * 1_000_000_000 / rate)
}

/// Lets the last `count` samples a channel fade to nothing.
fn fade_out(sound: &mut [i16], count: usize, channels: usize) {
    let count = count.min(sound.len() / channels);
    let start = sound.len() - count * channels;
    for (index, frame) in sound[start..].chunks_exact_mut(channels).enumerate() {
        let gain = (count - index) as f32 / (count + 1) as f32;
        for sample in frame {
            *sample = (f32::from(*sample) * gain) as i16;
        }
    }
}

impl std::fmt::Debug for Transcoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transcoder")
            .field("position", &self.position)
            .field("sample_rate_hz", &self.sample_rate_hz)
            .field("silence", &self.silence)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use sipcast_codec::aac::FRAME_SAMPLES;
    use sipcast_codec::aac_decoder::AacDecoder;
    use sipcast_codec::g711;
    use sipcast_pool::Pool;

    use super::*;

    pub(in crate::audio) const CODECS: [AudioCodec; 7] = [
        AudioCodec::Pcmu,
        AudioCodec::Pcma,
        AudioCodec::G722,
        AudioCodec::SpeexNarrowband,
        AudioCodec::SpeexWideband,
        AudioCodec::SpeexUltraWideband,
        AudioCodec::Opus,
    ];

    const START: Timestamp = Timestamp::from_millis(7_000_000);

    fn ms(ms: u64) -> Timestamp {
        START + Duration::from_millis(ms)
    }

    /// A tone whose loudness swells, so that it fits nowhere but at its own place.
    fn tone(seconds: f64) -> f64 {
        let turn = std::f64::consts::TAU * seconds;
        8_000.0 * (0.55 + 0.45 * (1.7 * turn).sin()) * (440.0 * turn).sin()
    }

    fn payload(codec: AudioCodec, first: u64, len: usize) -> Vec<u8> {
        let encode = match codec {
            AudioCodec::Pcmu => g711::encode_mu_law,
            _ => g711::encode_a_law,
        };
        (first..first + len as u64).map(|n| encode(tone(n as f64 / 8_000.0) as i16)).collect()
    }

    /// A transcoder with its frames decoded: what a viewer hears.
    struct Listener {
        transcoder: Transcoder,
        arena: Arena,
        pool: Pool,
        decoder: AacDecoder,
        channels: usize,
        rate_hz: u32,
        heard: Vec<i16>,
        frames: u64,
    }

    impl Listener {
        fn new(options: &AacOptions) -> Self {
            let transcoder = Transcoder::new(options, START).expect("offered");
            let pool = Pool::new(8, 2048);
            Self {
                decoder: AacDecoder::open(transcoder.audio_specific_config()).expect("its own configuration"),
                arena: Arena::new(pool.clone()),
                pool,
                transcoder,
                channels: usize::from(options.channels),
                rate_hz: options.sample_rate_hz,
                heard: Vec::new(),
                frames: 0,
            }
        }

        fn drain(&mut self) {
            while let Some(frame) = self.transcoder.poll_frame(&mut self.arena) {
                assert_eq!(frame.position, self.frames * FRAME_SAMPLES as u64, "no gap, no step back");
                self.frames += 1;
                let mut pcm = [0; 2 * FRAME_SAMPLES];
                let samples = self.decoder.decode(&frame.data, &mut pcm).expect("its own frame");
                assert_eq!(samples, FRAME_SAMPLES * self.channels);
                self.heard.extend_from_slice(&pcm[..samples]);
            }
        }

        fn push(&mut self, rtp_timestamp: i64, payload: &[u8], at_ms: u64) {
            self.transcoder.push(AudioCodec::Pcmu, rtp_timestamp, payload, ms(at_ms));
            self.drain();
        }

        /// How loud the difference to `expected` is between two times, against the tone, in dB.
        fn difference_db(&self, from_s: f64, to_s: f64, expected: impl Fn(f64) -> f64) -> f64 {
            let range =
                (from_s * f64::from(self.rate_hz)) as usize..(to_s * f64::from(self.rate_hz)) as usize;
            let count = range.len() as f64;
            let noise: f64 = range
                .map(|n| {
                    (f64::from(self.heard[n * self.channels]) - expected(n as f64 / f64::from(self.rate_hz)))
                        .powi(2)
                })
                .sum();
            let tone_power = 8_000.0_f64.powi(2) * 0.2;
            10.0 * (noise / count / tone_power + 1e-9).log10()
        }
    }

    #[test]
    fn sound_is_heard_at_its_place_at_every_rate_and_channel_count() {
        for sample_rate_hz in AacOptions::SAMPLE_RATES_HZ {
            for (channels, codec) in [(1, AudioCodec::Pcmu), (2, AudioCodec::Pcma)] {
                let mut listener =
                    Listener::new(&AacOptions { sample_rate_hz, channels, bit_rate_bps: 64_000 });
                for packet in 0..100 {
                    let payload = payload(codec, packet * 160, 160);
                    // RTP time crosses 2^32 on the way.
                    let rtp_timestamp = (1_i64 << 32) - 5_000 + packet as i64 * 160;
                    listener.transcoder.push(codec, rtp_timestamp, &payload, ms(packet * 20));
                    listener.drain();
                }
                // At 8 kHz the encoder holds back two frames of 128 ms.
                let difference = listener.difference_db(0.1, 1.6, tone);
                assert!(difference < -20.0, "{sample_rate_hz} Hz, {channels} channels: {difference} dB");
                assert_eq!(listener.transcoder.silence_samples(), 0);
            }
        }
    }

    #[test]
    fn packets_of_any_length_are_the_same_sound() {
        for sizes in [vec![80], vec![240], vec![480], vec![1], vec![37, 161, 800, 3], vec![1_400]] {
            let mut listener = Listener::new(&AacOptions::default());
            let (mut first, mut index) = (0, 0);
            while first < 16_000 {
                let len = sizes[index % sizes.len()];
                listener.push(first as i64, &payload(AudioCodec::Pcmu, first, len), first / 8);
                first += len as u64;
                index += 1;
            }
            let difference = listener.difference_db(0.1, 1.7, tone);
            assert!(difference < -20.0, "{sizes:?}: {difference} dB");
        }
    }

    #[test]
    fn a_lost_packet_is_silence_and_the_rest_stays_in_place() {
        let mut listener = Listener::new(&AacOptions::default());
        for packet in (0..100).filter(|packet| !(40..50).contains(packet)) {
            listener.push(packet as i64 * 160, &payload(AudioCodec::Pcmu, packet * 160, 160), packet * 20);
        }
        assert_eq!(listener.transcoder.silence_samples(), 10 * 960);
        assert!(listener.difference_db(0.1, 0.77, tone) < -20.0);
        assert!(listener.difference_db(0.84, 0.96, |_| 0.0) < -40.0);
        assert!(listener.difference_db(1.03, 1.8, tone) < -20.0);
    }

    #[test]
    fn overlap_is_dropped() {
        let mut listener = Listener::new(&AacOptions::default());
        for packet in 0..100 {
            let first = packet * 160;
            listener.push(first as i64, &payload(AudioCodec::Pcmu, first, 240), packet * 20);
            listener.push(first as i64, &payload(AudioCodec::Pcmu, first, 160), packet * 20);
        }
        assert!(listener.difference_db(0.1, 1.8, tone) < -20.0);
    }

    #[test]
    fn a_pause_of_the_sender_is_filled_while_it_lasts() {
        let mut listener = Listener::new(&AacOptions::default());
        let mut now_ms = 0;
        let mut packets = (0..50).chain(150..200).peekable();
        while now_ms < 4_000 {
            while let Some(packet) = packets.next_if(|packet| packet * 20 <= now_ms) {
                listener.push(
                    packet as i64 * 160,
                    &payload(AudioCodec::Pcmu, packet * 160, 160),
                    packet * 20,
                );
            }
            if listener.transcoder.next_timeout().is_some_and(|at| at <= ms(now_ms)) {
                listener.transcoder.handle_timeout(ms(now_ms));
                listener.drain();
                // Encoder, resampler and block are 80 ms at the most.
                let behind_ms = now_ms as i64 - listener.heard.len() as i64 / 48;
                assert!((100..240).contains(&behind_ms), "{behind_ms} ms at {now_ms} ms");
            }
            now_ms += 5;
        }
        assert!(listener.difference_db(0.1, 0.97, tone) < -20.0);
        assert!(listener.difference_db(1.05, 2.95, |_| 0.0) < -40.0);
        assert!(listener.difference_db(3.05, 3.8, tone) < -20.0);
        assert_eq!(listener.transcoder.silence_samples(), 48_000 * 2);
    }

    #[test]
    fn without_any_packet_there_is_silence_from_the_start() {
        let options = AacOptions { sample_rate_hz: 44_100, ..AacOptions::default() };
        let mut listener = Listener::new(&options);
        for now_ms in (0..2_000).step_by(20) {
            listener.transcoder.handle_timeout(ms(now_ms));
            listener.drain();
        }
        assert!(listener.frames > 75, "{}", listener.frames);
        assert!(listener.heard.iter().all(|&sample| sample == 0));
    }

    #[test]
    fn silence_comes_before_any_codec_that_was_made_ready() {
        for codec in CODECS {
            for first_packet_ms in [500, 3_000] {
                let mut listener = Listener::new(&AacOptions::default());
                listener.transcoder.prepare(codec);
                for at in (0..first_packet_ms).step_by(20) {
                    listener.transcoder.handle_timeout(ms(at));
                    listener.drain();
                }
                let before = listener.frames;
                assert!(before > 0, "{codec:?}: silence");
                let packet = crate::audio::silent_payload(codec);
                for number in 0..50 {
                    let at = ms(first_packet_ms + number * 20);
                    let ticks = number * u64::from(codec.clock_rate_hz()) / 50;
                    listener.transcoder.push(codec, ticks as i64, &packet, at);
                    listener.drain();
                }
                // A second of 48 kHz in frames of 1024.
                assert!(listener.frames >= before + 30, "{codec:?}: {} after {before}", listener.frames);
            }
        }
    }

    #[test]
    fn a_restart_continues_by_arrival() {
        let mut listener = Listener::new(&AacOptions::default());
        for packet in 0..50 {
            listener.push(packet as i64 * 160, &payload(AudioCodec::Pcmu, packet * 160, 160), packet * 20);
        }
        listener.transcoder.restart();
        for packet in 60..100 {
            let rtp_timestamp = 3_000_000_000 + packet as i64 * 160;
            listener.push(rtp_timestamp, &payload(AudioCodec::Pcmu, packet * 160, 160), packet * 20);
        }
        assert_eq!(
            listener.transcoder.presentation(3_000_000_000 + 61 * 160),
            Some(Duration::from_millis(1_220))
        );
        assert!(listener.difference_db(1.25, 1.8, tone) < -20.0);
    }

    #[test]
    fn an_hour_is_an_hour_at_every_rate() {
        for sample_rate_hz in AacOptions::SAMPLE_RATES_HZ {
            let options = AacOptions { sample_rate_hz, channels: 1, bit_rate_bps: 64_000 };
            let mut transcoder = Transcoder::new(&options, START).expect("offered");
            let mut arena = Arena::new(Pool::new(2, 2048));
            let quiet = [0xff; 160];
            let mut last = None;
            for packet in 0..3_600 * 50_u64 {
                transcoder.push(AudioCodec::Pcmu, packet as i64 * 160, &quiet, ms(packet * 20));
                while let Some(frame) = transcoder.poll_frame(&mut arena) {
                    last = Some(frame.position);
                }
            }
            let end = last.expect("an hour of frames") + FRAME_SAMPLES as u64;
            // The encoder's 1600 samples, up to a frame of rounding and half a block of the resampler are inside.
            let inside = 3_600 * u64::from(sample_rate_hz) - end;
            assert!(inside <= 1_600 + 1_024 + 480, "{sample_rate_hz} Hz: {inside}");
            assert_eq!(transcoder.silence_samples(), 0);
        }
    }

    #[test]
    fn a_driver_that_slept_for_hours_is_not_punished() {
        let mut transcoder = Transcoder::new(&AacOptions::default(), START).expect("offered");
        let mut arena = Arena::new(Pool::new(2, 2048));
        transcoder.push(AudioCodec::Pcmu, 0, &[0x20; 240], ms(0));
        while transcoder.poll_frame(&mut arena).is_some() {}
        transcoder.handle_timeout(ms(7_200_000));
        let mut frames = 0;
        let mut last = 0;
        while let Some(frame) = transcoder.poll_frame(&mut arena) {
            assert!(frame.position >= last);
            last = frame.position;
            frames += 1;
        }
        assert!(frames < 1_000, "{frames}");
        assert!((last / 48).abs_diff(7_200_000 - 100) < 100, "{}", last / 48);
    }

    #[test]
    fn silence_between_sounds_leaves_no_seam() {
        // Long enough for the encoder to stand still, then the tone comes back in its place.
        let mut listener = Listener::new(&AacOptions::default());
        for packet in 0..100 {
            let first = packet * 160;
            let quiet = (30..70).contains(&packet);
            let payload = if quiet { vec![0xff; 160] } else { payload(AudioCodec::Pcmu, first, 160) };
            listener.push(first as i64, &payload, packet * 20);
        }
        assert!(listener.difference_db(0.1, 0.57, tone) < -20.0);
        assert!(listener.difference_db(0.63, 1.37, |_| 0.0) < -40.0);
        assert!(listener.difference_db(1.43, 1.8, tone) < -20.0);
    }

    #[test]
    fn the_silent_frame_is_silence() {
        for channels in [1, 2] {
            let options = AacOptions { channels, ..AacOptions::default() };
            let transcoder = Transcoder::new(&options, START).expect("offered");
            let mut decoder =
                AacDecoder::open(transcoder.audio_specific_config()).expect("its own configuration");
            for _ in 0..3 {
                let mut pcm = [1; 2 * FRAME_SAMPLES];
                let samples = decoder.decode(transcoder.silent_frame(), &mut pcm).expect("its own frame");
                assert!(pcm[..samples].iter().all(|&sample| sample == 0));
            }
        }
    }

    #[test]
    fn an_exhausted_arena_loses_frames_and_nothing_else() {
        let pool = Pool::new(1, 2048);
        let mut arena = Arena::new(pool.clone());
        let mut transcoder = Transcoder::new(&AacOptions::default(), START).expect("offered");
        let held = pool.claim().expect("free");
        let mut feed = |packets: std::ops::Range<u64>| {
            let mut frames = Vec::new();
            for packet in packets {
                let payload = payload(AudioCodec::Pcmu, packet * 160, 160);
                transcoder.push(AudioCodec::Pcmu, packet as i64 * 160, &payload, ms(packet * 20));
                frames.extend(
                    std::iter::from_fn(|| transcoder.poll_frame(&mut arena)).map(|frame| frame.position),
                );
            }
            (frames, transcoder.refused())
        };
        let (frames, lost) = feed(0..10);
        assert!(frames.is_empty() && lost > 0);
        drop(held);
        let (frames, _) = feed(10..20);
        assert_eq!(frames[0], lost * FRAME_SAMPLES as u64);
    }

    #[test]
    fn input_that_is_not_drained_is_bounded() {
        let mut transcoder = Transcoder::new(&AacOptions::default(), START).expect("offered");
        for packet in 0..1_000 {
            transcoder.push(AudioCodec::Pcmu, packet * 160, &[0x20; 160], ms(packet as u64 * 20));
        }
        assert!(transcoder.refused() > 700);
    }

    #[test]
    fn all_leases_come_home() {
        let mut listener = Listener::new(&AacOptions::default());
        for packet in 0..50 {
            listener.push(packet * 160, &[0x20; 160], packet as u64 * 20);
        }
        let Listener { arena, pool, .. } = listener;
        drop(arena);
        assert_eq!(pool.held(), 0);
    }

    #[test]
    fn what_is_not_offered_is_refused() {
        for (sample_rate_hz, channels, bit_rate_bps) in
            [(11_025, 1, 64_000), (96_000, 1, 64_000), (48_000, 3, 64_000), (48_000, 1, 0)]
        {
            let options = AacOptions { sample_rate_hz, channels, bit_rate_bps };
            assert!(Transcoder::new(&options, START).is_err(), "{options:?}");
        }
    }
}
