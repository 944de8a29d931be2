//! Use-cases of sound files: a target gets one instead of the call's sound, a callee hears one.
//! Takes: names as clients wrote them. Gives: clips to the shards. Leaves out: how files are read ([`SoundFiles`] of
//! the process), how they are played (dataplane).

use std::fmt;
use std::sync::Arc;

use sipcast_contract::options::AacOptions;
use sipcast_contract::sound::{AacClip, PcmClip};
use sipcast_contract::{BroadcastId, Command, TargetAudio, TargetId};
use tokio::sync::Semaphore;

use crate::broadcast::Broadcasts;
use crate::order::Text;
use crate::registry::{Registry, TargetSound};

/// Where sound files come from. Its methods block: they read and encode.
pub trait SoundFiles: Send + Sync + 'static {
    /// A file as targets take it.
    ///
    /// # Errors
    /// [`SoundFault`].
    fn aac(&self, name: &str, options: &AacOptions) -> Result<AacClip, SoundFault>;

    /// A file as callees hear it.
    ///
    /// # Errors
    /// [`SoundFault`].
    fn pcm(&self, name: &str) -> Result<PcmClip, SoundFault>;
}

/// Why a file is not played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SoundFault {
    /// The name is a path, or none.
    BadName,
    /// There is no such file, or no directory is set.
    NotFound,
    /// The file is no sound that is known, or breaks a limit; for people.
    Unusable(String),
}

impl fmt::Display for SoundFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName => f.write_str("is not the bare name of a file"),
            Self::NotFound => f.write_str("names no file in rest.sounds_dir"),
            Self::Unusable(why) => write!(f, "cannot be played: {why}"),
        }
    }
}

/// The sound files of this process, or none. Cheap to clone.
#[derive(Clone)]
pub struct Sounds {
    files: Option<Arc<dyn SoundFiles>>,
    /// Files being read and encoded at the same time; each takes a thread and memory.
    loading: Arc<Semaphore>,
}

impl Sounds {
    /// Files as `files` gives them.
    pub fn new(files: impl SoundFiles) -> Self {
        Self { files: Some(Arc::new(files)), ..Self::default() }
    }

    async fn load<T: Send + 'static>(
        &self,
        load: impl FnOnce(&dyn SoundFiles) -> Result<T, SoundFault> + Send + 'static,
    ) -> Result<Arc<T>, SoundError> {
        let Some(files) = self.files.clone() else { return Err(SoundFault::NotFound.into()) };
        let _permit = self.loading.acquire().await.map_err(|_| SoundError::Busy)?;
        let loaded =
            tokio::task::spawn_blocking(move || load(&*files)).await.map_err(|_| SoundError::Busy)?;
        Ok(Arc::new(loaded?))
    }
}

impl Default for Sounds {
    fn default() -> Self {
        Self { files: None, loading: Arc::new(Semaphore::new(LOADING_MAX)) }
    }
}

impl fmt::Debug for Sounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.files.is_some() { "Sounds" } else { "no Sounds" })
    }
}

/// Why a sound is not switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SoundError {
    /// Something is wrong with the file.
    File(SoundFault),
    /// No live target has this `mediaSessionId`.
    NoSuchSession,
    /// No live call has this ID.
    NoSuchCall,
    /// The target takes the call's own sound as it is, or what an RTMP server plays: there is nothing to replace it by.
    NotTranscoded,
    /// The shard's mailbox is full, or the process stops.
    Busy,
}

impl From<SoundFault> for SoundError {
    fn from(fault: SoundFault) -> Self {
        Self::File(fault)
    }
}

impl Broadcasts {
    /// Reads a file for the targets of one broadcast.
    ///
    /// # Errors
    /// [`SoundError`].
    pub(crate) async fn load_sound(
        &self,
        name: String,
        looped: bool,
        options: AacOptions,
    ) -> Result<TargetSound, SoundError> {
        let clip = self.shared.options.sounds.load(move |files| files.aac(&name, &options)).await?;
        Ok(TargetSound { clip, looped })
    }

