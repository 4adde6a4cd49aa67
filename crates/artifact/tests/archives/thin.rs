//! Archives without layers that the receiver has.

use std::collections::BTreeSet;
use std::io::Cursor;

use artifact::{ArtifactError, Contents, Digest, Format, Limits, prepare, verify, verify_thin};

use crate::support::*;

/// The digests of layers, called by their text.
fn digests(texts: &[&str]) -> BTreeSet<Digest> {
    texts.iter().map(|text| Digest::of(&layer(text))).collect()
}

/// The archive of the usual images without these layers.
fn without(layers: &BTreeSet<Digest>, format: Format) -> Vec<u8> {
    let images = images();
    let mut save = Cursor::new(modern_save(&images, false));
    let mut out = Vec::new();
    prepare(format, &build(), &[], &source(), &tags(&images), &mut save)
        .expect("it can be written")
        .withholding(layers)
        .write(&mut save, &mut out, 2)
        .expect("memory");
    out
}

fn thin(bytes: &[u8]) -> Result<Contents, ArtifactError> {
    verify_thin(bytes, &Limits::default())
}

/// The archive after a change of the text of its index.
fn reindexed(bytes: &[u8], change: impl Fn(&str) -> String) -> Vec<u8> {
    let entries: Vec<_> = files(&gunzip(bytes))
        .into_iter()
        // Which every archive of the tests gets anyway.
        .filter(|(name, _)| name != "build.json")
        .map(|(name, content)| match name.as_str() {
            "twinrack.json" => {
                let text = change(std::str::from_utf8(&content).expect("text"));
                (name, text.into_bytes())
            }
            _ => (name, content),
        })
        .collect();
    let entries: Vec<_> = entries
        .iter()
        .map(|(name, content)| (name.as_str(), &content[..]))
        .collect();
    archive(&entries)
}

#[test]
fn layers_that_were_left_out_are_named_and_the_rest_is_proved() {
    let base = digests(&["base"]);
    let bytes = without(&base, Format::Default);
    let contents = thin(&bytes).expect("it holds");
    assert_eq!(contents.withheld, base);
    let whole = without(&BTreeSet::new(), Format::Default);
    let expected = verify(&whole[..], &Limits::default()).expect("it holds");
    assert_eq!(contents.services, expected.services);
    assert_eq!(contents.layers["web"][..], expected.layers["web"][1..]);
    assert!(bytes.len() < whole.len());

    // What the engine gets names the layer nevertheless, by its place in the image.
    let mut tar = Vec::new();
    let tag = |service: &str| format!("t:{service}");
    artifact::write_docker_load(&bytes[..], &contents, &tag, &mut tar, &Limits::default())
        .expect("it can be loaded");
    let names: Vec<_> = files(&tar).into_iter().map(|(name, _)| name).collect();
    let left_out = format!("{}.tar", base.first().expect("one").hex());
    assert!(!names.contains(&left_out), "{names:?}");
    let (_, manifest) = files(&tar).pop().expect("the last one");
    let manifest = String::from_utf8(manifest).expect("text");
    assert_eq!(manifest.matches(&left_out).count(), 2, "{manifest}");
}

#[test]
fn only_who_asked_for_it_takes_a_thin_archive() {
    let bytes = without(&digests(&["base"]), Format::Default);
    let error = verify(&bytes[..], &Limits::default()).expect_err("a layer is missing");
    assert!(
        matches!(error, ArtifactError::MissingFile { .. }),
        "{error}"
    );
    let mut relayed = Vec::new();
    let error = artifact::relay(&bytes[..], &mut relayed, &Limits::default());
    assert!(error.is_err(), "an engine never gets it unproven");
    // A whole one is as good.
    let whole = without(&BTreeSet::new(), Format::Default);
    assert!(thin(&whole).expect("it holds").withheld.is_empty());
}

#[test]
fn what_is_missing_is_what_the_index_says() {
    let bytes = without(&digests(&["base"]), Format::Default);
    let (base, web) = (Digest::of(&layer("base")), Digest::of(&layer("web")));
    for (what, changed) in [
        (
            "another layer than is missing",
            reindexed(&bytes, |text| {
                let withheld = text.find("\"withheld\"").expect("it is there");
                let (start, end) = text.split_at(withheld);
                let end = end.replacen(base.as_str(), web.as_str(), 1);
                start.to_owned() + &end
            }),
        ),
        (
            "no layer",
            reindexed(&bytes, |text| text.replace("\"withheld\"", "\"other\"")),
        ),
    ] {
        let error = thin(&changed).expect_err(what);
        assert!(
            matches!(error, ArtifactError::IndexMismatch { .. }),
            "{what}: {error}"
        );
    }
}

#[test]
fn formats_without_an_index_leave_nothing_out() {
    for format in [Format::V2, Format::V3] {
        let bytes = without(&digests(&["base"]), format);
        assert_eq!(bytes, without(&BTreeSet::new(), format));
        assert!(thin(&bytes).expect("it holds").withheld.is_empty());
    }
}

#[test]
fn what_the_build_has_not_can_not_be_left_out() {
    let bytes = without(&digests(&["something else"]), Format::Default);
    assert_eq!(bytes, without(&BTreeSet::new(), Format::Default));
}
