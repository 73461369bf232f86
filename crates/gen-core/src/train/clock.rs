/// Seconds of processor time that this process has used, all threads together.
pub fn cpu_seconds() -> f64 {
    cpu_time::ProcessTime::try_now().map_or(f64::NAN, |time| time.as_duration().as_secs_f64())
}

/// The largest resident memory that this process has had, in MiB; `None` where the system does not tell.
pub fn peak_rss_mib() -> Option<f64> {
    status_mib("VmHWM:")
}

/// The resident memory of this process now, in MiB; `None` where the system does not tell.
pub fn rss_mib() -> Option<f64> {
    status_mib("VmRSS:")
}

fn status_mib(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024.0)
}
