//! How much memory this process has used and how much the machine has left.
//!
//! Linux only; elsewhere every answer is `None`, which callers print as "unknown". The kernel counts pages per CPU and
//! adds them up now and then, so a reading is off by up to a few hundred KiB, and the peak can seem to fall by as much.

use std::fmt;

use crate::error::{Error, Result};

/// The largest resident set this process has had, in bytes.
pub fn peak_rss() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM")
}

/// The resident set of this process now, in bytes.
pub fn rss() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS")
}

/// Memory that can still be had, and what it is that has no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes.
    pub bytes: u64,
    /// What they are left of.
    pub of: Limit,
}

/// What limits the memory of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// What the machine has.
    Machine,
    /// What the control group may have: a container's limit.
    Group,
    /// What the process may map (`ulimit -v`).
    AddressSpace,
    /// What the process may allocate (`ulimit -d`).
    Data,
    /// What the device has.
    Device,
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = human(self.bytes);
        match self.of {
            Limit::Machine => write!(f, "this machine has {bytes} free"),
            Limit::Group => write!(f, "the container's limit (cgroup) leaves {bytes}"),
            Limit::AddressSpace => write!(f, "the limit on address space (ulimit -v) leaves {bytes}"),
            Limit::Data => write!(f, "the limit on data (ulimit -d) leaves {bytes}"),
            Limit::Device => write!(f, "the GPU has {bytes} free"),
        }
    }
}

/// What can still be allocated without swapping: what the kernel has to give, what the control groups leave, or what the
/// process's own limits leave, whichever is least.
#[must_use]
pub fn room() -> Option<Room> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| field(&text, "MemAvailable"));
    let status = read("/proc/self/status").unwrap_or_default();
    let limits = read("/proc/self/limits").unwrap_or_default();
    let left = |limit, used| Some(soft_limit(&limits, limit)?.saturating_sub(field(&status, used)?));
    let group = read("/proc/self/cgroup").and_then(|text| group_left(&text, &|path| read(path)));
    [
        (machine, Limit::Machine),
        (group, Limit::Group),
        (left("Max address space", "VmSize"), Limit::AddressSpace),
        (left("Max data size", "VmData"), Limit::Data),
    ]
    .into_iter()
    .filter_map(|(bytes, of)| bytes.map(|bytes| Room { bytes, of }))
    .min_by_key(|room| room.bytes)
}

/// Bytes of [`room`].
#[must_use]
pub fn available() -> Option<u64> {
    room().map(|room| room.bytes)
}

/// Refuses work that takes `needed` bytes which are not to be had, before it takes them one by one.
///
/// # Errors
/// The system says that it has less, or gives less when it is asked.
pub fn expect_room(needed: u64) -> Result<()> {
    if let Some(room) = room().filter(|room| room.bytes < needed) {
        return Err(Error::input(format!("this takes {}, {room}", human(needed))));
    }
    // Asked for and given back: untouched, it costs nothing.
    let mut asked = Vec::<u8>::new();
    let given = usize::try_from(needed).is_ok_and(|bytes| asked.try_reserve_exact(bytes).is_ok());
    // What nobody looks at need not be asked for, in the eyes of a compiler.
    std::hint::black_box(&asked);
    match given {
        true => Ok(()),
        false => {
            Err(Error::input(format!("this takes {}, and the system gives no such memory", human(needed)))
                .hint("free some memory, or raise the limit (ulimit -v, the container's)"))
        }
    }
}

/// A soft limit in `/proc/self/limits`; none if it is unlimited.
fn soft_limit(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Bytes that the control groups of a process leave it: the least that any of them does, from its own up to the root.
/// `membership` is `/proc/self/cgroup`.
fn group_left(membership: &str, read: &dyn Fn(&str) -> Option<String>) -> Option<u64> {
    let left = |dir: &str, files: [&str; 2], cache: &str| -> Option<u64> {
        let number = |name: &str| read(&format!("{dir}/{name}"))?.trim().parse::<u64>().ok();
        let [limit, used] = [number(files[0])?, number(files[1])?];
        // The kernel takes back what only caches files that nobody reads now.
        let stat = read(&format!("{dir}/memory.stat")).unwrap_or_default();
        let cached = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse().ok()).unwrap_or(0);
        Some(limit.saturating_sub(used.saturating_sub(cached)))
    };
    let mut least: Option<u64> = None;
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, files, cache) = match controllers {
            "" => ("/sys/fs/cgroup", ["memory.max", "memory.current"], "inactive_file "),
            _ if controllers.split(',').any(|name| name == "memory") => (
                "/sys/fs/cgroup/memory",
                ["memory.limit_in_bytes", "memory.usage_in_bytes"],
                "total_inactive_file ",
            ),
            _ => continue,
        };
        let own = path.trim_end_matches('/');
        let parents = own.char_indices().filter(|(_, c)| *c == '/').map(|(at, _)| &own[..at]);
        for group in parents.chain([own]) {
            let here = left(&format!("{root}{group}"), files, cache);
            least = least.into_iter().chain(here).min();
        }
    }
    least
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

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max data size             unlimited            unlimited            bytes     \n\
                      Max address space         307200000            unlimited            bytes     \n";
        assert_eq!(soft_limit(limits, "Max address space"), Some(307_200_000));
        assert_eq!(soft_limit(limits, "Max data size"), None);
        assert_eq!(soft_limit("", "Max data size"), None);
    }

    /// The tightest of the groups around a process counts, and caches that can be dropped do not.
    #[test]
    fn every_group_above_is_asked() {
        let tree = |path: &str| {
            let text = match path {
                "/sys/fs/cgroup/a/memory.max" => "1000",
                "/sys/fs/cgroup/a/memory.current" => "700\n",
                "/sys/fs/cgroup/a/memory.stat" => "anon 300\ninactive_file 400\n",
                "/sys/fs/cgroup/a/b/memory.max" => "max\n",
                "/sys/fs/cgroup/a/b/memory.current" => "600\n",
                "/sys/fs/cgroup/memory/c/memory.limit_in_bytes" => "500",
                "/sys/fs/cgroup/memory/c/memory.usage_in_bytes" => "100",
                _ => return None,
            };
            Some(text.to_owned())
        };
        assert_eq!(group_left("0::/a/b\n", &tree), Some(700));
        assert_eq!(group_left("0::/a\n", &tree), Some(700));
        assert_eq!(group_left("0::/\n", &tree), None);
        assert_eq!(group_left("12:cpu,memory:/c\n0::/a\n", &tree), Some(400));
        assert_eq!(group_left("", &tree), None);
    }

    #[test]
    fn what_cannot_be_had_is_refused_with_both_numbers() {
        assert!(expect_room(1 << 20).is_ok());
        let error = expect_room(1 << 62).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().starts_with("this takes 4194304.0 TiB, "), "{error}");
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
