//! Which examples an evaluation looks at, and the buckets of rating that it reports them by.

use hrm_core::rng::{Rng, Stream};
use serde::Serialize;

use crate::data::Dataset;

/// Which examples of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// All of them.
    All,
    /// The first ones, at most so many.
    First(usize),
    /// A seeded choice of at most so many, in the order of the dataset. Where puzzles are rated, each bucket of ratings
    /// has the share of the choice that it has of the dataset.
    Random {
        /// Examples at most.
        count: usize,
        /// Seed of the choice.
        seed: u64,
    },
}

impl Sample {
    /// How many of `examples` it takes.
    #[must_use]
    pub fn size(self, examples: usize) -> usize {
        match self {
            Self::All => examples,
            Self::First(count) | Self::Random { count, .. } => count.min(examples),
        }
    }

    /// How what it takes of `examples` stands to them.
    #[must_use]
    pub fn coverage(self, examples: usize) -> Coverage {
        match self {
            _ if self.size(examples) == examples => Coverage::All,
            Self::First(_) => Coverage::First,
            Self::All | Self::Random { .. } => Coverage::Random,
        }
    }
}

/// How the examples that were looked at stand to all that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Coverage {
    /// They are all of them.
    All,
    /// They are the first ones. What they come to is true of them alone: the order of a dataset is not random.
    First,
    /// They are a random choice, from which an interval for all of them follows.
    Random,
}

/// One example of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Example {
    /// The set, by its place in the dataset.
    pub set: usize,
    /// The example, by its place in the set.
    pub example: usize,
}

/// Ratings from the one to the other, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// The lowest.
    pub from: i64,
    /// The highest.
    pub to: i64,
}

/// Buckets at most.
const BUCKETS: usize = 5;

/// Buckets of about equal size that hold all `ratings`; fewer where many ratings are the same. None without ratings.
#[must_use]
pub fn buckets(mut ratings: Vec<i64>) -> Vec<Bucket> {
    ratings.sort_unstable();
    let mut buckets: Vec<Bucket> = Vec::new();
    for index in 0..BUCKETS.min(ratings.len()) {
        let last = ratings[(index + 1) * ratings.len() / BUCKETS.min(ratings.len()) - 1];
        let from = match buckets.last() {
            Some(bucket) if bucket.to >= last => continue,
            Some(bucket) => ratings[ratings.partition_point(|&rating| rating <= bucket.to)],
            None => ratings[0],
        };
        buckets.push(Bucket { from, to: last });
    }
    buckets
}

/// The bucket that holds a rating.
#[must_use]
pub fn bucket_of(buckets: &[Bucket], rating: i64) -> Option<usize> {
    buckets.iter().position(|bucket| (bucket.from..=bucket.to).contains(&rating))
}

/// The rating of an example, if it has one.
#[must_use]
pub fn rating(dataset: &Dataset, example: Example) -> Option<i64> {
    dataset.sets().get(example.set)?.rating_of(example.example)
}

fn all(dataset: &Dataset) -> Vec<Example> {
    let of_set = |(set, examples): (usize, usize)| (0..examples).map(move |example| Example { set, example });
    dataset.sets().iter().map(crate::data::Set::examples).enumerate().flat_map(of_set).collect()
}

/// The buckets of all rated examples of `dataset`.
#[must_use]
pub fn buckets_of(dataset: &Dataset) -> Vec<Bucket> {
    buckets(all(dataset).into_iter().filter_map(|example| rating(dataset, example)).collect())
}

/// The examples of `sample`, in the order of the dataset.
#[must_use]
pub fn choose(dataset: &Dataset, sample: Sample) -> Vec<Example> {
    let mut all = all(dataset);
    match sample {
        Sample::All => {}
        Sample::First(count) => all.truncate(count),
        Sample::Random { count, seed } if count < all.len() => {
            let buckets = buckets_of(dataset);
            let stratum = |example: &Example| {
                rating(dataset, *example)
                    .and_then(|rating| bucket_of(&buckets, rating))
                    .map_or(0, |bucket| bucket + 1)
            };
            let mut strata: Vec<Vec<Example>> = vec![Vec::new(); buckets.len() + 1];
            all.iter().for_each(|example| strata[stratum(example)].push(*example));
            let sizes: Vec<usize> = strata.iter().map(Vec::len).collect();
            let shares = shares(&sizes, count);
            all.clear();
            for (lane, (mut members, share)) in (0..).zip(strata.into_iter().zip(shares)) {
                Rng::new(seed, Stream::Subsample, lane).shuffle(&mut members);
                all.extend(members.into_iter().take(share));
            }
            all.sort_unstable();
        }
        Sample::Random { .. } => {}
    }
    all
}

/// `count`, divided in proportion to `sizes` and by largest remainder, the first of equals. At most their sum.
fn shares(sizes: &[usize], count: usize) -> Vec<usize> {
    let total = sizes.iter().sum::<usize>().max(1) as u128;
    let exact = |size: usize| size as u128 * count as u128;
    let mut shares: Vec<usize> = sizes.iter().map(|&size| (exact(size) / total) as usize).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(exact(sizes[index]) % total));
    let left = count - shares.iter().sum::<usize>();
    order.iter().take(left).for_each(|&index| shares[index] += 1);
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_takes_everything_is_no_sample() {
        let random = |count| Sample::Random { count, seed: 1 };
        for (sample, expected) in [
            (Sample::All, Coverage::All),
            (Sample::First(9), Coverage::First),
            (Sample::First(10), Coverage::All),
            (random(9), Coverage::Random),
            (random(11), Coverage::All),
        ] {
            assert_eq!(sample.coverage(10), expected, "{sample:?}");
        }
    }

    #[test]
    fn buckets_are_of_equal_size_where_ratings_differ() {
        let from_to = |ratings: Vec<i64>| {
            buckets(ratings).into_iter().map(|bucket| (bucket.from, bucket.to)).collect::<Vec<_>>()
        };
        assert_eq!(from_to((0..100).collect()), [(0, 19), (20, 39), (40, 59), (60, 79), (80, 99)]);
        assert_eq!(from_to(vec![0; 50]), [(0, 0)]);
        assert_eq!(from_to(vec![0, 0, 0, 0, 0, 0, 0, 0, 7, 30]), [(0, 0), (7, 30)]);
        assert_eq!(from_to(vec![5, 1]), [(1, 1), (5, 5)]);
        assert_eq!(from_to(Vec::new()), []);
    }

    proptest! {
        #[test]
        fn every_rating_has_one_bucket(ratings in proptest::collection::vec(-20i64..20, 1..200)) {
            let buckets = buckets(ratings.clone());
            for rating in ratings {
                let holds = |bucket: &&Bucket| (bucket.from..=bucket.to).contains(&rating);
                prop_assert_eq!(buckets.iter().filter(holds).count(), 1);
            }
            prop_assert!(buckets.windows(2).all(|pair| pair[0].to < pair[1].from));
        }

        #[test]
        fn shares_add_up_and_are_fair(sizes in proptest::collection::vec(0usize..1000, 1..8), part in 0usize..=100) {
            let total = sizes.iter().sum::<usize>();
            let count = total * part / 100;
            let shares = shares(&sizes, count);
            prop_assert_eq!(shares.iter().sum::<usize>(), count);
            for (share, size) in shares.iter().zip(&sizes) {
                prop_assert!(share <= size);
                let exact = *size as f64 * count as f64 / total.max(1) as f64;
                prop_assert!((*share as f64 - exact).abs() < 1.0, "{} {}", share, exact);
            }
        }
    }
}
