//! A cable is pulled in the middle of a large bundle, and what is lacking goes by stick.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use postrider::{
    daemon::DaemonOptions,
    desk::{Desk, SendRequest, Silent},
};
use postrider_base::BundleId;
use postrider_engine::{
    exchange::HAVE_EVERY_BYTES,
    node::{Answer, Beginning},
};
use tokio::time::timeout;

use crate::{
    cable::{Cable, Faults},
    live::{PATIENCE, Running, runtime},
    town::{Town, all_files, inbox, know_each_other, letter, state, toss},
};

/// Fast enough for a test, and slow enough to be in the middle of something.
const RATE: &str = "rate=4000000";
const FILE_BYTES: usize = 4 << 20;
/// The cable is pulled when so much has come out of the sender's port.
const PULLED_AT: u64 = 2 << 20;
/// What stands around a payload on the stick: the rest's own front and check, and the manifest's container.
const AROUND_BYTES: u64 = 8 << 10;

/// The id and the length of the one large bundle of a node.
fn large(desk: &Desk) -> (BundleId, u64) {
    let live = desk.open_live(&Silent).unwrap();
    let Answer::Rows { rows, .. } = live.since(0, 100).unwrap() else { panic!() };
    let longest = rows.into_iter().max_by_key(|row| row.length).unwrap();
    (longest.id, longest.length)
}

async fn until_cut(at: &Running, id: BundleId) -> u64 {
    let wait = async {
        loop {
            let seen = at.daemon.node().look(move |engine| engine.beginning(&id)).await;
            if let Some(Beginning::Cut(cut)) = seen {
                return cut.at;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the link did not end")
}

fn only_the_rest_goes(files: &[(&str, usize)]) {
    let town = Town::new();
    let (alice, bob) = (Arc::new(town.node("alice")), Arc::new(town.node("bob")));
    know_each_other(&alice, &bob);
    let cable = Cable::new(town.dir.path(), Faults::default());
    let runtime = runtime();
    let start = |desk: &Arc<Desk>, end, name| {
        let peers = vec![format!("{}#{name}", cable.address(end, RATE))];
        Running::start(desk, &DaemonOptions { peers, ..DaemonOptions::default() }, &runtime)
    };
    let paths: Vec<PathBuf> =
        files.iter().zip(1..).map(|((name, bytes), n)| town.file(name, *bytes, n)).collect();
    let request = SendRequest { text: None, files: paths.clone(), ..letter("bob", "") };
    let sent = alice.send(&request, &Silent).unwrap();
    let (id, length) = large(&alice);
    let (at_alice, at_bob) = (start(&alice, 0, "bob"), start(&bob, 1, "alice"));
    cable.until_carried(0, 0, PULLED_AT, PATIENCE);
    cable.unplug(0);
    cable.unplug(1);
    let here = runtime.block_on(async {
        let here = until_cut(&at_bob, id).await;
        at_alice.daemon.stop().await;
        here
    });
    assert!((1 << 20..PULLED_AT).contains(&here), "{here} of {length} bytes had come");

    let stick = town.path("stick");
    fs::create_dir(&stick).unwrap();
    toss(&alice, &stick);
    let on_stick: u64 = all_files(&stick).iter().map(|(_, bytes)| bytes.len() as u64).sum();
    // A window is what comes between two words about it, with the chunk that is on its way.
    let again = on_stick.saturating_sub(length - here);
    println!("{here} of {length} B by cable, {on_stick} B on the stick: {again} B twice or around");
    assert!(again <= 2 * HAVE_EVERY_BYTES + AROUND_BYTES, "{again} bytes twice or around");

    let taken = toss(&bob, &stick);
    assert_eq!((taken.messages.len(), taken.damaged, taken.skipped), (1, 0, 0), "{taken:?}");
    assert_eq!(inbox(&bob).len(), 1);
    let out = town.path("out");
    fs::create_dir(&out).unwrap();
    bob.save_message(&sent.id, &out, &Silent).unwrap();
    for (path, (name, _)) in paths.iter().zip(files) {
        assert!(fs::read(path).unwrap() == fs::read(out.join(name)).unwrap(), "{name}");
    }
    toss(&alice, &stick);
    assert_eq!(state(&alice, &sent), "delivered");
    assert_eq!(toss(&bob, &stick).taken, 0);
    runtime.block_on(at_bob.daemon.stop());
    assert_eq!(inbox(&bob).len(), 1);
}

/// The part of a single file is staged until it is whole.
#[test]
fn of_a_file_whose_cable_was_pulled_only_the_rest_goes_by_stick() {
    only_the_rest_goes(&[("film", FILE_BYTES)]);
}

/// With its manifest there, such a part is opened while it comes.
#[test]
fn of_files_that_were_opened_while_they_came_only_the_rest_goes_by_stick() {
    only_the_rest_goes(&[("film", FILE_BYTES), ("notes", 50_000)]);
}
