//! Gives each call its sender and its ports: a thread and sockets of its own (live), or a place in the one sender
//! that serves all calls from four sockets (recorded).
//! Takes: calls and what was agreed for them. Gives: ports for the session description.
//! Leaves out: sending (`sender`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::mpsc::{self, Sender as CommandSender};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context;

use super::audio::{AudioCodec, AudioRecording, Sound};
use super::encoder::{ParameterSets, PictureEncoder, Recording, VideoOptions};
use super::network::NetworkProfile;
use super::packetizer::{PacketizationMode, Payloads};
use super::profile::CallProfile;
use super::sdp::{LocalPorts, MediaPlan};
use super::sender::{Call, Command, Pictures, Recordings, Sender, SenderContext, Sounds, mode_index};
use super::sockets::Sockets;
use super::statistics::Tally;
use crate::call_clock::CallClock;

/// Name of the threads that send, by which their CPU time can be told apart.
pub const THREAD_NAME: &str = "callee-media";

/// Where the callee's pictures come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PictureSource {
    /// Each call draws and encodes its own picture on a thread of its own, from ports of its own: for the demo.
    #[default]
    Live,
    /// Ten seconds are encoded once; one thread sends them for all calls from shared ports: for load.
    Recorded,
}

/// What media sessions are made with.
pub(super) struct MediaOptions {
    /// At least one.
    pub profiles: Vec<CallProfile>,
    pub source: PictureSource,
    pub network: NetworkProfile,
    /// The kernel cuts the datagrams of one picture from one piece (UDP GSO).
    pub segmentation: bool,
    pub clock: Option<Arc<CallClock>>,
}

/// Makes media sessions.
pub(super) struct Media {
    address: IpAddr,
    context: SenderContext,
    shared: Option<SharedSender>,
    /// By profile.
    sprop_parameter_sets: Vec<String>,
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
    profile: usize,
    commands: CommandSender<Command>,
    ports: LocalPorts,
    started: bool,
}

impl Media {
    /// Prepares pictures and sound. Encodes, so it takes a second or two for each recorded profile: call it where
    /// blocking is allowed.
    ///
    /// # Errors
    /// When an option is out of range, a codec fails, no port is free, or no thread can start.
    pub fn new(address: IpAddr, options: MediaOptions, tally: Arc<Tally>) -> anyhow::Result<Self> {
        options.network.check()?;
        let mut sprop_parameter_sets = Vec::new();
        for CallProfile { video, .. } in &options.profiles {
            video.check()?;
            let mut specimen = PictureEncoder::new(*video, video.packetization_mode)?;
            specimen.encode(0, std::time::Duration::ZERO, true)?;
            let ParameterSets { sps, pps } = specimen.parameter_sets();
            sprop_parameter_sets.push(format!("{},{}", base64(sps), base64(pps)));
        }
        let context = SenderContext {
            sounds: sounds(&options.profiles, options.source)?,
            profiles: options.profiles.into(),
            tally,
            clock: options.clock,
            network: options.network,
            segmentation: options.segmentation,
        };
        let mut media = Self {
            address,
            context,
            shared: None,
            sprop_parameter_sets,
            threads: Vec::new(),
            next_session: 0,
        };
        if options.source == PictureSource::Recorded {
            let recordings = recordings(&media.context.profiles)?;
            let sockets = Arc::new(Sockets::bind(address).context("media ports")?);
            let commands = media.spawn(&sockets, Pictures::Recorded(Arc::clone(&recordings)))?;
            media.shared = Some(SharedSender { sockets, commands, recordings });
        }
        Ok(media)
    }

    /// Ports for a new call of profile number `profile`.
    ///
    /// # Errors
    /// When no port is free or no thread can start.
    pub fn open(&mut self, profile: usize) -> anyhow::Result<MediaSession> {
        let (commands, ports) = match &self.shared {
            Some(shared) => (shared.commands.clone(), shared.sockets.ports),
            None => {
                let sockets = Arc::new(Sockets::bind(self.address).context("media ports")?);
                let ports = sockets.ports;
                (self.spawn(&sockets, Pictures::Live)?, ports)
            }
        };
        self.next_session += 1;
        Ok(MediaSession { session: self.next_session, profile, commands, ports, started: false })
    }

