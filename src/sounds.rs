//! Sound files for targets and callees: WAV files of one directory, and a tune that is always there as `sample.wav`.
//! Takes: names. Gives: AAC frames, PCM. Leaves out: who is given them (control plane).

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavReader};
use sipcast_contract::options::AacOptions;
use sipcast_contract::sound::{AacClip, LINE_RATE_HZ, PcmClip};
use sipcast_control::sounds::{SoundFault, SoundFiles};
use sipcast_dataplane::encode_clip;

/// WAV files below one directory, not in directories of it.
pub struct SoundDirectory {
    directory: Option<PathBuf>,
}

impl SoundDirectory {
    /// `None`: only the tune.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self { directory }
    }

    /// The file's samples at 48 kHz.
    fn read(&self, name: &str) -> Result<Sound, SoundFault> {
        let is_bare = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        if !is_bare {
            return Err(SoundFault::BadName);
        }
        let path = self.directory.as_ref().map(|directory| directory.join(name));
        // Not opened before it is known to be a file: a pipe would block.
        match path.filter(|path| path.is_file()) {
            Some(path) => read_file(&path),
            None if name == TUNE_NAME => Ok(tune()),
            None => Err(SoundFault::NotFound),
        }
    }
}

impl SoundFiles for SoundDirectory {
    fn aac(&self, name: &str, options: &AacOptions) -> Result<AacClip, SoundFault> {
        let Sound { samples, channels } = self.read(name)?;
        encode_clip(&samples, channels, options).map_err(|error| SoundFault::Unusable(error.to_string()))
    }

    fn pcm(&self, name: &str) -> Result<PcmClip, SoundFault> {
        let Sound { samples, channels } = self.read(name)?;
        let mono = match channels {
            2 => samples
                .chunks_exact(2)
                // The mean of 16-bit samples has 16 bits.
                .map(|pair| ((i32::from(pair[0]) + i32::from(pair[1])) / 2) as i16)
                .collect(),
            _ => samples,
        };
        Ok(PcmClip { samples: mono.into() })
    }
}

/// PCM at 48 kHz, 1 or 2 channels interleaved.
struct Sound {
    samples: Vec<i16>,
    channels: usize,
}

fn read_file(path: &Path) -> Result<Sound, SoundFault> {
    let unreadable = |error: std::io::Error| SoundFault::Unusable(error.kind().to_string());
    let file = File::open(path).map_err(unreadable)?;
    let len = file.metadata().map_err(unreadable)?.len();
    if len > FILE_LEN_MAX {
        return Err(SoundFault::Unusable(format!("it is larger than {} MiB", FILE_LEN_MAX >> 20)));
    }
    read_wav(BufReader::new(file))
}

/// PCM of 8, 16, 24 or 32 bits, or float.
fn read_wav(file: impl Read) -> Result<Sound, SoundFault> {
    let bad = |error: hound::Error| match error {
        hound::Error::FormatError(what) => SoundFault::Unusable(format!("it is no WAV file: {what}")),
        hound::Error::Unsupported => SoundFault::Unusable("its WAV format is not PCM".to_owned()),
        other => SoundFault::Unusable(other.to_string()),
    };
    let mut reader = WavReader::new(file).map_err(bad)?;
    let spec = reader.spec();
    let channels = usize::from(spec.channels);
    if !(1..=2).contains(&channels) {
        return Err(SoundFault::Unusable("it has more than two channels".to_owned()));
    }
    if !(RATE_HZ_MIN..=RATE_HZ_MAX).contains(&spec.sample_rate) {
        return Err(SoundFault::Unusable(format!("its rate is not {RATE_HZ_MIN} to {RATE_HZ_MAX} Hz")));
    }
    if reader.duration() / spec.sample_rate >= SECONDS_MAX {
        return Err(SoundFault::Unusable(format!("it is longer than {SECONDS_MAX} s")));
    }
    let samples: Vec<i16> = match (spec.sample_format, spec.bits_per_sample) {
        (SampleFormat::Float, _) => reader
            .samples::<f32>()
            // Saturates; not a number becomes silence.
            .map(|sample| sample.map(|sample| (sample * 32_767.0) as i16))
            .collect::<Result<_, _>>()
            .map_err(bad)?,
        (SampleFormat::Int, bits @ 1..=32) => reader
            .samples::<i32>()
            .map(|sample| sample.map(|sample| scaled(sample, bits)))
            .collect::<Result<_, _>>()
            .map_err(bad)?,
        (SampleFormat::Int, _) => return Err(SoundFault::Unusable("it has too many bits".to_owned())),
    };
    if samples.len() < channels {
        return Err(SoundFault::Unusable("it is empty".to_owned()));
    }
    Ok(Sound { samples: resampled(&samples, channels, spec.sample_rate), channels })
}

