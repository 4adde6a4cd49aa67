//! Any path of the API.

use ::http::Method;
use serde_json::Value;

use super::{Client, ClientError};

impl Client {
    /// GETs a path, with or without its leading slash and with a query if wanted;
    /// the answer is returned as it is.
    pub async fn api_get(&self, path: &str) -> Result<Value, ClientError> {
        self.get_raw(&format!("/{}", path.trim_start_matches('/')))
            .await
    }

    /// DELETEs a path; the answer says only that it went well.
    pub async fn api_delete(&self, path: &str) -> Result<(), ClientError> {
        let path = format!("/{}", path.trim_start_matches('/'));
        self.finish(self.rack_request(Method::DELETE, &path)?).await
    }
}
