//! Runs one job from its folder, within bounds: at most once, and with the truth about how it ended.
//!
//! Three processes of the one binary:
//! - whoever decides: [`place`] makes the folder, [`start`] starts the second, or [`Ahead`] had it started
//!   before and has it confine the third while the folder settles, [`look`] and [`wait`] tell how it stands, [`ask_to_end`] ends it;
//! - the supervisor ([`supervise`]), a session of its own, which outlives the first: takes the lock,
//!   makes `started` durable, reads what comes out, minds the clock, ends everything, writes `outcome`;
//! - the cell ([`confine`]), which the supervisor starts: confines itself, then becomes the command.
//!   Where it was born as the first process of a namespace it stays as that, and the command is its child:
//!   with it the kernel ends all that is left.
//!
//! The files: `folder` what is durable, `supervisor` the loop, `spawning` how a cell is born, `stream` what
//! comes out, `scratch` how much is written, `ending` that nothing is left, `groups` control groups; `cell`
//! the order of confinement, `root` what the command sees of the disk, `paths` Landlock, `calls` seccomp,
//! `bounds` limits of the kernel, `program` that what runs is what was meant; `talk` what the two say to each
//! other. What is enforced by what is in `docs/jobs-sandbox.md`.

mod bounds;
mod calls;
mod cell;
mod ending;
mod folder;
mod groups;
mod paths;
mod program;
mod root;
mod scratch;
mod spawning;
mod stream;
mod supervisor;
mod talk;

pub use self::{
    cell::confine,
    folder::{FolderError, GRACE, ask_to_end, bare, lay, look, place, settle, wait},
    spawning::{Ahead, Supervisor, start},
    supervisor::{SuperviseError, supervise},
};
