//! Pictures of one broadcast on their way to another: a mixer shows those of one of its inputs, a callee sees those of
//! a stream that is injected.
//!
//! A bounded lock-free queue with one writer and one reader. Each picture is copied once into memory of its own, since
//! shards share no packet memory. What finds no room is dropped up to the next IDR picture. One thing goes the other
//! way: the wish for an IDR picture, a flag that the writer looks at with each picture, so that wishes cannot pile up.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;

/// Pictures that wait at most: two seconds.
pub const PICTURES_MAX: usize = 64;

/// Bytes of pictures that wait at most.
pub const PICTURE_BYTES_MAX: usize = 4 << 20;

/// One access unit.
pub struct Picture {
    /// It begins with an IDR picture.
    pub is_idr: bool,
    /// Time on the timeline of the broadcast that it comes from, in ms; wraps at 2^32.
    pub timestamp_ms: u32,
    /// AVCDecoderConfigurationRecord in force.
    pub config: Bytes,
    /// The FLV tag body.
    pub body: Box<[u8]>,
}

/// The writing end.
pub struct PictureSender {
    queue: rtrb::Producer<Picture>,
    shared: Arc<Shared>,
    awaits_idr: bool,
}

/// The reading end.
pub struct PictureReceiver {
    queue: rtrb::Consumer<Picture>,
    shared: Arc<Shared>,
}

/// What both ends look at. Neither orders other memory by it: pictures pass through the queue.
#[derive(Default)]
struct Shared {
    /// Of the pictures that wait.
    bytes: AtomicUsize,
    /// The reader can do nothing with pictures until an IDR picture comes.
    is_idr_wanted: AtomicBool,
}

/// A way for pictures and its two ends.
pub fn picture_line() -> (PictureSender, PictureReceiver) {
    let (sender, receiver) = rtrb::RingBuffer::new(PICTURES_MAX);
    let shared = Arc::new(Shared::default());
    let sender = PictureSender { queue: sender, shared: Arc::clone(&shared), awaits_idr: true };
    (sender, PictureReceiver { queue: receiver, shared })
}

impl PictureSender {
    /// Whether a picture would be taken; else it need not be copied.
    pub fn wants(&self, is_idr: bool) -> bool {
        is_idr || !self.awaits_idr
    }

    /// Whether the source is to be asked for an IDR picture: the reader wished for one since this was last asked, or none
    /// has been taken since pictures were dropped.
    pub fn takes_idr_wish(&self) -> bool {
        // Loaded first: a swap takes the cache line from the reader even if there is nothing to take.
        let wish = &self.shared.is_idr_wanted;
        self.awaits_idr || (wish.load(Ordering::Relaxed) && wish.swap(false, Ordering::Relaxed))
    }

    /// Appends a picture, or drops it and all up to the next IDR picture when there is no room.
    pub fn push(&mut self, picture: Picture) {
        if !self.wants(picture.is_idr) {
            return;
        }
        let len = picture.body.len();
        let has_room = self.shared.bytes.load(Ordering::Relaxed) + len <= PICTURE_BYTES_MAX;
        // Counted before it can be read.
        self.shared.bytes.fetch_add(len, Ordering::Relaxed);
        let is_taken = has_room && self.queue.push(picture).is_ok();
        if !is_taken {
            self.shared.bytes.fetch_sub(len, Ordering::Relaxed);
        }
        self.awaits_idr = !is_taken;
    }

    /// Whether nobody reads any more.
    pub fn is_abandoned(&self) -> bool {
        self.queue.is_abandoned()
    }
}

impl PictureReceiver {
    /// The next picture.
    pub fn pull(&mut self) -> Option<Picture> {
        let picture = self.queue.pop().ok()?;
        self.shared.bytes.fetch_sub(picture.body.len(), Ordering::Relaxed);
        Some(picture)
    }

    /// Wishes for an IDR picture; the source hears of it with its next picture.
    pub fn wish_idr(&self) {
        self.shared.is_idr_wanted.store(true, Ordering::Relaxed);
    }

    /// Whether nobody writes any more. What was written may still be pulled.
    pub fn is_abandoned(&self) -> bool {
        self.queue.is_abandoned()
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({} ms, {} bytes)", self.timestamp_ms, self.body.len())
    }
}

impl fmt::Debug for PictureSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PictureSender")
    }
}

impl fmt::Debug for PictureReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PictureReceiver")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(is_idr: bool, timestamp_ms: u32, len: usize) -> Picture {
        Picture { is_idr, timestamp_ms, config: Bytes::new(), body: vec![0; len].into() }
    }

    #[test]
    fn it_begins_with_an_idr_picture_and_goes_on_with_one_after_a_drop() {
        let (mut sender, mut receiver) = picture_line();
        sender.push(picture(false, 0, 10));
        assert!(receiver.pull().is_none());
        (0..PICTURES_MAX as u32 + 3).for_each(|n| sender.push(picture(n == 0, n, 10)));
        assert!(!sender.wants(false));
        for n in 0..PICTURES_MAX as u32 {
            assert_eq!(receiver.pull().map(|picture| picture.timestamp_ms), Some(n));
        }
        assert!(sender.takes_idr_wish() && sender.takes_idr_wish(), "as long as it waits for one");
        sender.push(picture(false, 500, 10));
        sender.push(picture(true, 501, 10));
        assert_eq!(receiver.pull().map(|picture| picture.timestamp_ms), Some(501));
    }

    #[test]
    fn a_wish_for_an_idr_picture_is_heard_once() {
        let (mut sender, receiver) = picture_line();
        sender.push(picture(true, 0, 10));
        assert!(!sender.takes_idr_wish());
        receiver.wish_idr();
        receiver.wish_idr();
        assert!(sender.takes_idr_wish() && !sender.takes_idr_wish());
    }

    #[test]
    fn bytes_have_a_bound_and_come_free() {
        let (mut sender, mut receiver) = picture_line();
        let large = PICTURE_BYTES_MAX / 2;
        (0..3).for_each(|n| sender.push(picture(true, n, large)));
        assert_eq!(std::iter::from_fn(|| receiver.pull()).count(), 2);
        sender.push(picture(true, 9, large));
        assert!(receiver.pull().is_some());
        drop(receiver);
        assert!(sender.is_abandoned());
    }
}
