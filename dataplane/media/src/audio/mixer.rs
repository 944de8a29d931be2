//! The sum of several lines as one AAC stream, and the same without one of them for those who hear it.
//! Takes: lines, time. Gives: AAC frames with their position, blocks over lines out.
//! Leaves out: publishing (`pipeline`), where the lines come from.
//!
//! An input plays once [`LEAD`] blocks wait, which evens out how its sound comes. One that runs dry is silent until
//! as much waits again; one that gets ahead of the mixer's clock loses its oldest sound.

use std::time::Duration;

use sipcast_contract::Timestamp;
use sipcast_contract::options::AacOptions;
use sipcast_contract::sound::{
    LINE_BLOCK, LINE_RATE_HZ, LINES_OUT_MAX, LineId, LineReceiver, LineSender, MIXER_INPUTS_MAX,
};
use sipcast_pool::Arena;

use super::format::Format;
use super::frame_encoder::FrameEncoder;
use super::transcoder::{AacFrame, TranscoderError};

/// One mixer. Drain [`Mixer::poll_frame`] after each [`Mixer::handle_timeout`].
pub struct Mixer {
    encoder: FrameEncoder,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    sum: Box<[i32; LINE_BLOCK]>,
    block: Box<[i16; LINE_BLOCK]>,
    /// When the next block is due; it is the start of the timeline plus whole blocks.
    next: Timestamp,
}

struct Input {
    id: LineId,
    receiver: LineReceiver,
    is_playing: bool,
    /// Its part of the block at hand.
    block: Box<[i16; LINE_BLOCK]>,
}

struct Output {
    id: LineId,
    sender: LineSender,
    without: Option<LineId>,
}

impl Mixer {
    /// A mixer without inputs, which is silent; output sample 0 is at `start`.
    ///
    /// # Errors
    /// [`TranscoderError`] when the options name no AAC-LC stream that can be produced.
    pub fn new(options: &AacOptions, start: Timestamp) -> Result<Self, TranscoderError> {
        let mut encoder = FrameEncoder::new(options)?;
        encoder.prepare(FORMAT);
        Ok(Self {
            encoder,
            inputs: Vec::new(),
            outputs: Vec::new(),
            sum: Box::new([0; LINE_BLOCK]),
            block: Box::new([0; LINE_BLOCK]),
            next: start + BLOCK,
        })
    }

    /// Adds an input, in place of the one that has its name. `false`: there are [`MIXER_INPUTS_MAX`] already.
    pub fn add_input(&mut self, id: LineId, receiver: LineReceiver) -> bool {
        self.remove_input(id);
        let has_room = self.inputs.len() < MIXER_INPUTS_MAX;
        if has_room {
            let block = Box::new([0; LINE_BLOCK]);
            self.inputs.push(Input { id, receiver, is_playing: false, block });
        }
        has_room
    }

    /// Takes an input out.
    pub fn remove_input(&mut self, id: LineId) {
        self.inputs.retain(|input| input.id != id);
    }

    /// Adds a line out, in place of the one that has its name; `without` is the input that is not in it. `false`:
    /// there are [`LINES_OUT_MAX`] already.
    pub fn add_line(&mut self, id: LineId, sender: LineSender, without: Option<LineId>) -> bool {
        self.remove_line(id);
        let has_room = self.outputs.len() < LINES_OUT_MAX;
        if has_room {
            self.outputs.push(Output { id, sender, without });
        }
        has_room
    }

    /// Ends a line out.
    pub fn remove_line(&mut self, id: LineId) {
        self.outputs.retain(|output| output.id != id && !output.sender.is_abandoned());
    }

    /// When the next block is due.
    pub fn next_timeout(&self) -> Timestamp {
        self.next
    }

    /// Mixes the next block if it is due. `true`: it was; drain the frames, then ask again.
    pub fn handle_timeout(&mut self, now: Timestamp) -> bool {
        if now < self.next {
            return false;
        }
        self.next = self.next + BLOCK;
        self.sum.fill(0);
        for input in &mut self.inputs {
            input.pull();
            for (sum, &sample) in self.sum.iter_mut().zip(&*input.block) {
                *sum += i32::from(sample);
            }
        }
        for (sample, &sum) in self.block.iter_mut().zip(&*self.sum) {
            *sample = limit(sum);
        }
        for output in &mut self.outputs {
            let left_out = self.inputs.iter().find(|input| Some(input.id) == output.without);
            let Some(left_out) = left_out else {
                output.sender.push(&*self.block);
                continue;
            };
            let mut block = [0; LINE_BLOCK];
            for ((sample, &sum), &own) in block.iter_mut().zip(&*self.sum).zip(&*left_out.block) {
                *sample = limit(sum - i32::from(own));
            }
            output.sender.push(&block);
        }
        if self.encoder.wants_block() {
            self.encoder.push_block(FORMAT, &*self.block);
        }
        true
    }

