//! A slice in pieces, for every width: `chunks_exact` and `chunks` panic at 0, which no plan has but no compiler knows.

use core::iter::from_fn;
use core::mem::take;

/// Consecutive pieces of `width` elements. What is left over at the end is in none; pieces of nothing are none.
#[inline(always)]
pub fn pieces<T>(mut rest: &[T], width: usize) -> impl Iterator<Item = &[T]> {
    from_fn(move || {
        let (piece, after) = rest.split_at_checked(width)?;
        rest = after;
        (width > 0).then_some(piece)
    })
}

/// As [`pieces`], to write to.
#[inline(always)]
pub fn pieces_mut<T>(mut rest: &mut [T], width: usize) -> impl Iterator<Item = &mut [T]> {
    from_fn(move || {
        let (piece, after) = take(&mut rest).split_at_mut_checked(width)?;
        rest = after;
        (width > 0).then_some(piece)
    })
}

/// Consecutive pieces of `width` elements, the last of which may be shorter.
#[inline(always)]
pub fn blocks<T>(mut rest: &[T], width: usize) -> impl Iterator<Item = &[T]> {
    from_fn(move || {
        let (piece, after) = rest.split_at_checked(width.min(rest.len()))?;
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// As [`blocks`], to write to.
#[inline(always)]
pub fn blocks_mut<T>(mut rest: &mut [T], width: usize) -> impl Iterator<Item = &mut [T]> {
    from_fn(move || {
        let whole = take(&mut rest);
        let width = width.min(whole.len());
        let (piece, after) = whole.split_at_mut_checked(width)?;
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn they_are_what_chunks_are_and_none_of_width_0() {
        let mut numbers: Vec<usize> = (0..20).collect();
        for len in 0..20 {
            let (numbers, copy) = (&mut numbers[..len], &(0..len).collect::<Vec<_>>()[..]);
            for width in 1..25 {
                assert!(pieces(numbers, width).eq(copy.chunks_exact(width)));
                assert!(blocks(numbers, width).eq(copy.chunks(width)));
                assert!(pieces_mut(numbers, width).map(|piece| &*piece).eq(copy.chunks_exact(width)));
                assert!(blocks_mut(numbers, width).map(|piece| &*piece).eq(copy.chunks(width)));
            }
            assert_eq!(pieces(numbers, 0).count() + blocks(numbers, 0).count(), 0);
            assert_eq!(pieces_mut(numbers, 0).count() + blocks_mut(numbers, 0).count(), 0);
        }
    }
}
