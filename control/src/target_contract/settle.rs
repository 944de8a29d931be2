//! Settles an order with the contracts of its targets: each target gets its contract, a backup becomes a target of its
//! own, and the call gets sound that all of them take.
//! Takes: a checked order. Gives: the order as it will be carried out, or the field that a contract forbids.
//! Leaves out: the contracts' rules themselves (`check`), look-ups and placing the call (`broadcast`).

use sipcast_contract::options::AacOptions;
use sipcast_contract::{MediaWanted, RtmpUrl, limits};

use super::TargetContracts;
use super::check::{ContractBreach, PublishedMedia, sound_for, video_bit_rate_for};
use crate::ControlOptions;
use crate::broadcast::StartOrder;
use crate::order::{FieldFault, TargetOrder};
use crate::stream_name::StreamPrefix;

impl From<ContractBreach> for FieldFault {
    fn from(breach: ContractBreach) -> Self {
        Self::new(breach.field, breach.problem, breach.expected)
    }
}

impl StartOrder {
    /// Puts the contracts of all targets into force.
    ///
    /// # Errors
    /// The first field that a contract forbids, or a service that has none.
    pub(crate) fn settle(&mut self, options: &ControlOptions) -> Result<(), FieldFault> {
        let media = PublishedMedia { wanted: self.wanted, silent_audio: options.media.silent_audio };
        let mut backups = Vec::new();
        if let Some(direct) = &mut self.direct {
            direct.settle(&options.contracts, media, Some(&options.stream_prefix), &mut backups)?;
        }
        for (n, target) in self.targets.iter_mut().enumerate() {
            target
                .settle(&options.contracts, media, None, &mut backups)
                .map_err(|fault| fault.within(&format!("targets[{n}].")))?;
        }
        self.targets.append(&mut backups);
        if self.targets.len() > limits::TARGETS_PER_BROADCAST_MAX {
            let expected = format!("at most {} targets per call", limits::TARGETS_PER_BROADCAST_MAX);
            return Err(FieldFault::new("targets", "has too many items, backups counted", expected));
        }
        let targets = self.direct.iter().chain(&self.targets);
        let contracts = targets.filter_map(|target| target.contract.as_deref());
        let sound = sound_for(contracts.clone(), options.media.aac)?;
        let video_bit_rate_wanted = video_bit_rate_for(contracts);
        self.sound = Some(sound);
        self.video_bit_rate_wanted = video_bit_rate_wanted;
        Ok(())
    }
}

impl TargetOrder {
    /// Settles one more target of a call whose sound is given already; gives its backup.
    ///
    /// # Errors
    /// As [`StartOrder::settle`].
    pub(crate) fn settle_later(
        &mut self,
        options: &ControlOptions,
        wanted: MediaWanted,
        sound: &AacOptions,
    ) -> Result<Option<Self>, FieldFault> {
        let media = PublishedMedia { wanted, silent_audio: options.media.silent_audio };
        let mut backups = Vec::new();
        self.settle(&options.contracts, media, None, &mut backups)?;
        let contracts = [&self.contract].into_iter().chain(backups.iter().map(|backup| &backup.contract));
        contracts.flatten().try_for_each(|contract| contract.check_sound(sound))?;
        Ok(backups.pop())
    }

    /// The name that is published: with the prefix, if there is one, unless it is a key.
    pub(crate) fn published_name(&self, prefix: &StreamPrefix) -> String {
        match &self.contract {
            Some(contract) if contract.key => self.stream.reveal().clone(),
            _ => prefix.published(self.stream.reveal()),
        }
    }

    fn settle(
        &mut self,
        contracts: &TargetContracts,
        media: PublishedMedia,
        prefix: Option<&StreamPrefix>,
        backups: &mut Vec<Self>,
    ) -> Result<(), FieldFault> {
        let choose = |url: &RtmpUrl| match &self.service {
            Some(name) => contracts.of_service(name),
            None => Ok(contracts.by_host(url.host())),
        };
        self.contract = choose(&self.url)?;
        let name = prefix.map_or_else(|| self.stream.reveal().clone(), |prefix| self.published_name(prefix));
        if let Some(contract) = &self.contract {
            contract.check_target(&self.url, &name)?;
            contract.check_media(media)?;
            contract.check_coding(self.audio)?;
        }
        let Some((url, url_as_ordered)) = self.backup.take() else { return Ok(()) };
        let at_backup = |breach: ContractBreach| match breach.field {
            "rtmpUrl" => ContractBreach { field: "rtmpBackupUrl", ..breach },
            _ => breach,
        };
        let contract = choose(&url)?;
        if let Some(contract) = &self.contract {
            contract.check_backup(&self.url, &url).map_err(at_backup)?;
        }
        if let Some(contract) = &contract {
            contract.check_target(&url, &name).map_err(at_backup)?;
            contract.check_coding(self.audio)?;
        }
        // Both names end alike, whatever list the target is in.
        let url_field = match self.url_field.strip_suffix("rtmpUrl") {
            Some(at) => format!("{at}rtmpBackupUrl").into(),
            None => "rtmpBackupUrl".into(),
        };
        let backup = Self { url, url_as_ordered, url_field, contract, stream: name.into(), ..self.clone() };
        backups.push(backup);
        Ok(())
    }
}
