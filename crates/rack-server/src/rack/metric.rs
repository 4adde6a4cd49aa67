//! Measurements over time, as `rack-api.md` §3.9 asks for them.

use jiff::Timestamp;
use rack_api::metric::{Metric, MetricOptions, MetricValue, ServiceMetrics};

use super::Rack;
use crate::operations::history::{Scope, Window};
use crate::operations::{Failure, Result};
use crate::summary::Summary;

/// Seconds looked at unless a start is given.
const USUAL_RANGE: i64 = 30 * 60;
/// Seconds of a period unless one is given.
const USUAL_PERIOD: i64 = 30;
/// Longest time that can be looked at.
const LONGEST_RANGE: i64 = 24 * 60 * 60;
/// Shortest period.
const SHORTEST_PERIOD: i64 = 5;
/// Most periods of an answer.
const MOST_POINTS: i64 = 5000;

fn window(options: &MetricOptions, now: Timestamp) -> Result<Window> {
    // The second that has begun counts.
    let end = options
        .end
        .map_or(now.as_second() + 1, Timestamp::as_second);
    let start = options
        .start
        .map_or(end - USUAL_RANGE, Timestamp::as_second);
    let period = options.period.unwrap_or(USUAL_PERIOD);
    let refuse = |text: String| Err(Failure::Invalid(text));
    if end <= start {
        return refuse("end must be after start".into());
    }
    if end - start > LONGEST_RANGE {
        return refuse("start and end must not be more than 24 hours apart".into());
    }
    if period < SHORTEST_PERIOD {
        return refuse(format!("period must be at least {SHORTEST_PERIOD} seconds"));
    }
    if (end - start) / period > MOST_POINTS {
        return refuse(format!(
            "start, end and period make more than {MOST_POINTS} points: ask for a longer period"
        ));
    }
    Ok(Window { start, end, period })
}

fn value(at: i64, summary: &Summary) -> MetricValue {
    MetricValue {
        avg: summary.average(),
        count: summary.count as f64,
        max: summary.max,
        min: summary.min,
        p90: summary.quantile(0.90),
        p95: summary.quantile(0.95),
        p99: summary.quantile(0.99),
        sum: summary.sum,
        time: Timestamp::from_second(at).ok(),
    }
}

impl Rack {
    fn metrics(&self, scope: &Scope, options: &MetricOptions) -> Result<Vec<Metric>> {
        let window = window(options, self.context.now())?;
        let wanted = |name: &str| {
            options.metrics.is_empty() || options.metrics.iter().any(|wanted| wanted == name)
        };
        Ok(self
            .context
            .history
            .over(scope, &window)
            .into_iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, periods)| Metric {
                name: name.to_owned(),
                values: periods
                    .iter()
                    .map(|(at, summary)| value(*at, summary))
                    .collect(),
            })
            .collect())
    }

    /// What was measured of the rack.
    pub fn system_metrics(&self, options: &MetricOptions) -> Result<Vec<Metric>> {
        self.metrics(&Scope::Rack, options)
    }

    /// What was measured of an app: its services taken together.
    pub async fn app_metrics(&self, app: &str, options: &MetricOptions) -> Result<Vec<Metric>> {
        self.context.app(app).await?;
        self.metrics(&Scope::App(app.to_owned()), options)
    }

    /// What was measured of a service.
    pub async fn service_metrics(
        &self,
        app: &str,
        service: &str,
        options: &MetricOptions,
    ) -> Result<Vec<Metric>> {
        let services = self.services(app).await?;
        if !services.iter().any(|have| have.name == service) {
            return Err(Failure::NotFound(format!("service not found: {service}")));
        }
        self.metrics(&Scope::Service(app.to_owned(), service.to_owned()), options)
    }

    /// What was measured of some services of an app, or of all when none is named.
    pub async fn metrics_by_service(
        &self,
        app: &str,
        services: &[String],
        options: &MetricOptions,
    ) -> Result<Vec<ServiceMetrics>> {
        let have: Vec<_> = self
            .services(app)
            .await?
            .into_iter()
            .map(|service| service.name)
            .collect();
        if let Some(missing) = services.iter().find(|service| !have.contains(service)) {
            return Err(Failure::NotFound(format!("service not found: {missing}")));
        }
        have.into_iter()
            .filter(|name| services.is_empty() || services.contains(name))
            .map(|name| {
                let scope = Scope::Service(app.to_owned(), name.clone());
                let metrics = self.metrics(&scope, options)?;
                Ok(ServiceMetrics { name, metrics })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Option<Timestamp> {
        Timestamp::from_second(second).ok()
    }

    #[test]
    fn windows_have_usual_and_extreme_sizes() {
        let now = at(100_000).expect("a time");
        let options = |start: i64, end: i64, period: i64| MetricOptions {
            start: at(start),
            end: at(end),
            period: Some(period),
            metrics: Vec::new(),
        };
        assert_eq!(
            window(&MetricOptions::default(), now).expect("fine"),
            Window {
                start: 100_001 - 1800,
                end: 100_001,
                period: 30
            }
        );
        assert!(window(&options(0, LONGEST_RANGE, 18), now).is_ok());
        for (refused, text) in [
            (options(5, 5, 30), "end must be after start"),
            (
                options(0, LONGEST_RANGE + 1, 30),
                "start and end must not be more than 24 hours apart",
            ),
            (options(0, 100, 4), "period must be at least 5 seconds"),
            (
                options(0, LONGEST_RANGE, 17),
                "start, end and period make more than 5000 points: ask for a longer period",
            ),
        ] {
            assert_eq!(
                window(&refused, now).expect_err("refused").to_string(),
                text
            );
        }
    }
}
