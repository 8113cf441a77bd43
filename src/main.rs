//! The postrider command.
fn main() {
    if let Err(failure) = postrider::demo::run(&mut std::io::stdout()) {
        eprintln!("error: {failure} {:?}", failure.causes());
        std::process::exit(1);
    }
}
