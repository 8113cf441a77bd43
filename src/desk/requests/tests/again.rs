//! A request that is answered again: what was begun was taken back, and what came last counts, or what is
//! whole.

use super::*;

/// Two parts, and a little.
const BYTES: usize = 20 << 20;

/// Alice has asked; Bob answers with one film, or he answers with another.
struct Answers {
    two: Two,
    line: RequestLine,
    films: [Vec<u8>; 2],
    /// Each answer, on its way.
    streams: [Vec<u8>; 2],
}

impl Answers {
    fn new() -> Self {
        let two = Two::new();
        two.share(&["Alice"], |_| {});
        let films = [b"first", b"other"].map(|seed| {
            let mut film = vec![0; BYTES];
            blake3::Hasher::new().update(seed).finalize_xof().fill(&mut film);
            film
        });
        let line = two.ask(get("maps/film"));
        two.carry(&two.alice, &two.bob);
        // Whoever is killed in between and finds another file answers as a second Bob would.
        let Two { dir, alice, bob } = two;
        drop(bob);
        let homes = ["Bob", "Bob again"].map(|name| dir.path().join(name));
        copy(&homes[0], &homes[1]);
        let answered = |(home, film): (&PathBuf, &Vec<u8>)| {
            let bob = Desk::open(home).unwrap();
            fs::write(dir.path().join("files/film"), film).unwrap();
            assert_eq!(answer(&bob), ["files"]);
            let mut stream = Vec::new();
            bob.pack(&[], &mut stream, &Silent).unwrap();
            stream
        };
        let streams: Vec<_> = homes.iter().zip(&films).map(answered).collect();
        let bob = Desk::open(&homes[0]).unwrap();
        Self { two: Two { dir, alice, bob }, line, films, streams: streams.try_into().unwrap() }
    }

    fn take(&self, stream: &[u8]) {
        // What ends in the middle of a bundle is an error, and what came before it is taken.
        let _ = self.two.alice.unpack(&mut &stream[..], &Silent);
        self.two.alice.open_requests(&Silent).unwrap().settle_all().unwrap();
    }

    fn state(&self) -> String {
        self.two.alice.get_state(&self.line.id, &Silent).unwrap().state.into_owned()
    }

    fn is_here(&self, film: usize) {
        assert_eq!(self.state(), "here");
        let saved = self.two.save(&self.line, &self.two.dir.path().join("saved"));
        assert!(fs::read(saved).unwrap() == self.films[film], "another film");
        assert_eq!(self.two.alice.inbox(&Silent).unwrap().len(), 1);
        // Nothing of the one that was taken back is kept.
        let inbox = self.two.alice.home().spool_dir().join("inbox");
        let kept = fs::read_dir(inbox).unwrap().map(|it| it.unwrap().path());
        let kept: Vec<_> = kept.filter(|path| path.join("f0").exists()).collect();
        assert_eq!(kept.len(), 1, "{kept:?}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn what_was_begun_gives_way_to_what_comes_after_it() {
    let answers = Answers::new();
    let [first, second] = &answers.streams;
    answers.take(&first[..first.len() / 2]);
    assert_eq!(answers.state(), "arriving");
    answers.take(&second[..second.len() / 2]);
    assert_eq!(answers.state(), "arriving");
    answers.take(second);
    answers.is_here(1);
}

#[test]
fn what_is_whole_stands_whatever_comes_late() {
    let answers = Answers::new();
    let [first, second] = &answers.streams;
    answers.take(second);
    assert_eq!(answers.state(), "here");
    answers.take(&first[..first.len() / 2]);
    assert_eq!(answers.state(), "here");
    let message = |answers: &Answers| {
        answers.two.alice.get_state(&answers.line.id, &Silent).unwrap().message.unwrap()
    };
    let stood = message(&answers);
    answers.take(first);
    assert_eq!(message(&answers), stood);
    assert_eq!(answers.state(), "here");
}

#[test]
fn what_comes_late_by_another_road_and_never_whole_hides_nothing() {
    let answers = Answers::new();
    let [first, second] = &answers.streams;
    answers.take(&second[..second.len() / 2]);
    answers.take(&first[..first.len() / 2]);
    answers.take(second);
    answers.is_here(1);
}
