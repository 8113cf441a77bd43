//! One file, and several who may have it: who is asked when, and what is sent how often.

use std::time::Duration;

use postrider_spool::Spool;

use super::*;
use crate::desk::{
    inbox::note_keys,
    ledger::{set_note, space},
    requests::notes::SourcesNote,
};

/// Alice asks; Bob may have it, or Carol, or Dave.
struct Several {
    two: Two,
    carol: Desk,
    dave: Desk,
}

/// More than two parts.
const BYTES: usize = 20 << 20;

impl Several {
    fn new() -> Self {
        let two = Two::new();
        let node = |name: &str| {
            let home = two.dir.path().join(name);
            let request = InitRequest { home, name: Some(name.into()), even_if_public: false };
            let desk = Desk::init(&request).unwrap().0;
            for (one, other) in [(&two.alice, &desk), (&desk, &two.alice)] {
                one.add(&AddRequest { card: other.home().card.clone(), name: None }).unwrap();
            }
            desk
        };
        let (carol, dave) = (node("Carol"), node("Dave"));
        let several = Self { two, carol, dave };
        several.two.share(&["Alice"], |_| {});
        for (desk, name) in [(&several.carol, "carols"), (&several.dave, "daves")] {
            let path = several.two.dir.path().join(name);
            fs::create_dir(&path).unwrap();
            let (name, who) = ("maps".into(), Some(vec!["Alice".into()]));
            desk.share(&ShareRequest { name, path, who, ..ShareRequest::default() }).unwrap();
        }
        several
    }

    /// Bob has it; so do others, in directories of these names.
    fn film(&self, also: &[&str]) -> Vec<u8> {
        let mut film = vec![0; BYTES];
        blake3::Hasher::new().finalize_xof().fill(&mut film);
        fs::write(self.two.files().join("film"), &film).unwrap();
        for name in also {
            fs::write(self.two.dir.path().join(name).join("film"), &film).unwrap();
        }
        film
    }

    fn ask(&self, path: &str, patience: Option<Duration>) -> RequestLine {
        let to = ["Bob", "Carol", "bob", "Dave"].map(Into::into).to_vec();
        self.two.alice.get(&GetRequest { to, patience, ..get(path) }, &Silent).unwrap()
    }

    fn state(&self, line: &RequestLine) -> RequestLine {
        self.two.alice.get_state(&line.id, &Silent).unwrap()
    }

    /// How each of them stands.
    fn each(&self, line: &RequestLine) -> String {
        let sources = self.state(line).sources;
        let each = sources
            .iter()
            .map(|it| format!("{} {}", it.to, it.why.clone().unwrap_or_else(|| it.state.clone())));
        each.collect::<Vec<_>>().join(", ")
    }

    /// What is asked goes to one of them, who answers; the answer is at the end of a way.
    fn answer_of(&self, source: &Desk) -> Vec<u8> {
        self.two.carry(&self.two.alice, source);
        answer(source);
        let mut stream = Vec::new();
        source.pack(&[], &mut stream, &Silent).unwrap();
        stream
    }

    /// As much of a stream as there is comes.
    fn take(&self, stream: &[u8]) {
        // What ends in the middle of a bundle is an error, and what came before it is taken.
        let _ = self.two.alice.unpack(&mut &stream[..], &Silent);
        let requests = self.two.alice.open_requests(&Silent).unwrap();
        requests.settle_all().unwrap();
    }

    /// As much time as anybody has patience for passes.
    fn pass(&self) {
        self.patience(0);
        for _ in 0..2 {
            self.two.alice.advance_gets(&|_| false, &Silent).unwrap();
        }
        self.patience(3_600_000);
    }

    fn patience(&self, ms: u64) {
        let spool = self.two.alice.spool(&Silent).unwrap();
        for key in note_keys(spool, space::SOURCES).unwrap() {
            let note = spool.note(space::SOURCES, &key).unwrap().unwrap();
            let mut note = SourcesNote::read(&note).unwrap();
            note.2 = ms;
            let changes = vec![set_note(space::SOURCES, &key, note.encode())];
            spool.commit(crate::desk::clock::now(), changes).unwrap();
        }
    }

    fn inbox(&self) -> usize {
        self.two.alice.inbox(&Silent).unwrap().len()
    }

    fn saved(&self, line: &RequestLine) -> Vec<u8> {
        fs::read(self.two.save(line, &self.two.dir.path().join("saved"))).unwrap()
    }
}

