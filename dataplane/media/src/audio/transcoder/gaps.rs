//! What is laid down where a call's audio has a gap.
//! Takes: the length of the gap, whether packets were lost in it, the payload after it. Gives: samples in the queue.
//! Leaves out: where a gap lies, and how packets are placed (`transcoder`).
//!
//! | gap before a packet | filled with |
//! | --- | --- |
//! | packets were lost, 120 ms at most | Opus: redundancy in the next packet, else concealment; Speex: concealment |
//! | packets were lost | substitute (G.711, G.722) or concealment of 60 ms, fading; then as below |
//! | none was lost: the sender pauses | comfort noise: of the codec (Opus, Speex) or as RFC 3389 packets ask for |
//! | else | silence |

use super::super::format::TICKS_PER_SECOND;
use super::super::pcm_queue::GAP_SAMPLES_MAX;
use super::Transcoder;

impl Transcoder {
    /// Fills `gap` samples before a packet, whose payload is `next`.
    pub(super) fn fill_gap(&mut self, gap: u64, next: &[u8]) {
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
    pub(super) fn conceal(&mut self, samples: u64, loss: u64, next: Option<&[u8]>) {
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
    pub(super) fn fill_pause(&mut self, samples: u64) {
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

/// Longest loss that is concealed whole, and what is concealed of a longer one, in ms. RFC 6716 §2.1.7 has redundancy
/// for the last packet of a loss; farther back it is a guess.
const LOSS_WHOLE_MS: u64 = 120;
const LOSS_HEAD_MS: u64 = 60;

/// Over how much of its end a loss that is not concealed whole fades, in ms.
const FADE_MS: u64 = 20;

/// Comfort noise of one pause; a sender that says nothing for longer has left.
const NOISE_MAX_MS: u64 = 30_000;
