//! What many measurements come to: count, sum, extremes and quantiles, in little room
//! and mergeable, so that summaries of summaries are as good as summaries.

/// Ratio of the bounds of a bucket: quantiles are within two percent.
const GROWTH: f64 = 1.04;
/// Bucket of zero, and of what is not above it.
const ZERO: i16 = i16::MIN;

/// What some measurements come to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// How many fell into which bucket, ordered by bucket; buckets grow by [`GROWTH`].
    spread: Vec<(i16, u32)>,
}

fn bucket(value: f64) -> i16 {
    if value > 0.0 {
        let bucket = (value.ln() / GROWTH.ln()).floor();
        bucket.clamp(f64::from(ZERO + 1), f64::from(i16::MAX)) as i16
    } else {
        ZERO
    }
}

impl Summary {
    /// Takes a measurement in.
    pub fn add(&mut self, value: f64) {
        self.merge(&Self {
            count: 1,
            sum: value,
            min: value,
            max: value,
            spread: vec![(bucket(value), 1)],
        });
    }

    /// Takes the measurements of another one in.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        (self.min, self.max) = if self.count == 0 {
            (other.min, other.max)
        } else {
            (self.min.min(other.min), self.max.max(other.max))
        };
        self.count += other.count;
        self.sum += other.sum;
        for (bucket, count) in &other.spread {
            match self.spread.binary_search_by_key(bucket, |(have, _)| *have) {
                Ok(at) => self.spread[at].1 = self.spread[at].1.saturating_add(*count),
                Err(at) => self.spread.insert(at, (*bucket, *count)),
            }
        }
    }

    /// The mean; zero of nothing.
    pub fn average(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.sum / self.count as f64
        }
    }

    /// The value that this share of the measurements does not exceed, by nearest rank.
    pub fn quantile(&self, share: f64) -> f64 {
        let rank = ((share * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (bucket, count) in &self.spread {
            seen += u64::from(*count);
            if seen >= rank {
                let value = match *bucket {
                    ZERO => 0.0,
                    bucket => GROWTH.powf(f64::from(bucket) + 0.5),
                };
                return value.clamp(self.min, self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn summary(values: &[f64]) -> Summary {
        let mut summary = Summary::default();
        for value in values {
            summary.add(*value);
        }
        summary
    }

    #[test]
    fn a_summary_counts_and_compares() {
        let one = summary(&[3.0]);
        assert_eq!((one.count, one.sum, one.min, one.max), (1, 3.0, 3.0, 3.0));
        assert!(
            (one.quantile(0.5) - 3.0).abs() < f64::EPSILON,
            "a single value is exact"
        );
        let many = summary(&[4.0, 0.0, 2.0]);
        assert_eq!(
            (many.count, many.sum, many.min, many.max),
            (3, 6.0, 0.0, 4.0)
        );
        assert!((many.average() - 2.0).abs() < f64::EPSILON);
        assert!(many.quantile(0.1).abs() < f64::EPSILON);
        let nothing = Summary::default();
        assert!(
            nothing.average().abs() < f64::EPSILON && nothing.quantile(0.9).abs() < f64::EPSILON
        );
    }

    proptest! {
        #[test]
        fn quantiles_are_near_the_exact_ones(
            mut values in proptest::collection::vec(prop_oneof![Just(0.0), 1e-6..1e9_f64], 1..200),
            share in 0.01..1.0_f64,
        ) {
            let summary = summary(&values);
            values.sort_by(f64::total_cmp);
            let rank = ((share * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1];
            let found = summary.quantile(share);
            prop_assert!((found - exact).abs() <= exact * (GROWTH - 1.0), "{} for {}", found, exact);
            prop_assert!(summary.min <= found && found <= summary.max);
        }

        #[test]
        fn it_does_not_matter_how_measurements_were_grouped(
            values in proptest::collection::vec(0.0..1e6_f64, 0..60),
            cut in 0_usize..60,
        ) {
            let (first, second) = values.split_at(cut.min(values.len()));
            let mut merged = summary(first);
            merged.merge(&summary(second));
            let whole = summary(&values);
            prop_assert_eq!((merged.count, merged.min, merged.max), (whole.count, whole.min, whole.max));
            prop_assert!((merged.sum - whole.sum).abs() <= 1e-6 * whole.sum.abs());
            prop_assert_eq!(merged.spread, whole.spread);
        }
    }
}
