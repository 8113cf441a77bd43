//! Stock `age` opens what is ours to open, and seals what we can open.

use std::{
    fs,
    process::{Command, Stdio},
};

use postrider::desk::{ExportForm, SendRequest, Silent};

use super::town::{Town, know_each_other, letter, toss};

fn age_is_here() -> bool {
    let here = Command::new("age").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !here {
        println!("skipped: stock age is not installed");
    }
    here
}

#[test]
fn stock_age_opens_an_exported_payload_with_the_exported_key() {
    if !age_is_here() {
        return;
    }
    let town = Town::new();
    let (alice, bob, sam) = (town.node("Alice"), town.node("Bob"), town.node("Sam"));
    know_each_other(&alice, &bob);
    // Text that does not shrink below the small form: a list of numbers.
    let numbers: String =
        (0..5000_u32).map(|n| format!("{:x} ", n.wrapping_mul(2_654_435_761))).collect();
    let long = SendRequest { hidden: Some(false), ..letter("Bob", &numbers) };
    let sent = alice.send(&long, &Silent).unwrap();
    let stick = town.stick("stick");
    toss(&alice, &stick);
    toss(&sam, &stick);
    let payload = town.path("payload.age");
    let mut out = fs::File::create(&payload).unwrap();
    sam.bundle_export(&sent.id, ExportForm::Payload, &mut out, &Silent).unwrap();
    let key = town.path("key");
    fs::write(&key, bob.export_age().unwrap()).unwrap();
    let opened = Command::new("age").arg("-d").arg("-i").arg(&key).arg(&payload).output().unwrap();
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
    // Behind the 48 bytes that bind it to its header stands the packet.
    let packet = postrider_base::packet::Packet::decode(&opened.stdout[48..]).unwrap();
    assert_eq!(packet.body, postrider_base::packet::Body::Mail(numbers));
}

#[test]
fn what_stock_age_sealed_to_us_opens_as_from_nobody() {
    if !age_is_here() {
        return;
    }
    let town = Town::new();
    let bob = town.node("Bob");
    let (plain, sealed) = (town.path("plain"), town.path("sealed.age"));
    fs::write(&plain, "from stock age").unwrap();
    let recipient = bob.identity(false).age;
    let made = Command::new("age")
        .args(["-r", &recipient, "-o"])
        .arg(&sealed)
        .arg(&plain)
        .status()
        .unwrap();
    assert!(made.success());
    let shown = bob.bundle_import(&sealed, &Silent).unwrap();
    assert_eq!(shown[0].text, "from stock age");
    assert_eq!(shown[0].from, "nobody (unsigned)");
}
