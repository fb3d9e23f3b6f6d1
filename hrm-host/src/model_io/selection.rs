//! Which tensors of a file are the model: one copy of them, whatever dictionaries and modules stand around it.
//!
//! A checkpoint may hold a model several times (weights and their averages), and much beside it: moments of an optimizer,
//! the scale of a gradient scaler, random states. A tensor's name ends as the published program's do; what stands before
//! that end says which copy it is of. One copy is taken, and what is passed over is told.

use std::collections::BTreeMap;

use crate::tensor_match::{Stored, parts, unwrapped};

/// Words in what stands before a tensor's name that mark a running average of the weights.
const AVERAGES: [&str; 8] = ["ema", "avg", "average", "averaged", "swa", "shadow", "target", "teacher"];
/// Beginnings of words in names of what training programs keep beside a model.
const BESIDE: [&str; 18] = [
    "optim",
    "scaler",
    "amp",
    "scheduler",
    "rng",
    "random",
    "generator",
    "loops",
    "callbacks",
    "epoch",
    "step",
    "best",
    "loss",
    "metric",
    "carry",
    "sampler",
    "config",
    "hyper",
];

/// The tensors of the model in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The tensors of the model, and those beside them that no rule passes over.
    pub tensors: Vec<Stored>,
    /// What stands before the names of the copy that was taken.
    pub taken: String,
    /// What stands before the names of other copies.
    pub others: Vec<String>,
    /// How many tensors were passed over, by the first part of their names.
    pub passed: BTreeMap<String, usize>,
}

impl Selection {
    /// How many tensors of an optimizer were passed over.
    #[must_use]
    pub fn optimizer(&self) -> usize {
        self.passed.iter().filter(|(name, _)| name.starts_with("optim")).map(|(_, count)| count).sum()
    }
}

/// Chooses the copy whose names begin with `wanted`; else the only one, else the one that is no average.
///
/// # Errors
/// There are several that could be meant, or none under that name. The message names them.
pub fn select(stored: Vec<Stored>, wanted: Option<&str>) -> Result<Selection, String> {
    let mut copies: BTreeMap<String, usize> = BTreeMap::new();
    for tensor in &stored {
        if let Some((before, _)) = parts(&tensor.name) {
            *copies.entry(before).or_default() += 1;
        }
    }
    let shown = |name: &str| if name.is_empty() { "(at the top)".to_owned() } else { name.to_owned() };
    // Moments of an optimizer that go by the names of what they are of.
    let mut candidates: Vec<&String> = copies.keys().filter(|before| !is_beside(before)).collect();
    if candidates.is_empty() {
        candidates = copies.keys().collect();
    }
    let within = |before: &str, wanted: &str| {
        before == wanted || before.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'))
    };
    if let Some(wanted) = wanted {
        let wanted = wanted.trim_matches('.');
        candidates = copies.keys().filter(|before| within(before, wanted)).collect();
        if candidates.is_empty() {
            let names: Vec<String> = copies.keys().map(|before| shown(before)).collect();
            let there = if names.is_empty() { "no model at all".to_owned() } else { names.join(", ") };
            return Err(format!("it has no weights under {wanted}, but under {there}"));
        }
    }
    let most = candidates.iter().filter_map(|before| copies.get(*before)).max().copied().unwrap_or(0);
    candidates.retain(|before| copies.get(*before) == Some(&most));
    if candidates.len() > 1 && wanted.is_none() && candidates.iter().any(|before| !is_average(before)) {
        candidates.retain(|before| !is_average(before));
    }
    let Some(&taken) = candidates.first() else {
        return Ok(Selection { tensors: stored, ..Selection::default() });
    };
    if candidates.len() > 1 {
        let names: Vec<String> = candidates.iter().map(|before| shown(before)).collect();
        return Err(format!("it holds a model {} times, under {}", names.len(), names.join(" and ")));
    }
    let taken = taken.clone();
    // Beside the inner model are the modules of the outer one: another tensor there is of another model.
    let module = taken.strip_suffix("inner").map_or(&*taken, |outer| outer.trim_end_matches('.'));
    let mut passed = BTreeMap::new();
    let mut tensors = Vec::new();
    for tensor in stored {
        let bare = unwrapped(&tensor.name);
        let of_model = match parts(&tensor.name) {
            Some((before, _)) => before == taken,
            None if module.is_empty() => !is_beside(&bare) && !is_average(&bare),
            None => within(&bare, module),
        };
        if of_model {
            tensors.push(tensor);
        } else {
            let first = bare.split('.').next().unwrap_or_default().to_owned();
            *passed.entry(first).or_default() += 1;
        }
    }
    let others = copies.into_keys().filter(|before| *before != taken && !is_beside(before)).collect();
    Ok(Selection { tensors, taken, others, passed })
}

