//! ARC: tasks, grids, the published augmentations and their inverses, and the dataset builder.
//!
//! What a model says of a puzzle of a dataset becomes an answer to its task like this:
//!
//! ```
//! use hrm_host::data::arc::{Augmentation, Grid, crop};
//! /// The task that `name` belongs to, and the grid that `tokens` hold, as the task would have it.
//! fn answer<'n>(name: &'n str, tokens: &[i32]) -> Option<(&'n str, Grid)> {
//!     let (task, augmentation) = Augmentation::of_name(name);
//!     Some((task, augmentation.undo(&crop(tokens)?)))
//! }
//! # assert!(answer("007bbfb7", &[2; 900]).is_some());
//! ```

pub mod augment;
pub mod build;
pub mod collection;
pub mod draw;
pub mod find;
pub mod grid;
mod group;
pub mod json;
pub mod merge;
mod place;
pub mod role;
pub mod task;
mod test_puzzles;

pub use augment::{Augmentation, Naming};
pub use build::{Options, Summary, build};
pub use collection::Collection;
pub use grid::{Grid, crop};
pub use role::{Role, Roles};
pub use task::{Content, Pair, Task};
