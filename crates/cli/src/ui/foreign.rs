//! Words of others, which must not command the terminal nor deceive who reads it.

/// Whether a character changes the order of others on a terminal, or hides there.
fn deceives(letter: char) -> bool {
    matches!(
        letter,
        '\u{00ad}'
            | '\u{061c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// A text as it may be shown: without control characters, and on a terminal with an escape
/// for what deceives there. Scripts get that as it is.
pub(crate) fn shown(text: &str, terminal: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            letter if letter.is_control() => shown.push(' '),
            letter if terminal && deceives(letter) => shown.extend(letter.escape_unicode()),
            letter => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_deceives_is_seen_on_a_terminal() {
        let text = "fix \u{202e}gpj.exe\x1b[2J ümläut";
        assert_eq!(shown(text, true), "fix \\u{202e}gpj.exe [2J ümläut");
        assert_eq!(shown(text, false), "fix \u{202e}gpj.exe [2J ümläut");
        for letter in ["\u{2066}", "\u{200b}", "\u{feff}", "\u{e0041}"] {
            assert!(shown(letter, true).starts_with("\\u{"), "{letter:?}");
        }
        assert_eq!(shown("日本語 שלום", true), "日本語 שלום");
    }
}
