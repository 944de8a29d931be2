//! Judges a recording by others' tools: what streams it has, and whether a decoder finds any fault in them.

use std::path::Path;
use std::process::Command;

use super::flv::{self, Body, Tag};
use super::process::run;

/// All whole tags of an FLV file that may still grow; none while there is none.
pub fn tags(recording: &Path) -> Vec<Tag> {
    match std::fs::read(recording) {
        Ok(file) if file.len() > 13 => flv::read(&file),
        _ => Vec::new(),
    }
}

/// Pictures in an FLV file that may still grow.
pub fn pictures(recording: &Path) -> usize {
    tags(recording).iter().filter(|tag| matches!(tag.body, Body::Picture { .. })).count()
}

/// Fails unless the recording has H.264 and AAC, as many pictures at least, sound for nine tenths of their time,
/// time that never goes back, and nothing that a decoder warns of.
pub fn assert_plays(recording: &Path, pictures_min: usize) {
    let shown = recording.display();
    let output = run(Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "stream=codec_name,width,height", "-of", "csv=p=0"])
        .arg(recording));
    let mut streams: Vec<String> = String::from_utf8_lossy(&output).lines().map(str::to_owned).collect();
    // A script tag of `@setDataFrame`, which Node-Media-Server records as it came, is a stream of data to ffprobe.
    streams.retain(|stream| stream != "unknown");
    streams.sort();
    assert_eq!(streams, ["aac", "h264,640,360"], "{shown}");
    let tags = tags(recording);
    let times = |wanted: fn(&Body) -> bool| -> Vec<u32> {
        tags.iter().filter(|tag| wanted(&tag.body)).map(|tag| tag.timestamp).collect()
    };
    let video = times(|body| matches!(body, Body::Picture { .. }));
    let audio = times(|body| matches!(body, Body::Aac(_)));
    assert!(video.len() >= pictures_min, "{shown}: {} pictures", video.len());
    for times in [&video, &audio] {
        assert!(times.is_sorted(), "{shown}: time goes back: {times:?}");
    }
    // AAC-LC has 1024 samples a frame.
    let seconds = f64::from(video[video.len() - 1] - video[0]) / 1000.0;
    let sound = audio.len() as f64 * 1024.0 / SAMPLE_RATE_HZ;
    assert!(sound > 0.9 * seconds - 0.5, "{shown}: {sound} s of sound for {seconds} s of pictures");
    assert_decodes(recording);
}

/// Fails if a decoder warns of anything.
pub fn assert_decodes(recording: &Path) {
    let output = Command::new("ffmpeg")
        .args(["-v", "warning", "-xerror", "-i"])
        .arg(recording)
        // In ms, as the tags are: in thirtieths of a second two pictures that come close together coincide.
        .args(["-fps_mode", "passthrough", "-enc_time_base", "1:1000", "-f", "null", "-"])
        .output()
        .expect("tests/run installs ffmpeg");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaint.is_empty(), "{}: {complaint}", recording.display());
}

/// Default of `audio.sample_rate_hz`.
const SAMPLE_RATE_HZ: f64 = 48_000.0;