fn words(name: &str) -> impl Iterator<Item = String> {
    name.split(['.', '_', '-', '/']).map(str::to_ascii_lowercase)
}

fn is_average(before: &str) -> bool {
    words(before).any(|word| AVERAGES.contains(&&*word))
}

/// Whether a name begins as those of what training programs keep beside a model.
fn is_beside(name: &str) -> bool {
    let first = name.split('.').next().unwrap_or_default();
    let holds_a_model = first.to_ascii_lowercase().contains("model");
    words(first).any(|word| word.starts_with("optim"))
        || !holds_a_model && words(first).any(|word| BESIDE.iter().any(|beside| word.starts_with(beside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model's tensors under `before`.
    fn model(before: &str) -> Vec<Stored> {
        ["H_init", "L_init", "lm_head.weight", "H_level.layers.0.mlp.down_proj.weight"]
            .map(|name| Stored { name: format!("{before}{name}"), shape: vec![2] })
            .to_vec()
    }

    fn others(names: &[&str]) -> Vec<Stored> {
        names.iter().map(|name| Stored { name: (*name).to_owned(), shape: vec![2] }).collect()
    }

    fn names(selection: &Selection) -> Vec<&str> {
        selection.tensors.iter().map(|tensor| tensor.name.as_str()).collect()
    }

    #[test]
    fn the_model_is_found_under_any_name() {
        for before in [
            "",
            "model.inner.",
            "_orig_mod.model.inner.",
            "net._orig_mod.model.inner.",
            "params.",
            "checkpoint.model.model.inner.",
            "state_dict.module.model.inner.",
            "0.anything_at_all.",
        ] {
            let beside = others(&[
                "optimizer_states.0.state.1.exp_avg",
                "scaler.scale",
                "rng_state",
                "optimizer.H_init",
            ]);
            let found = select([model(before), beside].concat(), None).unwrap();
            assert_eq!(found.tensors, model(before), "{before}");
            assert_eq!((found.passed.values().sum::<usize>(), found.optimizer()), (4, 2), "{before}");
        }
    }

    #[test]
    fn a_wrapper_may_stand_inside_the_names() {
        let wrapped: Vec<Stored> = others(&[
            "model.inner.H_init",
            "model.inner.H_level._orig_mod.layers.0.mlp.down_proj.weight",
            "model.inner._fsdp_wrapped_module.lm_head.weight",
        ]);
        assert_eq!(select(wrapped.clone(), None).unwrap().tensors, wrapped);
    }

    #[test]
    fn weights_go_before_their_average_unless_it_is_asked_for() {
        let both = [model("ema._orig_mod.model.inner."), model("model._orig_mod.model.inner.")].concat();
        let found = select(both.clone(), None).unwrap();
        assert_eq!(
            (&*found.taken, &found.others[..]),
            ("model.model.inner", &["ema.model.inner".to_owned()][..])
        );
        assert_eq!(found.tensors, model("model._orig_mod.model.inner."));
        let found = select(both.clone(), Some("ema")).unwrap();
        assert_eq!(found.tensors, model("ema._orig_mod.model.inner."));
        let error = select(both, Some("swa")).unwrap_err();
        assert!(
            error.contains("no weights under swa, but under ema.model.inner, model.model.inner"),
            "{error}"
        );
        // An average alone is the model.
        for before in ["ema_model.", "ema.", "averaged_model.module."] {
            assert_eq!(select(model(before), None).unwrap().tensors, model(before), "{before}");
        }
        let error = select([model("a."), model("b.")].concat(), None).unwrap_err();
        assert!(error.contains("a model 2 times, under a and b"), "{error}");
    }

    #[test]
    fn a_tensor_inside_the_model_is_never_passed_over() {
        for (before, more) in
            [("", "gate.weight"), ("model.inner.", "model.gate"), ("net.model.inner.", "net.model.inner.x")]
        {
            let found = select([model(before), others(&[more])].concat(), None).unwrap();
            assert!(names(&found).contains(&more), "{more}");
        }
        let strange = others(&["a.b", "c"]);
        assert_eq!(select(strange.clone(), None).unwrap().tensors, strange);
    }
}
