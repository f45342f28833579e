//! Writes a stream to the part file: a blocking thread writes and hashes one block while the next arrives.
//!
//! Memory is bounded by four blocks and one chunk of the stream. A dropped sink leaves a thread that finishes its block, closes the file and ends; everything
//! up to the last checkpoint is durable.

use super::part::{Finish, PartFile};
use super::{Download, checks};
use crate::storage::store::Mark;
use bytes::Bytes;
use slipway_protocol::Refusal;
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;
use url::Url;

/// Bytes that are collected before a thread is woken for them.
const BLOCK: usize = 128 * 1024;
/// Time between two checkpoints: what a power cut costs at most. By time and not by size: a fast line would make the disk sync hundreds
/// of times a minute for what it fetches again in a second.
pub(super) const SAVE_EVERY: Duration = Duration::from_secs(1);
/// Bytes hashed again before looking whether anybody still wants them.
const REHASH: u64 = 16 * 1024 * 1024;

pub(super) struct Sink<P, C> {
    state: State,
    queue: Vec<Bytes>,
    queued: usize,
    /// Bytes taken, written or queued.
    position: u64,
    /// The last checkpoint that was reported.
    reported: u64,
    /// When the last checkpoint began.
    saved: Instant,
    /// Bytes that came over the network for this artifact, and how many of them were reported.
    spent: u64,
    accounted: u64,
    /// Bytes of an earlier call that came after its last checkpoint.
    cut: u64,
    size: u64,
    progress: P,
    checkpoint: C,
}

enum State {
    Idle(Box<PartFile>),
    Busy(JoinHandle<(Box<PartFile>, Result<(), Refusal>)>),
    Lost,
}

impl<P: FnMut(u64), C: FnMut(Mark) -> Result<(), Refusal>> Sink<P, C> {
    /// Opens the part file and hashes what is in it.
    pub(super) async fn open(what: &Download, progress: P, checkpoint: C) -> Result<Self, Refusal> {
        let request = what.clone();
        let part = spawn_blocking(move || PartFile::open(&request)).await.map_err(lost)??;
        let part = rehash(part).await?;
        let (position, cut, spent) = (part.len(), part.cut(), what.budget.account.spent);
        let mut sink = Self {
            state: State::Idle(Box::new(part)),
            queue: Vec::new(),
            queued: 0,
            position,
            reported: position,
            saved: Instant::now(),
            spent,
            accounted: spent,
            cut,
            size: what.size,
            progress,
            checkpoint,
        };
        if position < what.trusted_offset {
            // The file lost bytes that the cursor knows of; those that come in their place are not durable yet.
            sink.move_cursor(position)?;
        }
        Ok(sink)
    }

    /// Where the next byte belongs.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes still wanted.
    pub(super) fn missing(&self) -> u64 {
        self.size.saturating_sub(self.position)
    }

    /// Counts bytes that came over the network, be they of use or not; made durable with the next checkpoint.
    pub(super) fn charge(&mut self, bytes: u64) {
        self.spent = self.spent.saturating_add(bytes);
    }

    /// Bytes counted so far.
    pub(super) fn spent(&self) -> u64 {
        self.spent
    }

    /// Bytes of an earlier call that came after its last checkpoint, which nobody has counted.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }

    /// Takes the next bytes; the caller has seen to it that they are not more than are missing.
    pub(super) async fn push(&mut self, bytes: Bytes) -> Result<(), Refusal> {
        self.position = self.position.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.queued = self.queued.saturating_add(bytes.len());
        self.queue.push(bytes);
        (self.progress)(self.position);
        // Another block may wait behind the one that is being written, so that neither side waits for every turn of the other.
        let busy = matches!(&self.state, State::Busy(work) if !work.is_finished());
        let enough = if busy { BLOCK.saturating_mul(2) } else { BLOCK };
        if self.queued >= enough { self.write(false).await } else { Ok(()) }
    }

    /// Takes the next bytes from a source that can be read at any position: read, hashed and written on one thread, through one buffer.
    pub(super) async fn fill(
        &mut self,
        bytes: u64,
        read: impl FnMut(&mut [u8], u64) -> Result<(), Refusal> + Send + 'static,
    ) -> Result<(), Refusal> {
        self.write(false).await?;
        self.finish_flush().await?;
        let sync = self.is_due();
        let mut part = self.take()?;
        let (part, filled) = spawn_blocking(move || {
            let filled = part.fill(bytes, read).and_then(|()| if sync { part.sync() } else { Ok(()) });
            (part, filled)
        })
        .await
        .map_err(lost)?;
        let synced = part.synced();
        self.position = part.len();
        self.state = State::Idle(part);
        (self.progress)(self.position);
        self.report(synced)?;
        filled
    }

    /// Whether it is time for a checkpoint, which is then taken to begin now.
    fn is_due(&mut self) -> bool {
        let due = self.saved.elapsed() >= SAVE_EVERY;
        if due {
            self.saved = Instant::now();
        }
        due
    }

    /// Begins to make durable what has arrived; the checkpoint is reported with a later block.
    pub(super) async fn save(&mut self) -> Result<(), Refusal> {
        if self.position > self.reported { self.write(true).await } else { Ok(()) }
    }

    /// Forgets everything that has arrived.
    pub(super) async fn restart(&mut self) -> Result<(), Refusal> {
        self.finish_flush().await?;
        // First the cursor, then the bytes: a cursor must never point past what is durable.
        self.move_cursor(0)?;
        self.queue.clear();
        (self.queued, self.position, self.reported) = (0, 0, 0);
        (self.progress)(0);
        self.run(PartFile::reset).await
    }

