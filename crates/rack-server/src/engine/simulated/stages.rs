//! Which stages of a Dockerfile a build needs.

use std::collections::BTreeMap;

use super::super::Result;
use super::build::{expand, unsolved};
use super::dockerfile::Dockerfile;

/// The stage to build.
pub(super) fn find_target(file: &Dockerfile, target: Option<&str>) -> Result<usize> {
    let Some(target) = target.filter(|target| !target.is_empty()) else {
        return Ok(file.stages.len() - 1);
    };
    let name = target.to_lowercase();
    let by_name = file
        .stages
        .iter()
        .position(|stage| stage.name.as_ref() == Some(&name));
    by_name
        .or_else(|| {
            target
                .parse()
                .ok()
                .filter(|index| *index < file.stages.len())
        })
        .ok_or_else(|| unsolved(format!("target stage {target} could not be found")))
}

/// Which stages the target stands on.
pub(super) fn needed_stages(
    file: &Dockerfile,
    target: usize,
    globals: &BTreeMap<String, String>,
) -> Result<Vec<bool>> {
    let mut needed = vec![false; file.stages.len()];
    needed[target] = true;
    for index in (0..=target).rev() {
        if !needed[index] {
            continue;
        }
        let stage = &file.stages[index];
        let mut names = vec![expand(&stage.base, &|name| globals.get(name).cloned())?];
        names.extend(
            stage
                .instructions
                .iter()
                .filter_map(|i| i.flag("from").map(str::to_owned)),
        );
        for name in names {
            let name = name.to_lowercase();
            let named = file.stages[..index]
                .iter()
                .position(|stage| stage.name.as_ref() == Some(&name));
            if let Some(found) =
                named.or_else(|| name.parse().ok().filter(|number| *number < index))
            {
                needed[found] = true;
            }
        }
    }
    Ok(needed)
}
