//! Text without terminal control sequences.
//!
//! The official clients cut everything from `ESC[` to the next `m` out of what they
//! copy when their output is not a terminal, over line ends and over sequences that
//! have no `m`, then find fewer bytes than they wrote and stop. So no `ESC[` reaches
//! them. What a sequence does, colour or the cursor, means little in a merged log.

use std::borrow::Cow;

const ESCAPE: u8 = 0x1b;

/// Leaves out control sequences: `ESC [`, parameters, then one letter or sign.
/// Of one that is cut short only the text after it stays.
pub fn plain(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = introducer(text) else {
        return Cow::Borrowed(text);
    };
    let mut kept = text[..first].to_vec();
    let mut rest = &text[first..];
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        // Also where the two have only come together by what was left out between them.
        if byte == b'[' && kept.last() == Some(&ESCAPE) {
            kept.pop();
            let end = rest
                .iter()
                .position(|byte| !matches!(byte, b' '..=b'?'))
                .unwrap_or(rest.len());
            let ended = matches!(rest.get(end), Some(b'@'..=b'~'));
            rest = &rest[end + usize::from(ended)..];
        } else {
            kept.push(byte);
        }
    }
    Cow::Owned(kept)
}

fn introducer(text: &[u8]) -> Option<usize> {
    text.windows(2).position(|pair| pair == [ESCAPE, b'['])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sequences_go_and_everything_else_stays() {
        let cases: [(&[u8], &[u8]); 9] = [
            (b"plain \xff", b"plain \xff"),
            (b"\x1b[1;31mred\x1b[0m!", b"red!"),
            // As compilers colour: the second has no `m`.
            (b"\x1b[01m\x1b[Ka.c:1:\x1b[m\x1b[K m", b"a.c:1: m"),
            (b"\x1b[?25l\x1b[2Kx\x1b", b"x\x1b"),
            (b"a\x1b[31", b"a"),
            (b"a\x1b[\nb\x1b[3\nm", b"a\nb\nm"),
            (b"\x1b[\xe2\x82\xac", b"\xe2\x82\xac"),
            (b"\x1b\x1b[0m[31mx", b"x"),
            (b"\x1b]0;title\x07", b"\x1b]0;title\x07"),
        ];
        for (text, expected) in cases {
            assert_eq!(
                plain(text).as_ref(),
                expected,
                "{}",
                String::from_utf8_lossy(text)
            );
        }
        assert!(matches!(plain(b"usual"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn no_client_is_stopped(text in proptest::collection::vec(
            prop_oneof![Just(0x1b), Just(b'['), Just(b'm'), Just(b'\n'), any::<u8>()], 0..60,
        )) {
            prop_assert_eq!(introducer(&plain(&text)), None);
        }

        #[test]
        fn colours_go_wherever_they_stand(pieces in proptest::collection::vec(("[^\u{1b}]{0,8}", "[0-9;:]{0,6}"), 1..10)) {
            let coloured = pieces.iter().fold(String::new(), |all, (text, colour)| all + text + "\u{1b}[" + colour + "m");
            let expected: String = pieces.iter().map(|(text, _)| text.as_str()).collect();
            prop_assert_eq!(plain(coloured.as_bytes()).into_owned(), expected.into_bytes());
        }
    }
}
