//! Does nothing: the floor of every start-up time.

fn main() {}
