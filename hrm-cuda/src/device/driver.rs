//! The driver's first calls: is it there, does it start, which devices does it have.
//!
//! Codes are integers here. Cudarc takes them as an enum, and a driver that is newer than its list would hand it a value that
//! the enum does not have, which is undefined behaviour. So whatever may fail on somebody else's machine is called here first:
//! what comes after it by way of cudarc is called with a driver that has started and a device that has a context.
#![expect(unsafe_code, reason = "the driver's C interface")]

use std::error::Error as _;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libloading::Library as Loaded;

use super::library::{self, Library};
use super::states;
use crate::error::Error;

/// The names that the system's loader is asked for, in cudarc's order: both must come to the same file.
const NAMES: &[&str] = if cfg!(windows) { &["nvcuda.dll"] } else { &["libcuda.so", "libcuda.so.1"] };

/// Where Windows puts the driver of its Linux (WSL 2). Not every distribution's loader knows the directory.
const WSL: Option<&str> = if cfg!(unix) { Some("/usr/lib/wsl/lib") } else { None };

/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `_MINOR`.
const CAPABILITY: [c_int; 2] = [75, 76];

/// `CUDA_ERROR_NO_DEVICE`: no failure, but a count of 0.
const NO_DEVICE: c_int = 100;

type Init = unsafe extern "system" fn(c_uint) -> c_int;
type WriteInt = unsafe extern "system" fn(*mut c_int) -> c_int;
type DeviceGet = unsafe extern "system" fn(*mut c_int, c_int) -> c_int;
type DeviceGetName = unsafe extern "system" fn(*mut c_char, c_int, c_int) -> c_int;
type DeviceTotalMem = unsafe extern "system" fn(*mut usize, c_int) -> c_int;
type DeviceGetAttribute = unsafe extern "system" fn(*mut c_int, c_int, c_int) -> c_int;
type GetErrorName = unsafe extern "system" fn(c_int, *mut *const c_char) -> c_int;
type Retain = unsafe extern "system" fn(*mut *mut c_void, c_int) -> c_int;
type Release = unsafe extern "system" fn(c_int) -> c_int;

/// The driver's library, loaded for the rest of the program.
#[derive(Debug)]
pub(super) struct Driver {
    /// The file, where the system says which one it is.
    file: Option<PathBuf>,
    init: Init,
    driver_get_version: WriteInt,
    device_get_count: WriteInt,
    device_get: DeviceGet,
    device_get_name: DeviceGetName,
    device_total_mem: DeviceTotalMem,
    device_get_attribute: DeviceGetAttribute,
    get_error_name: GetErrorName,
    primary_ctx_retain: Retain,
    primary_ctx_release: Release,
}

/// What the driver says of a device.
pub(super) struct Facts {
    pub name: String,
    pub capability: (u32, u32),
    pub memory: usize,
}

