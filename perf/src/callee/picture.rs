//! The moving test picture, drawn straight into I420: scrolling bars, a patch of noise that keeps the encoder busy,
//! a running clock, a frame counter, and a white block that flashes once a second.
//! Takes: a frame index and a time of day. Gives: planes for the encoder.
//! Leaves out: encoding (`encoder`), when to draw (`media`).

use std::time::Duration;

use openh264::formats::YUVSource;

use super::font::{GLYPH_HEIGHT, GLYPH_WIDTH, glyph};

/// Frames the white block stays.
pub const FLASH_FRAMES: u64 = 3;
/// Luma of the white block, and of the text.
const WHITE: u8 = 235;
/// Luma of the ground behind the text and of the block between flashes.
const BLACK: u8 = 16;
/// Texture lines are this much longer than the picture, so that scrolling is one copy a line.
const SCROLL: usize = 256;

/// Where the flash is: left, top, width, height in pixels.
pub const fn flash_region(width: usize, height: usize) -> (usize, usize, usize, usize) {
    (width * 5 / 8, height / 2, width / 4, height * 3 / 8)
}

/// One picture in I420, drawn over and over.
pub struct Picture {
    width: usize,
    height: usize,
    luma: Vec<u8>,
    blue: Vec<u8>,
    red: Vec<u8>,
    texture: Vec<u8>,
    noise: Vec<u8>,
}

impl Picture {
    /// A picture of `width` by `height` pixels, both even and at least 160 by 96.
    pub fn new(width: usize, height: usize) -> Self {
        let chroma = (width / 2) * (height / 2);
        let line = width + SCROLL;
        let texture = (0..line * height).map(|at| bar(at % line, at / line)).collect();
        let mut state = 0x2545_f491_u32;
        let noise =
            (0..width * height / 4 + SCROLL).map(|_| 96 + (next_random(&mut state) >> 26) as u8).collect();
        Self {
            width,
            height,
            luma: vec![BLACK; width * height],
            blue: vec![128; chroma],
            red: vec![128; chroma],
            texture,
            noise,
        }
    }

    /// Draws frame `index` of a picture with `frame_rate` frames a second; the flash begins with each full second.
    pub fn draw(&mut self, index: u64, frame_rate: u32, time_of_day: Duration) {
        self.scroll(index);
        self.sparkle(index);
        let (left, top, width, height) = flash_region(self.width, self.height);
        let lit = index % u64::from(frame_rate.max(1)) < FLASH_FRAMES;
        self.fill(left, top, width, height, if lit { WHITE } else { BLACK });
        let seconds = time_of_day.as_secs();
        let clock = format!(
            "{:02}:{:02}:{:02}.{:03}",
            seconds / 3600 % 24,
            seconds / 60 % 60,
            seconds % 60,
            time_of_day.subsec_millis()
        );
        let scale = (self.width / 160).max(1);
        self.text(self.width / 32, self.height / 16, scale * 2 - scale / 2, &clock);
        self.text(self.width / 32, self.height / 4, scale, &format!("FRAME {index:08}"));
        self.text(self.width / 32, self.height * 7 / 8, scale, "SIPCAST TEST PICTURE");
        self.tint(index);
    }

    fn scroll(&mut self, index: u64) {
        let line = self.width + SCROLL;
        let offset = (index % SCROLL as u64) as usize * 2 % SCROLL;
        for (target, source) in self.luma.chunks_exact_mut(self.width).zip(self.texture.chunks_exact(line)) {
            target.copy_from_slice(&source[offset..offset + self.width]);
        }
    }

    /// Noise that no motion search can predict: it makes the encoder spend its bits.
    fn sparkle(&mut self, index: u64) {
        let (width, height) = (self.width / 2, self.height / 2);
        let (left, top) = (self.width / 16, self.height * 3 / 8);
        let start = (index.wrapping_mul(0x9e37_79b9) >> 7) as usize % SCROLL;
        for row in 0..height.min(self.height - top) {
            let from = start + row * width;
            let at = (top + row) * self.width + left;
            self.luma[at..at + width].copy_from_slice(&self.noise[from..from + width]);
        }
    }

    fn fill(&mut self, left: usize, top: usize, width: usize, height: usize, luma: u8) {
        for row in top..(top + height).min(self.height) {
            let at = row * self.width;
            self.luma[at + left.min(self.width)..at + (left + width).min(self.width)].fill(luma);
        }
    }

    fn text(&mut self, left: usize, top: usize, scale: usize, text: &str) {
        let advance = (GLYPH_WIDTH + 1) * scale;
        self.fill(
            left.saturating_sub(scale),
            top.saturating_sub(scale),
            advance * text.len() + scale,
            (GLYPH_HEIGHT + 2) * scale,
            BLACK,
        );
        for (place, character) in text.bytes().enumerate() {
            for (row, dots) in glyph(character).into_iter().enumerate() {
                for column in (0..GLYPH_WIDTH).filter(|column| dots & (0x10 >> column) != 0) {
                    let x = left + place * advance + column * scale;
                    self.fill(x, top + row * scale, scale, scale, WHITE);
                }
            }
        }
    }

    fn tint(&mut self, index: u64) {
        let width = self.width / 2;
        let shift = (index / 4) as usize;
        for (row, line) in self.blue.chunks_exact_mut(width).enumerate() {
            line.fill(96 + ((row + shift) / 8 % 64) as u8);
        }
        for (row, line) in self.red.chunks_exact_mut(width).enumerate() {
            line.fill(160 - ((row + shift) / 8 % 64) as u8);
        }
    }
}

impl YUVSource for Picture {
    fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    fn strides(&self) -> (usize, usize, usize) {
        (self.width, self.width / 2, self.width / 2)
    }

    fn y(&self) -> &[u8] {
        &self.luma
    }

    fn u(&self) -> &[u8] {
        &self.blue
    }

    fn v(&self) -> &[u8] {
        &self.red
    }
}

/// Eight bars of rising light with a slope inside; they repeat every `SCROLL` pixels so that scrolling has no seam.
const fn bar(x: usize, y: usize) -> u8 {
    let along = x % SCROLL;
    (40 + (along / 32) * 18 + (along % 32) / 2 + (y / 16) % 4 * 4) as u8
}

/// Xorshift (Marsaglia, 2003): repeatable noise without a dependency.
const fn next_random(state: &mut u32) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    *state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flash_luma(picture: &Picture) -> u8 {
        let (left, top, width, height) = flash_region(640, 360);
        picture.luma[(top + height / 2) * 640 + left + width / 2]
    }

    #[test]
    fn flashes_with_the_second_and_moves_between() {
        let mut picture = Picture::new(640, 360);
        picture.draw(30, 30, Duration::from_secs(3));
        assert_eq!(flash_luma(&picture), WHITE);
        picture.draw(30 + FLASH_FRAMES, 30, Duration::from_secs(3));
        assert_eq!(flash_luma(&picture), BLACK);
        let before = picture.luma.clone();
        picture.draw(31 + FLASH_FRAMES, 30, Duration::from_secs(3));
        assert_ne!(before, picture.luma);
    }

    #[test]
    fn the_smallest_and_a_large_picture_are_drawn_without_overrun() {
        for (width, height) in [(160, 96), (1280, 720), (1920, 1080)] {
            let mut picture = Picture::new(width, height);
            picture.draw(u64::MAX, 30, Duration::from_secs(86_399));
        }
    }
}
