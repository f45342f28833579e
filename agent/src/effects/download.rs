//! Downloads the artifact of a release into a part file, and stages it in a slot.

use super::{Executor, SPACE, blocking};
use crate::clock;
use crate::fetch::{Budget, Download, FetchErrorKind};
use crate::storage::slots::{SLOT_FORMAT, SlotRecord, Slots};
use crate::storage::{durable, unpack};
use crate::trust::ReleaseEvidence;
use slipway_machine::record::{Plan, Source};
use slipway_machine::{EffectFailure, RetryAdvice};
use slipway_protocol::manifest::{Artifact, Format};
use slipway_protocol::{ComponentName, Refusal, Sha256};
use slipway_verify::{Authorized, Release};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use url::Url;

/// Space that an update leaves free: logs, the database and the component itself need some.
const RESERVE: u64 = 32 * 1024 * 1024;
/// How much larger than its archive a program is taken to be where the release does not say; KubeEdge's are 3 to 4 times.
const UNPACKED: u64 = 4;

impl Executor {
    pub(super) async fn fetch(
        &self,
        component: &ComponentName,
        plan: &Plan,
        progress: &mut dyn FnMut(u8),
    ) -> Result<(), EffectFailure> {
        let never = |refusal| EffectFailure { refusal, advice: RetryAdvice::Never };
        let (release, _) = self.authorize(component, plan).await?;
        if self.staged(component, plan).await.is_some() {
            return Ok(());
        }
        let artifact = &release.artifact;
        let part = self.part_file(&artifact.sha256);
        self.return_part(component, plan, artifact).map_err(|refusal| EffectFailure { refusal, advice: RetryAdvice::Later })?;
        let offset = self.store.borrow().cursor(&artifact.sha256);
        // Room that an earlier try has taken is not free any more.
        let taken = std::fs::metadata(&part).map_or(0, |part| part.blocks().saturating_mul(512));
        self.room(artifact, offset.max(taken)).map_err(|refusal| EffectFailure { refusal, advice: RetryAdvice::Later })?;
        let mut download = Download {
            urls: Vec::new(),
            size: artifact.size,
            sha256: artifact.sha256,
            sha512: release.sha512,
            part,
            trusted_offset: offset,
            budget: self.budget(&artifact.sha256, artifact.size),
            verified: self.slots.verified().clone(),
        };
        let checkpoint = |mark| {
            self.store.borrow_mut().set_cursor(&artifact.sha256, mark, clock::known().trusted());
            Ok(())
        };
        let size = artifact.size;
        let percent = |at: u64| {
            progress(u8::try_from(u128::from(at).saturating_mul(100).checked_div(size.into()).unwrap_or(0)).unwrap_or(100))
        };
        let fetched = match &plan.source {
            Source::Network => {
                let base = self.base.as_ref();
                for url in &artifact.urls {
                    match Url::options().base_url(base).parse(url) {
                        Ok(url) => download.urls.push(url),
                        Err(error) => tracing::warn!(url, %error, "URL in the manifest is not usable; trying the others"),
                    }
                }
                self.client.download(&download, percent, checkpoint).await
            }
            Source::Bundle(path) => {
                let tar = self.bundle(path).await.map_err(never)?;
                let name = artifact
                    .urls
                    .iter()
                    .find(|url| tar.names().any(|name| name == **url))
                    .cloned()
                    .unwrap_or_else(|| artifact.name.clone());
                tar.copy_to_part(&name, &download, percent, checkpoint).await
            }
        };
        fetched.map(|_| ()).map_err(|error| {
            if error.kind == FetchErrorKind::Budget {
                self.store.borrow_mut().close_account(&artifact.sha256, clock::known().trusted());
            }
            EffectFailure::from(error)
        })
    }

    pub(super) fn budget(&self, artifact: &Sha256, size: u64) -> Budget {
        let account = self.store.borrow().account(artifact, clock::known().trusted());
        Budget::new(account, size, self.client.byte_budget())
    }

    /// Why a release cannot be fetched now, if it has to be: found before anything is begun, so that a refusal is reported once and not every hour.
    pub(super) fn obstacle(&self, component: &ComponentName, plan: &Plan) -> Option<Refusal> {
        let staged = self.slots.read(component, &plan.slot).is_ok_and(|slot| slot.artifact == plan.artifact && !slot.adopted);
        if staged || plan.source != Source::Network {
            return None;
        }
        let taken = self.slots.taken_part(component, &plan.slot);
        let part = std::fs::metadata(self.part_file(&plan.artifact)).or_else(|_| std::fs::metadata(taken));
        let there = part.map_or(0, |part| part.len());
        let have = self.store.borrow().cursor(&plan.artifact).min(there);
        self.budget(&plan.artifact, plan.size).covers(plan.size.saturating_sub(have)).err()
    }

    pub(super) fn room(&self, artifact: &Artifact, have: u64) -> Result<(), Refusal> {
        let free = durable::free_space(&self.state).map_err(|error| durable::refusal(&self.state, &error))?.for_all;
        let needed = room_for(artifact, have);
        if free < needed {
            return Err(SPACE.with(format_args!("{free} bytes free in {}", self.state.display()), format_args!("{needed} bytes")));
        }
        Ok(())
    }

