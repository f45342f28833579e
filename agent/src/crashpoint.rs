//! Named places at which a test ends the agent as a power cut would.
//!
//! None of this is in a release build: see [`crashpoint!`].
//!
//! | variable | what it does |
//! |---|---|
//! | `SLIPWAY_CRASHPOINTS` | a file to which the name of every point is added as it is passed: what a test enumerates |
//! | `SLIPWAY_CRASHPOINT` | `name#n`: SIGKILL when `name` is passed for the n-th time |

/// A place at which a test may end the agent. Takes what `format!` takes; compiled to nothing without debug assertions.
macro_rules! crashpoint {
    ($($name:tt)+) => {
        #[cfg(debug_assertions)]
        crate::crashpoint::pass(&format!($($name)+));
    };
}
pub(crate) use crashpoint;

/// Says that `name` is passed, and ends the process if this is where it is to end.
#[cfg(debug_assertions)]
pub(crate) fn pass(name: &str) {
    use std::io::Write as _;
    use std::sync::{Mutex, OnceLock, PoisonError};
    static TRACE: OnceLock<Option<std::ffi::OsString>> = OnceLock::new();
    static END: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static PASSED: Mutex<u32> = Mutex::new(0);

    if let Some(trace) = TRACE.get_or_init(|| std::env::var_os("SLIPWAY_CRASHPOINTS")) {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(trace);
        // One write, so that lines of several threads do not mix.
        let _ = file.and_then(|mut file| file.write_all(format!("{name}\n").as_bytes()));
    }
    let end = END.get_or_init(|| {
        let text = std::env::var("SLIPWAY_CRASHPOINT").ok()?;
        let (name, n) = text.rsplit_once('#')?;
        Some((name.to_owned(), n.parse().ok()?))
    });
    if let Some((wanted, n)) = end
        && wanted == name
    {
        let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
        *passed = passed.saturating_add(1);
        if *passed == *n {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
            // Nothing after this point may happen while the signal is on its way.
            loop {
                std::thread::park();
            }
        }
    }
}
