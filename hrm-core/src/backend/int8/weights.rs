//! A weight of integers in the order in which the product reads it.

use std::vec::Vec;

/// Rows of the weight (outputs) in a panel: four vectors of 16.
pub const WIDTH: usize = 64;
/// Inner indices that one instruction sums.
pub const DEPTH: usize = 4;
/// What is added to an integer of a weight so that it is not negative.
pub const OFFSET: i32 = 128;

/// [`OFFSET`] more than the integers of [`WIDTH`] rows at [`DEPTH`] inner indices: the first row's, the second's, ...
pub type Step = [[u8; DEPTH]; WIDTH];
/// A step without a weight.
const EMPTY: Step = [[OFFSET as u8; DEPTH]; WIDTH];
/// One number for each row of a panel.
pub type Sums = [i32; WIDTH];

/// A weight `[outputs, inputs]`, packed once when it is loaded.
///
/// Panel `p` holds rows `64 p ..` as [`Step`]s, one for each four inner indices; what is beyond the last row or the last
/// inner index is zero. Its sums with a token must start from `-128 sum_k q_k`, `q` being the token's integers: that takes the
/// [`OFFSET`] back.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    outputs: usize,
    inputs: usize,
    steps: Vec<Step>,
    scales: Vec<[f32; WIDTH]>,
}

/// One panel of a [`Packed`] weight.
#[derive(Clone, Copy, Debug)]
pub struct Panel<'a> {
    /// Its integers.
    pub steps: &'a [Step],
    /// The scales of its rows.
    pub scales: &'a [f32; WIDTH],
}

impl Packed {
    /// A weight of zeros.
    #[must_use]
    pub fn new(outputs: usize, inputs: usize) -> Self {
        let panels = outputs.div_ceil(WIDTH);
        Self {
            outputs,
            inputs,
            steps: std::vec![EMPTY; panels * inputs.div_ceil(DEPTH)],
            scales: std::vec![[1.0; WIDTH]; panels],
        }
    }

    /// Replaces row `row` by `integers` times `scale`. Panics if there is no such row or it has another length.
    pub fn set_row(&mut self, row: usize, integers: &[i8], scale: f32) {
        assert!(row < self.outputs && integers.len() == self.inputs, "row {row} of {}", integers.len());
        let (panel, place) = (row / WIDTH, row % WIDTH);
        let depth = self.inputs.div_ceil(DEPTH);
        let steps = &mut self.steps[panel * depth..(panel + 1) * depth];
        for (step, integers) in steps.iter_mut().zip(integers.chunks(DEPTH)) {
            for (byte, &q) in step[place].iter_mut().zip(integers) {
                *byte = (i32::from(q) + OFFSET) as u8;
            }
        }
        self.scales[panel][place] = scale;
    }

    /// Rows.
    #[must_use]
    pub const fn outputs(&self) -> usize {
        self.outputs
    }

    /// Elements of a row.
    #[must_use]
    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    /// Panel `index`. Panics if there is none.
    #[must_use]
    pub fn panel(&self, index: usize) -> Panel<'_> {
        let depth = self.inputs.div_ceil(DEPTH);
        Panel { steps: &self.steps[index * depth..(index + 1) * depth], scales: &self.scales[index] }
    }

    /// Bytes that a weight of these sizes takes.
    #[must_use]
    pub const fn bytes(outputs: usize, inputs: usize) -> usize {
        let panels = outputs.div_ceil(WIDTH);
        panels * WIDTH * (inputs.div_ceil(DEPTH) * DEPTH + size_of::<f32>())
    }
}
