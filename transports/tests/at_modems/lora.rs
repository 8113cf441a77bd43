//! Small LoRa modules on one air: what one sends the others hear, if they listen.

use std::sync::{Arc, Mutex};

use super::port::Plug;

/// Everybody in reach of everybody.
#[derive(Clone, Default)]
pub struct Air(Arc<Mutex<Vec<Station>>>);

struct Station {
    plug: Plug,
    listens: bool,
    /// How it tells what it heard.
    tells: fn(&[u8]) -> Vec<u8>,
    /// It hears one frame, and is deaf then.
    hears_once: bool,
}

impl Air {
    fn join(&self, plug: &Plug, tells: fn(&[u8]) -> Vec<u8>, listens: bool, hears_once: bool) {
        let plug = plug.clone();
        self.0.lock().unwrap().push(Station { plug, listens, tells, hears_once });
    }

    fn send(&self, from: &Plug, frame: &[u8]) {
        for station in &mut *self.0.lock().unwrap() {
            if station.plug.name() != from.name() && station.listens {
                station.listens = !station.hears_once;
                station.plug.say(&(station.tells)(frame));
            }
        }
    }

    fn listen(&self, of: &Plug, listens: bool) {
        for station in &mut *self.0.lock().unwrap() {
            if station.plug.name() == of.name() {
                station.listens = listens;
            }
        }
    }

    /// Until everybody listens: who was told to send is deaf for a moment.
    pub async fn all_listen(&self) {
        while !self.0.lock().unwrap().iter().all(|station| station.listens) {
            tokio::task::yield_now().await;
        }
    }

    /// What anybody may send: not of a node.
    pub fn shout(&self, frame: &[u8]) {
        for station in &*self.0.lock().unwrap() {
            station.plug.say(&(station.tells)(frame));
        }
    }
}

/// What a module answers instead, next time that it is told to send.
pub type Instead = Arc<Mutex<Vec<&'static str>>>;

/// A RYLR998. `quirk` is what it answers instead to a command that begins so.
pub fn rylr998(air: &Air, instead: &Instead, quirk: Option<(&'static str, &'static str)>) -> Plug {
    let (on, instead) = (air.clone(), Arc::clone(instead));
    let plug = Plug::lines("\r\n", move |line, plug| {
        let text = String::from_utf8_lossy(line).into_owned();
        if let Some((begin, answer)) = quirk
            && text.starts_with(begin)
        {
            return answer.into();
        }
        let Some(sent) = text.strip_prefix("AT+SEND=") else {
            return match &*text {
                "AT" => "+OK\r\n".into(),
                "AT+VER?" => "+VER=RYLR998_TEST_V1\r\n".into(),
                _ if text.contains('=') => "+OK\r\n".into(),
                _ => "+ERR=4\r\n".into(),
            };
        };
        if let Some(answer) = instead.lock().unwrap().pop() {
            return answer.into();
        }
        let length: usize = sent.split(',').nth(1).unwrap().parse().unwrap();
        let begin = "AT+SEND=".len() + sent.match_indices(',').nth(1).unwrap().0 + 1;
        let data = &line[begin..];
        match data.len() {
            241.. => "+ERR=13\r\n".into(),
            actual if actual != length => "+ERR=5\r\n".into(),
            _ => {
                on.send(plug, data);
                "+OK\r\n".into()
            }
        }
    });
    let tells = |frame: &[u8]| {
        let head = format!("+RCV=0,{},", frame.len());
        [head.as_bytes(), frame, b",-67,11\r\n"].concat()
    };
    air.join(&plug, tells, true, false);
    plug
}

/// An RN2483: one frame, and it must be told to listen again.
pub fn rn2483(air: &Air, instead: &Instead) -> Plug {
    let (on, instead) = (air.clone(), Arc::clone(instead));
    let plug = Plug::lines("\r\n", move |line, plug| {
        let text = std::str::from_utf8(line).unwrap();
        let answer = match text {
            "sys get ver" => "RN2483 1.0.5 Oct 31 2018 15:06:52",
            "mac pause" => "4294967245",
            "radio rxstop" => {
                on.listen(plug, false);
                "ok"
            }
            "radio rx 0" => {
                on.listen(plug, true);
                "ok"
            }
            _ if text.starts_with("radio set ") => "ok",
            _ => match text.strip_prefix("radio tx ") {
                Some(_) if !instead.lock().unwrap().is_empty() => {
                    return instead.lock().unwrap().pop().unwrap().into();
                }
                Some(hex) if hex.len() <= 510 && hex.len() % 2 == 0 => {
                    on.send(plug, hex.as_bytes());
                    "ok\r\nradio_tx_ok"
                }
                _ => "invalid_param",
            },
        };
        format!("{answer}\r\n").into()
    });
    air.join(&plug, |hex| [b"radio_rx  ", hex, b"\r\n"].concat(), false, true);
    plug
}

/// A Wio-E5, which repeats what it is told.
pub fn wio_e5(air: &Air, instead: &Instead) -> Plug {
    let (on, instead) = (air.clone(), Arc::clone(instead));
    let plug = Plug::lines("\r\n", move |line, plug| {
        let text = std::str::from_utf8(line).unwrap();
        let answer = match text {
            "AT" => "+AT: OK".to_owned(),
            "AT+VER" => "+VER: 4.0.11".to_owned(),
            "AT+MODE=TEST" => "+MODE: TEST".to_owned(),
            "AT+TEST=RXLRPKT" => {
                on.listen(plug, true);
                "+TEST: RXLRPKT".to_owned()
            }
            "AT+TEST=RFCFG,868.1,SF9,125,12,15,14,ON,OFF,OFF" => {
                "+TEST: RFCFG F:868100000, SF9, BW125K, TXPR:12, RXPR:15, POW:14dBm, CRC:ON, \
                 IQ:OFF, NET:OFF"
                    .to_owned()
            }
            _ => match text.strip_prefix("AT+TEST=TXLRPKT, \"").and_then(|t| t.strip_suffix('"')) {
                Some(_) if !instead.lock().unwrap().is_empty() => {
                    return instead.lock().unwrap().pop().unwrap().into();
                }
                Some(hex) => {
                    on.listen(plug, false);
                    on.send(plug, hex.as_bytes());
                    format!("+TEST: TXLRPKT \"{hex}\"\r\n+TEST: TX DONE")
                }
                None => "+TEST: ERROR(-12)".to_owned(),
            },
        };
        format!("{text}\r\n{answer}\r\n").into()
    });
    let tells = |hex: &[u8]| {
        let head = format!("+TEST: LEN:{}, RSSI:-41, SNR:9\r\n", hex.len() / 2);
        [head.as_bytes(), b"+TEST: RX \"", hex, b"\"\r\n"].concat()
    };
    air.join(&plug, tells, false, false);
    plug
}
