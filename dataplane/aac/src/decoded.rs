//! Every codeword of every book, written by this crate and read by another decoder: what it makes of them is what the
//! standard says (ISO/IEC 14496-3 §4.6.1, §4.6.3, §4.6.11.3.1).

use std::f64::consts::PI;

use sipcast_codec::aac_decoder::AacDecoder;

use crate::bands::Bands;
use crate::channel::Channel;
use crate::layout::{Layout, WindowSequence};
use crate::mdct::LINES_MAX;
use crate::quantizer::UNITY;
use crate::syntax::Frame;
use crate::window;

/// 48 kHz, mono.
const CONFIG: [u8; 2] = [0x11, 0x88];

/// How far fixed-point decoders may be off.
const TOLERANCE: f64 = 3.0;

/// What is heard in the middle of a stream that repeats one frame, as the standard says.
fn expected(values: &[i16], scale_factor: u8) -> Vec<f64> {
    let step = (0.25 * f64::from(f32::from(scale_factor) - UNITY)).exp2();
    let lines: Vec<(f64, f64)> = values
        .iter()
        .enumerate()
        .filter(|(_, value)| **value != 0)
        .map(|(k, &value)| {
            let magnitude = f64::from(value).abs().powf(4.0 / 3.0) * step;
            (k as f64 + 0.5, magnitude * f64::from(value.signum()))
        })
        .collect();
    let slope = window::long(LINES_MAX);
    let sample = |n: usize| {
        let phase = 2.0 * PI / 2048.0 * (n as f64 + 512.5);
        let sum: f64 = lines.iter().map(|(k, line)| line * (phase * k).cos()).sum();
        sum * 2.0 / 2048.0 * f64::from(slope[n.min(2047 - n)])
    };
    (0..LINES_MAX).map(|n| sample(n) + sample(n + LINES_MAX)).collect()
}

fn heard(values: &[i16], scale_factor: u8, book: u8) -> Vec<f64> {
    let layout = Layout::long(&Bands::of(48_000), WindowSequence::OnlyLong, values.len());
    let channel = [Channel::in_book(&layout, values, scale_factor, book)];
    let frame = Frame { layout: &layout, channels: &channel, pair: None };
    let mut bytes = [0; 4_096];
    let len = frame.write(0, &mut bytes).len;
    let mut decoder = AacDecoder::open(&CONFIG).expect("48 kHz mono");
    let mut pcm = [0; LINES_MAX];
    for _ in 0..3 {
        assert_eq!(decoder.decode(&bytes[..len], &mut pcm), Ok(LINES_MAX), "book {book}");
    }
    pcm.iter().map(|&sample| f64::from(sample)).collect()
}

fn assert_heard(values: &[i16], scale_factor: u8, book: u8) {
    let expected = expected(values, scale_factor);
    let peak = expected.iter().fold(0.0, |peak: f64, sample| peak.max(sample.abs()));
    assert!((100.0..32_000.0).contains(&peak), "book {book}: a level of {peak} shows nothing");
    for (expected, heard) in expected.iter().zip(heard(values, scale_factor, book)) {
        assert!((expected - heard).abs() < TOLERANCE, "book {book}: {heard} instead of {expected}");
    }
}

/// All words of `digits` digits within `least..=most`. Odd ones are negative where the words have no signs.
fn words(digits: u32, least: i16, most: i16) -> Vec<i16> {
    let base = (most - least + 1) as usize;
    (0..base.pow(digits))
        .flat_map(|word| {
            (0..digits).rev().map(move |digit| {
                let value = least + (word / base.pow(digit) % base) as i16;
                if least == 0 && (word + digit as usize) % 2 == 1 { -value } else { value }
            })
        })
        .collect()
}

#[test]
fn every_codeword_is_what_the_standard_says() {
    // A value of 1 is an amplitude of 30 to 60 after decoding, of 8 where there are greater ones.
    for (book, digits, least, most, scale_factor) in [
        (1, 4, -1, 1, 162),
        (2, 4, -1, 1, 162),
        (3, 4, 0, 2, 162),
        (4, 4, 0, 2, 162),
        (5, 2, -4, 4, 160),
        (6, 2, -4, 4, 160),
        (7, 2, 0, 7, 158),
        (8, 2, 0, 7, 158),
        (9, 2, 0, 12, 154),
        (10, 2, 0, 12, 154),
        (11, 2, 0, 16, 147),
    ] {
        assert_heard(&words(digits, least, most), scale_factor, book);
    }
}

#[test]
fn every_length_of_escape_sequence_is_what_the_standard_says() {
    for bits in 4..13_u32 {
        for value in [1 << bits, (1 << bits) + 1, 3 << (bits - 1), (2 << bits) - 1] {
            let mut values = [0; 16];
            values[4] = value;
            values[11] = -value;
            // As loud as fits: an error of 1 in the greatest values still shows.
            let magnitude = f64::from(value).powf(4.0 / 3.0) / 1_024.0 * 2.0;
            let scale_factor = f64::from(UNITY) + 4.0 * (20_000.0 / magnitude).log2();
            assert_heard(&values, scale_factor as u8, 11);
        }
    }
}
