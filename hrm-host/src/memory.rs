//! How much memory this process has used and how much the machine has left.
//!
//! Linux only; elsewhere every answer is `None`, which callers print as "unknown". The kernel counts pages per CPU and
//! adds them up now and then, so a reading is off by up to a few hundred KiB, and the peak can seem to fall by as much.

/// The largest resident set this process has had, in bytes.
pub fn peak_rss() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM")
}

/// The resident set of this process now, in bytes.
pub fn rss() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS")
}

/// What can still be allocated without swapping, in bytes: what the kernel has to give, or what the control group
/// (a container's limit) leaves, whichever is less.
pub fn available() -> Option<u64> {
    let machine = field(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable")?;
    Some(group_left().map_or(machine, |left| left.min(machine)))
}

fn group_left() -> Option<u64> {
    let read = |name: &str| -> Option<u64> {
        std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse().ok()
    };
    Some(read("memory.max")?.saturating_sub(read("memory.current")?))
}

/// The value of `NAME:   123 kB`, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// A number of bytes for people: `512 B`, `1.5 KiB`, `3.2 GiB`.
pub fn human(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read_in_bytes() {
        let status = "Name:\thrm\nVmHWMx:\t  9 kB\nVmHWM:\t   2048 kB\nThreads:\t3\n";
        assert_eq!(field(status, "VmHWM"), Some(2 << 20));
        assert_eq!(field(status, "Threads"), None);
        assert_eq!(field(status, "VmSwap"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_rises_with_use_and_does_not_fall() {
        const SLACK: u64 = 2 << 20;
        let block = vec![1u8; 64 << 20];
        let during = peak_rss().unwrap();
        assert!(during + SLACK >= block.iter().map(|&b| u64::from(b)).sum());
        drop(block);
        let after = peak_rss().unwrap();
        assert!(after + SLACK >= during, "{after} after {during}");
        assert!(rss().unwrap() <= after + SLACK);
        assert!(available().unwrap() > 0);
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(human(0), "0 B");
        assert_eq!(human(1023), "1023 B");
        assert_eq!(human(1536), "1.5 KiB");
        assert_eq!(human(5 << 30), "5.0 GiB");
        assert_eq!(human(3 << 40), "3.0 TiB");
    }
}
