//! Verbs about runs over fleets.
//!
//! Each lets all runs take their next steps before it answers: without a daemon nobody else does.

use serde::{Deserialize, Serialize};

use super::{
    verb::{At, verbs},
    verbs::{Run, missing, tell_gone},
};
use crate::desk::{
    Failure, FleetRequest, Share,
    reply::{FleetLine, JobLine, TargetLine},
};

verbs! {
    /// Ask several to run something, the canaries first; when this answers, that is durable.
    RunFleet "run/fleet" {
        /// On whom: role=ROLE, group=GROUP, label=LABEL, or names; each may be several between commas.
        on: Vec<String>,
        /// What it is called; by default the handle and some digits.
        name: Option<String>,
        /// How many of the first go ahead of the others: N or N%.
        canary: Option<String>,
        /// After so many failures nobody else begins: N or N%.
        max_failures: Option<String>,
        /// What, and when.
        run: Option<Run>,
    } -> FleetLine: |request, at| {
        let line = at.desk.run_fleet(&request.request()?, at.watch)?;
        steps(at)?;
        Ok(line)
    };

    /// Whom such a run would be for; nothing is sent.
    FleetTargets "run/targets" {
        /// On whom: role=ROLE, group=GROUP, label=LABEL, or names; each may be several between commas.
        on: Vec<String>,
        /// How many of the first go ahead of the others: N or N%.
        canary: Option<String>,
    } -> Vec<TargetLine>: |request, at| {
        let Self { on, canary } = request;
        let request = RunFleet { on, canary, run: Some(Run::default()), ..RunFleet::default() };
        at.desk.fleet_targets(&request.anything()?)
    };

    /// Runs over fleets, oldest first.
    FleetLs "fleet/ls" {} -> Vec<FleetLine>: |_request, at| {
        steps(at)?;
        at.desk.fleets(at.watch)
    };

    /// One of them.
    FleetShow "fleet/show" {
        /// Its name, or how that alone begins.
        name: String,
    } -> FleetLine: |request, at| {
        steps(at)?;
        at.desk.fleet(&request.name, at.watch)
    };

    /// Its jobs, in the order of its targets.
    FleetJobs "fleet/jobs" {
        /// Its name, or how that alone begins.
        name: String,
    } -> Vec<JobLine>: |request, at| at.desk.fleet_jobs(&request.name, at.watch);

    /// Let those go that wait for the canaries.
    FleetRelease "fleet/release" {
        /// Its name, or how that alone begins.
        name: String,
    } -> FleetLine: |request, at| {
        steps(at)?;
        at.desk.release_fleet(&request.name, at.watch)
    };

    /// Take it back: nobody else is sent to, and everybody who was is told.
    FleetCancel "fleet/cancel" {
        /// Its name, or how that alone begins.
        name: String,
        /// Also end what runs.
        force: bool = default,
    } -> FleetLine: |request, at| {
        let (line, gone) = at.desk.cancel_fleet(&request.name, request.force, at.watch)?;
        tell_gone(at, gone);
        Ok(line)
    };
}

/// All runs take their next steps.
fn steps(at: &At<'_>) -> Result<(), Failure> {
    tell_gone(at, at.desk.advance_fleets(at.watch)?);
    Ok(())
}

impl RunFleet {
    fn request(self) -> Result<FleetRequest, Failure> {
        if self.on.iter().all(String::is_empty) {
            return Err(missing("on"));
        }
        self.anything()
    }

    fn anything(self) -> Result<FleetRequest, Failure> {
        let share = |text: Option<String>, what: &str| -> Result<Option<Share>, Failure> {
            text.map(|text| text.parse().map_err(|_| missing(what))).transpose()
        };
        Ok(FleetRequest {
            on: self.on,
            name: self.name,
            canary: share(self.canary, "canary")?,
            failures: share(self.max_failures, "max_failures")?,
            run: self.run.ok_or_else(|| missing("run"))?.request()?,
        })
    }
}