#[test]
fn the_next_is_asked_when_the_one_before_has_not_got_it() {
    let several = Several::new();
    fs::write(several.two.dir.path().join("daves/only"), "Dave's").unwrap();
    let line = several.ask("maps/only", None);
    assert_eq!(several.each(&line), "Bob saved, Carol unasked, Dave unasked");
    for _ in 0..2 {
        several.two.alice.advance_gets(&|_| false, &Silent).unwrap();
    }
    assert_eq!(several.each(&line), "Bob saved, Carol unasked, Dave unasked", "nobody is hasty");
    several.take(&several.answer_of(&several.two.bob));
    assert_eq!(several.each(&line), "Bob not-found, Carol saved, Dave unasked");
    several.take(&several.answer_of(&several.carol));
    several.take(&several.answer_of(&several.dave));
    assert_eq!(several.each(&line), "Bob not-found, Carol not-found, Dave here");
    assert_eq!(several.saved(&line), b"Dave's");
    assert_eq!(several.two.alice.gets(&Silent).unwrap().len(), 1, "one get, one line");
}

#[test]
fn nobody_else_is_asked_once_one_has_sent_it() {
    let several = Several::new();
    let line = several.ask("maps/plan.txt", None);
    several.take(&several.answer_of(&several.two.bob));
    several.pass();
    assert_eq!(several.each(&line), "", "there is but one");
    assert_eq!(several.saved(&line), b"the plan");
}

/// Who is to be asked is in the spool: a node that ends forgets nobody.
#[test]
fn the_next_is_asked_by_a_node_that_has_been_off() {
    let several = Several::new();
    let line = several.ask("maps/none", None);
    let answer = several.answer_of(&several.two.bob);
    let Several { two: Two { dir, alice, bob }, carol, dave } = several;
    drop(alice);
    let alice = Desk::open(&dir.path().join("Alice")).unwrap();
    let several = Several { two: Two { dir, alice, bob }, carol, dave };
    several.take(&answer);
    assert_eq!(several.each(&line), "Bob not-found, Carol saved, Dave unasked");
}

#[test]
fn patience_is_short_only_where_the_next_is_near_and_the_other_is_not() {
    let several = Several::new();
    let line = several.ask("maps/plan.txt", Some(Duration::from_secs(3600)));
    let [bob, carol] = [&several.two.bob, &several.carol].map(|it| it.home().card.node);
    let look = |near: &[postrider_base::NodeId]| {
        for _ in 0..2 {
            several.two.alice.advance_gets(&|node| near.contains(node), &Silent).unwrap();
        }
    };
    for near in [&[][..], &[bob], &[bob, carol], &[carol]] {
        look(near);
        assert_eq!(several.each(&line), "Bob saved, Carol unasked, Dave unasked", "at once");
    }
}

/// The case, by hand: what had come of the first is not sent again, and the file is one.
#[test]
fn what_the_first_did_not_send_comes_from_the_next() {
    let several = Several::new();
    let film = several.film(&["carols"]);
    let line = several.ask("maps/film", None);
    let bobs = several.answer_of(&several.two.bob);
    several.take(&bobs[..bobs.len() / 2]);
    assert_eq!(several.state(&line).state, "arriving");
    several.pass();
    assert_eq!(several.each(&line), "Bob arriving, Carol saved, Dave unasked");
    let carols = several.answer_of(&several.carol);
    let sent = bobs.len() / 2 + carols.len();
    assert!(sent < BYTES + (8 << 20) + (64 << 10), "{sent}");
    several.take(&carols);
    assert_eq!(several.each(&line), "Bob here, Carol used");
    assert_eq!(several.inbox(), 1);
    // The rest is not kept twice: of what Carol sent nothing is left but its place in the file.
    let inbox = several.two.alice.home().spool_dir().join("inbox");
    let kept = fs::read_dir(inbox).unwrap().map(|it| it.unwrap().path());
    let kept: Vec<_> = kept.filter(|path| path.join("f0").exists()).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(several.saved(&line) == film);
    // Bob is back: his parts are over, by the receipt of the whole.
    several.two.carry(&several.two.alice, &several.two.bob);
    let mut left = Vec::new();
    several.two.bob.pack(&[], &mut left, &Silent).unwrap();
    assert!(left.len() < 64 << 10, "{} bytes of it are still on their way", left.len());
    // What had left comes late, and changes nothing.
    several.take(&bobs);
    assert_eq!((several.inbox(), several.each(&line)), (1, "Bob here, Carol used".into()));
}

