//! The tensors of a file against those that a model wants: all that is wrong, at once.

use std::collections::HashMap;
use std::fmt;

use hrm_core::plan::ParamPlan;
use hrm_core::tensors::Tensor;

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name in the file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// How the tensors of a file differ from those of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Tensors that the model needs and the file lacks.
    pub missing: Vec<String>,
    /// Tensors that the file has and the model does not know.
    pub extra: Vec<String>,
    /// Tensors that the file has more than once, under different prefixes.
    pub repeated: Vec<String>,
    /// Tensors of another shape, with that shape and the expected one.
    pub shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its tensors do not match the configuration")?;
        let named =
            [("missing", &self.missing), ("unknown", &self.extra), ("more than once", &self.repeated)];
        for (what, names) in named {
            if !names.is_empty() {
                write!(f, "; {what}: {}", names.join(", "))?;
            }
        }
        let shapes: Vec<String> = self
            .shapes
            .iter()
            .map(|(name, found, expected)| format!("{name} has shape {found:?}, expected {expected:?}"))
            .collect();
        if !shapes.is_empty() {
            write!(f, "; of another shape: {}", shapes.join(", "))?;
        }
        Ok(())
    }
}

/// What a tensor's name may have before it: what holds the model in a saved dictionary.
const PREFIXES: [&str; 5] = ["model.", "inner.", "module.", "state_dict.", "model_state_dict."];
/// Modules that wrap others and leave their name anywhere in those of their tensors.
const WRAPPERS: [&str; 5] =
    ["_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"];
/// The names of tensors outside of blocks.
const NAMES: [&str; 8] = [
    "embed_tokens.embedding_weight",
    "lm_head.weight",
    "q_head.weight",
    "q_head.bias",
    "embed_pos.embedding_weight",
    "puzzle_emb.weights",
    "H_init",
    "L_init",
];

/// A tensor's name without the wrapping modules in it.
pub(crate) fn unwrapped(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').filter(|part| !WRAPPERS.contains(part)).collect();
    parts.join(".")
}

/// A tensor's name in two: what stands before the published program's name of it, without the last dot, and that name.
/// `None` if it does not end in such a name.
pub(crate) fn parts(name: &str) -> Option<(String, String)> {
    let name = unwrapped(name);
    let ends_here = |rest: &str| {
        let mut parts = rest.split('.');
        NAMES.contains(&rest)
            || matches!(parts.next(), Some("H_level" | "L_level"))
                && parts.next() == Some("layers")
                && parts.next().is_some_and(|layer| layer.parse::<u32>().is_ok())
                && parts.count() == 3
                && rest.ends_with(".weight")
    };
    let starts = std::iter::once(0).chain(name.match_indices('.').map(|(dot, _)| dot + 1));
    let at = starts.into_iter().find(|at| ends_here(&name[*at..]))?;
    Some((name[..at].trim_end_matches('.').to_owned(), name[at..].to_owned()))
}

/// A tensor's name without what surrounding modules and dictionaries put before it, in whatever order.
#[must_use]
pub fn bare(name: &str) -> String {
    if let Some((_, bare)) = parts(name) {
        return bare;
    }
    let name = unwrapped(name);
    let mut rest = name.as_str();
    while let Some(shorter) = PREFIXES.iter().find_map(|prefix| rest.strip_prefix(prefix)) {
        rest = shorter;
    }
    rest.to_owned()
}

/// Shape of a tensor in a file.
#[must_use]
pub fn shape(tensor: &Tensor) -> Vec<usize> {
    if tensor.is_vector() { vec![tensor.span.cols] } else { vec![tensor.span.rows, tensor.span.cols] }
}

/// For each tensor of `params`, in order, the place in `stored` where it is. `expected` gives the shape that it should
/// have there.
///
/// # Errors
/// Everything in which the two differ.
pub fn compare(
    stored: &[Stored],
    params: &ParamPlan,
    expected: impl Fn(&Tensor) -> Vec<usize>,
) -> Result<Vec<(Tensor, usize)>, Mismatch> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut mismatch = Mismatch::default();
    for (place, tensor) in stored.iter().enumerate() {
        let name = bare(&tensor.name);
        if places.insert(name.clone(), place).is_some() {
            mismatch.repeated.push(name);
        }
    }
    let mut found = Vec::new();
    for tensor in params.tensors() {
        let name = tensor.name.to_string();
        let Some(place) = places.remove(&name) else {
            mismatch.missing.push(name);
            continue;
        };
        let (is, should) = (&stored[place].shape, expected(&tensor));
        if *is != should {
            mismatch.shapes.push((name, is.clone(), should));
        }
        found.push((tensor, place));
    }
    let mut extra: Vec<usize> = places.into_values().collect();
    extra.sort_unstable();
    mismatch.extra = extra.into_iter().map(|place| stored[place].name.clone()).collect();
    if mismatch == Mismatch::default() { Ok(found) } else { Err(mismatch) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hrm_core::config::Config;
    use hrm_core::plan::{Mode, Plan};

    #[test]
    fn prefixes_go_in_any_order() {
        for name in
            ["H_init", "model.inner.H_init", "_orig_mod.model.inner.H_init", "net.ema._orig_mod.model.H_init"]
        {
            assert_eq!(bare(name), "H_init");
        }
        assert_eq!(bare("H_level.model.weight"), "H_level.model.weight");
        assert_eq!(
            parts("a.L_level._orig_mod.layers.3.module.mlp.down_proj.weight"),
            Some(("a".to_owned(), "L_level.layers.3.mlp.down_proj.weight".to_owned()))
        );
        for other in [
            "H_init.exp_avg",
            "L_level.layers.0.mlp.down_proj.weight.exp_avg",
            "xH_init",
            "H_level.layers.a.b.c.weight",
        ] {
            assert_eq!(parts(other), None, "{other}");
        }
    }

    #[test]
    fn everything_is_listed_at_once() {
        let plan = Plan::new(&Config::SUDOKU_EXTREME, 1, Mode::Inference).unwrap();
        let mut stored: Vec<Stored> = plan
            .params
            .tensors()
            .map(|tensor| Stored { name: format!("model.inner.{}", tensor.name), shape: shape(&tensor) })
            .collect();
        let found = compare(&stored, &plan.params, shape).unwrap();
        assert!(found.iter().enumerate().all(|(index, (_, place))| index == *place));
        stored[0].name = "model.inner.embed".into();
        stored[1].shape = vec![512, 11];
        stored.push(Stored { name: "H_init".into(), shape: vec![512] });
        let message = compare(&stored, &plan.params, shape).unwrap_err().to_string();
        assert_eq!(
            message,
            "its tensors do not match the configuration; missing: embed_tokens.embedding_weight; \
             unknown: model.inner.embed; more than once: H_init; \
             of another shape: lm_head.weight has shape [512, 11], expected [11, 512]"
        );
    }
}
