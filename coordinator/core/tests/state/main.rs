//! The replicated state, the planner and the engine, from outside: rules, properties, tables and models. No runtime, no
//! clock: the driver of [`run`] asks the engine for its next move and applies what follows, as any leader does.

mod choice;
mod engine_table;
mod fixtures;
mod forward;
mod grants;
mod lease_model;
mod leases;
mod maintenance;
mod people;
mod plans;
mod properties;
mod removal;
mod rules;
mod rules_apps;
mod run;
mod support;