#[test]
fn when_the_first_comes_back_before_the_next_has_sent_it_there_is_one_file() {
    let several = Several::new();
    let film = several.film(&["carols"]);
    let line = several.ask("maps/film", None);
    let bobs = several.answer_of(&several.two.bob);
    several.take(&bobs[..bobs.len() / 2]);
    several.pass();
    let carols = several.answer_of(&several.carol);
    several.take(&bobs);
    assert_eq!(several.state(&line).state, "here");
    several.take(&carols);
    assert_eq!((several.inbox(), several.each(&line)), (1, "Bob here, Carol used".into()));
    assert!(several.saved(&line) == film);
}

#[test]
fn three_sources_that_each_go_away_make_one_file() {
    let several = Several::new();
    let film = several.film(&["carols", "daves"]);
    let line = several.ask("maps/film", None);
    let bobs = several.answer_of(&several.two.bob);
    several.take(&bobs[..bobs.len() / 2]);
    several.pass();
    let carols = several.answer_of(&several.carol);
    several.take(&carols[..carols.len() * 3 / 4]);
    several.pass();
    several.take(&several.answer_of(&several.dave));
    assert_eq!(several.state(&line).state, "here", "{}", several.each(&line));
    assert!(several.saved(&line) == film);
    assert_eq!(several.inbox(), 1);
}

#[test]
fn another_file_under_that_name_comes_as_a_file_of_its_own_and_that_is_said() {
    let several = Several::new();
    several.film(&[]);
    fs::write(several.two.dir.path().join("carols/film"), "another").unwrap();
    let line = several.ask("maps/film", None);
    let bobs = several.answer_of(&several.two.bob);
    several.take(&bobs[..bobs.len() / 2]);
    several.pass();
    several.take(&several.answer_of(&several.carol));
    let state = several.state(&line);
    assert_eq!((&*state.state, &*state.to, state.other), ("here", "Carol", true));
    assert_eq!(several.saved(&line), b"another");
}

/// Carol says that her file is the one, and sends something else: it never gets into the file.
#[test]
fn bytes_that_are_no_part_of_the_file_are_not_put_into_it() {
    let several = Several::new();
    let film = several.film(&["carols"]);
    let line = several.ask("maps/film", None);
    let bobs = several.answer_of(&several.two.bob);
    several.take(&bobs[..bobs.len() / 2]);
    several.pass();
    let asked = several.two.alice.open_requests(&Silent).unwrap();
    let members = asked.members(asked.first_of(line.id.parse_id()).unwrap()).unwrap();
    let (_, request) = asked.asked_note(members[1]).unwrap();
    let postrider_base::packet::Request::Rest { ranges, .. } = request else { panic!() };
    let total: u64 = ranges.iter().map(|range| range.1).sum();
    let forged = several.two.dir.path().join("forged");
    fs::write(&forged, vec![7; usize::try_from(total).unwrap()]).unwrap();
    let letter = crate::desk::SendRequest {
        to: "Alice".into(),
        text: Some("what you lack".into()),
        files: vec![forged],
        nice: None,
        lifetime: None,
        hidden: None,
        reply_to: Some(members[1]),
        supersede: None,
    };
    several.carol.send(&letter, &Silent).unwrap();
    let mut stream = Vec::new();
    several.carol.pack(&[], &mut stream, &Silent).unwrap();
    let before = several.state(&line).parts;
    several.take(&stream);
    assert_eq!(several.each(&line), "Bob arriving, Carol other, Dave saved");
    assert_eq!(several.state(&line).parts, before, "none of it counts");
    several.take(&bobs);
    assert!(several.saved(&line) == film);
}

/// A stick brings the second's answer when the first's is here already.
#[test]
fn two_whole_answers_are_one_file_once() {
    let several = Several::new();
    fs::write(several.two.dir.path().join("carols/plan.txt"), "the plan").unwrap();
    let line = several.ask("maps/plan.txt", None);
    several.pass();
    let (bobs, carols) = (several.answer_of(&several.two.bob), several.answer_of(&several.carol));
    several.take(&bobs);
    several.take(&carols);
    assert_eq!((several.inbox(), several.each(&line)), (1, "Bob here, Carol here".into()));
    assert_eq!(several.two.alice.gets(&Silent).unwrap().len(), 1);
}

#[test]
fn who_calls_it_back_means_all_of_it() {
    let several = Several::new();
    let line = several.ask("maps/plan.txt", None);
    several.two.alice.cancel(&line.id, &Silent).unwrap();
    several.pass();
    assert_eq!(several.each(&line), "");
    assert_eq!(several.state(&line).state, "cancelled");
}
