//! How far something is that takes long: on standard error, where that is a terminal and a person
//! reads the results. Nobody else gets a byte of it.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::output::Output;

/// Work whose parts are counted. It leaves nothing on the terminal when it ends, however it ends.
#[derive(Debug, Clone)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Begins `work`. How many parts it has is told later.
    pub(crate) fn begin(out: &Output, work: &'static str) -> Self {
        Self::drawn_on(target(out.shows_progress()), work)
    }

    /// Of work whose result itself goes where progress would be drawn.
    pub(crate) fn unseen() -> Self {
        Self(ProgressBar::hidden())
    }

    fn drawn_on(target: ProgressDrawTarget, work: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, target)
            .with_message(work)
            .with_style(style(BEGUN))
            .with_finish(ProgressFinish::AndClear);
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// `done` parts of `all` are done.
    pub(crate) fn at(&self, done: u64, all: u64) {
        if self.0.length() != Some(all) {
            self.0.set_style(style(COUNTED));
            self.0.set_length(all);
        }
        self.0.set_position(done);
    }

    /// It is over, well or not.
    pub(crate) fn end(self) {
        self.0.finish_and_clear();
    }
}

/// Waits for `work`. Where that takes longer than a moment, a person is told what is waited for.
pub(crate) async fn waiting<T>(
    out: &Output,
    what: &'static str,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    if let Ok(done) = tokio::time::timeout(A_MOMENT, work.as_mut()).await {
        return done;
    }
    let progress = Progress::begin(out, what);
    progress.0.set_style(style(WAITED_FOR));
    let done = work.await;
    progress.end();
    done
}

fn target(shown: bool) -> ProgressDrawTarget {
    if shown {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    }
}

/// A template that is none leaves the library's own; the tests look at ours.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

const BEGUN: &str = "{spinner} {msg}";
const COUNTED: &str = "{msg} {wide_bar} {human_pos} of {human_len}, {eta} to go";
const WAITED_FOR: &str = "{spinner} {msg}, {elapsed} so far";
const TICK: Duration = Duration::from_millis(100);
const A_MOMENT: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;
    use crate::output::{ColorWhen, Format};

    /// A terminal that keeps what is written to it.
    #[derive(Debug, Clone, Default)]
    struct Screen(Arc<Mutex<String>>);

    impl Screen {
        fn text(&self) -> String {
            self.0.lock().unwrap().clone()
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, line: &str) -> io::Result<()> {
            self.write_str(line)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.0.lock().unwrap().clear();
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_terminal_shows_how_far_it_is_and_nothing_once_it_is_over() {
        let screen = Screen::default();
        let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
        let progress = Progress::drawn_on(target, "reading the log");
        progress.at(1_000, 4_000);
        progress.0.force_draw();
        let text = screen.text();
        assert!(text.contains("reading the log"), "{text:?}");
        assert!(text.contains("1,000 of 4,000"), "{text:?}");
        progress.end();
        assert_eq!(screen.text().trim(), "");
    }

    #[test]
    fn what_is_no_terminal_gets_no_byte() {
        // Tests may well run on a terminal: what decides is what `Output` found.
        for (format, terminal, shown) in [
            (Format::Text, true, true),
            (Format::Text, false, false),
            (Format::Json, true, false),
            (Format::Json, false, false),
        ] {
            let out = Output::on(format, ColorWhen::Auto, false, [terminal, terminal]);
            assert_eq!(out.shows_progress(), shown, "{format:?} {terminal}");
        }
        let progress = Progress::drawn_on(target(false), "reading the log");
        progress.at(1, 2);
        assert!(progress.0.is_hidden());
    }

    #[test]
    fn every_template_is_one() {
        for template in [BEGUN, COUNTED, WAITED_FOR] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
