//! Runs over fleets between desks, reopened at each step: nobody is sent to twice, and nobody forgotten.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use postrider_base::{
    BundleId,
    packet::{Answer, Body, Fleet, JobResult, Said, State, Then},
};
use postrider_spool::Spool;

use super::{
    FleetRequest, Share,
    plan::{Back, Stop},
};
use crate::desk::{
    AddRequest, ContactChange, Desk, FailureKind, InitRequest, RunRequest, Silent, clock,
    inbox::note_keys,
    introduce::letter,
    jobs::WordNote,
    ledger::space,
    reply::{FleetLine, JobLine},
    send::Small,
};

struct World {
    dir: tempfile::TempDir,
    targets: Vec<Desk>,
}

impl World {
    /// Alice, and pumps that she calls P0, P1… under the label pumps.
    fn new(pumps: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let alice = person(dir.path(), "Alice");
        let targets: Vec<Desk> = (0..pumps).map(|n| person(dir.path(), &format!("P{n}"))).collect();
        for (n, target) in targets.iter().enumerate() {
            let card = |desk: &Desk| AddRequest { card: desk.home().card.clone(), name: None };
            alice.add(&card(target)).unwrap();
            target.add(&card(&alice)).unwrap();
            let labels = ContactChange::Labels(vec!["pumps".into()]);
            alice.change_contact(&format!("P{n}"), &labels).unwrap();
        }
        Self { dir, targets }
    }

    /// Alice after whatever has happened: only what is durable is known.
    fn alice(&self) -> Desk {
        Desk::open(&self.dir.path().join("Alice")).unwrap()
    }

    fn run(&self, canary: u32, failures: u32) -> FleetLine {
        self.alice().run_fleet(&request(canary, failures), &Silent).unwrap()
    }

    /// What waits at Alice goes to everybody; how many jobs each has by now.
    fn carry(&self) -> Vec<usize> {
        let mut stream = Vec::new();
        self.alice().pack(&[], &mut stream, &Silent).unwrap();
        let count = |desk: &Desk| {
            desk.unpack(&mut &stream[..], &Silent).unwrap();
            note_keys(desk.spool(&Silent).unwrap(), space::JOB_CAME).unwrap().len()
        };
        self.targets.iter().map(count).collect()
    }

    /// A target says how its only job ended.
    fn says(&self, place: usize, state: State) {
        let target = &self.targets[place];
        let job = job_at(target);
        let result = JobResult::without_output(job, state);
        says(target, Body::Result(Box::new(result)));
        let mut stream = Vec::new();
        target.pack(&[], &mut stream, &Silent).unwrap();
        self.alice().unpack(&mut &stream[..], &Silent).unwrap();
    }

    fn fleet(&self) -> FleetLine {
        let alice = self.alice();
        alice.advance_fleets(&Silent).unwrap();
        alice.fleet("pumps-now", &Silent).unwrap()
    }

    fn states(&self) -> Vec<String> {
        let jobs = self.alice().fleet_jobs("pumps-now", &Silent).unwrap();
        jobs.into_iter().map(|job: JobLine| job.state.into_owned()).collect()
    }
}

fn person(dir: &Path, name: &str) -> Desk {
    let request =
        InitRequest { home: dir.join(name), name: Some(name.into()), even_if_public: false };
    Desk::init(&request).unwrap().0
}

fn request(canary: u32, failures: u32) -> FleetRequest {
    FleetRequest {
        on: vec!["pumps".into()],
        name: Some("pumps-now".into()),
        canary: Some(Share::Count(canary)),
        failures: Some(Share::Count(failures)),
        run: RunRequest {
            to: String::new(),
            handle: "pump".into(),
            args: vec!["3".into()],
            files: Vec::new(),
            stdin: None,
            queue: None,
            after: Vec::new(),
            if_ok: false,
            patience_s: None,
            then: Then::Skip,
            supersede: None,
            lifetime: None,
            not_before: None,
            not_after: None,
            answer: Answer::Full,
        },
    }
}

fn job_at(target: &Desk) -> BundleId {
    let keys = note_keys(target.spool(&Silent).unwrap(), space::JOB_CAME).unwrap();
    BundleId(keys[0].as_slice().try_into().unwrap())
}

fn says(from: &Desk, body: Body) {
    let spool = from.spool(&Silent).unwrap();
    let contacts = from.home().contacts().unwrap();
    let contact = contacts.resolve("Alice").unwrap();
    let request = letter(contact);
    let packet = postrider_base::packet::Packet { body, tail: from.tail(contact, &request) };
    let small = Small { packet, bytes: 0, preview: String::new() };
    let mut changes = Vec::new();
    from.seal_small(spool, contact, &request, small, &mut changes).unwrap();
    spool.commit(clock::now(), changes).unwrap();
}

