//! The smallest host for edgecore's stand-in: see `slipway_testkit::edgecore`.
#![expect(clippy::print_stderr, reason = "a program that explains itself")]

fn main() {
    slipway_testkit::edgecore::main_if_standin();
    eprintln!("This program is only the host of edgecore's stand-in: give it dials with slipway_testkit::edgecore::payload.");
    std::process::exit(64);
}