/// A sample of `bits` bits as one of 16.
fn scaled(sample: i32, bits: u16) -> i16 {
    let scaled = match bits {
        0..=16 => sample << (16 - bits),
        _ => sample >> (bits - 16),
    };
    scaled.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

/// From any rate to 48 kHz by a windowed sinc; the length is rounded up. Rates that no block of 20 ms fits, such as
/// 11 025 Hz, are common in files, which is why the packet path's resampler is not used.
fn resampled(samples: &[i16], channels: usize, rate_hz: u32) -> Vec<i16> {
    if rate_hz == LINE_RATE_HZ {
        return samples.to_vec();
    }
    let count = samples.len() / channels;
    let step = f64::from(rate_hz) / f64::from(LINE_RATE_HZ);
    // Above 48 kHz what 48 kHz cannot carry is filtered off.
    let cutoff = (1.0 / step).min(1.0);
    let reach = (f64::from(TAPS_ASIDE) / cutoff).ceil() as i64;
    let out_count = (count as f64 / step).ceil() as usize;
    let mut out = Vec::with_capacity(out_count * channels);
    for n in 0..out_count {
        let at = n as f64 * step;
        let centre = at.floor() as i64;
        let mut sums = [0.0; 2];
        for tap in centre - reach + 1..=centre + reach {
            let Ok(index) = usize::try_from(tap) else { continue };
            let Some(frame) = samples.get(index * channels..(index + 1) * channels) else { continue };
            let x = (at - tap as f64) * cutoff;
            let weight = cutoff * sinc(x) * sinc(x / f64::from(TAPS_ASIDE));
            for (sum, &sample) in sums.iter_mut().zip(frame) {
                *sum += weight * f64::from(sample);
            }
        }
        // Saturates.
        out.extend(sums[..channels].iter().map(|sum| sum.round() as i16));
    }
    out
}

fn sinc(x: f64) -> f64 {
    let angle = std::f64::consts::PI * x;
    match x.abs() {
        x if x < 1e-9 => 1.0,
        // Lanczos' window ends there; the sinc itself is the window's first lobe.
        x if x >= f64::from(TAPS_ASIDE) => 0.0,
        _ => angle.sin() / angle,
    }
}

/// Eight seconds of a music box, for pages that ask for `sample.wav`.
fn tune() -> Sound {
    const NOTE_S: f64 = 0.25;
    const NOTES_HZ: [f64; 8] = [523.25, 659.26, 783.99, 1046.5, 783.99, 659.26, 587.33, 783.99];
    let rate = f64::from(LINE_RATE_HZ);
    let samples = (0..LINE_RATE_HZ * TUNE_S).map(|n| {
        let time = f64::from(n) / rate;
        let note = (time / NOTE_S) as usize;
        let since = time - note as f64 * NOTE_S;
        let tone = std::f64::consts::TAU * NOTES_HZ[note % NOTES_HZ.len()] * since;
        let attack = (since / 0.01).min(1.0);
        let decay = (-6.0 * since).exp() * (1.0 - since / NOTE_S);
        (9_000.0 * attack * decay * (tone.sin() + 0.3 * (2.0 * tone).sin())) as i16
    });
    Sound { samples: samples.collect(), channels: 1 }
}

const TUNE_NAME: &str = "sample.wav";
const TUNE_S: u32 = 8;
/// Bytes of a file at most.
const FILE_LEN_MAX: u64 = 64 << 20;
/// Length of a sound at most: as AAC and PCM it is kept in memory while it is played.
const SECONDS_MAX: u32 = 300;
const RATE_HZ_MIN: u32 = 4_000;
const RATE_HZ_MAX: u32 = 192_000;
/// Samples on either side of the one that is made.
const TAPS_ASIDE: u32 = 16;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use hound::{WavSpec, WavWriter};

    use super::*;

    fn wav(rate: u32, channels: u16, bits: u16, format: SampleFormat, tone_hz: f64) -> Vec<u8> {
        let spec = WavSpec { channels, sample_rate: rate, bits_per_sample: bits, sample_format: format };
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, spec).expect("in memory");
        for n in 0..rate / 2 {
            let value = 0.5 * (std::f64::consts::TAU * tone_hz * f64::from(n) / f64::from(rate)).sin();
            for _ in 0..channels {
                match format {
                    SampleFormat::Float => writer.write_sample(value as f32).expect("in memory"),
                    SampleFormat::Int => {
                        let full = f64::from((1_u32 << (bits - 1)) - 1);
                        writer.write_sample((value * full) as i32).expect("in memory");
                    }
                }
            }
        }
        writer.finalize().expect("in memory");
        bytes.into_inner()
    }

    /// Share of one frequency in the power of `samples` (Goertzel).
    fn share(samples: &[i16], tone_hz: f64) -> f64 {
        let (mut re, mut im, mut all) = (0.0, 0.0, 0.0);
        for (n, &sample) in samples.iter().enumerate() {
            let angle = std::f64::consts::TAU * tone_hz * n as f64 / 48_000.0;
            re += f64::from(sample) * angle.cos();
            im += f64::from(sample) * angle.sin();
            all += f64::from(sample) * f64::from(sample);
        }
        2.0 * (re * re + im * im) / (all * samples.len() as f64)
    }

    #[test]
    fn every_width_and_rate_is_read_as_what_it_sounds_like() {
        use SampleFormat::{Float, Int};
        for (rate, channels, bits, format) in [
            (8_000, 1, 8, Int),
            (11_025, 1, 16, Int),
            (22_050, 2, 16, Int),
            (44_100, 2, 24, Int),
            (48_000, 1, 32, Int),
            (96_000, 2, 32, Float),
        ] {
            let bytes = wav(rate, channels, bits, format, 1000.0);
            let sound = read_wav(&bytes[..]).expect("a sound");
            assert_eq!(sound.channels, usize::from(channels));
            let left: Vec<i16> = sound.samples.chunks_exact(sound.channels).map(|all| all[0]).collect();
            assert!((23_990..=24_010).contains(&left.len()), "{rate}: {}", left.len());
            let middle = &left[4_800..19_200];
            assert!(share(middle, 1000.0) > 0.99, "{rate}, {bits}: {}", share(middle, 1000.0));
            let peak = middle.iter().copied().max().unwrap_or(0);
            assert!((15_500..17_200).contains(&peak), "{rate}, {bits}: {peak}");
        }
    }

    #[test]
    fn what_is_no_sound_says_why() {
        let whole = wav(8_000, 1, 16, SampleFormat::Int, 440.0);
        for len in 0..44 {
            assert!(read_wav(&whole[..len]).is_err(), "cut at {len}");
        }
        let too_many = wav(8_000, 3, 16, SampleFormat::Int, 440.0);
        assert!(matches!(read_wav(&too_many[..]), Err(SoundFault::Unusable(_))));
        assert!(read_wav(&b"ID3 something else that is long enough to be looked at ......"[..]).is_err());
    }

    #[test]
    fn names_stay_in_the_directory_and_the_tune_is_always_there() {
        let directory = std::env::temp_dir().join(format!("sipcast-sounds-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join("a.wav"), wav(16_000, 1, 16, SampleFormat::Int, 500.0))
            .expect("written");
        let sounds = SoundDirectory::new(Some(directory.clone()));
        assert_eq!(sounds.pcm("a.wav").map(|clip| clip.samples.len()), Ok(24_000));
        for name in ["../a.wav", "/etc/passwd", "x/../a.wav", ".", "..", "", "..\\a.wav", ".hidden"] {
            assert_eq!(sounds.pcm(name).map(|clip| clip.samples.len()), Err(SoundFault::BadName), "{name}");
        }
        assert_eq!(sounds.pcm("b.wav").map(|clip| clip.samples.len()), Err(SoundFault::NotFound));
        for sounds in [sounds, SoundDirectory::new(None)] {
            let clip = sounds.aac("sample.wav", &AacOptions::default()).expect("the tune");
            assert!(clip.frames.len() > 300);
        }
        std::fs::remove_dir_all(directory).expect("removed");
    }
}
