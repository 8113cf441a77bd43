//! Speaks to a modem by hand: opens a port, sends lines of hex as frames, and prints what is told as JSON lines.
//!
//! ```text
//! cargo run -p postrider-transports --example frames -- 'kiss+tcp://127.0.0.1:8001?call=DL1ABC-7'
//! ```
//!
//! First `{"ready": ...}`, then `{"heard": hex, ...}`, `{"sent": n}`, `{"refused": n, "why": ...}` and at last
//! `{"ended": ...}`. Frames are numbered from 0 as they are read. When the input ends, so does this as soon as
//! the fate of each is told.

use std::{error::Error, io::BufRead as _};

use postrider_transports::{
    Pipe, Transport as _,
    contract::{Address, FramePort, Heard, OutFrame},
    serial::SerialTransport,
};
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let text = std::env::args().nth(1).ok_or("frames ADDRESS")?;
    let to: Address = text.parse()?;
    let transports = SerialTransport::all();
    let transport = transports.iter().find(|transport| transport.scheme() == to.scheme());
    let link = match transport.ok_or("that is no address of a port")?.dial(&to, None).await {
        Ok(link) => link,
        Err(error) => {
            println!("{{\"ended\":{:?}}}", error.to_string());
            return Ok(());
        }
    };
    let Pipe::Frames(port) = link.pipe else { return Err("that driver has no frames".into()) };
    let facts = &port.facts;
    println!(
        "{{\"ready\":{{\"mtu\":{},\"bits_per_s\":{},\"frequency_hz\":{},\"clear_only\":{},\"air_us_of_100\":{}}}}}",
        facts.mtu_bytes,
        facts.bits_per_s,
        facts.frequency_hz.unwrap_or(0),
        facts.clear_only,
        facts.air_us(100)
    );
    talk(port, lines()).await
}

/// What is typed, line by line; a thread of its own waits for it.
fn lines() -> mpsc::Receiver<String> {
    let (lines, typed) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    typed
}

async fn talk(
    mut port: FramePort,
    mut typed: mpsc::Receiver<String>,
) -> Result<(), Box<dyn Error>> {
    let (mut given, mut told, mut is_over) = (0, 0, false);
    while !is_over || told < given {
        tokio::select! {
            // One at a time: what has no fate yet is not followed by another.
            line = typed.recv(), if !is_over && told == given => match line {
                None => is_over = true,
                Some(line) if line.trim().is_empty() => {}
                Some(line) => {
                    let bytes = unhex(line.trim()).ok_or("that is no hex")?;
                    port.to_air.send(OutFrame { number: given, bytes }).await?;
                    given += 1;
                }
            },
            heard = port.heard.recv() => {
                let Some(heard) = heard else { return Ok(()) };
                told += u32::from(matches!(heard, Heard::Sent { .. } | Heard::Refused { .. }));
                show(&heard);
            }
        }
    }
    Ok(())
}

fn show(heard: &Heard) {
    match heard {
        Heard::Frame { bytes, strength } => {
            let number = |n: Option<i16>| n.map_or("null".to_owned(), |n| n.to_string());
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let (rssi, snr) = (number(strength.rssi_dbm), number(strength.snr_quarter_db));
            println!("{{\"heard\":\"{hex}\",\"rssi\":{rssi},\"snr\":{snr}}}");
        }
        Heard::Sent { number } => println!("{{\"sent\":{number}}}"),
        Heard::Refused { number, why } => {
            println!("{{\"refused\":{number},\"why\":{:?}}}", format!("{why:?}"));
        }
        Heard::Carrier { busy } => println!("{{\"busy\":{busy}}}"),
        Heard::Ended(why) => println!("{{\"ended\":{:?}}}", why.to_string()),
        _ => {}
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
