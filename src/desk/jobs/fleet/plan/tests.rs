//! Runs over fleets whose targets answer in random orders, and whose shell dies between any two steps.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;

/// Chance that one seed decides.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u32) -> u32 {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 % u64::from(n.max(1))).unwrap()
    }
}

/// What a target really does with what it gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Target {
    Nothing,
    Has {
        back: bool,
    },
    Begun {
        forced: bool,
    },
    /// It has said how it ended; nobody has heard it.
    Said(At),
}

struct World {
    run: Run,
    /// What is durable.
    at: Vec<At>,
    targets: Vec<Target>,
    sent: Vec<u32>,
    begun: u32,
}

impl World {
    fn new(dice: &mut Dice) -> Self {
        let of = 1 + dice.below(12);
        let rules = Rules { canary: dice.below(of + 1), failures: 1 + dice.below(of) };
        let n = of as usize;
        Self {
            run: Run { rules, released: false, stop: None, late: false },
            at: vec![At::Unsent; n],
            targets: vec![Target::Nothing; n],
            sent: vec![0; n],
            begun: 0,
        }
    }

    /// The shell obeys, and may die after any step; whatever is durable stays.
    fn shell(&mut self, dice: &mut Dice) -> Phase {
        loop {
            let plan = self.run.plan(&self.at);
            if let Some(stop) = plan.stop {
                self.run.stop = Some(stop);
                if dice.below(4) == 0 {
                    return plan.phase;
                }
                continue;
            }
            for place in plan.send.iter().map(|place| *place as usize) {
                assert!(self.run.stop.is_none(), "somebody is sent to after the halt");
                assert_eq!(self.at[place], At::Unsent);
                let ahead = self.at.iter().zip(0..self.run.rules.canary);
                let all_well = ahead.map(|(at, _)| at).all(|at| *at == At::Well);
                let canary = place < self.run.rules.canary as usize;
                assert!(canary || all_well || self.run.released, "canaries first");
                self.sent[place] += 1;
                self.at[place] = At::Open(Back::No);
                self.targets[place] = Target::Has { back: false };
                if dice.below(5) == 0 {
                    return plan.phase;
                }
            }
            for place in plan.back.iter().map(|place| *place as usize) {
                let firmly = plan.firmly.unwrap();
                assert!(self.run.stop.is_some(), "nobody is told without a halt");
                self.at[place] = At::Open(firmly);
                self.targets[place] = match self.targets[place] {
                    Target::Has { .. } => Target::Has { back: true },
                    Target::Begun { .. } => Target::Begun { forced: firmly == Back::Forced },
                    other => other,
                };
                if dice.below(5) == 0 {
                    return plan.phase;
                }
            }
            if plan.send.is_empty() && plan.back.is_empty() {
                return plan.phase;
            }
        }
    }

    /// One target takes a step, or its word arrives.
    fn happen(&mut self, dice: &mut Dice) {
        let place = dice.below(u32::try_from(self.at.len()).unwrap()) as usize;
        self.targets[place] = match self.targets[place] {
            Target::Nothing => Target::Nothing,
            Target::Has { back: true } => Target::Said(At::Back),
            Target::Has { back: false } if dice.below(6) == 0 => Target::Said(At::Badly),
            Target::Has { back: false } => {
                self.begun += 1;
                Target::Begun { forced: false }
            }
            Target::Begun { forced: true } => Target::Said(At::Back),
            Target::Begun { .. } if dice.below(3) == 0 => Target::Said(At::Badly),
            Target::Begun { .. } => Target::Said(At::Well),
            Target::Said(end) => {
                self.at[place] = end;
                Target::Said(end)
            }
        };
    }
}

