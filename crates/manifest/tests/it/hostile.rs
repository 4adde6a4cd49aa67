//! Text made to hurt: refused in bounded time, memory and stack, never a panic.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::{Duration, Instant};

use manifest::{Errors, Loaded, Manifest};

use crate::support::env;

/// Generous for an unoptimised build on a busy machine; unbounded work takes minutes or all memory.
const DEADLINE: Duration = Duration::from_secs(20);

/// Loads on a stack smaller than any thread that does real work has.
fn load(text: String, value: String) -> Result<Loaded, Errors> {
    let start = Instant::now();
    let result = std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(move || Manifest::load(&text, &env(&[("X", &value)])))
        .expect("a thread starts")
        .join()
        .expect("loading does not panic");
    assert!(start.elapsed() < DEADLINE, "took {:?}", start.elapsed());
    result
}

fn refused(text: String) -> String {
    refused_with(text, String::new())
}

fn refused_with(text: String, value: String) -> String {
    let shown: String = text.chars().take(200).collect();
    match load(text, value) {
        Ok(_) => panic!("loads, but must not: {shown}"),
        Err(errors) => {
            let message = errors.to_string();
            assert!(
                message.len() < 100_000,
                "{} bytes of message",
                message.len()
            );
            message
        }
    }
}

/// What `text` makes of each number, in a row.
fn concat(numbers: Range<usize>, text: impl Fn(usize) -> String) -> String {
    numbers.map(text).collect::<Vec<_>>().concat()
}

const TOO_COMPLEX: &str = "the manifest is nested too deeply or expands to too many values";

#[test]
fn alias_bombs() {
    let mut lists = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    let mut maps = "a0: &a0 {x: 1}\n".to_owned();
    let mut merges = "a0: &a0 {x: 1}\n".to_owned();
    for i in 1..2_000 {
        let alias = format!("*a{}", i - 1);
        let ten = [alias.as_str(); 10].join(",");
        writeln!(lists, "a{i}: &a{i} [{ten}]").expect("writes to memory");
        writeln!(maps, "a{i}: &a{i} {{a: {alias}, b: {alias}}}").expect("writes to memory");
        writeln!(merges, "a{i}: &a{i} {{<<: {alias}, k{i}: 1}}").expect("writes to memory");
    }
    let many = format!("a: &a x\nb: [{}]\n", "*a,".repeat(200_000));
    for bomb in [lists, maps, merges, many] {
        let message = refused(bomb);
        assert!(message.ends_with(TOO_COMPLEX), "{message}");
    }
}

#[test]
fn a_chain_of_aliases_cannot_nest_deeper_than_the_text_may() {
    let mut chain = "a0: &a0 [[[[[[1]]]]]]\n".to_owned();
    for i in 1..1_000 {
        writeln!(chain, "a{i}: &a{i} [[[[[[*a{}]]]]]]", i - 1).expect("writes to memory");
    }
    assert!(refused(chain).ends_with(TOO_COMPLEX));
}

#[test]
fn deep_nesting() {
    let indented = concat(0..1_000, |depth| format!("{}a:\n", " ".repeat(depth)));
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(100_000),
        indented,
    ] {
        let message = refused(text);
        assert!(message.ends_with(TOO_COMPLEX), "{message}");
    }
}

#[test]
fn the_deepest_accepted_nesting_fits_the_stack() {
    let depth = 22;
    let text = format!("x-deep: {}{}\n", "[".repeat(depth), "]".repeat(depth));
    load(text, String::new()).expect("loads");
}

#[test]
fn huge_texts() {
    assert_eq!(
        refused("#".repeat((1 << 20) + 1)),
        "convox.yml: the manifest is larger than 1048576 bytes"
    );
    assert_eq!(
        refused_with("${X}".repeat(200_000), "x".repeat(100_000)),
        "convox.yml: the manifest is larger than 4194304 bytes after interpolation"
    );
    let keys = concat(0..80_000, |i| format!("k{i}: 1\n"));
    assert!(refused(keys).ends_with(TOO_COMPLEX));
}

