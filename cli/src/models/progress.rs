//! How far a long transfer is: a bar on a terminal, a line now and then elsewhere. Always on stderr.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::note;

/// Between two plain lines, at least this long: enough for a log to show life, not to fill it.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes of one transfer.
pub struct ByteProgress {
    bar: ProgressBar,
    plain: bool,
    label: String,
    total: u64,
    last_line: Cell<Instant>,
}

impl ByteProgress {
    /// Starts at 0 of `total` bytes (0 = unknown).
    pub fn new(label: &str, total: u64) -> Self {
        let plain = !std::io::stderr().is_terminal();
        let target = if plain {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target((total > 0).then_some(total), target);
        let template = "{msg} [{bar:28}] {bytes}/{total_bytes}  {bytes_per_sec}  {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(label.to_owned());
        ByteProgress {
            bar,
            plain,
            label: label.to_owned(),
            total,
            last_line: Cell::new(Instant::now()),
        }
    }

    /// Says that `bytes` of the total are there.
    pub fn set(&self, bytes: u64) {
        self.bar.set_position(bytes);
        if self.plain && self.last_line.get().elapsed() >= PLAIN_INTERVAL {
            self.last_line.set(Instant::now());
            match bytes.saturating_mul(100).checked_div(self.total) {
                Some(percent) => note(&format!(
                    "{}: {} of {} ({percent} %)",
                    self.label,
                    size(bytes),
                    size(self.total)
                )),
                None => note(&format!("{}: {}", self.label, size(bytes))),
            }
        }
    }

    /// Takes the bar away; the caller says how it ended.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Bytes for people: decimal units, two significant places, e.g. `1.1 GB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_read_like_a_download_page() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1_229, "1.2 kB"),
            (98_362_432, "98.4 MB"),
            (1_117_320_768, "1.1 GB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(size(bytes), expected);
        }
    }
}
