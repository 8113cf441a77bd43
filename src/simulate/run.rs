//! One run: the crowd settles, people write to each other, and it is counted what arrives.

use postrider_engine::node::LinkPolicy;
use postrider_spool::Dropping;
use postrider_world::{Chance, Meetings, Nature, Scheme, Wire, Wish, World};

use super::{Simulated, Simulation};
use crate::desk::{Event, Failure, FailureKind, Unit, Watch};

/// The slow laws of the world are not asked: they look into every spool.
const NEVER: u64 = u64::MAX;
/// How often progress is told, in the world's time: the trace in so many steps.
const STEPS: u64 = 200;
/// How long a byte takes between two who stand beside each other.
const LATENCY_MS: u64 = 5;
/// Attackers write so many times as much as all others together.
const FLOOD: usize = 4;

/// Runs a simulation to the end of its trace.
pub fn run(meetings: &Meetings, of: &Simulation, watch: &dyn Watch) -> Result<Simulated, Failure> {
    let (scheme, route) = of.scheme;
    let mut world = World::new(of.seed, Nature::default());
    world.set_scheme(route);
    world.set_look_every(NEVER);
    // People who meet have radios: copies count.
    let policy = LinkPolicy { counted: true, ..LinkPolicy::default() };
    let policies = [policy.clone(), policy];
    let wire = Wire { rate_bps: of.rate_bps, latency_ms: LATENCY_MS, policies, ..Wire::default() };
    world.play(meetings, &wire);
    if let Some(buffer) = of.buffer {
        let is_ours = matches!(route, Scheme::Ours { .. });
        let known = if is_ours { Dropping::Fair } else { Dropping::Published };
        world.set_dropping(of.dropping.unwrap_or(known));
        (0..meetings.nodes()).for_each(|at| world.set_carried_max(at, buffer));
    }
    world.set_receipts(of.receipts);
    let births = births(meetings, of);
    let (begin_ms, end_ms) = meetings.span_ms();
    watch.event(Event::Begin {
        what: format!("{scheme}: {} nodes, {} meetings", meetings.nodes(), meetings.list().len()),
        total: Some(STEPS),
        unit: Unit::Items,
    });
    let mut births = births.into_iter().peekable();
    for step in 1..=STEPS {
        let until_ms = begin_ms + (end_ms - begin_ms) / STEPS * step;
        let until_ms = if step == STEPS { end_ms } else { until_ms };
        while let Some(birth) = births.next_if(|birth| birth.at_ms <= until_ms) {
            pass_to(&mut world, birth.at_ms)?;
            let wish = Wish { length: of.bytes, lifetime_s: of.ttl.seconds(), ..Wish::default() };
            match birth.key {
                None => {
                    world.send(birth.from, birth.to, wish);
                }
                Some(key) => world.flood(birth.from, meetings.nodes() + key, birth.to, wish),
            }
        }
        pass_to(&mut world, until_ms)?;
        if watch.is_stopped() {
            return Err(Failure::new(FailureKind::Interrupted, "the simulation was interrupted"));
        }
        watch.event(Event::Advance(1));
    }
    watch.event(Event::End);
    Ok(summary(&world, meetings, (scheme, of)))
}

fn pass_to(world: &mut World, at_ms: u64) -> Result<(), Failure> {
    world.pass(at_ms.saturating_sub(world.now_ms())).map_err(|broken| {
        Failure::new(FailureKind::Fault, "a law of the world does not hold").because(broken)
    })
}

/// A message is written.
struct Birth {
    at_ms: u64,
    from: usize,
    to: usize,
    /// With which of its writer's further keys, if it is an attacker's.
    key: Option<usize>,
}

/// All that is written, in order.
fn births(meetings: &Meetings, of: &Simulation) -> Vec<Birth> {
    // Of its own, so that every scheme has the same mail.
    let mut chance = Chance::new(of.seed ^ 0x6d61_696c);
    let (begin_ms, end_ms) = meetings.span_ms();
    let quarter = (end_ms - begin_ms) / 4;
    let nodes = meetings.nodes();
    let one = |chance: &mut Chance| {
        let at_ms = chance.within(begin_ms + quarter, end_ms - quarter);
        let from = chance.index(nodes);
        Birth { at_ms, from, to: (from + 1 + chance.index(nodes - 1)) % nodes, key: None }
    };
    let mut births: Vec<_> = (0..of.messages).map(|_| one(&mut chance)).collect();
    // Drawn behind the mail, which is the same with and without them.
    let attackers: Vec<_> = (0..of.attackers).map(|_| chance.index(nodes)).collect();
    let floods = if attackers.is_empty() { 0 } else { FLOOD * of.messages };
    births.extend((0..floods).map(|n| {
        let (from, key) = (attackers[n % attackers.len()], Some(n % (of.keys * attackers.len())));
        Birth { from, key, ..one(&mut chance) }
    }));
    births.sort_by_key(|birth| birth.at_ms);
    births
}

#[expect(clippy::cast_precision_loss, reason = "shares and means")]
fn summary(
    world: &World,
    meetings: &Meetings,
    (scheme, of): (&'static str, &Simulation),
) -> Simulated {
    let fates: Vec<_> = world.fates().collect();
    let mut delays_s: Vec<f64> =
        fates.iter().filter_map(|fate| Some(fate.took_ms()? as f64 / 1000.0)).collect();
    delays_s.sort_by(f64::total_cmp);
    let messages = fates.len().max(1) as f64;
    let percentile = |part: usize| {
        let at = (delays_s.len() * part).div_ceil(100).saturating_sub(1);
        delays_s.get(at).copied()
    };
    Simulated {
        verb: "simulate",
        scheme,
        delivered: delays_s.len() as f64 / messages,
        transmissions_per_message: world.transmissions() as f64 / messages,
        delay_p50_s: percentile(50),
        delay_p95_s: percentile(95),
        copies_mean: world.copies_mean(),
        bytes: world.bytes(),
        nodes: meetings.nodes(),
        meetings: meetings.list().len(),
        messages: fates.len(),
        ttl_s: of.ttl.seconds(),
        rate_bps: of.rate_bps,
        attackers: of.attackers,
        seed: of.seed,
        delays_s,
    }
}