    /// Takes the disk space for what is missing.
    pub(super) async fn reserve(&mut self) -> Result<(), Refusal> {
        self.run(|part| part.reserve()).await
    }

    /// The strong entity tag with which `url` served what is here.
    pub(super) async fn tag(&mut self, url: &Url) -> Result<Option<String>, Refusal> {
        self.finish_flush().await?;
        match &self.state {
            State::Idle(part) => Ok(part.tag(url)),
            _ => Err(checks::WORKER),
        }
    }

    /// Remembers with which tag `url` serves what comes now.
    pub(super) async fn remember_tag(&mut self, url: &Url, tag: Option<String>) -> Result<(), Refusal> {
        let Some(tag) = tag else { return Ok(()) };
        let url = url.clone();
        self.run(move |part| {
            part.remember_tag(&url, &tag);
            Ok(())
        })
        .await
    }

    /// Makes the complete file durable and compares digests: `Ok(Some)` says that it is another file than the authorised one.
    pub(super) async fn finish(&mut self) -> Result<Option<Refusal>, Refusal> {
        self.write(false).await?;
        self.finish_flush().await?;
        let mut finish = self.compare().await?;
        let disturbed = matches!(finish, Err(Finish::Disturbed));
        if disturbed {
            let mut part = self.take()?;
            part.doubt()?;
            self.state = State::Idle(Box::new(rehash(*part).await?));
            finish = self.compare().await?;
        }
        match finish {
            Ok(()) => {
                self.report(self.size)?;
                Ok(None)
            }
            // Not the server's fault. The next try reads what is there, and begins anew.
            Err(Finish::Differs(_)) if disturbed => Err(checks::DISTURBED),
            Err(Finish::Differs(refusal)) => Ok(Some(refusal)),
            Err(Finish::Disk(refusal)) => Err(refusal),
            Err(Finish::Disturbed) => Err(checks::DISTURBED),
        }
    }

    async fn compare(&mut self) -> Result<Result<(), Finish>, Refusal> {
        let mut part = self.take()?;
        let (part, finish) = spawn_blocking(move || {
            let finish = part.finish();
            (part, finish)
        })
        .await
        .map_err(lost)?;
        self.state = State::Idle(part);
        Ok(finish)
    }

    /// Ends without a complete file: what has arrived is made durable and the checkpoint reported; an empty file is removed.
    pub(super) async fn leave(mut self) -> Result<(), Refusal> {
        if self.position == 0 {
            self.run(|part| part.discard()).await?;
        } else {
            self.save().await?;
            self.finish_flush().await?;
        }
        if self.spent > self.accounted { self.move_cursor(self.reported) } else { Ok(()) }
    }

    async fn write(&mut self, sync: bool) -> Result<(), Refusal> {
        self.finish_flush().await?;
        let blocks = std::mem::take(&mut self.queue);
        self.queued = 0;
        let sync = self.is_due() || sync;
        self.start(move |part| {
            for block in blocks {
                part.append(&block)?;
            }
            part.begin_writeback();
            if sync { part.sync() } else { Ok(()) }
        })
    }

    async fn run(&mut self, work: impl FnOnce(&mut PartFile) -> Result<(), Refusal> + Send + 'static) -> Result<(), Refusal> {
        self.finish_flush().await?;
        self.start(work)?;
        self.finish_flush().await
    }

    fn start(&mut self, work: impl FnOnce(&mut PartFile) -> Result<(), Refusal> + Send + 'static) -> Result<(), Refusal> {
        let mut part = self.take()?;
        self.state = State::Busy(spawn_blocking(move || {
            let result = work(&mut part);
            (part, result)
        }));
        Ok(())
    }

    /// Waits for the block that is being written, and reports a checkpoint if there is a new one.
    async fn finish_flush(&mut self) -> Result<(), Refusal> {
        let State::Busy(work) = &mut self.state else { return Ok(()) };
        let (part, result) = match work.await {
            Ok(done) => done,
            Err(error) => {
                self.state = State::Lost;
                return Err(lost(error));
            }
        };
        let synced = part.synced();
        self.state = State::Idle(part);
        result?;
        self.report(synced)
    }

    fn report(&mut self, synced: u64) -> Result<(), Refusal> {
        if synced > self.reported {
            self.move_cursor(synced)?;
            self.reported = synced;
        }
        Ok(())
    }

    fn move_cursor(&mut self, at: u64) -> Result<(), Refusal> {
        self.accounted = self.spent;
        (self.checkpoint)(Mark { at, spent: self.spent })
    }

    fn take(&mut self) -> Result<Box<PartFile>, Refusal> {
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Idle(part) => Ok(part),
            other => {
                self.state = other;
                Err(checks::WORKER)
            }
        }
    }
}

/// Hashes what is in the part file, in steps: a caller that gives up waits for no more than one.
async fn rehash(mut part: PartFile) -> Result<PartFile, Refusal> {
    loop {
        let done;
        (part, done) = spawn_blocking(move || {
            let done = part.rehash(REHASH);
            (part, done)
        })
        .await
        .map_err(lost)?;
        if done? {
            return Ok(part);
        }
    }
}

fn lost(error: tokio::task::JoinError) -> Refusal {
    checks::WORKER.with(error, "a thread that finishes its work")
}
