//! What all calls share: paths, headers, bodies, answers, errors.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use ::http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use ::http::{HeaderName, HeaderValue, Method};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::transfer::{Download, ReadFailure, Upload};
use super::{ClientError, Endpoint, transport};

/// What stays as it is in a path segment (RFC 3986 §2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The same for paths whose slashes are separators.
const PATH: &AsciiSet = &SEGMENT.remove(b'/');

/// Sent as `Version`: the word of clients without a release number. Consoles
/// compare it with the oldest client they take, and know this one.
const VERSION: &str = "dev";

/// Header by which our server tells its version in every response.
const SERVER_HEADER: &str = "twinrack";

/// Bytes of an error's body that are read; the rest says nothing more.
const ERROR_LIMIT: usize = 64 * 1024;

/// Brings a rack back that does not answer any more; says whether that went well.
pub type Revive = Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// Talks to one endpoint. Connections are made at the first call.
pub struct Client {
    endpoint: Endpoint,
    http: OnceLock<reqwest::Client>,
    twinrack: AtomicBool,
    version: OnceLock<String>,
    revive: Option<Revive>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Form fields or query parameters, those without a value left out.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(Cow<'static, str>, String)>);

impl Fields {
    /// Adds a field when there is a value.
    pub(super) fn add(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.0
            .extend(value.map(|value| (name.into(), value.to_string())));
        self
    }

    /// Adds fields whose names are somebody else's choice.
    pub(super) fn add_all(mut self, fields: &BTreeMap<String, String>) -> Self {
        let fields = fields.iter();
        self.0
            .extend(fields.map(|(name, value)| (name.clone().into(), value.clone())));
        self
    }

    fn encode(mut self) -> String {
        // The order of the original clients.
        self.0.sort();
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(self.0)
            .finish()
    }
}

/// Writes a path from its segments, each escaped. Segments that would change
/// the path's shape are refused: an empty name must not turn one app into all.
pub(super) fn path(segments: &[&str]) -> Result<String, ClientError> {
    let mut path = String::new();
    for segment in segments {
        if matches!(*segment, "" | "." | "..") {
            return Err(ClientError::Invalid(format!("{segment:?} is not a name")));
        }
        path.push('/');
        path.extend(utf8_percent_encode(segment, SEGMENT));
    }
    Ok(path)
}

/// Writes a path below another whose slashes are kept.
pub(super) fn subpath(path: &str, rest: &str) -> Result<String, ClientError> {
    if rest.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(ClientError::Invalid(format!("{rest:?} is not a key")));
    }
    Ok(format!("{path}/{}", utf8_percent_encode(rest, PATH)))
}

/// Makes a header value; line breaks cannot be sent.
pub(super) fn header_value(name: &str, value: &str) -> Result<HeaderValue, ClientError> {
    HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
        ClientError::Invalid(format!(
            "{} must not contain line breaks or control characters",
            name.to_lowercase()
        ))
    })
}