/// Words about jobs that wait at a target.
fn words(target: &Desk) -> Vec<Said> {
    let spool = target.spool(&Silent).unwrap();
    let said = |key: &Vec<u8>| {
        let note = spool.note(space::JOB_WORD, key).unwrap().unwrap();
        WordNote::read(&note).unwrap().1.said
    };
    note_keys(spool, space::JOB_WORD).unwrap().iter().map(said).collect()
}

#[test]
fn the_rest_is_sent_only_after_all_canaries_ended_well_and_each_once() {
    let world = World::new(4);
    let fleet = world.run(2, 2);
    assert_eq!((&*fleet.state, fleet.of, fleet.sent), ("canaries", 4, 2));
    assert_eq!(world.carry(), [1, 1, 0, 0]);
    let spool = world.targets[1].spool(&Silent).unwrap();
    let kept = world.targets[1].kept(spool, job_at(&world.targets[1])).unwrap().unwrap();
    let Body::Job(job) = kept.packet.body else { panic!("no job") };
    let name = "pumps-now".parse().unwrap();
    assert_eq!(job.fleet, Some(Fleet { name, place: 1, of: 4, canary: 2, failures: 2 }));
    world.says(0, State::Exited(0));
    assert_eq!((&*world.fleet().state, world.carry()), ("canaries", vec![1, 1, 0, 0]));
    world.says(1, State::Exited(0));
    // Whoever tosses next takes the others along, without a daemon and without a verb about jobs.
    assert_eq!(world.carry(), [1, 1, 1, 1]);
    assert_eq!(world.fleet().state, "going");
    assert_eq!(world.states(), ["exited", "exited", "queued", "queued"]);
    world.says(2, State::Exited(0));
    world.says(3, State::Exited(7));
    let fleet = world.fleet();
    assert_eq!((&*fleet.state, fleet.well, fleet.failed, fleet.over), ("done", 3, 1, true));
    assert_eq!(world.carry(), [1, 1, 1, 1]);
    // They stand with their fleet, and not among the others.
    assert!(world.alice().jobs(&Silent).unwrap().is_empty());
    assert_eq!(fleet.states.get("exited"), Some(&4));
}

#[test]
fn a_canary_that_fails_holds_the_others_until_a_person_says_so() {
    let world = World::new(3);
    world.run(1, 3);
    world.carry();
    world.says(0, State::Refused);
    let fleet = world.fleet();
    assert_eq!((&*fleet.state, fleet.sent), ("waits", 1));
    assert!(fleet.why.unwrap().contains("job release"));
    assert_eq!(world.states(), ["refused", "waiting", "waiting"]);
    let released = world.alice().release_fleet("pumps", &Silent).unwrap();
    assert_eq!((&*released.state, released.sent), ("going", 3));
    assert_eq!(world.carry(), [1, 1, 1]);
}

#[test]
fn so_many_failures_halt_it_and_whoever_has_not_answered_is_told_once() {
    let world = World::new(5);
    let fleet = world.run(0, 2);
    assert_eq!((&*fleet.state, fleet.sent), ("going", 5));
    assert_eq!(world.carry(), [1; 5]);
    for (place, state) in [(0, State::Unknown), (1, State::Exited(0)), (2, State::Expired)] {
        world.says(place, state);
    }
    for _ in 0..3 {
        assert_eq!(world.fleet().state, "halting");
        world.carry();
    }
    let told: Vec<usize> = world.targets.iter().map(|target| words(target).len()).collect();
    assert_eq!(told, [0, 0, 0, 1, 1]);
    assert_eq!(words(&world.targets[3]), [Said::Cancel { force: false }]);
    world.says(3, State::Cancelled);
    // What had begun goes on, and counts.
    world.says(4, State::Exited(0));
    let fleet = world.fleet();
    assert_eq!((&*fleet.state, fleet.well, fleet.failed), ("halted", 2, 2));
    assert_eq!(world.states()[3], "cancelled");
    let again = world.alice().release_fleet("pumps-now", &Silent).unwrap_err();
    assert_eq!(again.kind, FailureKind::Ended);
}

#[test]
fn whoever_takes_it_back_ends_what_has_not_left_and_tells_the_others() {
    let world = World::new(3);
    world.run(1, 3);
    let (fleet, gone) = world.alice().cancel_fleet("pumps-now", false, &Silent).unwrap();
    assert_eq!((&*fleet.state, fleet.sent, gone.len()), ("cancelled", 1, 1));
    assert_eq!(world.states(), ["cancelled", "not-sent", "not-sent"]);
    assert_eq!(world.carry(), [0, 0, 0]);
    let again = world.alice().cancel_fleet("pumps-now", true, &Silent).unwrap_err();
    assert_eq!(again.kind, FailureKind::Ended);
}

