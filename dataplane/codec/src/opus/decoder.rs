//! One Opus stream in receive.

use std::ffi::c_int;

use super::{CONCEALMENT_SAMPLES, PACKET_SAMPLES_MAX, SAMPLE_RATE_HZ, State, sys};
use crate::Malformed;

/// An Opus decoder for 48 kHz.
pub struct OpusDecoder {
    /// Invariant: `opus_decoder_init` has initialised it for `channels`.
    state: State,
    channels: usize,
}

impl OpusDecoder {
    /// A decoder that gives `channels` (1 or 2, else 1) interleaved: mono packets become two like channels, stereo
    /// packets are mixed down to one.
    pub fn new(channels: u8) -> Self {
        let channels: c_int = if channels == 2 { 2 } else { 1 };
        // SAFETY: no pointers; the count of channels is one that libopus has a size for.
        let mut state = super::state(unsafe { sys::opus_decoder_get_size(channels) });
        // SAFETY: the memory is as large as libopus asked for with the same argument, and aligned to 8 bytes.
        let code =
            unsafe { sys::opus_decoder_init(state.as_mut_ptr().cast(), SAMPLE_RATE_HZ as i32, channels) };
        assert_eq!(code, 0, "48 kHz and one or two channels are always offered");
        Self { state, channels: channels as usize }
    }

    /// Channels of the output.
    pub const fn channels(&self) -> usize {
        self.channels
    }

    /// Decodes one packet and says how many samples a channel `pcm` now holds.
    ///
    /// # Errors
    /// [`Malformed`] for what is no Opus packet, or longer than `pcm`.
    pub fn decode(&mut self, packet: &[u8], pcm: &mut [i16]) -> Result<usize, Malformed> {
        if packet.is_empty() {
            return Err(Malformed);
        }
        let room = pcm.len() / self.channels;
        self.run(packet, pcm, room, false)
    }

    /// Fills `pcm` with what was lost before `next`: by the redundancy that `next` carries of the packet before it
    /// (RFC 6716 §2.1.7), and concealment for the rest and where there is none. Call before decoding `next`. Whole
    /// 2.5 ms are filled; gives samples a channel.
    ///
    /// # Errors
    /// [`Malformed`] when `next` is no Opus packet.
    pub fn recover(&mut self, next: &[u8], pcm: &mut [i16]) -> Result<usize, Malformed> {
        if next.is_empty() {
            return Err(Malformed);
        }
        let room = self.whole(pcm);
        self.run(next, pcm, room, true)
    }

    /// Fills `pcm` by concealment, or with comfort noise where the sender has paused (DTX). Whole 2.5 ms are filled,
    /// 120 ms at most; gives samples a channel.
    pub fn conceal(&mut self, pcm: &mut [i16]) -> usize {
        let room = self.whole(pcm);
        self.run(&[], pcm, room, false).unwrap_or(0)
    }

    /// Forgets the stream.
    pub fn reset(&mut self) {
        // SAFETY: the state is initialised (invariant); this request takes no argument.
        unsafe { sys::opus_decoder_ctl(self.state.as_mut_ptr().cast(), sys::RESET_STATE) };
    }

    fn whole(&self, pcm: &[i16]) -> usize {
        (pcm.len() / self.channels).min(PACKET_SAMPLES_MAX) / CONCEALMENT_SAMPLES * CONCEALMENT_SAMPLES
    }

    fn run(&mut self, packet: &[u8], pcm: &mut [i16], room: usize, fec: bool) -> Result<usize, Malformed> {
        if room == 0 {
            return if packet.is_empty() || fec { Ok(0) } else { Err(Malformed) };
        }
        let len = i32::try_from(packet.len()).map_err(|_| Malformed)?;
        let data = if packet.is_empty() { std::ptr::null() } else { packet.as_ptr() };
        let frame_size = c_int::try_from(room).map_err(|_| Malformed)?;
        // SAFETY: the state is initialised (invariant). `data` is null with length 0, or `len` readable bytes that
        // libopus only reads. It writes at most `frame_size` samples for each channel, for which `pcm` has room.
        let samples = unsafe {
            sys::opus_decode(
                self.state.as_mut_ptr().cast(),
                data,
                len,
                pcm.as_mut_ptr(),
                frame_size,
                c_int::from(fec),
            )
        };
        usize::try_from(samples).map_err(|_| Malformed)
    }
}

