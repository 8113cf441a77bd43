//! Tales: one circumstance each.

use postrider_world::{Broken, Nature, Wire, Wish, World};

use crate::places::{CALM_MS, any_letter, line, told};

#[test]
fn along_a_line_of_six_letters_arrive_and_their_copies_are_freed() {
    let story = |seed| -> Result<World, Broken> {
        let mut world = World::new(seed, Nature::default());
        world.settle_many(6);
        line(&mut world, &[0, 1, 2, 3, 4, 5], &Wire::default());
        for _ in 0..20 {
            any_letter(&mut world, 6);
        }
        world.send(0, 5, Wish::default());
        world.finish(CALM_MS)?;
        Ok(world)
    };
    assert_eq!(told(1, story).arrived(), 21);
}
