//! The test picture in H.264, constrained baseline, through openh264: live a picture at a time, or once as a recording.
//! Takes: what the picture shall be. Gives: RTP payloads an access unit, parameter sets for the session description.
//! Leaves out: when pictures are due (`media`).

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, IntraFramePeriod, Profile, RateControlMode,
    UsageType,
};

use super::departures;
use super::packetizer::{PacketizationMode, Payloads};
use super::picture::Picture;
use crate::call_clock::PictureIndex;

/// Seconds a recording lasts before it begins again.
pub(super) const RECORDING_SECONDS: u32 = 10;
/// RTP header octets, kept free below the MTU.
pub(super) const RTP_HEADER_LEN: usize = 12;

/// What the callee's picture is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VideoOptions {
    /// Pixels across, even.
    pub width: u16,
    /// Lines, even.
    pub height: u16,
    /// Frames a second.
    pub frame_rate: u32,
    /// Bits a second the encoder aims at.
    pub bit_rate_bps: u32,
    /// Frames from one IDR picture to the next when nobody asks for one.
    pub idr_interval_frames: u32,
    /// The packetization mode to prefer when the offer has both.
    pub packetization_mode: PacketizationMode,
    /// Octets of one RTP packet, header included.
    pub mtu: usize,
}

impl Default for VideoOptions {
    fn default() -> Self {
        Self {
            width: 640,
            height: 360,
            frame_rate: 30,
            bit_rate_bps: 1_000_000,
            idr_interval_frames: 60,
            packetization_mode: PacketizationMode::NonInterleaved,
            mtu: 1_200,
        }
    }
}

impl VideoOptions {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the field that lies outside.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            (160..=1920).contains(&self.width) && self.width.is_multiple_of(2),
            "width: even, 160 to 1920"
        );
        anyhow::ensure!(
            (96..=1088).contains(&self.height) && self.height.is_multiple_of(2),
            "height: even, 96 to 1088"
        );
        anyhow::ensure!((1..=60).contains(&self.frame_rate), "frame_rate: 1 to 60");
        anyhow::ensure!((50_000..=20_000_000).contains(&self.bit_rate_bps), "bit_rate_bps: 50 k to 20 M");
        anyhow::ensure!((256..=1_500).contains(&self.mtu), "mtu: 256 to 1500");
        anyhow::ensure!(
            self.idr_interval_frames >= 1 && self.idr_interval_frames <= self.frame_rate * RECORDING_SECONDS,
            "idr_interval_frames: 1 frame to 10 seconds"
        );
        Ok(())
    }

    pub(super) const fn payload_len_max(&self) -> usize {
        self.mtu - RTP_HEADER_LEN
    }
}

/// The parameter sets of the stream, without start codes.
#[derive(Clone, Debug, Default)]
pub(super) struct ParameterSets {
    pub sps: Vec<u8>,
    pub pps: Vec<u8>,
}

/// Encodes a picture at a time.
pub(super) struct PictureEncoder {
    options: VideoOptions,
    mode: PacketizationMode,
    encoder: Encoder,
    picture: Picture,
    since_idr: u32,
    payloads: Payloads,
    parameter_sets: ParameterSets,
}

impl PictureEncoder {
    /// An encoder whose first picture is an IDR picture.
    ///
    /// # Errors
    /// When the codec library refuses the settings.
    pub fn new(options: VideoOptions, mode: PacketizationMode) -> anyhow::Result<Self> {
        let mut config = EncoderConfig::new()
            .bitrate(BitRate::from_bps(options.bit_rate_bps))
            .max_frame_rate(FrameRate::from_hz(options.frame_rate as f32))
            // Only this mode holds the bit rate. The library warns on stderr that it may not when no picture is
            // skipped; with this picture it does, and a test holds it to that.
            .rate_control_mode(RateControlMode::Bitrate)
            .usage_type(UsageType::CameraVideoRealTime)
            .profile(Profile::Baseline)
            .complexity(Complexity::Low)
            .skip_frames(false)
            .scene_change_detect(false)
            .background_detection(false)
            .adaptive_quantization(false)
            .num_threads(1)
            // IDR pictures are asked for one by one, so that a requested one restarts the interval.
            .intra_frame_period(IntraFramePeriod::from_num_frames(0));
        if mode == PacketizationMode::SingleNalUnit {
            config = config.max_slice_len(options.payload_len_max() as u32);
        }
        Ok(Self {
            options,
            mode,
            encoder: Encoder::with_api_config(OpenH264API::from_source(), config)
                .context("openh264 encoder")?,
            picture: Picture::new(options.width.into(), options.height.into()),
            since_idr: 0,
            payloads: Payloads::default(),
            parameter_sets: ParameterSets::default(),
        })
    }

