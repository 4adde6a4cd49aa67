//! The palette: 256-colour indices of the original client.

/// What a piece of the client's own text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    /// Table headers and info labels.
    Header,
    /// Cells and values.
    Value,
    /// Text of a step.
    Start,
    /// `OK`, and what is well.
    Ok,
    /// What is not well.
    Bad,
    /// What is not well yet.
    Pending,
    /// A process.
    Process,
    /// `ERROR: `.
    ErrorLabel,
    /// Text of an error.
    Error,
    /// What the client says of itself beside other voices.
    System,
    /// One voice among several, by number.
    Voice(u8),
}

/// Number of voices with a colour of their own.
pub(crate) const VOICES: u8 = 18;

impl Colour {
    fn index(self) -> u8 {
        match self {
            Self::Header => 244,
            Self::Value => 251,
            Self::Start => 247,
            Self::Ok => 46,
            Self::Bad => 160,
            Self::Pending => 33,
            Self::Process => 27,
            Self::ErrorLabel => 124,
            Self::Error => 203,
            Self::System => 15,
            Self::Voice(number) => 237 + number % VOICES,
        }
    }

    /// The text in this colour, or as it is.
    pub(crate) fn paint(self, text: &str, colour: bool) -> String {
        if colour && !text.is_empty() {
            format!("\x1b[38;5;{}m{text}\x1b[0m", self.index())
        } else {
            text.to_owned()
        }
    }
}
