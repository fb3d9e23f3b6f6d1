//! The driver's codes in words, with what helps.

use std::ffi::c_int;
use std::path::Path;

/// What a code means, and what to do. `name` is the driver's own name of it, `file` the driver's library.
pub(super) fn words(code: c_int, name: impl FnOnce() -> Option<String>, file: Option<&Path>) -> String {
    let library = file.map_or_else(|| "libcuda".into(), |file| file.display().to_string());
    let (state, help) = match code {
        2 => (
            "the GPU or the host has too little memory for it",
            "end what else uses the GPU: `nvidia-smi` lists it; or raise the limit on address space (`ulimit -v`)",
        ),
        3 | 4 => ("the driver is not started, or is shutting down", "start the program again"),
        34 => {
            return format!(
                "{library} is a stub for building programs, not a driver (code 34). Take its directory out of \
                 LD_LIBRARY_PATH and HRM_CUDA_PATH, and make the driver's own libcuda.so.1 known: it comes with the NVIDIA \
                 driver, or into a container with `docker run --gpus all`"
            );
        }
        35 | 36 => (
            "the driver is too old for this CUDA",
            "install a driver for CUDA 13 (580 or later), and restart the machine",
        ),
        46 => (
            "the GPU is taken by another process, or may not be used",
            "wait for that process (`nvidia-smi` lists it), or set the compute mode to default (`nvidia-smi -c 0`)",
        ),
        100 => (
            "the driver finds no GPU",
            "see `nvidia-smi`, and whether CUDA_VISIBLE_DEVICES hides it; start a container with `docker run --gpus all`",
        ),
        101 => (
            "there is no device of this number",
            "see `nvidia-smi -L`, and which of them CUDA_VISIBLE_DEVICES leaves",
        ),
        201 | 709 => ("the GPU's context is not valid any more", "start the program again"),
        214 => {
            ("the GPU's memory has an error that cannot be corrected", "reset the GPU or restart the machine")
        }
        222 | 209 | 200 => (
            "the driver does not take code made by this CUDA: it is older than the compiler, or does not know the GPU",
            "install a driver that is at least as new as the CUDA that HRM_CUDA_PATH names",
        ),
        304 => (
            "the operating system refused the driver something",
            "look at the rights of /dev/nvidia*, and at the limits on memory and threads (`ulimit -a`)",
        ),
        801 => (
            "the driver does not support this here",
            "see `nvidia-smi`: the GPU may be partitioned or virtual",
        ),
        802 => (
            "the system is not ready: on machines with NVSwitch the fabric manager does not run, or has not finished",
            "start it (`systemctl start nvidia-fabricmanager`), of the driver's own version, and wait until `nvidia-smi` \
             shows the fabric as completed",
        ),
        803 => (
            "the driver in the kernel and its library libcuda are of different versions, as after an update",
            "restart the machine, or load the kernel module anew; in a container, take out its own copy of libcuda",
        ),
        804 => (
            "this GPU does not take the forward-compatible libcuda that was found",
            "take the directory of cuda-compat out of LD_LIBRARY_PATH, or install a newer driver",
        ),
        805..=810 => (
            "the MPS service, which shares the GPU among processes, cannot be used",
            "look at its log (nvidia-cuda-mps-control), or end it",
        ),
        999 => (
            "the driver failed and does not say why",
            "see `nvidia-smi` and `dmesg`; load the module nvidia-uvm anew, or restart the machine (it often follows on a \
             suspended one)",
        ),
        _ => {
            let name = name().map_or_else(String::new, |name| format!(", {name}"));
            return format!(
                "the driver says {code}{name}, which this program has no words for; see `nvidia-smi` and the list of codes \
                 (CUresult) in NVIDIA's documentation of the driver"
            );
        }
    };
    format!("{state} (code {code}). What helps: {help}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: c_int) -> String {
        words(code, || Some("CUDA_ERROR_X".into()), Some(Path::new("/usr/lib/libcuda.so.1")))
    }

    #[test]
    fn known_states_have_a_sentence_and_help() {
        let codes = [
            (2, "nvidia-smi"),
            (34, "/usr/lib/libcuda.so.1 is a stub"),
            (35, "580"),
            (46, "another process"),
            (100, "CUDA_VISIBLE_DEVICES"),
            (802, "fabric manager"),
            (803, "restart the machine"),
            (804, "cuda-compat"),
            (806, "MPS"),
            (999, "dmesg"),
        ];
        for (code, expected) in codes {
            let said = said(code);
            assert!(said.contains(expected) && said.contains(&format!("code {code}")), "{said}");
            assert!(!said.contains("CUDA_ERROR"), "{said}");
        }
    }

    #[test]
    fn other_codes_have_their_number_and_the_driver_s_name() {
        assert!(said(12345).contains("says 12345, CUDA_ERROR_X,"), "{}", said(12345));
        let unnamed = words(-7, || None, None);
        assert!(unnamed.contains("says -7, which"), "{unnamed}");
    }
}