impl Client {
    /// Makes a client; nothing is connected yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            http: OnceLock::new(),
            twinrack: AtomicBool::new(false),
            version: OnceLock::new(),
            revive: None,
        }
    }

    /// Lets a call that only reads, and meets a rack that has just died, be made once
    /// more after the rack was brought back.
    #[must_use]
    pub fn with_revive(mut self, revive: Revive) -> Self {
        self.revive = Some(revive);
        self
    }

    /// Where the client talks to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether the last answer came from our server, which tells when it is done;
    /// real racks must be asked again and again.
    pub fn is_twinrack(&self) -> bool {
        self.twinrack.load(Ordering::Relaxed)
    }

    /// The version of our server, once it has answered; none of other racks.
    pub fn server_version(&self) -> Option<String> {
        self.version.get().cloned()
    }

    pub(super) fn host(&self) -> String {
        self.endpoint.host()
    }

    /// Starts a request with the headers every request has.
    pub(super) fn request(
        &self,
        method: Method,
        path: &str,
    ) -> Result<RequestBuilder, ClientError> {
        let http = if let Some(http) = self.http.get() {
            http
        } else {
            let http = transport::connect(&self.endpoint)
                .map_err(|error| ClientError::transport(&self.host(), error))?;
            self.http.get_or_init(|| http)
        };
        let base = self.endpoint.url().as_str().trim_end_matches('/');
        let url = Url::parse(&format!("{base}{path}"))
            .map_err(|error| ClientError::Invalid(format!("path cannot be used: {error}")))?;
        let mut request = http
            .request(method, url)
            .header(USER_AGENT, concat!("twinrack/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "*/*")
            .header("Version", VERSION);
        if let Some(authorization) = self.endpoint.authorization() {
            request = request.header(AUTHORIZATION, authorization);
        }
        Ok(request)
    }

    /// Starts a request to the chosen rack.
    pub(super) fn rack_request(
        &self,
        method: Method,
        path: &str,
    ) -> Result<RequestBuilder, ClientError> {
        let request = self.request(method, path)?;
        Ok(match self.endpoint.rack() {
            Some(rack) => request.header("Rack", header_value("rack name", rack)?),
            None => request,
        })
    }

    /// Sends a request and reads the answer's head; error statuses are errors.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = self.attempt(request).await?;
        self.twinrack
            .store(is_twinrack(&response), Ordering::Relaxed);
        let version = response.headers().get(SERVER_HEADER);
        if let Some(version) = version.and_then(|version| version.to_str().ok()) {
            // The first answer tells; a server is not replaced under a client.
            self.version.get_or_init(|| version.to_owned());
        }
        if response.status().as_u16() < 400 {
            return Ok(response);
        }
        Err(api_error(response).await)
    }

    async fn attempt(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let failed = |error| ClientError::transport(&self.host(), error);
        let (http, request) = request.build_split();
        let request = request.map_err(failed)?;
        let again = match &self.revive {
            Some(revive) if request.method() == Method::GET => {
                request.try_clone().map(|again| (revive, again))
            }
            _ => None,
        };
        let gone = match (http.execute(request).await.map_err(failed), again) {
            (Err(error), Some(again)) if error.is_gone() => (error, again),
            (answer, _) => return answer,
        };
        let (error, (revive, again)) = gone;
        if !revive().await {
            return Err(error);
        }
        http.execute(again).await.map_err(failed)
    }

    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        response: Response,
    ) -> Result<T, ClientError> {
        let value = self.read_json(response).await?;
        serde_json::from_value(without_nulls(value)).map_err(|error| self.unreadable(&error))
    }

    async fn read_json(&self, response: Response) -> Result<Value, ClientError> {
        let body = response
            .bytes()
            .await
            .map_err(|error| ClientError::transport(&self.host(), error))?;
        serde_json::from_slice(&body).map_err(|error| self.unreadable(&error))
    }

    fn unreadable(&self, error: &serde_json::Error) -> ClientError {
        ClientError::Protocol {
            host: self.host(),
            reason: error.to_string(),
        }
    }

    /// GET with a query, JSON answer.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: Fields,
    ) -> Result<T, ClientError> {
        self.send_for(self.query_request(path, query)?).await
    }

    /// Starts a GET with a query.
    pub(super) fn query_request(
        &self,
        path: &str,
        query: Fields,
    ) -> Result<RequestBuilder, ClientError> {
        self.request_with_query(Method::GET, path, query)
    }

    /// Starts a request with a query.
    pub(super) fn request_with_query(
        &self,
        method: Method,
        path: &str,
        query: Fields,
    ) -> Result<RequestBuilder, ClientError> {
        match query.encode().as_str() {
            "" => self.rack_request(method, path),
            query => self.rack_request(method, &format!("{path}?{query}")),
        }
    }

    /// GET with a JSON list as the answer, which real racks may write as `null`.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: Fields,
    ) -> Result<Vec<T>, ClientError> {
        Ok(self
            .get::<Option<Vec<T>>>(path, query)
            .await?
            .unwrap_or_default())
    }

    /// Sends form fields, JSON answer.
    pub(super) async fn form<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        fields: Fields,
    ) -> Result<T, ClientError> {
        let request = with_form(self.rack_request(method, path)?, fields);
        let response = self.send(request).await?;
        self.read(response).await
    }

    /// Sends form fields; the answer says only that it went well.
    pub(super) async fn act(
        &self,
        method: Method,
        path: &str,
        fields: Fields,
    ) -> Result<(), ClientError> {
        let request = with_form(self.rack_request(method, path)?, fields);
        self.finish(request).await
    }

    /// Sends a request whose answer says only that it went well.
    pub(super) async fn finish(&self, request: RequestBuilder) -> Result<(), ClientError> {
        let response = self.send(request).await?;
        // Read to the end, so that the connection serves the next request too.
        response
            .bytes()
            .await
            .map_err(|error| ClientError::transport(&self.host(), error))?;
        Ok(())
    }

    /// Sends a request, JSON answer.
    pub(super) async fn send_for<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, ClientError> {
        let response = self.send(request).await?;
        self.read(response).await
    }

    /// POSTs a body, JSON answer.
    pub(super) async fn upload<T: DeserializeOwned>(
        &self,
        path: &str,
        upload: Upload,
    ) -> Result<T, ClientError> {
        self.upload_as(path, upload, "application/octet-stream")
            .await
    }

    /// The same, of a type.
    pub(super) async fn upload_as<T: DeserializeOwned>(
        &self,
        path: &str,
        upload: Upload,
        kind: &str,
    ) -> Result<T, ClientError> {
        let (request, failure) = self.body_request(Method::POST, path, upload, kind)?;
        failure.explain(self.send_for(request).await)
    }

    /// Sends a body; the answer says only that it went well.
    pub(super) async fn send_body(
        &self,
        method: Method,
        path: &str,
        upload: Upload,
    ) -> Result<(), ClientError> {
        let (request, failure) =
            self.body_request(method, path, upload, "application/octet-stream")?;
        failure.explain(self.finish(request).await)
    }

    fn body_request(
        &self,
        method: Method,
        path: &str,
        upload: Upload,
        kind: &str,
    ) -> Result<(RequestBuilder, ReadFailure), ClientError> {
        let mut request = self.rack_request(method, path)?.header(CONTENT_TYPE, kind);
        if let Some(length) = upload.length() {
            request = request.header(CONTENT_LENGTH, length);
        }
        let (body, failure) = upload.into_body();
        Ok((request.body(body), failure))
    }

    /// GETs a body.
    pub(super) async fn download(
        &self,
        path: &str,
        query: Fields,
    ) -> Result<Download, ClientError> {
        let request = self.query_request(path, query)?;
        let again = request.try_clone().map(RequestBuilder::build_split);
        let response = self.send(request).await?;
        Ok(match again {
            Some((http, Ok(again))) => Download::resumable(self.host(), response, http, again),
            _ => Download::new(self.host(), response),
        })
    }

    /// GETs JSON as it is.
    pub(super) async fn get_raw(&self, path: &str) -> Result<Value, ClientError> {
        let response = self.send(self.rack_request(Method::GET, path)?).await?;
        self.read_json(response).await
    }
}

pub(super) fn with_form(request: RequestBuilder, fields: Fields) -> RequestBuilder {
    if fields.0.is_empty() {
        // Some proxies refuse a POST that does not say that it is empty.
        return request.header(CONTENT_LENGTH, 0);
    }
    request
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(fields.encode())
}

/// Whether our server has answered.
pub(super) fn is_twinrack(response: &Response) -> bool {
    response.headers().contains_key(SERVER_HEADER)
}

/// Adds option headers, those without a value left out.
pub(super) fn with_headers<const N: usize>(
    mut request: RequestBuilder,
    headers: [(&'static str, Option<String>); N],
) -> Result<RequestBuilder, ClientError> {
    for (name, value) in headers {
        if let Some(value) = value {
            let value = header_value(name, &value)?;
            request = request.header(
                HeaderName::from_bytes(name.as_bytes()).expect("our names"),
                value,
            );
        }
    }
    Ok(request)
}

/// Reads an error answer: JSON `error`, else the text, else the status.
pub(super) async fn api_error(response: Response) -> ClientError {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    // What arrived before a failure still tells more than the failure.
    while let Some(Ok(piece)) = stream.next().await {
        body.extend_from_slice(&piece);
        if body.len() > ERROR_LIMIT {
            body.truncate(ERROR_LIMIT);
            break;
        }
    }
    ClientError::Api {
        status,
        message: error_message(status, &body),
    }
}

fn error_message(status: u16, body: &[u8]) -> String {
    if let Ok(Value::Object(fields)) = serde_json::from_slice(body) {
        let error = fields
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("error"))
            .and_then(|(_, value)| value.as_str())
            .filter(|text| !text.is_empty());
        if let Some(text) = error {
            return text.to_owned();
        }
    }
    match String::from_utf8_lossy(body).trim() {
        "" => format!("response status {status}"),
        text => text.to_owned(),
    }
}

/// Drops `null` fields: real racks write them for empty lists and maps.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn error_bodies_are_read_like_the_originals() {
        for (body, message) in [
            (&b"app not found: foo\n"[..], "app not found: foo"),
            (b"{\"error\":\"is 100% full\"}", "is 100% full"),
            (b"{\"Error\":\"upper\"}\n", "upper"),
            (b"{\"error\":\"\"}", "{\"error\":\"\"}"),
            (b"{\"other\":1}", "{\"other\":1}"),
            (b" \n", "response status 500"),
            (b"\xFF", "\u{FFFD}"),
        ] {
            assert_eq!(error_message(500, body), message);
        }
    }

    #[test]
    fn names_cannot_change_the_path() {
        assert_eq!(path(&["apps", "a/b c"]).expect("a name"), "/apps/a%2Fb%20c");
        for name in ["", ".", ".."] {
            assert!(path(&["apps", name]).is_err(), "{name:?}");
        }
        assert_eq!(
            subpath("/x", "/tmp/a b.tgz").expect("a key"),
            "/x//tmp/a%20b.tgz"
        );
        assert!(subpath("/x", "a/../b").is_err());
    }

    #[test]
    fn nulls_are_dropped_at_any_depth() {
        let value = json!({"a": null, "b": [{"c": null, "d": 1}]});
        assert_eq!(without_nulls(value), json!({"b": [{"d": 1}]}));
    }
}
