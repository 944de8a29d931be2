//! Gives each call its sender and its ports: a thread and sockets of its own (live), or a place in the one sender
//! that serves all calls from four sockets (recorded).
//! Takes: calls and what was agreed for them. Gives: ports for the session description.
//! Leaves out: sending (`sender`).

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender as CommandSender};
use std::thread::JoinHandle;

use anyhow::Context;

use super::encoder::{ParameterSets, PictureEncoder, Recording, VideoOptions};
use super::packetizer::PacketizationMode;
use super::sdp::{LocalPorts, MediaPlan};
use super::sender::{Command, Pictures, Recordings, Sender, mode_index};
use super::sockets::Sockets;
use super::statistics::Tally;

/// Where the callee's pictures come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PictureSource {
    /// Each call draws and encodes its own picture on a thread of its own, from ports of its own: for the demo.
    #[default]
    Live,
    /// Ten seconds are encoded once; one thread sends them for all calls from shared ports: for load.
    Recorded,
}

/// Makes media sessions.
pub(super) struct Media {
    address: IpAddr,
    video: VideoOptions,
    tally: Arc<Tally>,
    shared: Option<SharedSender>,
    sprop_parameter_sets: String,
    threads: Vec<JoinHandle<()>>,
    next_session: u64,
}

struct SharedSender {
    sockets: Arc<Sockets>,
    commands: CommandSender<Command>,
    recordings: Recordings,
}

/// One call's hold on its sender; dropping it ends the media.
pub(super) struct MediaSession {
    session: u64,
    commands: CommandSender<Command>,
    ports: LocalPorts,
    started: bool,
}

impl Media {
    /// Prepares the pictures. Encodes, so it takes a second or two when recorded: call it where blocking is allowed.
    ///
    /// # Errors
    /// When the codec fails, no port is free, or no thread can start.
    pub fn new(
        address: IpAddr,
        video: VideoOptions,
        source: PictureSource,
        tally: Arc<Tally>,
    ) -> anyhow::Result<Self> {
        video.check()?;
        let mut specimen = PictureEncoder::new(video, video.packetization_mode)?;
        specimen.encode(0, std::time::Duration::ZERO, true)?;
        let ParameterSets { sps, pps } = specimen.parameter_sets();
        let sprop_parameter_sets = format!("{},{}", base64(sps), base64(pps));
        let mut media = Self {
            address,
            video,
            tally,
            shared: None,
            sprop_parameter_sets,
            threads: Vec::new(),
            next_session: 0,
        };
        if source == PictureSource::Recorded {
            let recordings = Recordings::default();
            let mode = video.packetization_mode;
            let _ = recordings[mode_index(mode)].set(Recording::new(video, mode)?);
            let sockets = Arc::new(Sockets::bind(address).context("media ports")?);
            let commands = media.spawn(&sockets, Pictures::Recorded(Arc::clone(&recordings)))?;
            media.shared = Some(SharedSender { sockets, commands, recordings });
        }
        Ok(media)
    }

    /// Ports for a new call.
    ///
    /// # Errors
    /// When no port is free or no thread can start.
    pub fn open(&mut self) -> anyhow::Result<MediaSession> {
        let (commands, ports) = match &self.shared {
            Some(shared) => (shared.commands.clone(), shared.sockets.ports),
            None => {
                let sockets = Arc::new(Sockets::bind(self.address).context("media ports")?);
                let ports = sockets.ports;
                (self.spawn(&sockets, Pictures::Live)?, ports)
            }
        };
        self.next_session += 1;
        Ok(MediaSession { session: self.next_session, commands, ports, started: false })
    }

    /// Sees to it that pictures for `mode` exist; they are recorded beside the running calls.
    pub fn prepare(&self, mode: PacketizationMode) {
        let Some(shared) = &self.shared else { return };
        if shared.recordings[mode_index(mode)].get().is_some() {
            return;
        }
        let (recordings, video) = (Arc::clone(&shared.recordings), self.video);
        let recorded = std::thread::Builder::new().name("callee-recorder".into()).spawn(move || {
            recordings[mode_index(mode)].get_or_init(|| {
                Recording::new(video, mode).unwrap_or_else(|error| {
                    tracing::warn!(%error, "no recording, calls in this mode stay without picture");
                    Arc::new(Recording {
                        access_units: vec![super::packetizer::Payloads::default()],
                        idr_interval_frames: 1,
                    })
                })
            });
        });
        if let Err(error) = recorded {
            tracing::warn!(%error, "no thread to record on");
        }
    }

    pub fn video(&self) -> &VideoOptions {
        &self.video
    }

    pub fn sprop_parameter_sets(&self) -> &str {
        &self.sprop_parameter_sets
    }

    /// Ends the senders and waits for their threads. All sessions must be dropped.
    pub fn close(mut self) {
        self.shared = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a media thread panicked");
            }
        }
    }

    fn spawn(
        &mut self,
        sockets: &Arc<Sockets>,
        pictures: Pictures,
    ) -> anyhow::Result<CommandSender<Command>> {
        let (commands, receiver) = mpsc::channel();
        let sender =
            Sender::new(Arc::clone(sockets), self.video, pictures, receiver, Arc::clone(&self.tally));
        let thread = std::thread::Builder::new().name("callee-media".into()).spawn(move || sender.run())?;
        self.threads.retain(|thread| !thread.is_finished());
        self.threads.push(thread);
        Ok(commands)
    }
}

impl MediaSession {
    pub fn ports(&self) -> LocalPorts {
        self.ports
    }

    /// Begins sending by `plan`, or goes on by a new one.
    pub fn set_plan(&mut self, call_id: &str, plan: MediaPlan) {
        let session = self.session;
        let command = if std::mem::replace(&mut self.started, true) {
            Command::Update { session, plan }
        } else {
            Command::Start { session, call_id: call_id.to_owned(), plan }
        };
        // A sender that is gone has said why; the call goes on without media.
        let _ = self.commands.send(command);
    }

    pub fn request_idr(&self) {
        let _ = self.commands.send(Command::RequestIdr { session: self.session });
    }
}

impl Drop for MediaSession {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop { session: self.session });
    }
}

// RFC 4648 §4; sprop-parameter-sets wants it (RFC 6184 §8.1).
fn base64(octets: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(octets.len().div_ceil(3) * 4);
    for group in octets.chunks(3) {
        let bits = group
            .iter()
            .enumerate()
            .fold(0, |bits, (place, octet)| bits | u32::from(*octet) << (16 - 8 * place));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63] as char;
            text.push(if place <= group.len() { digit } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_by_the_vectors_of_rfc_4648() {
        for (octets, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(octets.as_bytes()), text);
        }
    }
}
