//! Writes the valid inputs of every target to `corpus/NAME/`, where cargo-fuzz looks for them.

use std::{fs, io, path::Path};

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, _, _, seeds) in postrider_fuzz::BODIES {
        let dir = corpus.join(name);
        fs::create_dir_all(&dir)?;
        for (n, seed) in seeds().iter().enumerate() {
            fs::write(dir.join(format!("seed-{n}")), seed)?;
        }
    }
    Ok(())
}
