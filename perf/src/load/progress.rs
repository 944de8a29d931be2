//! What a run tells while it goes on, on stderr: a bar that redraws itself on a terminal, plain lines elsewhere.
//! Takes: phases with how far they are. Gives: text.
//! Leaves out: the outcome, which goes to stdout (`report`).

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Cells of the bar.
const BAR_WIDTH: usize = 24;
/// From one plain line of the same phase to the next.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Tells on stderr.
pub struct Progress {
    form: Form,
    phase: String,
    latest_line: Option<Instant>,
    drawn: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Bar,
    Lines,
    Silent,
}

impl Progress {
    /// A bar when stderr is a terminal, else lines.
    pub fn on_stderr() -> Self {
        Self::new(if std::io::stderr().is_terminal() { Form::Bar } else { Form::Lines })
    }

    /// Tells nothing.
    pub fn silent() -> Self {
        Self::new(Form::Silent)
    }

    const fn new(form: Form) -> Self {
        Self { form, phase: String::new(), latest_line: None, drawn: false }
    }

    /// `done` of `total` of a phase is behind us; `detail` is what is known meanwhile.
    pub fn tell(&mut self, phase: &str, done: f64, total: f64, detail: &str) {
        if let Some(text) = self.text(phase, done, total, detail, Instant::now()) {
            // A stderr that is closed wants no progress.
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }

    /// Takes the bar away, so that other text may follow.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = std::io::stderr().write_all(b"\r\x1b[K");
        }
    }

    fn text(&mut self, phase: &str, done: f64, total: f64, detail: &str, now: Instant) -> Option<String> {
        match self.form {
            Form::Silent => None,
            Form::Bar => {
                self.drawn = true;
                Some(format!("\r{phase} [{}] {done:.0}/{total:.0} {detail}\x1b[K", bar(done, total)))
            }
            Form::Lines => {
                let due = self.latest_line.is_none_or(|latest| now >= latest + LINE_INTERVAL);
                if self.phase == phase && !due && done < total {
                    return None;
                }
                if self.phase == phase && self.latest_line.is_none() {
                    return None;
                }
                phase.clone_into(&mut self.phase);
                // The last line of a phase is told once.
                self.latest_line = (done < total).then_some(now);
                Some(format!("{phase}: {done:.0}/{total:.0} {detail}").trim_end().to_owned() + "\n")
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn bar(done: f64, total: f64) -> String {
    let part = if total > 0.0 { (done / total).clamp(0.0, 1.0) } else { 0.0 };
    let filled = (part * BAR_WIDTH as f64) as usize;
    "#".repeat(filled) + &"-".repeat(BAR_WIDTH - filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_redraws_its_line() {
        let mut progress = Progress::new(Form::Bar);
        let text = progress.text("10 calls, measuring", 5.0, 10.0, "CPU 12 %", Instant::now()).unwrap();
        assert_eq!(text, "\r10 calls, measuring [############------------] 5/10 CPU 12 %\x1b[K");
        progress.drawn = false;
        assert_eq!((bar(0.0, 0.0), bar(9.0, 3.0)), ("-".repeat(24), "#".repeat(24)));
    }

    #[test]
    fn lines_come_at_the_start_the_end_and_every_ten_seconds() {
        let start = Instant::now();
        let mut progress = Progress::new(Form::Lines);
        let mut told = Vec::new();
        for second in 0..=25 {
            let now = start + Duration::from_secs(second);
            told.extend(progress.text("ordering", second as f64, 25.0, "", now).map(|_| second));
        }
        assert_eq!(told, [0, 10, 20, 25]);
        let now = start + Duration::from_secs(26);
        assert_eq!(progress.text("ordering", 25.0, 25.0, "", now), None);
        assert_eq!(progress.text("measuring", 0.0, 5.0, "", now).unwrap(), "measuring: 0/5\n");
    }
}
