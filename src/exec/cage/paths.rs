//! Which files a command reaches: Landlock's rules, put on for ever.

use std::{os::fd::BorrowedFd, path::PathBuf};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, LandlockStatus, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

/// What a command reaches of the disk.
pub(super) struct Paths<'a> {
    /// To read and to run.
    pub(super) read: Vec<PathBuf>,
    /// For everything.
    pub(super) write: Vec<PathBuf>,
    /// Devices that give or swallow bytes.
    pub(super) devices: Vec<PathBuf>,
    /// The program itself.
    pub(super) program: BorrowedFd<'a>,
}

/// Puts the rules on; says which kernel interface keeps them, or `None` where none does.
pub(super) fn bar_paths(paths: &Paths<'_>) -> Result<Option<ABI>, RulesetError> {
    // The newest rights that are tested here. An older kernel keeps what it knows of them.
    let read = AccessFs::from_read(ABI::V5);
    let all = AccessFs::from_all(ABI::V5) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .add_rules(path_beneath_rules(&paths.read, read))?
        .add_rules(path_beneath_rules(&paths.write, all))?
        .add_rules(path_beneath_rules(&paths.devices, device))?
        .add_rule(PathBeneath::new(paths.program, AccessFs::Execute | AccessFs::ReadFile))?
        .restrict_self()?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. }
            if status.ruleset != RulesetStatus::NotEnforced =>
        {
            Some(effective_abi)
        }
        _ => None,
    })
}
