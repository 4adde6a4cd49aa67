//! The HTTP and websocket client for any rack.
