//! The postrider command. Everything is in [`postrider::cli`]: a program without a library behind it
//! could not be tested.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    postrider::cli::run()
}
