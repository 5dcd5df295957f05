//! Whether the slots' workers fit into the memory that this host's processes may take.

use std::path::Path;

use lethe_flight::{Error, Result};

/// What a worker takes before it has loaded a model: libtorch's code and heap, bytes (measured: 190 MiB).
pub const WORKER_BYTES: u64 = 256 << 20;

/// A bound and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    pub bytes: u64,
    pub source: String,
}

/// The given limit, else the cgroup's, else none.
pub fn limit(setting: Option<u64>) -> Option<Limit> {
    match setting {
        Some(bytes) => Some(Limit { bytes, source: "the setting memory_limit".into() }),
        None => cgroup(Path::new("/sys/fs/cgroup"), Path::new("/proc/self/cgroup")),
    }
}

/// The smallest limit on the way from this process's cgroup to the root (version 2), or version 1's.
fn cgroup(root: &Path, own: &Path) -> Option<Limit> {
    let own = std::fs::read_to_string(own).ok()?;
    let v2 =
        own.lines().find_map(|line| line.strip_prefix("0::")).map(|path| root.join(path.trim_matches('/')));
    let v1 = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        controllers.split(',').any(|c| c == "memory").then(|| path.trim_matches('/').to_owned())
    });
    let v2 = v2.iter().flat_map(|path| path.ancestors().take_while(|p| p.starts_with(root)));
    let v2 = v2.map(|folder| folder.join("memory.max"));
    let v1 = v1.map(|path| root.join("memory").join(path).join("memory.limit_in_bytes"));
    // In a container the path that /proc names may not be mounted; the limit then lies at the root.
    let v1_root = root.join("memory/memory.limit_in_bytes");
    v2.chain(v1)
        .chain([v1_root])
        .filter_map(|file| {
            let bytes: u64 = std::fs::read_to_string(&file).ok()?.trim().parse().ok()?;
            // Version 1 says "no limit" with a number near 2^63.
            (bytes < 1 << 60).then(|| Limit { bytes, source: file.display().to_string() })
        })
        .min_by_key(|limit| limit.bytes)
}

/// Checks that `slots` workers fit beside what the Spark executor's JVM may take.
///
/// # Errors
/// If they do not; the first line names `spark.executor.memoryOverhead` and the bytes to add.
pub fn check(limit: &Limit, jvm_bytes: u64, slots: u32) -> Result<()> {
    let workers = u64::from(slots) * WORKER_BYTES;
    let needed = jvm_bytes + workers;
    if needed <= limit.bytes {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    Err(Error::Exhausted(format!(
        "{slots} slots need {} MiB more memory than this executor has: raise spark.executor.memoryOverhead by \
         that, or take fewer slots (the JVM may take {} MiB, a worker takes {} MiB, the limit is {} MiB by {})",
        mib(needed - limit.bytes),
        mib(jvm_bytes),
        mib(WORKER_BYTES),
        mib(limit.bytes),
        limit.source
    )))
}

/// The heap that a JVM may take: the last `-Xmx` of its command line; 0 where there is none, and for another
/// kind of process, the user's own.
pub fn jvm_bytes(pid: u32) -> u64 {
    let Ok(command) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return 0 };
    let arguments: Vec<_> = command.split(|&b| b == 0).map(String::from_utf8_lossy).collect();
    if !arguments.first().is_some_and(|program| program.ends_with("java")) {
        return 0;
    }
    arguments.iter().rev().find_map(|a| parse_size(a.strip_prefix("-Xmx")?)).unwrap_or(0)
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_slots_are_refused_with_the_setting_to_raise() {
        let limit = Limit { bytes: 2 << 30, source: "test".into() };
        check(&limit, 1 << 30, 4).unwrap();
        let error = check(&limit, 1 << 30, 5).unwrap_err().to_string();
        assert!(error.starts_with("5 slots need 256 MiB more memory"), "{error}");
        assert!(error.contains("spark.executor.memoryOverhead"), "{error}");
    }

    #[test]
    fn the_smallest_limit_of_the_cgroup_and_its_parents_counts() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("own");
        std::fs::create_dir_all(root.path().join("a/b")).unwrap();
        std::fs::write(&own, "0::/a/b\n").unwrap();
        assert_eq!(cgroup(root.path(), &own), None);
        std::fs::write(root.path().join("a/b/memory.max"), "max\n").unwrap();
        std::fs::write(root.path().join("a/memory.max"), "1073741824\n").unwrap();
        assert_eq!(cgroup(root.path(), &own).unwrap().bytes, 1 << 30);
        std::fs::write(root.path().join("a/b/memory.max"), "1048576\n").unwrap();
        assert_eq!(cgroup(root.path(), &own).unwrap().bytes, 1 << 20);
    }

    #[test]
    fn version_1_is_read_and_its_word_for_no_limit_understood() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("own");
        std::fs::write(&own, "3:memory:/x\n0::/\n").unwrap();
        std::fs::create_dir_all(root.path().join("memory/x")).unwrap();
        let file = root.path().join("memory/x/memory.limit_in_bytes");
        std::fs::write(&file, "9223372036854771712\n").unwrap();
        assert_eq!(cgroup(root.path(), &own), None);
        std::fs::write(&file, "2097152\n").unwrap();
        assert_eq!(cgroup(root.path(), &own).unwrap().bytes, 2 << 20);
    }

    #[test]
    fn heap_sizes_are_read_as_the_jvm_does() {
        assert_eq!(parse_size("1g"), Some(1 << 30));
        assert_eq!(parse_size("900m"), Some(900 << 20));
        assert_eq!(parse_size("x"), None);
    }
}
