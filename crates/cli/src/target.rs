//! Which rack and which app a command is for.
//!
//! Names are matched against the racks that are known: an exact full name wins,
//! then an exact short name, then a part of a name, each only if it is unique.

/// No rack can be told.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    /// Nothing says which rack is meant.
    #[error("no current rack, use `convox racks` to list and `convox switch <name>` to select")]
    NoCurrentRack,
    /// No rack is known at all.
    #[error("no racks found, try `convox install --stack-name <name>` or `convox login <host>`")]
    NoRacks,
    /// No rack has the name.
    #[error("could not find rack: {0}")]
    NotFound(String),
    /// Several racks have the name.
    #[error("ambiguous rack name: {name} could be {}", candidates.join(" or "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// The racks that match.
        candidates: Vec<String>,
    },
    /// The app's name can not be told from the directory's.
    #[error("can not tell the app from the directory name: give --app")]
    NoApp,
}

/// The index of the one name that is meant.
pub(crate) fn matching(names: &[String], wanted: &str) -> Result<usize, TargetError> {
    let short = |name: &str| name.rsplit('/').next().is_some_and(|short| short == wanted);
    let rules: [&dyn Fn(&str) -> bool; 3] = [&|name| name == wanted, &short, &|name| {
        name.contains(wanted)
    }];
    for rule in rules {
        let found: Vec<_> = (0..names.len())
            .filter(|index| rule(&names[*index]))
            .collect();
        match found[..] {
            [] => {}
            [index] => return Ok(index),
            _ => {
                let candidates = found
                    .into_iter()
                    .map(|index| names[index].clone())
                    .collect();
                return Err(TargetError::Ambiguous {
                    name: wanted.to_owned(),
                    candidates,
                });
            }
        }
    }
    Err(TargetError::NotFound(wanted.to_owned()))
}

/// The app that a directory's name stands for: lower case, dashes for what the
/// rack does not take.
pub(crate) fn app_of_directory(name: &str) -> String {
    name.to_lowercase().replace(['.', '_'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(wanted: &str) -> Result<&'static str, String> {
        const NAMES: [&str; 5] = [
            "acme/production",
            "personal/production",
            "personal/staging",
            "personal/staging2",
            "bare",
        ];
        let names = NAMES.map(str::to_owned);
        matching(&names, wanted)
            .map(|index| NAMES[index])
            .map_err(|error| error.to_string())
    }

    #[test]
    fn exact_then_short_then_part() {
        assert_eq!(find("personal/staging"), Ok("personal/staging"));
        assert_eq!(find("staging"), Ok("personal/staging"));
        assert_eq!(find("ing2"), Ok("personal/staging2"));
        assert_eq!(find("acme/"), Ok("acme/production"));
        assert_eq!(find("bare"), Ok("bare"));
    }

    #[test]
    fn several_are_ambiguous_and_none_is_said() {
        assert_eq!(
            find("production"),
            Err(
                "ambiguous rack name: production could be acme/production or personal/production"
                    .to_owned()
            )
        );
        assert_eq!(find("nope"), Err("could not find rack: nope".to_owned()));
    }

    #[test]
    fn directories_become_app_names() {
        assert_eq!(app_of_directory("My_App.v2"), "my-app-v2");
    }
}
