//! Credentials.

use ::http::Method;
use serde_json::Value;

use super::{Client, ClientError};

impl Client {
    /// Asks whether the credentials are good. A console may answer with an id to
    /// be kept.
    pub async fn auth(&self) -> Result<Option<String>, ClientError> {
        let response = self.send(self.request(Method::GET, "/auth")?).await?;
        let body = response
            .bytes()
            .await
            .map_err(|error| ClientError::transport(&self.host(), error))?;
        // Racks answer with plain text, which is no id.
        let answer: Option<Value> = serde_json::from_slice(&body).ok();
        Ok(answer.and_then(|answer| Some(answer.get("id")?.as_str()?.to_owned())))
    }
}
