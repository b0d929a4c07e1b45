//! Freed memory goes back to the system at once, in the process that runs for months.
//!
//! By default the allocator keeps freed pages for its threads, and one large trail object, decoded on one thread and
//! committed on another, would leave tens of mebibytes behind. It reads its options from the environment when the process
//! begins, before any code of ours, and to set them later takes unsafe code. So the program replaces itself once by itself
//! with the option set: same process, same arguments. Who has set the option decides.

use std::process::Command;

/// The allocator's option: for how many milliseconds freed pages are kept.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";

/// Begins the program anew with the option set, unless it is. Returns if that is not possible: then it takes more
/// memory, and nothing else is different.
pub(crate) fn give_back_at_once() {
    if std::env::var_os(PURGE_DELAY).is_some() {
        return;
    }
    #[cfg(unix)]
    if let Ok(program) = std::env::current_exe() {
        use std::os::unix::process::CommandExt;

        let mut arguments = std::env::args_os();
        let mut again = Command::new(program);
        if let Some(name) = arguments.next() {
            again.arg0(name);
        }
        // This returns only if it failed.
        let _ = again.args(arguments).env(PURGE_DELAY, "0").exec();
    }
}