impl Driver {
    /// The driver of this machine.
    ///
    /// # Errors
    /// It is not there, or what is there is no driver's library.
    pub fn get() -> Result<&'static Self, Error> {
        static DRIVER: OnceLock<Result<Driver, Error>> = OnceLock::new();
        DRIVER.get_or_init(Self::find).as_ref().map_err(Clone::clone)
    }

    fn find() -> Result<Self, Error> {
        let files = |directory: PathBuf| NAMES.iter().rev().map(move |name| directory.join(name));
        let elsewhere = library::named_directories().into_iter().chain(WSL.map(PathBuf::from));
        let elsewhere = elsewhere.flat_map(files).filter(|file| file.is_file());
        // What is there and cannot be loaded is worth more words than what is not there.
        let mut broken = None;
        // The loader's comes first because cudarc asks the loader. One from elsewhere it finds by the library's own name for
        // itself, once that is loaded.
        if let Some(driver) = NAMES.iter().find_map(|name| Self::load(Path::new(name)).ok()) {
            return Ok(driver);
        }
        for file in elsewhere {
            match Self::load(&file) {
                Ok(driver) => return Ok(driver),
                Err(reason) => broken = broken.or(Some((file, reason))),
            }
        }
        let hint = match broken {
            Some((file, reason)) => format!("{} cannot be used: {reason}", file.display()),
            None => format!(
                "is an NVIDIA GPU and its driver installed? see `nvidia-smi`; looked in {}the loader's path{}. If it is \
                 elsewhere, name its directory in LD_LIBRARY_PATH; in a container, start that with the GPUs (`docker run \
                 --gpus all`)",
                library::named_for_messages(),
                if cfg!(unix) { " and /usr/lib/wsl/lib" } else { "" },
            ),
        };
        Err(Error::Library { name: Library::Driver.name(), hint })
    }

    /// The driver in a file, or by a name that the system's loader knows.
    pub fn load(file: &Path) -> Result<Self, String> {
        // SAFETY: NVIDIA's own library, made to be loaded by any program.
        let loaded = unsafe { Loaded::new(file) }.map_err(|error| said(&error))?;
        let missing = |error: libloading::Error| format!("it is no driver's library: {}", said(&error));
        // SAFETY: the types are those of these functions in cuda.h, with the codes as the ints that they are in C.
        let mut driver = unsafe {
            Self {
                file: None,
                init: *loaded.get(c"cuInit").map_err(missing)?,
                driver_get_version: *loaded.get(c"cuDriverGetVersion").map_err(missing)?,
                device_get_count: *loaded.get(c"cuDeviceGetCount").map_err(missing)?,
                device_get: *loaded.get(c"cuDeviceGet").map_err(missing)?,
                device_get_name: *loaded.get(c"cuDeviceGetName").map_err(missing)?,
                device_total_mem: *loaded.get(c"cuDeviceTotalMem_v2").map_err(missing)?,
                device_get_attribute: *loaded.get(c"cuDeviceGetAttribute").map_err(missing)?,
                get_error_name: *loaded.get(c"cuGetErrorName").map_err(missing)?,
                primary_ctx_retain: *loaded.get(c"cuDevicePrimaryCtxRetain").map_err(missing)?,
                primary_ctx_release: *loaded.get(c"cuDevicePrimaryCtxRelease_v2").map_err(missing)?,
            }
        };
        driver.file = mapped_file(driver.init as usize).or_else(|| file.is_absolute().then(|| file.into()));
        // It stays loaded, so none of these ever dangles.
        core::mem::forget(loaded);
        Ok(driver)
    }

    /// The library's file, where the system says which one it is.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The newest CUDA that it supports. It need not have started.
    pub fn version(&self) -> Result<(u32, u32), Error> {
        let mut version = 0;
        // SAFETY: the driver writes one int.
        self.done(unsafe { (self.driver_get_version)(&raw mut version) }, "version of the driver")?;
        let version = version.unsigned_abs();
        Ok((version / 1000, version % 1000 / 10))
    }

    /// Starts it, and counts its devices.
    pub fn start(&self) -> Result<usize, Error> {
        let mut count = 0;
        // SAFETY: may be called at any time, with a 0.
        match unsafe { (self.init)(0) } {
            NO_DEVICE => return Ok(0),
            code => self.done(code, "start of the driver")?,
        }
        // SAFETY: the driver writes one int.
        match unsafe { (self.device_get_count)(&raw mut count) } {
            NO_DEVICE => return Ok(0),
            code => self.done(code, "count of the devices")?,
        }
        Ok(count.max(0).unsigned_abs() as usize)
    }

    /// What it says of the device numbered `index`.
    pub fn facts(&self, index: usize) -> Result<Facts, Error> {
        let action = format!("look at device {index}");
        let device = self.device(index, &action)?;
        let attribute = |which: c_int| {
            let mut value = 0;
            // SAFETY: the driver writes one int; the device is one that it has just given us.
            self.done(unsafe { (self.device_get_attribute)(&raw mut value, which, device) }, &action)?;
            Ok(value.unsigned_abs())
        };
        let [major, minor] = CAPABILITY.map(attribute);
        let mut memory = 0;
        // SAFETY: the driver writes one size; the device is one of its own.
        self.done(unsafe { (self.device_total_mem)(&raw mut memory, device) }, &action)?;
        let mut name = [0u8; 256];
        // One less than there is: the last byte stays 0.
        let room = name.len() as c_int - 1;
        // SAFETY: the driver writes at most `room` bytes; the device is one of its own.
        self.done(unsafe { (self.device_get_name)(name.as_mut_ptr().cast(), room, device) }, &action)?;
        let name = CStr::from_bytes_until_nul(&name).map_or_else(|_| "?".into(), CStr::to_string_lossy);
        Ok(Facts { name: name.into_owned(), capability: (major?, minor?), memory })
    }

    /// Runs `work` while the device numbered `index` has a context, of the kind that cudarc takes.
    pub fn with_context<T>(&self, index: usize, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let action = format!("start of device {index}");
        let device = self.device(index, &action)?;
        let mut context = core::ptr::null_mut();
        // SAFETY: the driver writes one pointer; the device is one of its own.
        self.done(unsafe { (self.primary_ctx_retain)(&raw mut context, device) }, &action)?;
        let result = work();
        // SAFETY: it was retained above. Whoever else has retained it keeps it, so there is nothing to be done if this fails.
        let _ = unsafe { (self.primary_ctx_release)(device) };
        result
    }

    fn device(&self, index: usize, action: &str) -> Result<c_int, Error> {
        let mut device = 0;
        let index = c_int::try_from(index).unwrap_or(c_int::MAX);
        // SAFETY: the driver writes one int.
        self.done(unsafe { (self.device_get)(&raw mut device, index) }, action)?;
        Ok(device)
    }

    fn done(&self, code: c_int, action: &str) -> Result<(), Error> {
        if code == 0 {
            return Ok(());
        }
        let file = self.file.as_deref();
        let reason = states::words(code, || self.error_name(code), file);
        Err(Error::Driver { action: action.into(), code, reason })
    }

    /// The driver's own name of a code, if it has one.
    fn error_name(&self, code: c_int) -> Option<String> {
        let mut name: *const c_char = core::ptr::null();
        // SAFETY: the driver writes one pointer.
        let found = unsafe { (self.get_error_name)(code, &raw mut name) };
        if found != 0 || name.is_null() {
            return None;
        }
        // SAFETY: a string that lives as long as the driver.
        Some(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
    }
}

