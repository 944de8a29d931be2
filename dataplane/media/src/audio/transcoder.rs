//! One call's audio to AAC on a timeline without gaps (RFC 3551, RFC 5574, RFC 7587; ISO/IEC 14496-3).
//! Takes: payloads of any codec with RTP time and arrival, losses, comfort noise, time. Gives: AAC frames, the
//! AudioSpecificConfig. Leaves out: what gaps are filled with (`gaps`), RTP reordering, FLV and RTMP.

mod gaps;

use std::time::Duration;

use sipcast_codec::OpenError;
use sipcast_codec::comfort_noise::ComfortNoise;
use sipcast_contract::Timestamp;
use sipcast_contract::media::AudioCodec;
use sipcast_contract::options::AacOptions;
use sipcast_pool::{Arena, Segment};

use super::decoder::{Decoder, PAYLOAD_SAMPLES_MAX, payload_samples};
use super::format::{TICK_GRID, TICKS_PER_SECOND};
use super::frame_encoder::{COMMON_PERIOD_BLOCKS, FrameEncoder};
use super::lines_out::LinesOut;
use super::pcm_queue::{BLOCK_SAMPLES_MAX, Full, PcmQueue, Taken};
use super::position::Position;

/// Audio is overdue when no packet came for this long.
const OVERDUE: Duration = Duration::from_millis(200);

/// Overdue audio is filled up to this age: what is younger may still come.
const SILENCE_AGE: Duration = Duration::from_millis(100);

/// How often silence is added while nothing comes: about two AAC frames of 48 kHz.
const SILENCE_STEP: Duration = Duration::from_millis(40);

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
        // A resumed sender may lie between two samples of this rate: the rest of one is not filled. As a rule there is
        // neither gap nor overlap, and nothing to divide.
        self.fill_gap(if place.silence > 0 { place.silence / sample_ticks } else { 0 }, payload);
        let late = if place.late > 0 { place.late.div_ceil(sample_ticks as usize) } else { 0 };
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
                    // The encoder notices by the next block.
                    Taken::Change(_) => {}
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
pub(super) mod tests;