#[test]
fn its_time_ends_it_for_those_who_were_not_sent_to() {
    let world = World::new(2);
    let mut request = request(1, 2);
    request.run.lifetime = postrider_base::Lifetime::new(1);
    let fleet = world.alice().run_fleet(&request, &Silent).unwrap();
    assert!(["canaries", "expired"].contains(&&*fleet.state), "{fleet:?}");
    // A run of one second has less than that left as soon as its clock has moved.
    while world.fleet().state != "expired" {
        std::thread::yield_now();
    }
    assert_eq!(world.states()[1], "not-sent");
    assert!(world.fleet().over);
}

#[test]
fn a_target_that_cannot_be_sent_to_is_a_failure_and_keeps_nobody_else() {
    let world = World::new(3);
    world.run(1, 3);
    world.carry();
    world.alice().change_contact("P1", &ContactChange::Remove).unwrap();
    world.says(0, State::Exited(0));
    let fleet = world.fleet();
    assert_eq!((&*fleet.state, fleet.failed), ("going", 1));
    assert_eq!(world.states(), ["exited", "refused", "queued"]);
    assert_eq!(world.carry(), [1, 0, 1]);
}

#[test]
fn who_is_meant_is_settled_when_it_is_asked_for() {
    let world = World::new(3);
    let alice = world.alice();
    alice.change_contact("P1", &ContactChange::Block(true)).unwrap();
    let names = |on: &[&str], canary| {
        let on = on.iter().map(ToString::to_string).collect();
        let request = FleetRequest { on, canary, ..request(0, 1) };
        let all = alice.fleet_targets(&request)?;
        let shown = |it: &crate::desk::reply::TargetLine| {
            let mark = if it.canary { "*" } else { "" };
            format!("{}{mark}{}", it.name, if it.left_out.is_some() { "-" } else { "" })
        };
        Ok::<_, crate::desk::Failure>(all.iter().map(shown).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(names(&["label=pumps"], None).unwrap(), "P0 P1- P2");
    // In the order of the words, so that the canary can be chosen.
    assert_eq!(names(&["P2,pumps"], Some(Share::Percent(1))).unwrap(), "P2* P0 P1-");
    assert_eq!(names(&["P2", "p2", "P0"], Some(Share::Percent(50))).unwrap(), "P2* P0");
    for wrong in ["label=none", "role=medic", "P9", ""] {
        assert_eq!(names(&[wrong], None).unwrap_err().kind, FailureKind::Unknown, "{wrong}");
    }
    alice.run_fleet(&request(0, 1), &Silent).unwrap();
    let twice = alice.run_fleet(&request(0, 1), &Silent).unwrap_err();
    assert_eq!(twice.kind, FailureKind::Usage);
    let id = FleetRequest { name: Some("abcd12".into()), ..request(0, 1) };
    assert_eq!(alice.run_fleet(&id, &Silent).unwrap_err().kind, FailureKind::Usage);
    assert_eq!(alice.fleets(&Silent).unwrap().len(), 1);
}

#[test]
fn a_share_is_a_number_or_a_part_rounded_up() {
    for (text, of_10) in [("0", 0), ("3", 3), ("99", 10), ("0%", 0), ("1%", 1), ("25%", 3)] {
        assert_eq!(text.parse::<Share>().unwrap().of(10), of_10, "{text}");
    }
    for wrong in ["", "%", "-1", "101%", "1.5", "+3", "3 %"] {
        assert!(wrong.parse::<Share>().is_err(), "{wrong}");
    }
}

/// Each step alone, then whoever took it dies, and somebody else goes on with what is durable.
#[test]
fn a_death_between_two_steps_sends_nobody_twice_and_forgets_nobody() {
    let world = World::new(4);
    world.run(1, 2);
    world.carry();
    world.says(0, State::Exited(0));
    let note = {
        let alice = world.alice();
        let spool = alice.spool(&Silent).unwrap();
        let note = alice.fleet_note(spool, "pumps-now").unwrap();
        alice.send_to(spool, "pumps-now", &note, 2, &Silent).unwrap();
        note
    };
    assert_eq!(world.states(), ["exited", "waiting", "queued", "waiting"]);
    assert_eq!(world.carry(), [1; 4]);
    {
        let alice = world.alice();
        let spool = alice.spool(&Silent).unwrap();
        alice.change_fleet(spool, "pumps-now", note.stopped(Stop::Failures)).unwrap();
    }
    {
        let alice = world.alice();
        let spool = alice.spool(&Silent).unwrap();
        alice.take_back_from(spool, "pumps-now", 3, Back::Told, &Silent).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(world.fleet().state, "halting");
        assert_eq!(world.carry(), [1; 4]);
    }
    let told: Vec<usize> = world.targets.iter().map(|target| words(target).len()).collect();
    assert_eq!(told, [0, 1, 1, 1]);
}
