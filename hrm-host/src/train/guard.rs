//! Finding the tensor that a NaN or an infinity comes from.

use hrm_core::kernels::{Memory, Region};
use hrm_core::plan::Plan;
use hrm_core::tensors::Tensor;

use crate::carry;

/// The first tensor of `backend` that holds a value that is not finite, when the losses do before an update: a
/// parameter if there is one, else what the forward pass computed, in its order, else a gradient.
///
/// # Errors
/// The backend fails.
pub fn find_not_finite<K: Memory>(backend: &mut K, plan: &Plan) -> Result<Option<String>, K::Error> {
    if let Some(tensor) = find_bad_parameter(backend, plan)? {
        return Ok(Some(format!("parameter {}", tensor.name)));
    }
    let computed = [
        ("the input embedding", plan.emb),
        ("state z_L", plan.carry.z_l),
        ("state z_H", plan.carry.z_h),
        ("the logits", plan.logits),
    ];
    for (name, span) in computed {
        if !all_finite(backend, Region::Acts, span.offset, span.len())? {
            return Ok(Some(name.into()));
        }
    }
    find_bad_gradient(backend, plan)
}

/// The first gradient that is not finite: what must not reach the parameters. That of the puzzle embedding is a row for
/// each puzzle of the batch, beside the gradients of the other tensors.
///
/// # Errors
/// The backend fails.
pub fn find_bad_gradient<K: Memory>(backend: &mut K, plan: &Plan) -> Result<Option<String>, K::Error> {
    if let Some(found) = find_bad(backend, plan, Region::Gradients, "gradient of")? {
        return Ok(Some(found));
    }
    match plan.backward.map(|backward| backward.dpuzzle) {
        Some(rows) if !all_finite(backend, Region::Acts, rows.offset, rows.len())? => {
            Ok(Some("gradient of the puzzle embedding".into()))
        }
        _ => Ok(None),
    }
}

/// The first trained tensor whose part of `region` is not finite.
fn find_bad<K: Memory>(
    backend: &mut K,
    plan: &Plan,
    region: Region,
    what: &str,
) -> Result<Option<String>, K::Error> {
    for tensor in plan.params.tensors().filter(Tensor::is_trained) {
        if !all_finite(backend, region, tensor.span.offset, tensor.span.len())? {
            return Ok(Some(format!("{what} {}", tensor.name)));
        }
    }
    Ok(None)
}

/// The first tensor that is not finite among all that a checkpoint holds: parameters, moments, states.
///
/// # Errors
/// The backend fails.
pub fn find_bad_in_checkpoint<K: Memory>(backend: &mut K, plan: &Plan) -> Result<Option<String>, K::Error> {
    if let Some(tensor) = find_bad_parameter(backend, plan)? {
        return Ok(Some(format!("parameter {}", tensor.name)));
    }
    for (region, what) in
        [(Region::FirstMoments, "first moment of"), (Region::SecondMoments, "second moment of")]
    {
        if let Some(found) = find_bad(backend, plan, region, what)? {
            return Ok(Some(found));
        }
    }
    for (name, span) in carry::states(plan) {
        if !all_finite(backend, Region::Acts, span.offset, span.len())? {
            return Ok(Some(name.into()));
        }
    }
    Ok(None)
}

/// The first parameter that is not finite.
///
/// # Errors
/// The backend fails.
pub fn find_bad_parameter<K: Memory>(backend: &mut K, plan: &Plan) -> Result<Option<Tensor>, K::Error> {
    for tensor in plan.params.tensors() {
        if !all_finite(backend, Region::Params, tensor.span.offset, tensor.span.len())? {
            return Ok(Some(tensor));
        }
    }
    Ok(None)
}

fn all_finite<K: Memory>(
    backend: &mut K,
    region: Region,
    offset: usize,
    len: usize,
) -> Result<bool, K::Error> {
    // A device is asked for large pieces, because each is waited for.
    let mut buffer = vec![0.0; len.min(1 << 16)];
    let mut done = 0;
    while done < len {
        let piece = buffer.len().min(len - done);
        backend.read(region, offset + done, &mut buffer[..piece])?;
        if buffer[..piece].iter().any(|x| !x.is_finite()) {
            return Ok(false);
        }
        done += piece;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use hrm_core::config::Config;
    use hrm_core::plan::Mode;

    use super::*;
    use crate::backend::{HostBackend, Plain};

    const CONFIG: Config = Config {
        seq_len: 4,
        vocab_size: 5,
        hidden_size: 16,
        num_heads: 1,
        h_layers: 1,
        l_layers: 1,
        puzzle_emb_ndim: 16,
        num_puzzle_identifiers: 3,
        ..Config::SUDOKU_EXTREME
    };

    /// Every place that an update reads is looked at.
    #[test]
    fn no_gradient_is_overlooked() {
        let plan = Plan::new(&CONFIG, 2, Mode::Training).unwrap();
        let mut backend = Plain::create(&plan).unwrap();
        assert_eq!(find_bad_gradient(&mut backend, &plan).unwrap(), None);
        let rows = plan.backward.unwrap().dpuzzle;
        let last = plan.params.tensors().filter(Tensor::is_trained).last().unwrap();
        for (region, at, name) in [
            (Region::Acts, rows.offset + rows.len() - 1, "the puzzle embedding".to_owned()),
            (Region::Gradients, last.span.offset + last.span.len() - 1, last.name.to_string()),
        ] {
            for bad in [f32::NAN, f32::NEG_INFINITY] {
                backend.write(region, at, &[bad]).unwrap();
                let found = find_bad_gradient(&mut backend, &plan).unwrap();
                assert_eq!(found, Some(format!("gradient of {name}")));
            }
            backend.write(region, at, &[0.0]).unwrap();
        }
    }
}
