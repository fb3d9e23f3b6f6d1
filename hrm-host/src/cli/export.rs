//! `hrm export`: a model as other programs read it.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use crate::error::{Error, Result};
use crate::memory;
use crate::model_io::bundle::Encoding;
use crate::model_io::export::{self, Exported, Target};
use crate::numbers::Precision;
use crate::style::{self, STRONG};

/// Write a model for Python or for a microcontroller
#[derive(Debug, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  hrm export runs/a --to safetensors --out models/a
  hrm export runs/a --to postcard --quantize int8 --out a.hrm
  hrm export runs/a --to safetensors --dtype bf16 --out models/a-bf16
  hrm export runs/a --to pytorch-names --out a.safetensors")]
pub struct Args {
    /// The model: a directory, a run, or a bundle
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// Format to write
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub to: Target,
    /// File or directory to write; it must not exist yet
    #[arg(long, value_name = "PATH")]
    pub out: PathBuf,
    /// Precision of the weights; they are rounded to nearest even
    #[arg(long, visible_alias = "quantize", value_enum, value_name = "DTYPE", default_value = "f32")]
    pub dtype: Encoding,
    /// Print the result as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Exports.
///
/// # Errors
/// Wrong input, or the disk refuses.
pub fn run(args: &Args) -> Result<()> {
    let exported = export::export(&args.model, &args.out, args.to, args.dtype)?;
    let mut out = style::stdout();
    let dtype = args.dtype.name();
    let Exported { file, tensors, bytes, f32_bytes, .. } = exported;
    if args.json {
        let line = json!({
            "file": file,
            "tensors": tensors,
            "dtype": dtype,
            "bytes": bytes,
            "f32_bytes": f32_bytes,
        });
        return writeln!(out, "{line}").map_err(Error::output);
    }
    let file = file.display();
    let write = |out: &mut dyn Write| {
        write!(
            out,
            "{STRONG}exported{STRONG:#}  {file}  {tensors} tensors, {dtype}, {}",
            memory::human(bytes)
        )?;
        match args.dtype {
            Encoding::Float(Precision::F32) => writeln!(out)?,
            _ => writeln!(out, ", in f32 {}", memory::human(f32_bytes))?,
        }
        match args.to {
            Target::PytorchNames => writeln!(
                out,
                "  in Python, with the published program's model:\n  \
                 model.load_state_dict(safetensors.torch.load_file({:?}))",
                file.to_string()
            ),
            _ => Ok(()),
        }
    };
    write(&mut out).map_err(Error::output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::parse;

    #[test]
    fn formats_and_precisions_are_named() {
        let args: Args =
            parse(&["m", "--to", "pytorch-names", "--out", "p", "--dtype", "bf16", "--json"]).unwrap();
        assert_eq!(
            (args.to, args.dtype, args.json),
            (Target::PytorchNames, Encoding::Float(Precision::Bf16), true)
        );
        let encoding = |more: &[&str]| {
            parse::<Args>(&[&["m", "--to", "postcard", "--out", "p"], more].concat()).map(|args| args.dtype)
        };
        assert_eq!(encoding(&[]), Ok(Encoding::Float(Precision::F32)));
        for flag in ["--dtype", "--quantize"] {
            assert_eq!(encoding(&[flag, "int8"]), Ok(Encoding::Int8));
            assert_eq!(encoding(&[flag, "f16"]), Ok(Encoding::Float(Precision::F16)));
            assert!(encoding(&[flag, "int4"]).is_err());
        }
        for bad in
            [&["m", "--out", "p"][..], &["m", "--to", "onnx", "--out", "p"], &["m", "--to", "postcard"]]
        {
            assert!(parse::<Args>(bad).is_err(), "{bad:?}");
        }
    }
}
