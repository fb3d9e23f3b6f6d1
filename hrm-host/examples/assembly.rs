//! How fast training batches are made from a dataset, on the one thread that makes them.
//!
//! ```text
//! cargo run --release -p hrm-host --example assembly -- DATA [BATCH]
//! ```

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hrm_host::data::sudoku::{ShuffleExamples, Size};
use hrm_host::data::{Batch, Dataset, Sampler, SamplerOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("expected the directory of a dataset")?;
    let batch_size = args.next().map_or(Ok(384), |text| text.parse())?;
    let dataset = Arc::new(Dataset::open(path.as_ref(), "train")?);
    let options = SamplerOptions { seed: 1, batch_size, epochs_per_iteration: 1000 };
    let plain = Sampler::new(Arc::clone(&dataset), options)?;
    report("as they are", plain, &dataset, batch_size)?;
    if let Some(size) = Size::from_cells(dataset.metadata().seq_len) {
        let shuffled = Sampler::new(Arc::clone(&dataset), options)?;
        let shuffled = shuffled.with_augment(Box::new(ShuffleExamples::new(size)));
        report("shuffled as Sudokus", shuffled, &dataset, batch_size)?;
    }
    Ok(())
}

fn report(what: &str, mut sampler: Sampler, dataset: &Dataset, rows: usize) -> Result<(), Box<dyn Error>> {
    let mut batch = Batch::new(dataset, rows);
    sampler.next_batch(&mut batch)?;
    let (start, mut batches) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(2) {
        sampler.next_batch(&mut batch)?;
        batches += 1;
    }
    let each = start.elapsed().as_secs_f64() / f64::from(batches);
    println!("{what}: {:.3} ms for a batch of {rows}, {:.0} examples/s", 1e3 * each, rows as f64 / each);
    Ok(())
}
