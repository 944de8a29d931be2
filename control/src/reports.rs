//! Hears the shards: a thread of its own blocks on their report channel, notes what they tell in the registry and
//! wakes the tasks concerned. A thread, because the channel is crossbeam's: shards cannot wake a runtime.
//! Takes: reports. Gives: notes, wake-ups, fresh look-ups. Ends when the last shard has dropped its end.

use std::io;
use std::thread;

use crossbeam::channel::Receiver;
use sipcast_contract::statistics::{BroadcastStatistics, ShardStatistics};
use sipcast_contract::{BroadcastId, Report, TargetId, TargetState};
use tokio::runtime::Handle;

use crate::broadcast::Broadcasts;
use crate::events::EventKind;
use crate::push;
use crate::registry::Source;
use crate::resolve;

/// Starts the thread.
///
/// # Errors
/// The operating system refuses a thread.
pub(crate) fn spawn(broadcasts: Broadcasts, reports: Receiver<Report>, runtime: Handle) -> io::Result<()> {
    thread::Builder::new().name("reports".to_owned()).spawn(move || {
        while let Ok(report) = reports.recv() {
            take(&broadcasts, &runtime, report);
        }
    })?;
    Ok(())
}

fn take(broadcasts: &Broadcasts, runtime: &Handle, report: Report) {
    let shared = &broadcasts.shared;
    match report {
        Report::Opened { broadcast, audio_port, video_port } => {
            if let Some(b) = shared.registry().get_mut(broadcast) {
                b.answer_open(Ok((audio_port, video_port)));
            }
        }
        Report::Refused { broadcast, reason } => {
            if let Some(b) = shared.registry().get_mut(broadcast) {
                b.answer_open(Err(reason));
            }
        }
        Report::PictureSize { broadcast, width, height } => {
            if let Some(b) = shared.registry().get_mut(broadcast) {
                (b.width, b.height) = (width, height);
                shared.tell(b, EventKind::PictureSize { width, height });
            }
        }
        Report::KeyframeOverdue { broadcast } => {
            if let Some(b) = shared.registry().get_mut(broadcast) {
                b.signals.keyframe.notify_one();
            }
        }
        Report::Target { broadcast, target, state } => {
            take_target_state(broadcasts, runtime, broadcast, target, state);
        }
        Report::Closed { broadcast, statistics } => {
            shared.figures().closed.add(&statistics);
            if let Some(b) = shared.registry().get_mut(broadcast) {
                b.statistics = *statistics;
                b.note_closed();
            }
        }
        Report::Statistics(statistics) => take_statistics(broadcasts, statistics),
        Report::Stopped { shard, slots_missing } => {
            shared.figures().stopped.insert(shard.0, slots_missing);
            shared.ended.notify_waiters();
        }
        Report::MediaStarted { broadcast } => {
            tracing::info!(%broadcast, "media is on the air");
            shared.tell_of(broadcast, EventKind::MediaStarted);
        }
        Report::SoundEnded { broadcast, target } => {
            if let Some(b) = shared.registry().get_mut(broadcast)
                && let Some(target) = b.targets.get_mut(&target)
            {
                target.sound = None;
            }
        }
        Report::PlayEnded { broadcast } => {
            if let Some(b) = shared.registry().get_mut(broadcast) {
                b.heard = None;
                b.set_sees(false);
            }
        }
        Report::DtmfSent { broadcast } => {
            if let Some(b) = shared.registry().get_mut(broadcast) {
                b.digits.note_shard_idle();
                b.signals.digits.notify_one();
                shared.tell(b, EventKind::Dtmf { steps: 0, sent: true });
            }
            tracing::debug!(%broadcast, "all digits are sent");
        }
    }
}

fn take_target_state(
    broadcasts: &Broadcasts,
    runtime: &Handle,
    id: BroadcastId,
    target_id: TargetId,
    state: TargetState,
) {
    match state {
        TargetState::Reconnecting(fault) | TargetState::Ended(Some(fault)) => {
            tracing::warn!(broadcast = %id, target = %target_id, ?state, "{fault}");
        }
        _ => tracing::info!(broadcast = %id, target = %target_id, ?state, "RTMP target"),
    }
    let mut registry = broadcasts.shared.registry();
    if Broadcasts::note_pull(&mut registry, id, target_id, state) {
        let url = registry.get(id).and_then(|b| match &b.source {
            Source::Pull { url, .. } => Some(url.clone()),
            Source::Call | Source::Mixer { .. } => None,
        });
        if let (TargetState::Reconnecting(_), Some(url)) = (state, url)
            && resolve::literal(&url).is_none()
        {
            runtime.spawn(broadcasts.clone().look_up_pull_again(id, target_id, url));
        }
        return;
    }
    let Some(broadcast) = registry.get_mut(id) else { return };
    if let Some(target) = broadcast.targets.get_mut(&target_id) {
        target.state = state;
        let event = target.event(target_id);
        broadcasts.shared.tell(broadcast, event);
    }
    let over = broadcast.note_target_state(target_id, state);
    if let Some(over) = over {
        registry.release_target(&over);
        return;
    }
    let Some(target) = broadcast.targets.get_mut(&target_id) else { return };
    let moved = matches!(state, TargetState::Reconnecting(_)) && resolve::literal(&target.spec.url).is_none();
    if moved && !target.looking_up {
        target.looking_up = true;
        let url = target.spec.url.clone();
        runtime.spawn(push::look_up_again(broadcasts.clone(), id, target_id, url));
    }
}

fn take_statistics(broadcasts: &Broadcasts, mut statistics: Box<ShardStatistics>) {
    let shared = &broadcasts.shared;
    {
        let mut registry = shared.registry();
        let shard = usize::from(statistics.shard.0);
        registry.note_silent(shard, false);
        registry.note_limit(shard, statistics.broadcasts_max as usize);
        for (id, figures) in statistics.broadcasts.drain(..) {
            // After the end the figures of `Closed` stand.
            let Some(broadcast) = registry.get_mut(id).filter(|b| b.is_live()) else { continue };
            note_targets(broadcast, &figures);
            if broadcast.statistics.reordered_pictures == 0 && figures.reordered_pictures > 0 {
                tracing::warn!(
                    broadcast = %id,
                    "the callee sends pictures out of display order (B pictures): players may stutter; set its encoder \
                     to the baseline profile or to no B pictures"
                );
            }
            broadcast.statistics = figures;
        }
    }
    shared.figures().shards.insert(statistics.shard.0, statistics);
}

fn note_targets(broadcast: &mut crate::registry::Broadcast, figures: &BroadcastStatistics) {
    for (id, of_target) in &figures.targets {
        if let Some(target) = broadcast.targets.get_mut(id) {
            target.statistics = *of_target;
        }
    }
}