    /// Gives a target a file's sound instead of the call's.
    ///
    /// # Errors
    /// [`SoundError`]: nothing changed.
    pub(crate) async fn push_sound_on(
        &self,
        media_session_id: &str,
        name: String,
        looped: bool,
    ) -> Result<(), SoundError> {
        let options = {
            let mut registry = self.shared.registry();
            let (id, target_id) = registry.session(media_session_id).ok_or(SoundError::NoSuchSession)?;
            sound_of(&mut registry, id, target_id)?
        };
        let sound = self.load_sound(name, looped, options).await?;
        let mut registry = self.shared.registry();
        let (id, target_id) = registry.session(media_session_id).ok_or(SoundError::NoSuchSession)?;
        self.set_sound(&mut registry, id, target_id, Some(sound))
    }

    /// Gives a target the call's own sound again.
    ///
    /// # Errors
    /// [`SoundError`]: nothing changed.
    pub(crate) fn push_sound_off(&self, media_session_id: &str) -> Result<(), SoundError> {
        let mut registry = self.shared.registry();
        let (id, target_id) = registry.session(media_session_id).ok_or(SoundError::NoSuchSession)?;
        self.set_sound(&mut registry, id, target_id, None)
    }

    /// Sets or ends what a target has instead of the call's sound.
    ///
    /// # Errors
    /// [`SoundError`]: nothing changed.
    pub(crate) fn set_sound(
        &self,
        registry: &mut Registry,
        id: BroadcastId,
        target_id: TargetId,
        sound: Option<TargetSound>,
    ) -> Result<(), SoundError> {
        let broadcast = registry.get_mut(id).ok_or(SoundError::NoSuchSession)?;
        let shard = broadcast.shard;
        let target = broadcast.targets.get_mut(&target_id).ok_or(SoundError::NoSuchSession)?;
        if target.handed_over {
            let looped = sound.as_ref().is_some_and(|sound| sound.looped);
            let clip = sound.as_ref().map(|sound| Arc::clone(&sound.clip));
            let command = Command::SetSound { broadcast: id, target: target_id, clip, looped };
            self.shared.shards[shard].send(command).map_err(|_| SoundError::Busy)?;
        }
        target.sound = sound;
        Ok(())
    }

    /// Plays a file to a call's callee, now or as soon as media is agreed on.
    ///
    /// # Errors
    /// [`SoundError`]: nothing is played.
    pub(crate) async fn inject_sound(&self, call_id: &str, name: String) -> Result<(), SoundError> {
        if self.shared.registry().live_call_mut(call_id).is_none() {
            return Err(SoundError::NoSuchCall);
        }
        let clip = self.shared.options.sounds.load(move |files| files.pcm(&name)).await?;
        let mut registry = self.shared.registry();
        let broadcast = registry.live_call_mut(call_id).ok_or(SoundError::NoSuchCall)?;
        let command = Command::PlaySound { broadcast: broadcast.id, clip };
        broadcast
            .send_or_wait(&self.shared.shards[broadcast.shard], command)
            .map_err(|()| SoundError::Busy)?;
        broadcast.heard = None;
        self.shared.hide_pictures(broadcast);
        Ok(())
    }
}

/// What the broadcast publishes, if a target's sound can be replaced.
pub(crate) fn sound_of(
    registry: &mut Registry,
    id: BroadcastId,
    target_id: TargetId,
) -> Result<AacOptions, SoundError> {
    let broadcast = registry.get_mut(id).ok_or(SoundError::NoSuchSession)?;
    let target = broadcast.targets.get(&target_id).ok_or(SoundError::NoSuchSession)?;
    if target.spec.audio == TargetAudio::Source || broadcast.is_pulled() {
        return Err(SoundError::NotTranscoded);
    }
    Ok(broadcast.sound)
}

/// Files being read at the same time.
const LOADING_MAX: usize = 2;

/// What a file's name may be.
pub(crate) const SOUND_FILE: Text =
    Text::free(255, "the name of a WAV file in rest.sounds_dir, without a path");
