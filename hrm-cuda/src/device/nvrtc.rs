//! Compiling kernels for the device that is present, by NVRTC. It needs neither a GPU nor a driver.
#![expect(unsafe_code, reason = "the compiler's C interface")]

use std::ffi::{CString, c_char};
use std::fmt;
use std::ptr;

use cudarc::nvrtc::sys;

use super::library::Library;
use super::sources::{self, HEADERS};
use crate::error::Error;

/// An architecture to compile for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Arch {
    /// Compute capability.
    pub capability: (u32, u32),
}

impl fmt::Display for Arch {
    /// `sm_80`, or `sm_90a` where instructions of that one architecture are used.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.capability;
        let suffix = if self.capability == (9, 0) { "a" } else { "" };
        write!(f, "sm_{major}{minor}{suffix}")
    }
}

/// What the compiler gives.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The machine code.
    pub cubin: Vec<u8>,
    /// What it was made from.
    #[cfg(test)]
    pub ptx: String,
    /// Warnings, and what options asked for.
    pub log: String,
}

/// Options of every compilation. The last is for lambdas with template parameters, which cannot be marked.
pub const OPTIONS: [&str; 3] = ["--std=c++17", "--generate-line-info", "--device-as-default-execution-space"];

/// The version of the compiler.
///
/// # Errors
/// It is not there.
pub fn version() -> Result<(u32, u32), Error> {
    Library::Nvrtc.require()?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the compiler writes two ints.
    check(unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) }, "version of NVRTC")?;
    Ok((major.unsigned_abs(), minor.unsigned_abs()))
}

/// Compiles the unit `unit` for `arch`, with `more` options beside the usual ones.
///
/// # Errors
/// There is no such unit, the compiler is not there, or the source does not compile.
pub fn compile(unit: &'static str, arch: Arch, more: &[&str]) -> Result<Compiled, Error> {
    compile_source(unit, sources::unit(unit)?, arch, more)
}

/// Compiles a source with the headers of `kernels/`; see [`compile`].
///
/// # Errors
/// As there.
pub fn compile_source(
    unit: &'static str,
    source: &str,
    arch: Arch,
    more: &[&str],
) -> Result<Compiled, Error> {
    Library::Nvrtc.require()?;
    let program = Program::new(unit, source)?;
    let target = format!("--gpu-architecture={arch}");
    let options = OPTIONS.iter().chain(more).copied().chain([target.as_str()]);
    let options: Vec<CString> = options.map(text).collect::<Result<_, _>>()?;
    let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
    // SAFETY: the program is alive, and the pointers are to as many strings, alive until the end of this function.
    let status = unsafe { sys::nvrtcCompileProgram(program.0, pointers.len() as i32, pointers.as_ptr()) };
    let log = program.log()?;
    if status != sys::nvrtcResult::NVRTC_SUCCESS {
        let log = if log.is_empty() { format!("{status:?}") } else { log };
        return Err(Error::Compile { unit, arch: arch.to_string(), log });
    }
    Ok(Compiled {
        cubin: program.cubin()?,
        #[cfg(test)]
        ptx: program.ptx()?,
        log,
    })
}

/// A program of the compiler, destroyed when dropped.
struct Program(sys::nvrtcProgram);

impl Program {
    fn new(unit: &str, source: &str) -> Result<Self, Error> {
        let name = text(&format!("{unit}.cu"))?;
        let source = text(source)?;
        let headers: Vec<(CString, CString)> = HEADERS
            .iter()
            .map(|(name, source)| Ok((text(name)?, text(source)?)))
            .collect::<Result<_, Error>>()?;
        let names: Vec<*const c_char> = headers.iter().map(|(name, _)| name.as_ptr()).collect();
        let contents: Vec<*const c_char> = headers.iter().map(|(_, source)| source.as_ptr()).collect();
        let mut program = ptr::null_mut();
        // SAFETY: every string is alive, and NVRTC copies them.
        let status = unsafe {
            sys::nvrtcCreateProgram(
                &raw mut program,
                source.as_ptr(),
                name.as_ptr(),
                headers.len() as i32,
                contents.as_ptr(),
                names.as_ptr(),
            )
        };
        check(status, "start of a compilation")?;
        Ok(Self(program))
    }

    fn log(&self) -> Result<String, Error> {
        let log = self.output("the compiler's log", sys::nvrtcGetProgramLogSize, sys::nvrtcGetProgramLog)?;
        Ok(String::from_utf8_lossy(&log).trim_end_matches('\0').trim().to_owned())
    }

    fn cubin(&self) -> Result<Vec<u8>, Error> {
        self.output("the machine code", sys::nvrtcGetCUBINSize, sys::nvrtcGetCUBIN)
    }

    #[cfg(test)]
    fn ptx(&self) -> Result<String, Error> {
        let ptx = self.output("the PTX", sys::nvrtcGetPTXSize, sys::nvrtcGetPTX)?;
        Ok(String::from_utf8_lossy(&ptx).trim_end_matches('\0').to_owned())
    }

    /// The bytes that `get` writes, as many as `size` says.
    fn output(
        &self,
        what: &str,
        size: unsafe fn(sys::nvrtcProgram, *mut usize) -> sys::nvrtcResult,
        get: unsafe fn(sys::nvrtcProgram, *mut c_char) -> sys::nvrtcResult,
    ) -> Result<Vec<u8>, Error> {
        let mut len = 0;
        // SAFETY: the program is alive; one size is written.
        check(unsafe { size(self.0, &raw mut len) }, &format!("size of {what}"))?;
        let mut bytes = vec![0u8; len];
        // SAFETY: as many bytes are written as the compiler has just said.
        check(unsafe { get(self.0, bytes.as_mut_ptr().cast()) }, what)?;
        Ok(bytes)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: the program is ours, and this is its end. There is nothing to be done if it fails.
        let _ = unsafe { sys::nvrtcDestroyProgram(&raw mut self.0) };
    }
}

fn text(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Device {
        action: "compilation of a kernel".into(),
        reason: "a source or an option holds a zero byte".into(),
    })
}

fn check(status: sys::nvrtcResult, action: &str) -> Result<(), Error> {
    match status {
        sys::nvrtcResult::NVRTC_SUCCESS => Ok(()),
        other => Err(Error::Device { action: action.into(), reason: format!("NVRTC says {other:?}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_have_their_names() {
        let names =
            [(8, 0), (8, 9), (9, 0), (10, 0), (12, 0)].map(|capability| Arch { capability }.to_string());
        assert_eq!(names, ["sm_80", "sm_89", "sm_90a", "sm_100", "sm_120"]);
    }

    /// Where NVRTC is not installed, and `HRM_CUDA_PATH` does not say that it is, the error says how to come by it.
    #[test]
    fn an_error_in_a_source_is_reported_with_its_line() {
        let arch = Arch { capability: (9, 0) };
        let source = "extern \"C\" __global__ void k(float *x) {\n  x[0] = y;\n}";
        match compile_source("broken", source, arch, &[]) {
            Err(Error::Compile { unit, log, .. }) => {
                assert_eq!(unit, "broken");
                assert!(log.contains("broken.cu(2)") && log.contains("\"y\""), "{log}");
            }
            Err(Error::Library { hint, .. }) if std::env::var_os("HRM_CUDA_PATH").is_none() => {
                assert!(hint.contains("HRM_CUDA_PATH"), "{hint}");
            }
            other => panic!("{other:?}"),
        }
    }
}
