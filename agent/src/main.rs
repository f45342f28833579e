//! The agent's program; everything is in the library.

fn main() -> std::process::ExitCode {
    slipway_agent::cli::main(std::env::args_os().skip(1))
}
