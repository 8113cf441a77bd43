//! Progress on standard error: only on a terminal, only for work that takes over a second.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    output::{Form, Loudness},
    text,
};
use crate::desk::{Event, Unit, Watch};

/// Shorter work shows no bar: it would only flicker.
const PATIENCE: Duration = Duration::from_secs(1);

/// Watches a desk at work.
#[derive(Debug)]
pub(super) struct Progress {
    bars: bool,
    form: Form,
    loudness: Loudness,
    /// What is under way, the innermost last.
    work: Mutex<Vec<Work>>,
}

#[derive(Debug)]
struct Work {
    what: String,
    total: Option<u64>,
    unit: Unit,
    done: u64,
    since: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new(form: Form, loudness: Loudness, wanted: bool) -> Self {
        let bars = wanted && loudness > Loudness::Quiet && io::stderr().is_terminal();
        Self { bars, form, loudness, work: Mutex::new(Vec::new()) }
    }

    /// A line beside the bar, which would otherwise be drawn into it.
    fn line(&self, line: &str) {
        let work = self.lock();
        let print = || {
            // Without standard error there is nobody to tell.
            let _ = writeln!(io::stderr().lock(), "{line}");
        };
        match work.iter().rev().find_map(|work| work.bar.as_ref()) {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// A thread that panicked while drawing has left nothing that matters.
    fn lock(&self) -> MutexGuard<'_, Vec<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Progress {
    fn event(&self, event: Event) {
        match event {
            Event::Begin { what, total, unit } => {
                let since = Instant::now();
                self.lock().push(Work { what, total, unit, done: 0, since, bar: None });
            }
            Event::Advance(n) => {
                if let Some(work) = self.lock().last_mut() {
                    work.done = work.done.saturating_add(n);
                    if self.bars {
                        work.draw();
                    }
                }
            }
            Event::End => {
                if let Some(bar) = self.lock().pop().and_then(|work| work.bar) {
                    bar.finish_and_clear();
                }
            }
            Event::Waiting if self.loudness > Loudness::Quiet => {
                self.line("another postrider process is using this home: waiting for it to finish");
            }
            // A program reads standard output; on its standard error only what calls for action.
            Event::Note(note) if self.loudness > Loudness::Quiet && self.form == Form::Human => {
                self.line(&text::line(&note));
            }
            Event::Warn(warning) => self.line(&format!("warning: {}", text::line(&warning))),
            Event::Waiting | Event::Note(_) => {}
        }
    }
}

impl Work {
    fn draw(&mut self) {
        if self.bar.is_none() && self.since.elapsed() >= PATIENCE {
            let bar = match self.total {
                Some(total) => ProgressBar::new(total),
                None => ProgressBar::no_length(),
            };
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
            bar.set_style(style(self.unit, self.total.is_some()));
            bar.set_message(text::line(&self.what));
            // The rate counts from when the work began, not from when it was first drawn.
            self.bar = Some(bar.with_elapsed(self.since.elapsed()));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
    }
}

fn style(unit: Unit, total_known: bool) -> ProgressStyle {
    ProgressStyle::with_template(template(unit, total_known))
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn template(unit: Unit, total_known: bool) -> &'static str {
    match (unit, total_known) {
        (Unit::Bytes, true) => {
            "{wide_msg} {bytes}/{total_bytes} {percent:>3}% {bytes_per_sec} {eta}"
        }
        (Unit::Bytes, false) => "{wide_msg} {bytes} {bytes_per_sec}",
        (Unit::Items, true) => "{wide_msg} {pos}/{len} {percent:>3}% {per_sec} {eta}",
        (Unit::Items, false) => "{wide_msg} {pos} {per_sec}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_can_be_drawn() {
        for unit in [Unit::Bytes, Unit::Items] {
            for known in [true, false] {
                assert!(ProgressStyle::with_template(template(unit, known)).is_ok());
            }
        }
    }

    #[test]
    fn nested_work_counts_for_the_innermost() {
        let progress = Progress::new(Form::Human, Loudness::Quiet, true);
        let begin = |what: &str| Event::Begin { what: what.into(), total: None, unit: Unit::Items };
        progress.event(begin("outer"));
        progress.event(Event::Advance(1));
        progress.event(begin("inner"));
        progress.event(Event::Advance(5));
        progress.event(Event::End);
        progress.event(Event::Advance(1));
        assert_eq!(progress.lock().last().map(|work| work.done), Some(2));
        progress.event(Event::End);
        progress.event(Event::End);
        assert!(progress.lock().is_empty());
    }
}
