//! Every command as it is typed, with all it says: standard output, standard error, exit
//! status, on the simulated engine. What is expected lies in `tests/golden`, one file for
//! a family of commands; a command that is in none of them fails the unit test
//! `every_command_is_proven` of the client.
//!
//! After a wanted change: `INSTA_UPDATE=always cargo nextest run -E 'binary(goldens)'`, and
//! look at the difference.

mod aids;
mod apps;
mod rack;
mod sources;
mod transcript;
