//! Two nodes on a cable, with no addresses but those that every interface gives itself: they hear
//! each other's beacons, dial, and have a link. Each is a process of its own in a network namespace
//! of its own; where those are not permitted the test says so and passes.
//!
//! The processes are this very test program, called with the name of an ignored test and its part
//! in the environment. They tell what happens in lines, each with the milliseconds since the cable
//! was in.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "lan/node.rs"]
mod node;

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use node::Part;

/// A test that takes longer hangs. It never decides what is right.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// Two namespaces with a cable between them; gone when dropped.
struct Cable {
    names: [String; 2],
}

fn ip(arguments: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(arguments.split_ascii_whitespace()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Cable {
    /// `None` where it is not permitted.
    fn new(test: &str) -> Option<Self> {
        let names = ["a", "b"].map(|end| format!("pr-{}-{test}-{end}", std::process::id()));
        let cable = Self { names };
        let [a, b] = &cable.names;
        let made = ip(&format!("netns add {a}"))
            && ip(&format!("netns add {b}"))
            && ip(&format!("-n {a} link add lan0 type veth peer name lan0 netns {b}"));
        if !made {
            println!("skipped: network namespaces are not permitted here");
        }
        made.then_some(cable)
    }

    fn set(&self, end: usize, state: &str) {
        assert!(ip(&format!("-n {} link set lan0 {state}", self.names[end])));
    }

    fn start(&self, end: usize, part: Part) -> Process {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.names[end]])
            .arg(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "a_node_for_the_other_tests", "--nocapture"])
            .env(node::PART, part.name())
            .stdout(Stdio::piped())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    break;
                }
            }
        });
        Process { child, lines }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&format!("netns del {name}"));
        }
    }
}

struct Process {
    child: Child,
    lines: Receiver<(Instant, String)>,
}

impl Process {
    /// Waits for a line that begins so; when it came, and the whole of it.
    fn told(&self, beginning: &str) -> (Instant, String) {
        let end = Instant::now() + HANGS_AFTER;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let (at, line) = self.lines.recv_timeout(left).expect(beginning);
            if line.starts_with(beginning) {
                return (at, line);
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both nodes run before the cable is in; then the cable is pulled and put in again.
fn meet(test: &str, part: fn(u8) -> Part, shown: &str) {
    let Some(cable) = Cable::new(test) else { return };
    let nodes = [0, 1].map(|end| cable.start(end, part(end.try_into().unwrap())));
    nodes.iter().for_each(|node| drop(node.told("ready")));
    for round in ["first", "again"] {
        [0, 1].iter().for_each(|end| cable.set(*end, "up"));
        let up = nodes.each_ref().map(|node| node.told("up").0);
        let heard = nodes.each_ref().map(|node| node.told("heard").0);
        let linked = nodes.each_ref().map(|node| node.told("talked"));
        assert!(linked.iter().all(|(_, line)| line.contains(shown)), "{linked:?}");
        let start = up[0].max(up[1]);
        let took = |at: Instant| at.saturating_duration_since(start).as_millis();
        println!(
            "{test}, {round}: heard after {} ms, talked after {} ms",
            heard.map(took).into_iter().max().unwrap(),
            linked.map(|(at, _)| took(at)).into_iter().max().unwrap(),
        );
        cable.set(0, "down");
        nodes.iter().for_each(|node| drop(node.told("down")));
    }
}

#[test]
fn contacts_on_a_bare_cable_get_a_link() {
    meet("contacts", Part::Contact, "as itself");
}

#[test]
fn strangers_on_a_bare_cable_get_a_link_as_guests() {
    meet("strangers", Part::Stranger, "as a guest");
}

#[test]
#[ignore = "a node that the other tests start in a namespace"]
fn a_node_for_the_other_tests() {
    if let Some(part) = std::env::var(node::PART).ok().and_then(|name| Part::parse(&name)) {
        node::run(part);
    }
}
