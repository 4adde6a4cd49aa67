//! Websocket codec: text frames of arbitrary bytes, an empty binary frame for
//! the end of a direction (`rack-api.md` §2.2).
