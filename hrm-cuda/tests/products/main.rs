//! Products with what follows them on compute capability 9.0, and those of a narrow weight with their vjps, where the tiles
//! end: of operands whose sums are exact, against the formula.
//!
//! On a GPU: `cargo test -p hrm-cuda --test products -- --ignored`.

#[path = "../common/mod.rs"]
mod common;
mod gated;
mod narrow;
mod norms;
mod operands;
mod resident;
mod rotated;
mod tokens;

use hrm_cuda::device::Gpu;
use hrm_cuda::ops::token_mix::Sizes;

#[cfg(feature = "emulator")]
mod on_the_emulator {
    use hrm_cuda::emulator::{Emulator, Order};

    use super::*;

    fn in_all_orders(check: impl Fn(&mut Emulator)) {
        for order in [Order::Forward, Order::Reverse, Order::Random(3)] {
            check(&mut Emulator::hopper(order));
        }
    }

    #[test]
    fn resident() {
        in_all_orders(resident::check);
    }

    #[test]
    fn narrow() {
        in_all_orders(narrow::check);
    }

    #[test]
    fn gated() {
        in_all_orders(gated::check);
    }

    #[test]
    fn norms() {
        in_all_orders(norms::check);
    }

    #[test]
    fn tokens() {
        in_all_orders(tokens::check);
    }

    #[test]
    fn rotated() {
        in_all_orders(|l| rotated::check(l, Some(&mut Emulator::new(Order::Forward))));
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU of compute capability 9.0"]
fn on_a_gpu() {
    let mut l = Gpu::new(0).unwrap();
    if l.device().capability != (9, 0) {
        println!("this GPU has another compute capability: nothing to test");
        return;
    }
    resident::check(&mut l);
    gated::check(&mut l);
    // So many that each warpgroup has several tiles of each group.
    gated::linear_swiglu_vjp(&mut l, 40_000, 512, 512);
    norms::check(&mut l);
    // So many that each warpgroup exchanges sums more than twice.
    norms::linear_add_rms_norm(&mut l, 40_000, 64, 512);
    norms::linear_add_rms_norm(&mut l, 40_000, 576, 512);
    tokens::check(&mut l);
    // So many that each cluster has several tiles, at the published sizes and with an odd number of tiles.
    tokens::mixes(&mut l, Sizes { batch: 71, positions: 97, width: 512, inter: 512 });
    tokens::mixes(&mut l, Sizes { batch: 277, positions: 97, width: 128, inter: 128 });
    rotated::check(&mut l, None::<&mut Gpu>);
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn narrow_on_a_gpu() {
    narrow::check(&mut Gpu::new(0).unwrap());
}
