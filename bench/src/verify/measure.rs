//! Measures something beside its floor: in turns, in the same run, in processor time of this very thread.
//!
//! A shared machine slows down and speeds up by a third from one second to the next. Floor and subject of one round meet the same machine,
//! so the ratio of a round stays, and the median of many rounds leaves out those that were disturbed.

use nix::time::{ClockId, clock_gettime};
use slipway_bench::quantile;
use std::time::Duration;

/// What a measurement found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio {
    /// Median time of the floor.
    pub(crate) floor: Duration,
    /// Median time of the subject.
    pub(crate) subject: Duration,
    /// Median of the rounds' ratios.
    pub(crate) median: f64,
    /// The tenth and the ninetieth of a hundred rounds.
    pub(crate) spread: (f64, f64),
}

/// Runs `floor` and `subject` in turns, each first in every other round, `rounds` times after a tenth as many that are not counted.
pub(crate) fn side_by_side(rounds: usize, mut floor: impl FnMut(), mut subject: impl FnMut()) -> nix::Result<Ratio> {
    let (mut floors, mut subjects, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let warm_up = rounds / 10 + 1;
    for round in 0..rounds + warm_up {
        let (of_floor, of_subject) = if round % 2 == 0 {
            let of_floor = timed(&mut floor)?;
            (of_floor, timed(&mut subject)?)
        } else {
            let of_subject = timed(&mut subject)?;
            (timed(&mut floor)?, of_subject)
        };
        if round >= warm_up {
            floors.push(of_floor);
            subjects.push(of_subject);
            ratios.push(of_subject / of_floor);
        }
    }
    let spread = (quantile(&mut ratios, 0.1), quantile(&mut ratios, 0.9));
    Ok(Ratio {
        floor: Duration::from_secs_f64(quantile(&mut floors, 0.5)),
        subject: Duration::from_secs_f64(quantile(&mut subjects, 0.5)),
        median: quantile(&mut ratios, 0.5),
        spread,
    })
}

/// Processor seconds of this thread that `work` takes.
fn timed(work: &mut impl FnMut()) -> nix::Result<f64> {
    let now = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    let before = now()?;
    work();
    Ok(now()?.saturating_sub(before).as_secs_f64())
}
