//! Layers that need not be sent, because the rack they would come to has them.
//!
//! Only images of builds of that very rack count, which who may import into one of its
//! apps could export just as well. An engine is shared, and who merely knows the digest
//! of a layer must not get it out of another rack by naming it.

use std::collections::BTreeSet;

use artifact::Contents;

use super::context::Context;
use super::error::{Failure, Result};

/// Most different images that are looked at: those of the app first, then the newest.
const MOST: usize = 32;

/// The layers of the images a rack has, lowest first; none if the engine always wants
/// all layers of an image.
pub async fn of_rack(context: &Context, app: &str) -> Result<Vec<Vec<String>>> {
    if !context.engine.info().await?.reuses_layers {
        return Ok(Vec::new());
    }
    let mut chains = Vec::new();
    let mut seen = BTreeSet::new();
    for image in context.store.images_of_rack(app).await? {
        if !seen.insert(image.diff_ids.clone()) {
            continue;
        }
        let found = context.engine.image(&image.id).await?;
        if found.is_some_and(|found| found.diff_ids == image.diff_ids) {
            chains.push(image.diff_ids);
        }
        if chains.len() == MOST {
            break;
        }
    }
    Ok(chains)
}

/// Fails unless the rack has what was left out of an archive: of each image, all layers
/// up to the last one that is missing.
pub async fn prove(context: &Context, app: &str, contents: &Contents) -> Result<()> {
    if contents.withheld.is_empty() {
        return Ok(());
    }
    let chains = of_rack(context, app).await?;
    for (service, image) in &contents.services {
        let missing = |layer| contents.withheld.contains(layer);
        let needed = image.diff_ids.iter().rposition(missing);
        let needed = &image.diff_ids[..needed.map_or(0, |last| last + 1)];
        let has = |chain: &Vec<String>| {
            chain.len() >= needed.len()
                && chain
                    .iter()
                    .zip(needed)
                    .all(|(layer, wanted)| layer == wanted.as_str())
        };
        if !needed.is_empty() && !chains.iter().any(has) {
            return Err(Failure::Conflict(format!(
                "cannot import: the rack has not the layers that were left out of service {service}; \
                 send the whole archive"
            )));
        }
    }
    Ok(())
}
