//! What a container uses, asked once: without the second sample that engines wait
//! for unless they are told that one is enough.

use bollard::models::{ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptionsBuilder;
use futures::StreamExt as _;

use super::{Docker, error};
use crate::engine::{Result, Usage};

impl Docker {
    pub(super) async fn process_usage(&self, id: &str) -> Result<Option<Usage>> {
        let client = self.session().await?.client;
        let options = StatsOptionsBuilder::default()
            .stream(false)
            .one_shot(true)
            .build();
        let mut answers = Box::pin(client.stats(id, Some(options)));
        match answers.next().await {
            Some(Ok(stats)) => Ok(usage(stats)),
            None => Ok(None),
            Some(Err(error))
                if error::status(&error) == Some(404)
                    || error::mentions(&error, "is not running") =>
            {
                Ok(None)
            }
            Some(Err(error)) => Err(self.failure("process", id, error)),
        }
    }
}

/// Engines answer for containers that do not run too, with nothing in it.
fn usage(stats: ContainerStatsResponse) -> Option<Usage> {
    let cpu = stats
        .cpu_stats?
        .cpu_usage?
        .total_usage
        .filter(|used| *used > 0)?;
    Some(Usage {
        cpu: std::time::Duration::from_nanos(cpu),
        memory: stats.memory_stats.as_ref().map_or(0, resident),
    })
}

/// Memory without files that are only kept because there is room, as `docker stats`
/// counts it; the name differs between the kernel's two interfaces.
fn resident(memory: &ContainerMemoryStats) -> u64 {
    let named = |name: &str| memory.stats.as_ref()?.get(name).copied();
    let idle = named("total_inactive_file").or_else(|| named("inactive_file"));
    memory
        .usage
        .unwrap_or_default()
        .saturating_sub(idle.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_files_are_no_use_of_memory() {
        let memory = |text: &str| -> ContainerMemoryStats {
            serde_json::from_str(text).expect("memory statistics")
        };
        let old = memory(r#"{"usage":100,"stats":{"inactive_file":1,"total_inactive_file":40}}"#);
        assert_eq!(resident(&old), 60);
        let new = memory(r#"{"usage":100,"stats":{"inactive_file":30}}"#);
        assert_eq!(resident(&new), 70);
        assert_eq!(resident(&memory("{}")), 0);
    }

    #[test]
    fn what_does_not_run_uses_nothing() {
        let stats = |text: &str| usage(serde_json::from_str(text).expect("statistics"));
        assert_eq!(
            stats(r#"{"cpu_stats":{"cpu_usage":{"total_usage":0}},"memory_stats":{}}"#),
            None
        );
        let running =
            stats(r#"{"cpu_stats":{"cpu_usage":{"total_usage":7}},"memory_stats":{"usage":5}}"#);
        let expected = Usage {
            cpu: std::time::Duration::from_nanos(7),
            memory: 5,
        };
        assert_eq!(running, Some(expected));
    }
}
