//! What the benchmarks share: how one ends, quantiles, and what Linux says about a process.

pub mod process;

use std::process::ExitCode;

/// Ends a benchmark: 0 when every requirement is met, 1 when one is missed, 2 when it could not be run; `name` is how it is started.
#[must_use]
pub fn exit_code(name: &str, outcome: anyhow::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The value below which this part of `values` is, 0.5 for the median; sorts them. NaN of none.
pub fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len().saturating_sub(1) as f64 * part).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}
