//! What is kept of hosts' and apps' measures, how long, and how it is packed.
//!
//! | module | owns |
//! |---|---|
//! | [`measure`] | the measures, their units, and rates of what only counts up |
//! | [`block`] | a stretch of time of one subject: cells, how they merge, how they become bytes |
//! | [`tiers`] | which resolution is kept for how long, what is rolled up when, what goes first when there is no room |
//!
//! Nothing here is replicated, and nothing is decided on it: losing it costs the past and nothing else.

pub mod block;
pub mod measure;
pub mod tiers;
