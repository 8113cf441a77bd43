//! People with homes, and sticks.

use std::{
    fs,
    path::{Path, PathBuf},
};

use postrider::desk::{
    AddRequest, Desk, Failure, InitRequest, SendRequest, Silent, TossDirection, TossRequest,
    reply::{Received, Sent, Tossed},
};

pub struct Town {
    pub dir: tempfile::TempDir,
}

impl Town {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A node that knows nobody.
    pub fn node(&self, name: &str) -> Desk {
        let home = self.path(name);
        let request = InitRequest { home, name: Some(name.into()), even_if_public: false };
        let desk = Desk::init(&request).unwrap().0;
        // A daemon in a test must not touch the sticks and networks of the machine it runs on.
        let desk = self.set(desk, "media = true", "media = false");
        self.set(desk, "ygg = true", "ygg = false")
    }

    /// The same home with another line in its settings.
    pub fn set(&self, desk: Desk, from: &str, to: &str) -> Desk {
        let path = desk.home().dir().join("config.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
        self.again(desk)
    }

    /// The same home, opened by another process.
    pub fn again(&self, desk: Desk) -> Desk {
        let home = desk.home().dir().to_owned();
        drop(desk);
        Desk::open(&home).unwrap()
    }

    pub fn stick(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// A file of bytes that no compression shortens, different for every seed.
    pub fn file(&self, name: &str, bytes: usize, seed: u8) -> PathBuf {
        let path = self.path(name);
        let mut content = vec![0; bytes];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut content);
        fs::write(&path, content).unwrap();
        path
    }
}

pub fn know_each_other(a: &Desk, b: &Desk) {
    for (desk, other) in [(a, b), (b, a)] {
        let card = other.home().card.clone();
        desk.add(&AddRequest { card, name: None }).unwrap();
    }
}

pub fn letter(to: &str, text: &str) -> SendRequest {
    SendRequest {
        to: to.into(),
        text: Some(text.into()),
        files: vec![],
        nice: None,
        lifetime: None,
        hidden: None,
        reply_to: None,
        supersede: None,
    }
}

pub fn send(desk: &Desk, to: &str, text: &str) -> Sent {
    desk.send(&letter(to, text), &Silent).unwrap()
}

pub fn send_file(desk: &Desk, to: &str, file: &Path) -> Sent {
    let request = SendRequest { text: None, files: vec![file.to_owned()], ..letter(to, "") };
    desk.send(&request, &Silent).unwrap()
}

pub fn request(stick: &Path, direction: TossDirection) -> TossRequest {
    TossRequest {
        path: stick.to_owned(),
        direction,
        dry_run: false,
        budget: None,
        init: false,
        with_card: false,
    }
}

pub fn try_toss(desk: &Desk, stick: &Path) -> Result<Tossed, Failure> {
    desk.toss(&request(stick, TossDirection::Both), &Silent)
}

pub fn toss(desk: &Desk, stick: &Path) -> Tossed {
    try_toss(desk, stick).unwrap()
}

pub fn inbox(desk: &Desk) -> Vec<Received> {
    desk.inbox(&Silent).unwrap()
}

pub fn texts(desk: &Desk) -> Vec<String> {
    let mut texts: Vec<String> = inbox(desk).into_iter().map(|message| message.text).collect();
    texts.sort();
    texts
}

pub fn state(desk: &Desk, sent: &Sent) -> String {
    desk.sent_state(&sent.id, &Silent).unwrap().state.into_owned()
}

/// The containers on a stick.
pub fn containers(stick: &Path) -> Vec<PathBuf> {
    let Ok(listed) = fs::read_dir(stick.join("POSTRIDER/C")) else { return Vec::new() };
    let mut found: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// Everything on a stick: path and bytes.
pub fn all_files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}
