//! `pd bench`

use std::ffi::OsString;
use std::time::Duration;

use serde_json::json;

use crate::app::App;
use crate::bench::{self, Bench, FIGURES, Figure};
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape};

/// Measure what calls cost on this machine
///
/// On a database of its own in a directory beside yours, on the same disk, which is removed afterwards; yours isn't
/// opened. Calls are those of a program that keeps the library open: pd itself adds the start of a process. --json names
/// each figure with its unit: p50_us, p99_us and worst_us in microseconds, per_second of all processes together, null where
/// the benchmark pauses between calls. -q prints these four behind each name, and a dash for null.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd bench
  pd bench --seconds 30
  pd bench --json | jq '.figures[] | {name, p50_us}'
  pd bench -q --db /mnt/other-disk/port-daddy.db")]
pub(crate) struct Args {
    /// How long to measure, in all
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,
    #[arg(long, hide = true, num_args = 1..)]
    role: Vec<OsString>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "it is a number of seconds from 0.1 to 3600".to_owned())
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    if !args.role.is_empty() {
        bench::play(&args.role, app.options(), &mut app.ui)?;
        return Ok(DONE);
    }
    let database = app.options().database()?;
    let bench = Bench::beside(&database)?;
    let dir = bench.dir().display().to_string();
    app.ui.status(format_args!("Measuring for about {} s in {}", args.seconds, escape(&dir)));
    let each = Duration::from_secs_f64(args.seconds / FIGURES.len() as f64);
    let mut figures = Vec::new();
    for (n, figure) in FIGURES.into_iter().enumerate() {
        app.ui.status(format_args!("{}/{} {}", n + 1, FIGURES.len(), figure.1));
        figures.push(bench.measure(figure, each)?);
    }
    let document = json!({ "dir": dir, "seconds": args.seconds, "figures": figures });
    let bare: Vec<_> = figures.iter().map(bare).collect();
    app.ui.answer(&document, &bare.join("\n"), |out| {
        writeln!(out, "{:50} {:>11} {:>11} {:>11} {:>9}", "", "p50", "p99", "worst", "per s")?;
        figures.iter().try_for_each(|figure| {
            let [p50, p99, worst] = [figure.p50_us, figure.p99_us, figure.worst_us].map(time);
            writeln!(out, "{:50} {p50:>11} {p99:>11} {worst:>11} {:>9}", figure.what, rate(figure))
        })
    })?;
    Ok(DONE)
}

fn bare(figure: &Figure) -> String {
    format!("{} {} {} {} {}", figure.name, figure.p50_us, figure.p99_us, figure.worst_us, rate(figure))
}

fn rate(figure: &Figure) -> String {
    figure.per_second.map_or("-".to_owned(), |rate| rate.to_string())
}

/// With three digits at least, in the unit that people read them in.
fn time(us: f64) -> String {
    match us {
        0.0..100.0 => format!("{us:.1} µs"),
        100.0..10_000.0 => format!("{us:.0} µs"),
        10_000.0..1_000_000.0 => format!("{:.1} ms", us / 1e3),
        _ => format!("{:.1} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_are_short_to_read() {
        assert_eq!([9.24, 187.0, 4321.9, 34_600.0, 2e6].map(time), ["9.2 µs", "187 µs", "4322 µs", "34.6 ms", "2.0 s"]);
    }
}
