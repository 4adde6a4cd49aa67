//! Parameters of a request: form fields first, then the query (`rack-api.md` §1.5).

use std::collections::{BTreeMap, HashMap};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Uri};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use rack_api::params;

use super::error::Result;
use crate::operations::Failure;

/// Largest form: environments are the largest thing sent as one.
const LARGEST_FORM: usize = 4 << 20;

/// Parameters by name.
#[derive(Debug, Default)]
pub(super) struct Params(HashMap<String, String>);

fn invalid(error: &params::ParamError) -> Failure {
    Failure::Invalid(error.to_string())
}

impl Params {
    /// Reads the query.
    pub(super) fn of_query(uri: &Uri) -> Self {
        let mut params = Self::default();
        params.add(uri.query().unwrap_or_default().as_bytes());
        params
    }

    /// Reads the form in the body, then the query.
    pub(super) async fn of_request(request: Request) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let mut params = Self::default();
        params.add(&whole(body).await?);
        params.add(parts.uri.query().unwrap_or_default().as_bytes());
        Ok(params)
    }

    fn add(&mut self, encoded: &[u8]) {
        for (name, value) in form_urlencoded::parse(encoded) {
            self.0
                .entry(name.into_owned())
                .or_insert_with(|| value.into_owned());
        }
    }

    /// Adds a field read elsewhere; the first of a name stays.
    pub(super) fn insert(&mut self, name: String, value: String) {
        self.0.entry(name).or_insert(value);
    }

    /// All of them, for routes that take any name.
    pub(super) fn into_map(self) -> BTreeMap<String, String> {
        self.0.into_iter().collect()
    }

    /// A text, when present.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All that are not named here, as clients of 2017 send options.
    pub(super) fn others(&self, known: &[&str]) -> BTreeMap<String, String> {
        self.0
            .iter()
            .filter(|(name, _)| !known.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// A text that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str> {
        Ok(self
            .text(name)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Failure::Invalid(format!("{name} is required")))?)
    }

    /// A boolean, when present.
    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        self.text(name).map(params::boolean)
    }

    /// A parameter of our own, which nobody has ever written otherwise than as it is meant.
    pub(super) fn switch(&self, name: &str) -> Result<bool> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => {
                Err(Failure::Invalid(format!("{name} must be true or false, not {other:?}")).into())
            }
        }
    }

    /// An integer, when present and not empty.
    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>> {
        let text = self.text(name).filter(|text| !text.is_empty());
        Ok(text
            .map(params::integer)
            .transpose()
            .map_err(|error| invalid(&error))?)
    }

    /// A time, when present and not empty.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>> {
        let text = self.text(name).filter(|text| !text.is_empty());
        Ok(text
            .map(params::time)
            .transpose()
            .map_err(|error| invalid(&error))?)
    }

    /// How many entries a list may have: `limit` where it is positive.
    pub(super) fn limit(&self, default: i64) -> Result<i64> {
        let limit = self.integer("limit")?;
        Ok(limit.filter(|limit| *limit > 0).unwrap_or(default))
    }

    /// A duration, when present and not empty.
    pub(super) fn duration(&self, name: &str) -> Result<Option<std::time::Duration>> {
        let text = self.text(name).filter(|text| !text.is_empty());
        Ok(text
            .map(params::duration)
            .transpose()
            .map_err(|error| invalid(&error))?)
    }
}

/// Reads a body that is one text, no larger than a form.
pub(super) async fn text(body: Body) -> Result<String> {
    let bytes = whole(body).await?;
    String::from_utf8(bytes)
        .map_err(|_| Failure::Invalid("the request is not valid UTF-8".into()).into())
}

async fn whole(body: Body) -> Result<Vec<u8>> {
    match Limited::new(body, LARGEST_FORM).collect().await {
        Ok(collected) => Ok(collected.to_bytes().to_vec()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Failure::TooLarge("the form is larger than 4 MiB".into()).into())
        }
        Err(_) => Err(Failure::Invalid("the request ended early".into()).into()),
    }
}

/// Parameters that travel in headers, as text whatever their bytes.
pub(super) struct Headers<'a>(pub(super) &'a HeaderMap);

impl Headers<'_> {
    /// A text, when present.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// A boolean, when present.
    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        self.text(name).map(|text| params::boolean(&text))
    }

    /// An integer, when present and not empty.
    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>> {
        let text = self.text(name).filter(|text| !text.is_empty());
        Ok(text
            .map(|text| params::integer(&text))
            .transpose()
            .map_err(|error| invalid(&error))?)
    }

    /// A terminal dimension, when present.
    pub(super) fn dimension(&self, name: &str) -> Result<Option<u16>> {
        Ok(self
            .integer(name)?
            .and_then(|value| u16::try_from(value).ok())
            .filter(|value| *value > 0))
    }

    /// A duration, when present and not empty.
    pub(super) fn duration(&self, name: &str) -> Result<Option<std::time::Duration>> {
        let text = self.text(name).filter(|text| !text.is_empty());
        Ok(text
            .map(|text| params::duration(&text))
            .transpose()
            .map_err(|error| invalid(&error))?)
    }
}