impl std::fmt::Debug for OpusDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpusDecoder").field("channels", &self.channels).finish_non_exhaustive()
    }
}

/// Samples of a packet at 48 kHz by its table of contents (RFC 6716 §3.1), 5760 at the most; `None` for what is no
/// Opus packet.
pub fn packet_samples(packet: &[u8]) -> Option<usize> {
    let len = i32::try_from(packet.len()).ok().filter(|&len| len > 0)?;
    // SAFETY: `len` readable bytes, which the function only reads.
    let samples = unsafe { sys::opus_packet_get_nb_samples(packet.as_ptr(), len, SAMPLE_RATE_HZ as i32) };
    usize::try_from(samples).ok().filter(|&samples| samples > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opus::{OpusEncoder, OpusEncoderConfig};
    use crate::signal;

    const FRAME: usize = 960;

    fn packets(config: &OpusEncoderConfig, pcm: &[i16], frame: usize) -> Vec<Vec<u8>> {
        let mut encoder = OpusEncoder::new(config);
        pcm.chunks_exact(frame * usize::from(config.channels))
            .map(|chunk| {
                let mut out = [0; 1_500];
                let len = encoder.encode(chunk, &mut out).expect("encodes");
                out[..len].to_vec()
            })
            .collect()
    }

    fn decoded(packets: &[Vec<u8>], channels: u8) -> Vec<i16> {
        let mut decoder = OpusDecoder::new(channels);
        let mut pcm = vec![0; PACKET_SAMPLES_MAX * 2];
        packets
            .iter()
            .flat_map(|packet| {
                let samples = decoder.decode(packet, &mut pcm).expect("decodes");
                assert_eq!(packet_samples(packet), Some(samples));
                pcm[..samples * decoder.channels()].to_vec()
            })
            .collect()
    }

    #[test]
    fn speech_comes_back_at_every_frame_length() {
        let sent = signal::speech(48_000, 2.0);
        for frame in [480, 960, 1_920, 2_880] {
            let heard = decoded(&packets(&OpusEncoderConfig::default(), &sent, frame), 1);
            let (correlation, delay) = signal::correlation(&sent, &heard, 1_000);
            assert!(correlation > 0.97, "{frame}: {correlation}");
            // RFC 6716 §2.1: 2.5 ms at the least; SILK's own resamplers add to that.
            assert!((100..=400).contains(&delay), "{frame}: {delay}");
        }
    }

    #[test]
    fn stereo_stays_stereo_and_mixes_down() {
        let left = signal::speech(48_000, 1.0);
        let sent: Vec<i16> = left.iter().flat_map(|&sample| [sample, 0]).collect();
        let config = OpusEncoderConfig { channels: 2, bit_rate_bps: 96_000, ..OpusEncoderConfig::default() };
        let packets = packets(&config, &sent, FRAME);
        let heard = decoded(&packets, 2);
        let energy = |channel: usize| -> f64 {
            heard.iter().skip(channel).step_by(2).map(|&s| f64::from(s).powi(2)).sum()
        };
        assert!(energy(0) > 100.0 * energy(1), "{} {}", energy(0), energy(1));
        let mono = decoded(&packets, 1);
        let half: Vec<i16> = left.iter().map(|&sample| sample / 2).collect();
        assert!(signal::correlation(&half, &mono, 1_000).0 > 0.9);
        let ratio = signal::energy(&mono) / signal::energy(&half);
        assert!((0.7..1.3).contains(&ratio), "{ratio}");
    }

    #[test]
    fn redundancy_brings_a_lost_packet_back_better_than_concealment() {
        let sent = signal::speech(48_000, 3.0);
        let config =
            OpusEncoderConfig { loss_percent: 25, bit_rate_bps: 32_000, ..OpusEncoderConfig::default() };
        let packets = packets(&config, &sent, FRAME);
        let whole = decoded(&packets, 1);
        let errors = |recover: bool| -> f64 {
            let mut decoder = OpusDecoder::new(1);
            let mut error = 0.0;
            let mut pcm = [0; FRAME];
            for index in 10..packets.len() - 1 {
                if index % 5 != 4 {
                    decoder.decode(&packets[index], &mut pcm).expect("decodes");
                    continue;
                }
                let filled = if recover {
                    decoder.recover(&packets[index + 1], &mut pcm).expect("the next packet")
                } else {
                    decoder.conceal(&mut pcm)
                };
                assert_eq!(filled, FRAME);
                error += signal::difference(&pcm, &whole[index * FRAME..(index + 1) * FRAME]);
            }
            error
        };
        let (by_redundancy, by_concealment) = (errors(true), errors(false));
        assert!(by_redundancy < 0.5 * by_concealment, "{by_redundancy} {by_concealment}");
    }

    #[test]
    fn a_sender_that_pauses_is_followed_by_noise_of_its_level() {
        let mut sent = signal::speech(48_000, 1.0);
        sent.extend(signal::noise(48_000, 40.0));
        let config = OpusEncoderConfig { dtx: true, bit_rate_bps: 16_000, ..OpusEncoderConfig::default() };
        let packets = packets(&config, &sent, FRAME);
        assert!(packets.iter().filter(|packet| packet.len() <= 2).count() > 10, "the encoder pauses");
        let mut decoder = OpusDecoder::new(1);
        let mut pcm = [0; FRAME];
        let mut tail = Vec::new();
        for packet in &packets {
            // RFC 7587 §3.1.3: such packets need not be sent.
            if packet.len() > 2 {
                decoder.decode(packet, &mut pcm).expect("decodes");
            } else {
                assert_eq!(decoder.conceal(&mut pcm), FRAME);
            }
            tail.extend_from_slice(&pcm);
        }
        let level = signal::rms(&tail[tail.len() - 24_000..]);
        assert!((2.0..200.0).contains(&level), "{level}");
    }

    #[test]
    fn hostile_packets_are_refused_or_bounded() {
        let sent = signal::speech(48_000, 1.0);
        let packets = packets(&OpusEncoderConfig::default(), &sent, FRAME);
        let mut random = signal::Random::new(7);
        let mut mono = OpusDecoder::new(1);
        let mut stereo = OpusDecoder::new(2);
        let mut pcm = vec![0; PACKET_SAMPLES_MAX * 2];
        for round in 0..20_000_usize {
            let mut packet = packets[round % packets.len()].clone();
            for _ in 0..1 + random.below(6) {
                match random.below(4) {
                    0 => packet.truncate(random.below(packet.len() + 1)),
                    1 => packet.insert(0, random.next() as u8),
                    _ if !packet.is_empty() => {
                        let at = random.below(packet.len());
                        packet[at] = random.next() as u8;
                    }
                    _ => packet.push(random.next() as u8),
                }
            }
            let expected = packet_samples(&packet);
            assert!(expected.is_none_or(|samples| samples <= PACKET_SAMPLES_MAX));
            let _ = mono.recover(&packet, &mut pcm[..FRAME]);
            let decoded = mono.decode(&packet, &mut pcm);
            assert!(decoded.is_err() || decoded.ok() == expected);
            let _ = stereo.decode(&packet, &mut pcm);
        }
        assert_eq!(mono.decode(&packets[0], &mut pcm[..10]), Err(Malformed));
        assert_eq!(mono.decode(&[], &mut pcm), Err(Malformed));
        assert_eq!(mono.recover(&[], &mut pcm), Err(Malformed));
        assert_eq!(mono.conceal(&mut pcm[..119]), 0);
        mono.reset();
        assert!(mono.decode(&packets[0], &mut pcm).is_ok());
    }
}