    /// The payload's digest, if the slot is complete and belongs to this very artifact.
    pub(super) async fn staged(&self, component: &ComponentName, plan: &Plan) -> Option<Sha256> {
        let record = self.slots.read(component, &plan.slot).ok()?;
        // What was adopted was never downloaded, so nobody has compared all its digests.
        if record.artifact != plan.artifact || record.adopted {
            return None;
        }
        let (slots, component, slot, payload) = (self.slots.clone(), component.clone(), plan.slot.clone(), record.payload);
        blocking(move || slots.confirm_payload(&component, &slot, &payload)).await.ok()?;
        Some(record.payload)
    }

    /// Gives a bare file back that a slot has taken which never became complete. From an archive nothing is taken.
    pub(super) fn return_part(&self, component: &ComponentName, plan: &Plan, artifact: &Artifact) -> Result<(), Refusal> {
        match artifact.format {
            Format::File => self.slots.return_part(component, &plan.slot, &self.part_file(&artifact.sha256)),
            Format::TarGz => Ok(()),
        }
    }

    pub(super) async fn stage(&self, component: &ComponentName, plan: &Plan) -> Result<Sha256, EffectFailure> {
        let never = |refusal| EffectFailure { refusal, advice: RetryAdvice::Never };
        let (release, proof) = self.authorize(component, plan).await?;
        let payload = match self.staged(component, plan).await {
            Some(payload) => payload,
            None => {
                self.return_part(component, plan, &release.artifact).map_err(never)?;
                let (slots, part, plan) = (self.slots.clone(), self.part_file(&plan.artifact), plan.clone());
                blocking(move || unpack_to_slot(&slots, &part, &plan, &release, &proof)).await.map_err(never)?
            }
        };
        // The slot is durable: the download has served.
        self.drop_part(&plan.artifact).map_err(never)?;
        Ok(payload)
    }
}

/// The space that a download and its slot need, beside what is there of the download. A bare file becomes the slot's; an archive is
/// there until its member is.
fn room_for(artifact: &Artifact, have: u64) -> u64 {
    let unpacked = match artifact.format {
        Format::File => 0,
        Format::TarGz => artifact.unpacked.unwrap_or_else(|| artifact.size.saturating_mul(UNPACKED)),
    };
    artifact.size.saturating_sub(have).saturating_add(unpacked).saturating_add(RESERVE)
}

/// From the part file to a slot that is complete, durable and carries its own proof.
fn unpack_to_slot(
    slots: &Slots,
    part: &Path,
    plan: &Plan,
    release: &Authorized<Release>,
    proof: &ReleaseEvidence,
) -> Result<Sha256, Refusal> {
    let artifact = &release.artifact;
    let component = &release.manifest.component;
    let mut writer = slots.begin(component, &plan.slot)?;
    let (payload, payload_size) = if artifact.format == Format::File && writer.take_part(part, &artifact.sha256)? {
        (artifact.sha256, artifact.size)
    } else {
        let source = File::open(part).map_err(|error| durable::refusal(part, &error))?;
        let unpacked = unpack::extract(source, &artifact.into(), writer.payload_file())?;
        writer.hashed(unpacked.stamp);
        (unpacked.payload, unpacked.size)
    };
    let record = SlotRecord {
        format: SLOT_FORMAT,
        component: component.clone(),
        version: release.manifest.version.clone(),
        platform: artifact.platform,
        artifact: artifact.sha256,
        artifact_size: artifact.size,
        payload,
        payload_size,
        staged: clock::now().wall,
        adopted: false,
    };
    if let Err(refusal) = writer.finish(&record, &proof.evidence, &proof.manifest) {
        // The download must not be fetched again because a disk was full.
        if artifact.format == Format::File {
            slots.return_part(component, &plan.slot, part)?;
        }
        return Err(refusal);
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_asked_for_is_what_is_needed() {
        let artifact = |format: &str, unpacked: Option<u64>| -> Artifact {
            serde_json::from_value(json!({
                "platform": "linux/arm64", "name": "a", "size": 1000, "sha256": Sha256::of(b"").to_string(), "urls": ["a"],
                "format": format, "unpacked": unpacked, "provenance": {"urls": ["b"], "size": 1, "sha256": Sha256::of(b"").to_string()},
            }))
            .unwrap()
        };
        for (format, unpacked, have, needed) in [
            ("file", None, 0, 1000),
            ("file", None, 400, 600),
            ("file", None, 2000, 0),
            ("tar.gz", None, 0, 5000),
            ("tar.gz", None, 1000, 4000),
            ("tar.gz", Some(2500), 0, 3500),
            ("tar.gz", Some(2500), 1000, 2500),
            ("tar.gz", Some(u64::MAX), 0, u64::MAX - RESERVE),
        ] {
            assert_eq!(room_for(&artifact(format, unpacked), have), needed + RESERVE, "{format} {unpacked:?} {have}");
        }
    }
}
