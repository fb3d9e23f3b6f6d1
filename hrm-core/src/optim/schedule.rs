//! The learning-rate schedule.

/// Linear warm-up, the base rate for `hold_steps`, then half a cosine down to `min_ratio` of it. The published
/// schedule holds for no step.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CosineSchedule {
    /// Steps of the warm-up.
    pub warmup_steps: u64,
    /// Steps between the warm-up and the cosine.
    pub hold_steps: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Where the cosine ends, as a share of the base rate; 1 keeps the rate constant.
    pub min_ratio: f64,
}

impl CosineSchedule {
    /// The learning rate of `step` for the base rate `base`. Training counts its steps from 1.
    #[must_use]
    pub fn at(&self, step: u64, base: f64) -> f64 {
        if step < self.warmup_steps {
            return base * step as f64 / self.warmup_steps.max(1) as f64;
        }
        let held = self.warmup_steps.saturating_add(self.hold_steps);
        if self.hold_steps > 0 && step < held {
            return base;
        }
        let span = self.total_steps.saturating_sub(held).max(1) as f64;
        let progress = (step - held) as f64 / span;
        let cosine = 0.5 * (1.0 + libm::cos(core::f64::consts::PI * progress));
        base * (self.min_ratio + ((1.0 - self.min_ratio) * cosine).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_warms_up_and_comes_down() {
        let schedule = CosineSchedule { warmup_steps: 10, hold_steps: 0, total_steps: 110, min_ratio: 0.1 };
        assert_eq!(schedule.at(0, 1.0), 0.0);
        assert_eq!(schedule.at(5, 1.0), 0.5);
        assert_eq!(schedule.at(10, 1.0), 1.0);
        assert!((schedule.at(60, 1.0) - 0.55).abs() < 1e-12);
        assert!((schedule.at(110, 1.0) - 0.1).abs() < 1e-12);
        let held = CosineSchedule { hold_steps: 60, ..schedule };
        assert_eq!([9, 10, 69, 70].map(|step| held.at(step, 1.0)), [0.9, 1.0, 1.0, 1.0]);
        assert!((held.at(90, 1.0) - 0.55).abs() < 1e-12);
        assert!((held.at(110, 1.0) - 0.1).abs() < 1e-12);
        let none = CosineSchedule { warmup_steps: 0, hold_steps: 0, total_steps: 0, min_ratio: 1.0 };
        assert_eq!(none.at(7, 0.5), 0.5);
    }
}