    /// Sees to it that pictures for `mode` exist; they are recorded beside the running calls.
    pub fn prepare(&self, profile: usize, mode: PacketizationMode) {
        let Some(shared) = &self.shared else { return };
        if shared.recordings[profile][mode_index(mode)].get().is_some() {
            return;
        }
        let (recordings, video) = (Arc::clone(&shared.recordings), self.context.profiles[profile].video);
        let recorded = std::thread::Builder::new().name("callee-recorder".into()).spawn(move || {
            recordings[profile][mode_index(mode)].get_or_init(|| {
                Recording::new(video, mode).unwrap_or_else(|error| {
                    tracing::warn!(%error, "no recording, calls in this mode stay without picture");
                    Arc::new(Recording::of(vec![Payloads::default()], 1))
                })
            });
        });
        if let Err(error) = recorded {
            tracing::warn!(%error, "no thread to record on");
        }
    }

    /// Where the harness talks to the sender that all calls share.
    pub fn commands(&self) -> Option<CommandSender<Command>> {
        self.shared.as_ref().map(|shared| shared.commands.clone())
    }

    pub fn profiles(&self) -> &[CallProfile] {
        &self.context.profiles
    }

    pub fn sprop_parameter_sets(&self, profile: usize) -> &str {
        &self.sprop_parameter_sets[profile]
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
        let sender = Sender::new(self.context.clone(), Arc::clone(sockets), pictures, receiver);
        let thread = std::thread::Builder::new().name(THREAD_NAME.into()).spawn(move || sender.run())?;
        self.threads.retain(|thread| !thread.is_finished());
        self.threads.push(thread);
        Ok(commands)
    }
}

/// The sound that the profiles name, and G.711 for callers that offer nothing else.
fn sounds(profiles: &[CallProfile], source: PictureSource) -> anyhow::Result<Sounds> {
    let sound = match source {
        PictureSource::Live => Sound::Tone,
        PictureSource::Recorded => Sound::Speech,
    };
    let named = profiles.iter().filter_map(|profile| profile.audio);
    let mut sounds = HashMap::new();
    for codec in [AudioCodec::Pcmu, AudioCodec::Pcma].into_iter().chain(named) {
        if let Entry::Vacant(vacant) = sounds.entry(codec) {
            vacant.insert(AudioRecording::new(codec, sound)?);
        }
    }
    Ok(Arc::new(sounds))
}

/// One recording for each kind of picture, in the mode it prefers.
fn recordings(profiles: &[CallProfile]) -> anyhow::Result<Recordings> {
    let mut made: HashMap<VideoOptions, Arc<Recording>> = HashMap::new();
    let mut recordings = Vec::new();
    for CallProfile { video, .. } in profiles {
        let mode = video.packetization_mode;
        let recording = match made.get(video) {
            Some(recording) => Arc::clone(recording),
            None => Recording::new(*video, mode)?,
        };
        made.insert(*video, Arc::clone(&recording));
        let modes = [OnceLock::new(), OnceLock::new()];
        let _ = modes[mode_index(mode)].set(recording);
        recordings.push(modes);
    }
    Ok(recordings.into())
}

impl MediaSession {
    pub fn ports(&self) -> LocalPorts {
        self.ports
    }

    pub fn profile(&self) -> usize {
        self.profile
    }

    /// Begins sending by `plan`, or goes on by a new one.
    pub fn set_plan(&mut self, call_id: &str, called: &str, plan: MediaPlan, now: Instant) {
        let session = self.session;
        let command = if std::mem::replace(&mut self.started, true) {
            Command::Update { session, plan: Box::new(plan) }
        } else {
            Command::Start(Box::new(Call {
                session,
                call_id: call_id.to_owned(),
                called: called.to_owned(),
                profile: self.profile,
                answered: now,
                plan,
            }))
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
