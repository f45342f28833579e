//! Addresses that nobody else takes, for programs that must be told where to listen before they do.
//!
//! A port that was found free on 127.0.0.1 and let go may be another test's a moment later, for its server or for the near end of a
//! connection. So each process has an address of its own in 127.0.0.0/8, and each call another port, below those that the kernel gives.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below what the kernel gives to whoever names no port.
const FIRST: u16 = 10_000;

/// An address of this process alone, another one at each call.
pub fn address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(FIRST);
    // A process id has 22 bits at most; the first of the other two keeps clear of 127.0.0.1.
    let [_, high, middle, low] = (std::process::id() | 1 << 22).to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, high, middle, low), NEXT.fetch_add(1, Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn each_is_another_and_can_be_listened_on() {
        let (one, other) = (address(), address());
        assert_ne!(one, other);
        assert!(one.ip().is_loopback() && one.ip() != Ipv4Addr::LOCALHOST);
        let _both = (TcpListener::bind(one).unwrap(), TcpListener::bind(other).unwrap());
    }
}
