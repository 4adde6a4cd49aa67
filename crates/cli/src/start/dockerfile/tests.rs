//! Where Dockerfiles put files.

use super::*;
use proptest::prelude::*;

fn place(path: &str) -> Place {
    match path.strip_prefix('/') {
        Some(path) => Place::Absolute(path.to_owned()),
        None => Place::InBase(path.to_owned()),
    }
}

#[track_caller]
fn goes(dockerfile: &str, file: &str, to: &[&str]) {
    let wanted: Vec<_> = to.iter().map(|path| place(path)).collect();
    assert_eq!(
        Copies::read(dockerfile).places(file),
        wanted,
        "{file} of {dockerfile}"
    );
}

#[test]
fn files_go_where_copy_puts_them() {
    let whole = "FROM ruby\nWORKDIR /app\nCOPY . .\n";
    goes(whole, "lib/a.rb", &["/app/lib/a.rb"]);
    goes(whole, "a.rb", &["/app/a.rb"]);
    goes("FROM x\nCOPY . /app", "a b/c", &["/app/a b/c"]);
    goes("FROM x\nCOPY lib /app/lib", "lib/a.rb", &["/app/lib/a.rb"]);
    goes("FROM x\nCOPY lib /app/lib", "library", &[]);
    goes("FROM x\nCOPY a.rb /app/b.rb", "a.rb", &["/app/b.rb"]);
    goes("FROM x\nCOPY a.rb /app/", "a.rb", &["/app/a.rb"]);
    goes(
        "FROM x\nWORKDIR /app\nCOPY a.rb /app",
        "a.rb",
        &["/app/a.rb"],
    );
    goes("FROM x\nCOPY a.rb b.rb /app", "b.rb", &["/app/b.rb"]);
    goes("FROM x\nCOPY *.rb /app", "b.rb", &["/app/b.rb"]);
    goes("FROM x\nCOPY src/* /app", "src/d/e", &["/app/e"]);
    goes("FROM x\nADD [\"a b\", \"/app/\"]", "a b", &["/app/a b"]);
    goes("FROM x\nCOPY . .", "a", &["a"]);
    goes(
        "FROM x\nCOPY Gemfile /a/\nCOPY . /b",
        "Gemfile",
        &["/a/Gemfile", "/b/Gemfile"],
    );
    goes("FROM x\nCOPY . /b\nCOPY . /b", "a", &["/b/a"]);
}

#[test]
fn what_is_not_of_the_context_is_left_out() {
    goes("FROM x\nCOPY --from=build /out /app", "out", &[]);
    goes("FROM x\nADD https://h/x /app/", "x", &[]);
    goes(
        "FROM x\nCOPY <<EOF /app/x\nCOPY a /b\nEOF\nCOPY c /d",
        "a",
        &[],
    );
    goes("FROM x\nRUN <<EOF\nCOPY a /b\nEOF\nCOPY c /d", "c", &["/d"]);
    goes("FROM x\n# COPY a /b\n", "a", &[]);
    goes("", "a", &[]);
    goes("COPY a /b", "a", &[]);
}

#[test]
fn names_and_lines_are_put_together() {
    goes(
        "FROM x\nENV HOME=/srv APP=\"${HOME}/my app\"\nWORKDIR $APP\nCOPY --chown=1:1 a \\\n  # why\n  b ./",
        "b",
        &["/srv/my app/b"],
    );
    goes(
        "FROM x\nENV DIR /srv\nARG SUB=one\nCOPY . $DIR/${SUB}/${NO:-two}${DIR:+3}",
        "a",
        &["/srv/one/two3/a"],
    );
    goes("# escape=`\nFROM x\nCOPY a `\n  /b", "a", &["/b"]);
    goes(
        "FROM x\nWORKDIR /a\nWORKDIR b/../c\ncopy . .",
        "x",
        &["/a/c/x"],
    );
}

#[test]
fn the_development_stage_and_what_it_stands_on_count() {
    let text = "FROM ruby AS base\nWORKDIR /app\nCOPY Gemfile .\n\
                FROM base AS Development\nCOPY . .\n\
                FROM nginx\nCOPY public /www\n";
    goes(text, "Gemfile", &["/app/Gemfile"]);
    goes(text, "public/a", &["/app/public/a"]);
    let last = "FROM ruby AS base\nCOPY a /one\nFROM nginx\nCOPY a /two\n";
    goes(last, "a", &["/two"]);
    goes("FROM x\nCOPY a /one\nFROM 0\nCOPY b /two", "a", &["/one"]);
}

#[test]
fn a_base_that_is_left_is_lost() {
    assert!(Copies::read("FROM x\nCOPY . .\nWORKDIR /app").lost_base);
    assert!(!Copies::read("FROM x\nCOPY . .").lost_base);
    assert!(!Copies::read("FROM x\nCOPY . /x\nWORKDIR /app").lost_base);
    assert_eq!(Place::InBase("a".into()).resolve("/srv/app"), "srv/app/a");
}

#[test]
fn a_copy_is_told_by_what_and_where_to() {
    let pairs = |text: &str| -> Vec<(String, String)> {
        let copies = Copies::read(text);
        let pairs = copies.pairs().into_iter();
        pairs
            .map(|(source, to)| (source.to_owned(), to.shown(None)))
            .collect()
    };
    let pair = |source: &str, to: &str| (source.to_owned(), to.to_owned());
    // What another copy has in it is said with that.
    assert_eq!(
        pairs("FROM x\nWORKDIR /app\nCOPY Gemfile ./\nCOPY . .\nCOPY conf /etc/app\n"),
        [pair("", "/app"), pair("conf", "/etc/app")]
    );
    assert_eq!(pairs("FROM x\nCOPY . .\nCOPY . .\n"), [pair("", ".")]);
    assert_eq!(pairs("FROM x\nCOPY lib lib\n"), [pair("lib", "lib")]);
    let copies = Copies::read("FROM x\nCOPY . /one\nCOPY lib /two\n");
    let target = |file: &str| copies.target(file).map(|place| place.shown(None));
    assert_eq!(target("a").as_deref(), Some("/one"));
    assert_eq!(target("lib/a").as_deref(), Some("/two"));
    assert_eq!(place("").shown(Some("/srv")), "/srv");
    assert_eq!(place("lib").shown(Some("/srv")), "/srv/lib");
}

#[test]
fn what_a_build_begins_with_is_told() {
    let text = "ARG RUBY=3.2\nFROM --platform=linux/amd64 ruby:${RUBY} AS base\nRUN x\n\
                FROM base AS Development\nFROM scratch\nFROM node:20\nFROM ruby:3.2\nFROM development\n";
    assert_eq!(bases(text), ["ruby:3.2", "node:20"]);
    assert_eq!(bases(""), Vec::<String>::new());
}

proptest! {
    #[test]
    fn any_text_is_read(text in "(?s).{0,300}", file in "[a-z/.]{1,20}") {
        let _ = Copies::read(&text).places(&file);
    }

    #[test]
    fn any_instructions_are_read(
        lines in prop::collection::vec("(FROM|COPY|ADD|ENV|ARG|WORKDIR|RUN) [a-z$\\{\\}:.\\\\/\\[\\]\"<= ]{0,30}", 0..12),
        file in "[a-z]{1,3}(/[a-z]{1,3}){0,3}",
    ) {
        for place in Copies::read(&lines.join("\n")).places(&file) {
            // Nothing leaves the image.
            prop_assert!(!place.resolve("/base").split('/').any(|part| part == ".."));
        }
    }
}
