//! Medians and percentiles.

use std::time::Duration;

/// The value in the middle, or between the two in the middle; `None` of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let is_odd = sorted.len() % 2 == 1;
    Some(if is_odd { upper } else { f64::midpoint(sorted[sorted.len() / 2 - 1], upper) })
}

/// The smallest and the largest value; `None` of nothing.
pub(crate) fn spread(values: &[f64]) -> Option<(f64, f64)> {
    Some((values.iter().copied().min_by(f64::total_cmp)?, values.iter().copied().max_by(f64::total_cmp)?))
}

/// The time within which so many of a hundred were done; nothing of nothing.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

pub(crate) fn longest(times: &[Duration]) -> Duration {
    times.iter().copied().max().unwrap_or_default()
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Welch's t: how many standard errors lie between the means of two samples; none of the same means, nor of
/// nothing, and endlessly many of others without spread.
pub(crate) fn welch_t(one: &[f64], other: &[f64]) -> f64 {
    let moments = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / count(values.len());
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        (mean, squares / count(values.len().saturating_sub(1)) / count(values.len()))
    };
    let ((one, error), (other, other_error)) = (moments(one), moments(other));
    let t = (one - other) / (error + other_error).sqrt();
    if t.is_nan() { 0.0 } else { t }
}

/// A count as a number to divide; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "nothing here counts that far")]
pub(crate) fn count(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let check = |values: &[f64], expected| assert_eq!(median(values), expected, "{values:?}");
        check(&[], None);
        check(&[3.0], Some(3.0));
        check(&[9.0, 1.0, 2.0], Some(2.0));
        check(&[4.0, 1.0, 2.0, 3.0], Some(2.5));
    }

    #[test]
    fn the_spread_is_from_the_smallest_to_the_largest() {
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[2.0, 1.0, 3.0]), Some((1.0, 3.0)));
    }

    #[test]
    fn welch_t_is_that_of_the_textbook() {
        // The figure is from the formula in another program, with the variances of its library.
        let (one, other) = ([27.5, 21.0, 19.0, 23.6, 17.0, 17.9], [27.1, 22.0, 20.8, 23.4]);
        assert!((welch_t(&one, &other) + 1.097_688_7).abs() < 1e-6, "{}", welch_t(&one, &other));
        assert!((welch_t(&other, &one) + welch_t(&one, &other)).abs() < 1e-12);
        assert!(welch_t(&one, &one).abs() < 1e-12);
        assert!(welch_t(&[], &[1.0]).abs() < 1e-12, "nothing of nothing");
        assert!(welch_t(&[1.0, 1.0], &[1.0, 1.0]).abs() < 1e-12);
        assert!(welch_t(&[1.0, 1.0], &[0.0, 0.0]) > 1e12, "no spread hides no difference");
    }

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        for (percent, expected) in [(50, 100), (99, 198), (100, 200)] {
            assert_eq!(percentile(&times, percent), Duration::from_millis(expected), "{percent}");
        }
        assert_eq!(percentile(&times[..1], 50), Duration::from_millis(200));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }
}
