//! The deploy script everything is about.

use std::fs;

use crate::root;

/// The script of the document that started the project, byte for byte, where that
/// document lies beside the checkout.
pub fn seed_script() -> Option<String> {
    let text =
        fs::read_to_string(root().join("../shared/seeds/staging-and-production.txt")).ok()?;
    let (_, rest) = text.split_once("```bash\n")?;
    let (script, _) = rest.split_once("```")?;
    Some(script.to_owned())
}

/// The same commands as the example has them.
pub fn workflow_script() -> String {
    fs::read_to_string(root().join("examples/workflow.sh")).expect("examples/workflow.sh")
}