/// What the system's loader said: that is what libloading's error comes from.
fn said(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// The file that is mapped at an address of this process.
fn mapped_file(address: usize) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (begin, end) = line.split(' ').next()?.split_once('-')?;
        let at = |text| usize::from_str_radix(text, 16).ok();
        let inside = (at(begin)?..at(end)?).contains(&address);
        let file = line.find('/').map(|start| PathBuf::from(&line[start..]));
        file.filter(|_| inside)
    })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::process::Command;

    /// A driver with these answers; see `tests/stand_in/libcuda.c`.
    fn stand_in(answers: &[&str]) -> (tempfile::TempDir, Driver) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("libcuda.so.1");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stand_in/libcuda.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC"]).args(answers).arg("-o").args([&file, &source]);
        assert!(cc.status().unwrap().success());
        let driver = Driver::load(&file).unwrap();
        (dir, driver)
    }

    fn reason(result: Result<impl Sized, Error>) -> (c_int, String) {
        match result.map(|_| ()) {
            Err(Error::Driver { code, reason, .. }) => (code, reason),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_driver_says_what_it_has() {
        let (_dir, driver) = stand_in(&["-DVERSION=12040", "-DCOUNT=2", "-DCAPABILITY=86"]);
        assert_eq!(driver.version(), Ok((12, 4)));
        assert_eq!(driver.start(), Ok(2));
        let Facts { name, capability, memory } = driver.facts(1).unwrap();
        assert_eq!((name.as_str(), capability, memory), ("Stand-in", (8, 6), 8 << 30));
        assert_eq!(reason(driver.facts(2)).0, 101);
        assert_eq!(driver.with_context(0, || Ok(7)), Ok(7));
    }

    #[test]
    fn no_device_is_a_count_of_none() {
        assert_eq!(stand_in(&["-DINIT=100"]).1.start(), Ok(0));
        assert_eq!(stand_in(&["-DCOUNT=0"]).1.start(), Ok(0));
    }

    /// Also where cudarc's enum has no such value.
    #[test]
    fn every_code_of_every_call_is_an_error() {
        for code in [1, 34, 802, 803, 999, 12345, -1, c_int::MAX, c_int::MIN] {
            assert_eq!(reason(stand_in(&[&format!("-DINIT=({code})")]).1.start()).0, code);
            assert_eq!(reason(stand_in(&[&format!("-DNAME=({code})")]).1.facts(0)).0, code);
            let (_dir, driver) = stand_in(&[&format!("-DCONTEXT=({code})")]);
            let never = || -> Result<(), Error> { panic!("there is no context") };
            assert_eq!(reason(driver.with_context(0, never)).0, code);
        }
    }

    #[test]
    fn an_unknown_code_has_its_number_and_the_driver_s_name_for_it() {
        let (_, said) = reason(stand_in(&["-DINIT=12345"]).1.start());
        assert!(said.contains("12345") && said.contains("CUDA_ERROR_OF_TOMORROW"), "{said}");
        let (_, said) = reason(stand_in(&["-DINIT=54321"]).1.start());
        assert!(said.contains("54321"), "{said}");
    }

    #[test]
    fn a_stub_is_named() {
        let (dir, driver) = stand_in(&["-DINIT=34"]);
        let (_, said) = reason(driver.start());
        let file = dir.path().canonicalize().unwrap().join("libcuda.so.1");
        assert!(said.contains(file.to_str().unwrap()), "{said}");
    }

    #[test]
    fn another_library_is_no_driver() {
        let dir = tempfile::tempdir().unwrap();
        let (source, file) = (dir.path().join("empty.c"), dir.path().join("libcuda.so.1"));
        std::fs::write(&source, "int nothing;\n").unwrap();
        let mut cc = Command::new("cc");
        assert!(cc.args(["-shared", "-fPIC", "-o"]).args([&file, &source]).status().unwrap().success());
        let said = Driver::load(&file).unwrap_err();
        assert!(said.contains("cuInit"), "{said}");
        std::fs::write(&file, "no library").unwrap();
        assert!(Driver::load(&file).is_err());
    }
}
