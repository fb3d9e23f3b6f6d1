//! Weights in several files: `model.safetensors.index.json` or `pytorch_model.bin.index.json` says which tensor is in which
//! file beside it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;

use super::checkpoint::Part;
use crate::error::{Error, Result};
use crate::files;
use crate::tensor_match::Stored;

/// How the names of indices end.
pub(super) const INDEX: &str = ".index.json";
/// Most files that an index may name: each is kept open.
const MOST: usize = 256;

/// What is read of an index; its metadata says only how large all is.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Whether `path` is the index of weights in several files, by its name.
pub(super) fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(INDEX))
}

/// The name of the file that `path` is a part of, if its own says that it is one, and of how many: `model.safetensors`
/// and 2 for `model-00001-of-00002.safetensors`.
pub(super) fn part_of(path: &Path) -> Option<(String, usize)> {
    let (stem, ending) = path.file_name()?.to_str()?.rsplit_once('.')?;
    let (rest, of) = stem.rsplit_once("-of-")?;
    let (name, number) = rest.rsplit_once('-')?;
    let of = of.parse().ok().filter(|&of| of > 1)?;
    number.parse::<usize>().ok().map(|_| (format!("{name}.{ending}"), of))
}

/// The files, their tensors, and for each tensor the file that holds it.
type Opened = (Vec<Part>, Vec<Stored>, HashMap<String, usize>);

/// Opens every file that the index `path` names.
///
/// # Errors
/// The index is none, names a file that is elsewhere or not there, or a tensor that its file lacks.
pub(super) fn open(path: &Path) -> Result<Opened> {
    let bad = |problem: String| Error::input(format!("{}: {problem}", path.display()));
    let Index { weight_map } = serde_json::from_str(&files::read_to_string(path)?)
        .map_err(|error| bad(format!("not the index of weights in several files: {error}")))?;
    let mut names: Vec<&String> = weight_map.values().collect();
    names.sort();
    names.dedup();
    if names.is_empty() || names.len() > MOST {
        return Err(bad(format!("it names {} files, expected 1 to {MOST}", names.len())));
    }
    let mut parts = Vec::new();
    let mut shapes = Vec::new();
    for name in &names {
        let plain = Path::new(name).file_name().is_some_and(|file| file == name.as_str());
        if !plain || is_index(Path::new(name)) {
            return Err(bad(format!("it names the file {name:?}, expected one beside it")));
        }
        let file = path.with_file_name(name);
        if !file.is_file() {
            return Err(bad(format!("it names {name}, which is not beside it")).hint(format!(
                "all {} files are needed: {}",
                names.len(),
                join(&names)
            )));
        }
        let part = Part::open(&file)?;
        shapes.push(
            part.stored().into_iter().map(|tensor| (tensor.name, tensor.shape)).collect::<HashMap<_, _>>(),
        );
        parts.push(part);
    }
    let (mut stored, mut homes) = (Vec::new(), HashMap::new());
    for (tensor, file) in &weight_map {
        let home = names.partition_point(|name| *name < file);
        let Some(shape) = shapes[home].get(tensor) else {
            return Err(bad(format!("it says that {tensor} is in {file}, which lacks it")));
        };
        stored.push(Stored { name: tensor.clone(), shape: shape.clone() });
        homes.insert(tensor.clone(), home);
    }
    Ok((parts, stored, homes))
}

fn join(names: &[&String]) -> String {
    let shown: Vec<&str> = names.iter().take(8).map(|name| name.as_str()).collect();
    shown.join(", ") + if names.len() > 8 { ", .." } else { "" }
}
