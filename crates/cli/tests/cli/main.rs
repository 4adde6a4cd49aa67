//! The built `convox` against a rack that says what the test tells it to.

mod artifact;
mod builds;
mod completion;
mod copies;
mod diagnose;
mod doctor;
mod forms;
mod generations;
mod lists;
mod local;
mod manual;
mod masks;
mod nouns;
mod old;
mod promote;
mod support;
mod usage;