    /// Draws and encodes frame `index`.
    ///
    /// # Errors
    /// When the codec library fails.
    pub fn encode(
        &mut self,
        index: u64,
        time_of_day: Duration,
        idr_wanted: bool,
    ) -> anyhow::Result<&Payloads> {
        self.picture.draw(index, self.options.frame_rate, time_of_day);
        let first = self.parameter_sets.sps.is_empty();
        if !first && (idr_wanted || self.since_idr >= self.options.idr_interval_frames) {
            self.encoder.force_intra_frame();
        }
        let coded = self.encoder.encode(&self.picture).context("openh264 encode")?;
        let layers: Vec<_> = (0..coded.num_layers()).filter_map(|at| coded.layer(at)).collect();
        let nal_units: Vec<&[u8]> = layers
            .iter()
            .flat_map(|layer| (0..layer.nal_count()).filter_map(|at| layer.nal_unit(at)))
            .map(without_start_code)
            .collect();
        for nal_unit in &nal_units {
            match nal_unit.first().map(|header| header & 0x1f) {
                Some(7) if first => self.parameter_sets.sps = nal_unit.to_vec(),
                Some(8) if first => self.parameter_sets.pps = nal_unit.to_vec(),
                _ => {}
            }
        }
        self.payloads.packetize(nal_units.into_iter(), self.mode, self.options.payload_len_max());
        self.since_idr = if self.payloads.idr { 1 } else { self.since_idr + 1 };
        Ok(&self.payloads)
    }

    /// The parameter sets; empty before the first picture.
    pub fn parameter_sets(&self) -> &ParameterSets {
        &self.parameter_sets
    }
}

/// Annex B puts zeros and a one in front of each NAL unit.
fn without_start_code(octets: &[u8]) -> &[u8] {
    match octets {
        [0, 0, 1, rest @ ..] | [0, 0, 0, 1, rest @ ..] => rest,
        _ => octets,
    }
}

/// Ten seconds of the test picture, encoded once and shared by all calls.
pub(super) struct Recording {
    /// Access units; the first, and every `idr_interval_frames`-th after it, is an IDR picture.
    pub access_units: Vec<Payloads>,
    /// Frames between IDR pictures.
    pub idr_interval_frames: u32,
    /// By which the sink knows its pictures again.
    pub index: Arc<PictureIndex>,
}

impl Recording {
    /// Encodes the sequence.
    ///
    /// # Errors
    /// When the codec library fails.
    pub fn new(options: VideoOptions, mode: PacketizationMode) -> anyhow::Result<Arc<Self>> {
        let mut encoder = PictureEncoder::new(options, mode)?;
        let frames = u64::from(options.frame_rate * RECORDING_SECONDS);
        let access_units = (0..frames)
            .map(|index| {
                let time = Duration::from_secs(index) / options.frame_rate;
                let idr = index % u64::from(options.idr_interval_frames) == 0;
                encoder.encode(index, time, idr).cloned()
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Arc::new(Self::of(access_units, options.idr_interval_frames)))
    }

    /// A recording of these access units.
    pub fn of(access_units: Vec<Payloads>, idr_interval_frames: u32) -> Self {
        let index =
            Arc::new(PictureIndex::new(access_units.iter().map(|picture| departures::tail(picture).ok())));
        Self { access_units, idr_interval_frames, index }
    }

    /// The index of the next IDR picture at or after frame `index` of the loop.
    pub fn next_idr(&self, index: usize) -> usize {
        let interval = self.idr_interval_frames as usize;
        let next = index.div_ceil(interval) * interval;
        if next >= self.access_units.len() { 0 } else { next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_keeps_its_bit_rate_and_its_idr_interval() {
        let options = VideoOptions { frame_rate: 15, idr_interval_frames: 30, ..VideoOptions::default() };
        let recording = Recording::new(options, PacketizationMode::NonInterleaved).unwrap();
        assert_eq!(recording.access_units.len(), 150);
        for (index, access_unit) in recording.access_units.iter().enumerate() {
            assert_eq!(access_unit.idr, index % 30 == 0, "frame {index}");
            assert!(!access_unit.is_empty());
        }
        let payloads = recording.access_units.iter().flat_map(Payloads::iter);
        let bits: usize = payloads.map(|payload| payload.len() * 8).sum();
        let rate = bits / RECORDING_SECONDS as usize;
        assert!((800_000..1_200_000).contains(&rate), "{rate} bit/s");
        assert!(recording.index.distinct() > 140, "{} of 150 can be told apart", recording.index.distinct());
        assert_eq!((recording.next_idr(0), recording.next_idr(1), recording.next_idr(149)), (0, 30, 0));
    }

    #[test]
    fn mode_0_keeps_every_nal_unit_below_the_mtu() {
        let mut encoder =
            PictureEncoder::new(VideoOptions::default(), PacketizationMode::SingleNalUnit).unwrap();
        for index in 0..5 {
            let payloads = encoder.encode(index, Duration::ZERO, index == 3).unwrap();
            assert_eq!(payloads.idr, index == 0 || index == 3);
            assert!(payloads.iter().all(|payload| payload.len() + RTP_HEADER_LEN <= 1_200));
        }
        assert_eq!(encoder.parameter_sets().sps[0] & 0x1f, 7);
        // Constrained baseline: profile_idc 66 with constraint_set1_flag.
        assert_eq!(encoder.parameter_sets().sps[1], 66);
        assert_ne!(encoder.parameter_sets().sps[2] & 0x40, 0);
    }
}
