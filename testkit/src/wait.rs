//! Polls a condition until a deadline, so that no test sleeps for a guessed time.
//!
//! Every wait says what it waits for; when the time is up, that is what the panic or the error says.

use anyhow::{Result, bail};
use std::io::ErrorKind;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Between two looks at the condition.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `look` returns something; an error when `limit` has passed.
pub fn try_until_some<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} in vain for this: {what}");
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits until `condition` holds; an error when `limit` has passed.
pub fn try_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    try_until_some(what, limit, || condition().then_some(()))
}

/// Waits until `look` returns something; panics when `limit` has passed.
#[track_caller]
pub fn until_some<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    match try_until_some(what, limit, look) {
        Ok(found) => found,
        Err(e) => panic!("{e}"),
    }
}

/// Waits until `condition` holds; panics when `limit` has passed.
#[track_caller]
pub fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    until_some(what, limit, || condition().then_some(()));
}

/// [`try_until_some`] for async tests: other tasks run between two looks.
pub async fn try_until_some_async<T, F>(what: &str, limit: Duration, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} in vain for this: {what}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// [`until`] for async tests.
pub async fn until_async<F>(what: &str, limit: Duration, mut condition: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let found = try_until_some_async(what, limit, || {
        let holds = condition();
        async move { holds.await.then_some(()) }
    });
    if let Err(e) = found.await {
        panic!("{e}");
    }
}

/// Starts a program that was written a moment ago. While another thread is between fork and exec it holds a copy of the descriptor
/// that wrote the file, and the kernel says "text file busy": that passes by itself.
pub fn spawn(command: &mut Command) -> Result<Child> {
    let program = format!("`{}` to be no longer busy", command.get_program().to_string_lossy());
    let started = try_until_some(&program, Duration::from_secs(10), || match command.spawn() {
        Err(e) if e.kind() == ErrorKind::ExecutableFileBusy => None,
        started => Some(started),
    })?;
    Ok(started?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_as_soon_as_the_condition_holds() {
        let mut looks = 0;
        until("three looks", Duration::from_secs(5), || {
            looks += 1;
            looks == 3
        });
        assert_eq!(looks, 3);
    }

    #[test]
    fn says_what_it_waited_for() {
        let error = try_until("the sun to rise", Duration::from_millis(20), || false).unwrap_err();
        assert!(error.to_string().contains("the sun to rise"), "{error}");
    }

    #[tokio::test]
    async fn lets_other_tasks_run() {
        let (send, receive) = tokio::sync::oneshot::channel();
        let mut receive = Some(receive);
        let task = tokio::spawn(async move { send.send(()) });
        until_async("the other task", Duration::from_secs(5), || {
            let arrived = receive.as_mut().is_some_and(|r| r.try_recv().is_ok());
            async move { arrived }
        })
        .await;
        task.await.unwrap().unwrap();
    }
}