#[test]
fn whatever_the_order_of_answers_and_deaths_the_rules_hold() {
    let (mut phases, mut halts) = (std::collections::BTreeSet::new(), 0);
    for seed in 1..=6000_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut world = World::new(&mut dice);
        let mut begun_at_halt = None;
        for step in 0..400 {
            world.shell(&mut dice);
            world.happen(&mut dice);
            match dice.below(300) {
                0 => world.run.released = true,
                1 => world.run.stop = Some(Stop::Person { force: dice.below(2) == 0 }),
                2 if step > 100 => world.run.late = true,
                _ => {}
            }
            let failed = world.at.iter().filter(|at| **at == At::Badly).count();
            if world.run.stop.is_none() && failed >= world.run.rules.failures as usize {
                // Known since the last look; the next plan says so before it sends anything.
                let plan = world.run.plan(&world.at);
                assert!(plan.send.is_empty(), "seed {seed}");
                let over = !world.at.iter().any(|at| matches!(at, At::Open(_) | At::Unsent));
                assert!(plan.stop == Some(Stop::Failures) || over, "seed {seed}");
            }
            if world.run.stop == Some(Stop::Failures) {
                let told = |at: &At| !matches!(at, At::Open(Back::No));
                if begun_at_halt.is_none() && world.at.iter().all(told) {
                    halts += 1;
                    begun_at_halt = Some(world.begun);
                }
            }
            assert!(world.sent.iter().all(|times| *times <= 1), "seed {seed}: sent twice");
        }
        if let Some(begun) = begun_at_halt {
            assert_eq!(world.begun, begun, "seed {seed}: somebody began after all were told");
        }
        // Everybody answers in the end, and nobody is sent to any more: it has a stated end, or waits
        // for a person and says so.
        for _ in 0..400 {
            world.happen(&mut dice);
            world.shell(&mut dice);
        }
        for _ in 0..40 {
            for place in 0..world.at.len() {
                if let Target::Said(end) = world.targets[place] {
                    world.at[place] = end;
                }
            }
            world.shell(&mut dice);
            world.happen(&mut dice);
        }
        let phase = (0..9).map(|_| world.shell(&mut dice)).last().unwrap();
        assert!(phase.is_over() || phase == Phase::Waits, "seed {seed}: {phase:?} {:?}", world.at);
        if world.run.stop.is_none() && phase == Phase::Done {
            assert!(world.sent.iter().all(|times| *times == 1), "seed {seed}: one was forgotten");
        }
        phases.insert(phase.word());
    }
    assert!(halts > 500, "{halts}");
    assert_eq!(phases.len(), 5, "{phases:?}");
}

#[test]
fn each_situation_has_its_word_and_what_follows() {
    use At::{Badly, Open, Unsent, Well};
    const OPEN: At = Open(Back::No);
    let run = |canary, failures| Run {
        rules: Rules { canary, failures },
        released: false,
        stop: None,
        late: false,
    };
    for (run, at, send, word) in [
        (run(1, 9), &[Unsent, Unsent, Unsent][..], &[0][..], "canaries"),
        (run(0, 9), &[Unsent, Unsent], &[0, 1], "going"),
        (run(2, 9), &[Well, OPEN, Unsent], &[], "canaries"),
        (run(2, 9), &[Well, Well, Unsent], &[2], "going"),
        (run(2, 9), &[Well, Badly, Unsent], &[], "waits"),
        (run(2, 9), &[Well, At::Back, Unsent], &[], "waits"),
        (Run { released: true, ..run(2, 9) }, &[OPEN, Badly, Unsent], &[2], "going"),
        (run(1, 9), &[Well, OPEN, Badly], &[], "going"),
        (run(1, 2), &[Badly, Badly], &[], "done"),
        (Run { late: true, ..run(1, 9) }, &[Well, OPEN], &[], "expired"),
        (Run { stop: Some(Stop::Failures), ..run(1, 1) }, &[Badly, Unsent], &[], "halted"),
    ] {
        let plan = run.plan(at);
        assert_eq!((&plan.send[..], plan.phase.word(), plan.stop), (send, word, None), "{at:?}");
    }
    let halts = run(0, 2).plan(&[Badly, Badly, OPEN, Well]);
    assert_eq!((halts.stop, halts.back.len()), (Some(Stop::Failures), 0));
    let halted = Run { stop: Some(Stop::Failures), ..run(0, 2) };
    let told = halted.plan(&[Badly, Badly, OPEN, Open(Back::Told)]);
    assert_eq!((&told.back[..], told.phase), (&[2][..], Phase::Halting));
    let forced = Run { stop: Some(Stop::Person { force: true }), ..run(0, 2) };
    assert_eq!(forced.plan(&[Open(Back::Told), Open(Back::Forced)]).back, [0]);
    let late = Run { late: true, ..run(1, 9) }.plan(&[OPEN, Unsent]);
    assert_eq!(late.stop, Some(Stop::Late));
}
