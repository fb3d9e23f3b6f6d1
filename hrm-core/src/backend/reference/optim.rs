//! The optimizers over whole arenas.

use super::storage::TrainArenas;
use crate::arena::{Act, Ids, Param};
use crate::backend::operands::{Error, at, row};
use crate::optim::{AdamAtan2, Average, SignSgd, StepScalars};
use crate::scalar::Scalar;

pub(super) fn adam_atan2<T: Scalar>(
    len: usize,
    optimizer: &AdamAtan2,
    scalars: &StepScalars,
    arenas: &mut TrainArenas<'_, T>,
) -> Result<(), Error> {
    let factors = optimizer.factors(scalars);
    let TrainArenas { params, gradients, first, second, .. } = arenas;
    if [params.len(), gradients.len(), first.len(), second.len()].iter().any(|have| *have < len) {
        return Err(Error::Span);
    }
    let moments = first.iter_mut().zip(second.iter_mut());
    for ((p, g), (m, v)) in params.iter_mut().zip(gradients.iter()).zip(moments).take(len) {
        factors.update(p, m, v, *g);
    }
    Ok(())
}

/// The first `len` parameters, and their averages.
pub(in crate::backend) fn averaged<'a, T>(
    len: usize,
    arenas: &'a mut TrainArenas<'_, T>,
) -> Result<(&'a mut [T], &'a mut [T]), Error> {
    let params = arenas.params.get_mut(..len).ok_or(Error::Span)?;
    Ok((params, arenas.averages.get_mut(..len).ok_or(Error::Span)?))
}

pub(super) fn average<T: Scalar>(
    len: usize,
    average: &Average,
    arenas: &mut TrainArenas<'_, T>,
) -> Result<(), Error> {
    let (params, averages) = averaged(len, arenas)?;
    averages.iter_mut().zip(params).for_each(|(a, p)| *a = average.update(*a, *p));
    Ok(())
}

pub(super) fn swap_averages<T: Scalar>(len: usize, arenas: &mut TrainArenas<'_, T>) -> Result<(), Error> {
    let (params, averages) = averaged(len, arenas)?;
    params.swap_with_slice(averages);
    Ok(())
}

pub(super) fn sign_sgd<T: Scalar>(
    table: Param,
    ids: Ids,
    gradients: Act,
    optimizer: &SignSgd,
    lr: f64,
    arenas: &mut TrainArenas<'_, T>,
) -> Result<(), Error> {
    let (ids, gradients) = (at(arenas.ids, ids)?, at(arenas.acts, gradients)?);
    let ndim = table.cols;
    for (b, &id) in ids.iter().enumerate() {
        let index = row("puzzle identifier", id, table.rows)?;
        // The first row of an identifier updates it, by the sum over all its rows.
        if ids[..b].contains(&id) {
            continue;
        }
        let start = table.offset + index * ndim;
        let target = arenas.params.get_mut(start..start + ndim).ok_or(Error::Span)?;
        for (column, p) in target.iter_mut().enumerate() {
            let mut sum = T::ZERO;
            for (other, _) in ids.iter().enumerate().skip(b).filter(|(_, other)| **other == id) {
                sum += gradients[other * ndim + column];
            }
            *p = optimizer.update(*p, sum, lr);
        }
    }
    Ok(())
}