    /// The next AAC frame, written to `arena`; `arrival` is passed on.
    pub fn poll_frame(&mut self, arena: &mut Arena, arrival: Timestamp) -> Option<AacFrame> {
        loop {
            if let Some((data, position)) = self.encoder.poll(arena) {
                return Some(AacFrame { data, position, arrival });
            }
            if self.encoder.wants_block() {
                return None;
            }
        }
    }

    /// The AudioSpecificConfig.
    pub fn audio_specific_config(&self) -> &[u8] {
        self.encoder.audio_specific_config()
    }

    /// An AAC frame of silence that may stand for any frame.
    pub fn silent_frame(&self) -> &[u8] {
        self.encoder.silent_frame()
    }
}

impl Input {
    fn pull(&mut self) {
        let waiting = self.receiver.waiting();
        if waiting > EXCESS * LINE_BLOCK {
            self.receiver.trim(LEAD * LINE_BLOCK);
        }
        self.is_playing |= waiting >= LEAD * LINE_BLOCK;
        self.is_playing = self.is_playing && self.receiver.pull(&mut *self.block);
        if !self.is_playing {
            self.block.fill(0);
        }
    }
}

impl std::fmt::Debug for Mixer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "mixer of {} inputs, {} lines out", self.inputs.len(), self.outputs.len())
    }
}

/// Keeps a sum within 16 bits: as it is up to [`KNEE`], then bent towards full scale, so that loud inputs do not clip.
fn limit(sum: i32) -> i16 {
    const ROOM: i32 = i16::MAX as i32 - KNEE;
    let over = sum.abs() - KNEE;
    if over <= 0 {
        return sum as i16;
    }
    // x / (1 + x): begins with slope 1 at the knee and never reaches full scale.
    let bent = KNEE + (i64::from(over) * i64::from(ROOM) / i64::from(over + ROOM)) as i32;
    (bent * sum.signum()) as i16
}

/// Three quarters of full scale.
const KNEE: i32 = 24_576;

const FORMAT: Format = Format { rate_hz: LINE_RATE_HZ, channels: 1 };
const BLOCK: Duration = Duration::from_millis(20);

/// Blocks that wait before an input plays: 60 ms.
pub(crate) const LEAD: usize = 3;

/// Blocks from which on the oldest are dropped: 200 ms.
pub(crate) const EXCESS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use sipcast_contract::sound::line;
    use sipcast_pool::Pool;

    fn constant(value: i16) -> [i16; LINE_BLOCK] {
        [value; LINE_BLOCK]
    }

    #[test]
    fn everyone_hears_the_others_and_not_himself() {
        let start = Timestamp::from_millis(50_000);
        let mut mixer = Mixer::new(&AacOptions::default(), start).expect("an encoder");
        let pool = Pool::new(64, 2048);
        let mut arena = Arena::new(pool.clone());
        let (mut a, a_end) = line();
        let (mut b, b_end) = line();
        let (all, mut all_end) = line();
        let (without_a, mut without_a_end) = line();
        assert!(mixer.add_input(LineId(1), a_end) && mixer.add_input(LineId(2), b_end));
        assert!(
            mixer.add_line(LineId(3), all, None) && mixer.add_line(LineId(4), without_a, Some(LineId(1)))
        );
        let mut heard = constant(0);
        let mut frames = 0;
        for n in 0..50 {
            // One input begins late and pauses.
            a.push(&constant(1000));
            if (5..20).contains(&n) || n >= 30 {
                b.push(&constant(300));
            }
            let at = mixer.next_timeout();
            assert_eq!(at, start + BLOCK * (n + 1));
            assert!(mixer.handle_timeout(at) && !mixer.handle_timeout(at));
            while mixer.poll_frame(&mut arena, at).is_some() {
                frames += 1;
            }
            assert!(all_end.pull(&mut heard));
            let expected_b = if (7..20).contains(&n) || n >= 32 { 300 } else { 0 };
            // What waited when the pause began is played in it.
            let late = (20..23).contains(&n);
            let expected_a = if n >= 2 { 1000 } else { 0 };
            if !late {
                assert_eq!(heard[100], expected_a + expected_b, "block {n}");
            }
            assert!(without_a_end.pull(&mut heard));
            if !late {
                assert_eq!(heard[100], expected_b, "block {n}");
            }
        }
        assert!(frames >= 40, "{frames}");
        arena.close();
        assert_eq!(pool.held(), 0);
    }

    #[test]
    fn loud_sums_bend_and_quiet_ones_pass() {
        assert_eq!([0, 1, -1, KNEE, -KNEE].map(limit), [0, 1, -1, KNEE as i16, -KNEE as i16]);
        let mut last = 0;
        for sum in (0..MIXER_INPUTS_MAX as i32 * 32_768).step_by(997) {
            let limited = limit(sum);
            assert!(limited >= last && limit(-sum) == -limited);
            last = limited;
        }
        assert!(last > 32_000);
    }
}
