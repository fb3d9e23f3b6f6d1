//! Which backend computes, chosen at run time.

use std::fmt;

use clap::ValueEnum;
use hrm_core::config::{Config, ForwardDtype};

use super::{Cpu, HostBackend, Int8, Plain, TrainBackend};
use crate::error::{Error, Result};

/// A backend by its name: the value of `--backend`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// The multi-threaded CPU backend
    #[default]
    Cpu,
    /// Plain loops, slow: the reference for the other backends
    Reference,
    /// The CPU with 8-bit integers in the linear layers, as on a microcontroller; inference only
    Int8,
    /// The first NVIDIA GPU
    #[cfg(feature = "cuda")]
    Cuda,
}

/// A precision by its name: the value of `--dtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    /// IEEE single precision
    F32,
    /// bfloat16, with sums and master weights in f32
    Bf16,
}

impl From<Dtype> for ForwardDtype {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::Float32,
            Dtype::Bf16 => Self::Bfloat16,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

/// What can be done on any backend.
pub trait WithBackend {
    /// What it comes to.
    type Output;

    /// Does it on `K`.
    ///
    /// # Errors
    /// Its own.
    fn call<K: HostBackend>(self) -> Result<Self::Output>;
}

/// What can be done on any backend that trains.
pub trait WithTrainBackend {
    /// What it comes to.
    type Output;

    /// Does it on `K`.
    ///
    /// # Errors
    /// Its own.
    fn call<K: TrainBackend>(self) -> Result<Self::Output>;
}

/// What computes, and how precisely: the flags of every command that runs a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct BackendArgs {
    /// Backend to use
    #[arg(long, value_enum, default_value_t)]
    pub backend: Backend,
    /// Precision of activations [default: the model's forward_dtype, if the backend supports it]
    #[arg(long, value_enum)]
    pub dtype: Option<Dtype>,
}

impl BackendArgs {
    /// Does `work` on the backend that was chosen.
    ///
    /// # Errors
    /// The backend does not have the precision that was asked for, or the work fails.
    pub fn dispatch<W: WithBackend>(self, work: W) -> Result<W::Output> {
        match self.backend {
            Backend::Cpu => self.has_dtype::<Cpu>().and_then(|()| work.call::<Cpu>()),
            Backend::Reference => self.has_dtype::<Plain>().and_then(|()| work.call::<Plain>()),
            Backend::Int8 => self.has_dtype::<Int8>().and_then(|()| work.call::<Int8>()),
            #[cfg(feature = "cuda")]
            Backend::Cuda => self.has_dtype::<super::Gpu>().and_then(|()| work.call::<super::Gpu>()),
        }
    }

    /// Does `work` on the backend that was chosen, if that one trains; `why` says what stands against the others.
    ///
    /// # Errors
    /// The backend does not train or does not have the precision that was asked for, or the work fails.
    pub fn dispatch_training<W: WithTrainBackend>(self, why: &str, work: W) -> Result<W::Output> {
        match self.backend {
            Backend::Cpu => self.has_dtype::<Cpu>().and_then(|()| work.call::<Cpu>()),
            Backend::Reference => self.has_dtype::<Plain>().and_then(|()| work.call::<Plain>()),
            Backend::Int8 => {
                let gpu = if cfg!(feature = "cuda") { ", cuda" } else { "" };
                Err(Error::usage(format!("given --backend int8, expected one of cpu, reference{gpu}: {why}")))
            }
            #[cfg(feature = "cuda")]
            Backend::Cuda => self.has_dtype::<super::Gpu>().and_then(|()| work.call::<super::Gpu>()),
        }
    }

    /// `config` in the precision that was asked for; that of the model if none was.
    #[must_use]
    pub fn configure(self, config: Config) -> Config {
        match self.dtype {
            Some(dtype) => Config { forward_dtype: dtype.into(), ..config },
            None => config,
        }
    }

    fn has_dtype<K: HostBackend>(self) -> Result<()> {
        match self.dtype {
            Some(dtype) if !K::DTYPES.contains(&dtype) => {
                let known: Vec<String> = K::DTYPES.iter().map(Dtype::to_string).collect();
                Err(Error::usage(format!(
                    "given --dtype {dtype}, expected {} with --backend {}",
                    known.join(" or "),
                    K::NAME
                )))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Name;

    impl WithBackend for Name {
        type Output = &'static str;

        fn call<K: HostBackend>(self) -> Result<&'static str> {
            Ok(K::NAME)
        }
    }

    #[test]
    fn a_name_leads_to_its_backend() {
        for backend in Backend::value_variants() {
            let name = backend.to_possible_value().map(|value| value.get_name().to_owned());
            let choice = BackendArgs { backend: *backend, dtype: None };
            assert_eq!(choice.dispatch(Name).ok(), name.as_deref());
        }
    }

    impl WithTrainBackend for Name {
        type Output = &'static str;

        fn call<K: TrainBackend>(self) -> Result<&'static str> {
            Ok(K::NAME)
        }
    }

    #[test]
    fn what_trains_is_every_backend_but_that_of_integers() {
        for backend in Backend::value_variants() {
            let choice = BackendArgs { backend: *backend, dtype: None };
            let trained = choice.dispatch_training("it has no gradients", Name);
            match backend {
                Backend::Int8 => {
                    let error = trained.unwrap_err();
                    assert!(error.to_string().ends_with(": it has no gradients"), "{error}");
                    assert_eq!(error.exit_code(), 2);
                }
                _ => assert_eq!(trained.ok(), choice.dispatch(Name).ok()),
            }
        }
    }

    #[test]
    fn a_precision_that_the_backend_lacks_is_wrong_usage() {
        let choice = BackendArgs { backend: Backend::Cpu, dtype: Some(Dtype::Bf16) };
        let error = choice.dispatch(Name).unwrap_err();
        assert_eq!(error.to_string(), "given --dtype bf16, expected f32 with --backend cpu");
        assert_eq!(error.exit_code(), 2);
        assert_eq!(BackendArgs { dtype: Some(Dtype::F32), ..choice }.dispatch(Name).ok(), Some("cpu"));
    }

    #[test]
    fn the_model_s_own_precision_is_kept_unless_another_is_asked_for() {
        let config = Config::SUDOKU_EXTREME;
        let dtype = |dtype| BackendArgs { dtype, ..BackendArgs::default() }.configure(config).forward_dtype;
        assert_eq!(dtype(None), ForwardDtype::Bfloat16);
        assert_eq!(dtype(Some(Dtype::F32)), ForwardDtype::Float32);
    }
}
