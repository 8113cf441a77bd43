//! How a verb ends when it does not end well: what happened, why, what to do next.

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use super::{
    output::{Form, paint, write_object},
    text,
};
use crate::desk::{Failure, FailureKind, reply::ErrorLine};

/// Why a verb stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// It failed.
    Failure(Failure),
    /// Whoever reads our output has seen enough. Nothing is wrong.
    Closed,
}

/// The desk writes streams (`pack`, `demo`) to our standard output; nothing else it writes to is a
/// pipe.
impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        let mut cause = failure.source();
        while let Some(error) = cause {
            let io = error.downcast_ref::<io::Error>();
            if io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                return Self::Closed;
            }
            cause = error.source();
        }
        Self::Failure(failure)
    }
}

/// An error of standard output; errors of files become failures where they happen.
impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        let full = error.kind() == io::ErrorKind::StorageFull;
        let kind = if full { FailureKind::Full } else { FailureKind::Failed };
        Self::Failure(
            Failure::new(kind, "the output could not be written")
                .next("what was asked for may have been done: postrider status")
                .because(error),
        )
    }
}

impl Stop {
    /// Tells it, and the exit code.
    pub(super) fn tell(self, form: Form, colors: bool) -> ExitCode {
        match self {
            Self::Closed => ExitCode::SUCCESS,
            Self::Failure(failure) => {
                // The failure counts, whether or not anybody can be told.
                let _ = tell(&failure, form, colors);
                ExitCode::from(failure.kind.exit_code())
            }
        }
    }
}

/// Tells a failure to a person on standard error, or to a program on standard output.
pub(super) fn tell(failure: &Failure, form: Form, colors: bool) -> Result<(), Stop> {
    if form == Form::Json {
        return object(failure);
    }
    let mut message =
        format!("{} {}\n", paint("error:", "1;31", colors), text::line(&failure.what));
    for cause in failure.causes() {
        // A failure that only repeats its cause needs no second line.
        if cause != failure.what {
            message.push_str(&format!("  because: {}\n", text::line(&cause)));
        }
    }
    if let Some(next) = &failure.next {
        message.push_str(&format!("  next: {}\n", text::line(next)));
    }
    Ok(io::stderr().lock().write_all(message.as_bytes())?)
}

/// A failure as a line of JSON on standard output.
pub(super) fn object(failure: &Failure) -> Result<(), Stop> {
    write_object(&ErrorLine::from(failure))
}

/// A failure that has no kind of its own in the desk, under another code.
pub(super) fn object_with_code(code: &str, what: &str, next: &str) -> Result<(), Stop> {
    let (code, what, next) = (code.to_owned(), what.to_owned(), Some(next.to_owned()));
    write_object(&ErrorLine { code, what, because: Vec::new(), next })
}

/// The command line is wrong.
pub(super) fn usage(what: impl Into<String>, next: impl Into<String>) -> Stop {
    Stop::Failure(Failure::new(FailureKind::Usage, what).next(next))
}
