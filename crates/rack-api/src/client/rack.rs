//! Racks of a console or of our server; these calls concern no chosen rack.

use ::http::Method;

use super::http::{Fields, path, with_form};
use super::{Client, ClientError};
use crate::rack::{CreatedRack, RackListing};

impl Client {
    /// Lists the racks.
    pub async fn rack_list(&self) -> Result<Vec<RackListing>, ClientError> {
        let request = self.request(Method::GET, "/racks")?;
        Ok(self
            .send_for::<Option<Vec<_>>>(request)
            .await?
            .unwrap_or_default())
    }

    /// Makes a rack; only our server can. Its own engine is used when none is named.
    pub async fn rack_create(
        &self,
        name: &str,
        engine: Option<&str>,
        docker_host: Option<&str>,
    ) -> Result<CreatedRack, ClientError> {
        let fields = Fields::default()
            .add("docker-host", docker_host)
            .add("engine", engine)
            .add("name", Some(name));
        let request = with_form(self.request(Method::POST, "/racks")?, fields);
        self.send_for(request).await
    }

    /// Deletes a rack and everything in it; only our server can.
    pub async fn rack_delete(&self, name: &str) -> Result<(), ClientError> {
        let path = path(&["racks", name])?;
        self.finish(self.request(Method::DELETE, &path)?).await
    }
}