#[test]
fn large_but_honest_texts_load() {
    let comment = "#\n".repeat(500_000);
    load(comment, String::new()).expect("loads");
    let long = format!("services: {{web: {{command: {}}}}}", "x".repeat(1_000_000));
    load(long, String::new()).expect("loads");
    let services = concat(0..2_000, |i| format!("  s{i}: {{port: 80}}\n"));
    let loaded = load(format!("services:\n{services}"), String::new()).expect("loads");
    assert_eq!(loaded.manifest.services.len(), 2_000);
}

#[test]
fn many_mistakes_are_cut_short() {
    let unknown = concat(0..9_000, |i| format!("k{i}: 1, "));
    let loaded = load(format!("{{services: {{}}, {unknown}}}"), String::new()).expect("loads");
    assert!(loaded.warnings.len() <= 100, "{}", loaded.warnings.len());
    let wrong = concat(0..4_000, |i| format!("S{i}: {{port: x}}, "));
    let errors = load(format!("services: {{{wrong}}}"), String::new()).expect_err("wrong ports");
    assert_eq!(errors.iter().count(), 100);
}

#[test]
fn many_variables_for_many_services() {
    let variables = "A=1, ".repeat(9_000);
    let services = concat(0..5_000, |i| format!("s{i}: , "));
    let message = refused(format!(
        "environment: [{variables}]\nservices: {{{services}}}\n"
    ));
    assert!(
        message.ends_with("the manifest declares too many variables for too many services"),
        "{message}"
    );
}

#[test]
fn many_interpolations_on_one_line() {
    let text = format!(
        "services: {{web: {{port: \"{}\"}}}}",
        "${X}".repeat(200_000)
    );
    assert!(refused_with(text, "1".to_owned()).contains("invalid port: ${X}"));
    let odd = format!(
        "services: {{web: {{command: \"{}\"}}}}",
        "${:}".repeat(200_000)
    );
    let loaded = load(odd, String::new()).expect("loads");
    assert_eq!(loaded.warnings.len(), 100);
}

#[test]
fn many_ports_and_networks() {
    let ports = concat(1..15_000, |i| format!("{i},"));
    let loaded = load(
        format!("services: {{web: {{ports: [{ports}]}}}}"),
        String::new(),
    );
    assert_eq!(
        loaded.expect("loads").manifest.services["web"].ports.len(),
        14_999
    );
    let networks = concat(0..15_000, |i| format!("10.{}.{}.0/24,", i / 256, i % 256));
    let text = format!("services: {{web: {{nlb: [{{port: 1, allow_cidr: [{networks}]}}]}}}}");
    load(text, String::new()).expect("loads");
    let listeners = concat(1..6_000, |i| format!("{{port: {i}}},"));
    load(
        format!("services: {{web: {{nlb: [{listeners}]}}}}"),
        String::new(),
    )
    .expect("loads");
}

#[test]
fn odd_bytes() {
    for text in [
        "\0",
        "services:\0",
        "\u{feff}\u{feff}",
        "services: \"\\x00\"",
        "%YAML 9.9\n---\n",
        "%TAG ! !\n",
        "&a &a &a",
        "!!x !!x",
        "*",
        "&",
        "!",
        "|\n|\n",
        ">",
        "\u{2028}",
        "<<: *x",
        "<<: [[]]",
        "<<: {<<: {<<: 5}}",
        "? \n: ",
        ": :",
        "${",
        "${}",
        "$}{",
        "${${X}}",
        "\r",
        "a\r\nb",
        "-",
        "--- --- ---",
        "...",
    ] {
        // Whether it loads does not matter, that it comes back does.
        let _outcome = load(text.to_owned(), "\u{0}\r\n\t: - {".to_owned());
    }
}
