//! Programs of others at work beside a test.
//!
//! `make witnesses` installs them beside what cargo builds. Each runs in a folder of its own, on a port of loopback that
//! the system chooses and the program's log tells: a port that was chosen before could be taken by then.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::http;
use crate::wait::{eventually, until};

/// A program that `make witnesses` installs, by its path below the witnesses' folder.
///
/// # Panics
/// If it is not installed.
pub fn installed(path: &str) -> PathBuf {
    // target/PROFILE/deps/e2e-0123 is this test.
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(3).unwrap().join("witnesses").join(path);
    assert!(program.is_file(), "{} is missing; run `make witnesses` first", program.display());
    program
}

/// A call of it, with nobody's settings.
pub(crate) fn command(path: &str) -> Command {
    let mut command = Command::new(installed(path));
    command.env_clear().stdin(Stdio::null());
    command
}

/// A server at work. Killed when dropped; if the test fails, the end of its log is shown.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    child: Child,
    folder: TempDir,
    address: String,
}

impl Server {
    /// Starts a server in `folder`, and waits until it answers at `health`. In its log, the address where it listens
    /// stands behind `announcement`.
    pub(crate) async fn start(
        name: &'static str,
        command: &mut Command,
        folder: TempDir,
        announcement: &str,
        health: &str,
    ) -> Self {
        let log = File::create(folder.path().join("log")).unwrap();
        let command = command.current_dir(&folder).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        let mut server = Self { name, child, folder, address: String::new() };
        server.address = until("it listens", || {
            server.assert_alive();
            announced(&server.log(), announcement).ok_or(())
        })
        .await;
        let health = server.url(health);
        eventually("it answers", async || {
            server.assert_alive();
            match http::get(&health).await {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        server
    }

    /// The URL of a path that begins with a slash.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All that it said.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.path().join("log")).unwrap()).into_owned()
    }

    fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} ended with {status}", self.name);
        }
    }
}

/// What stands behind `announcement`, once the line is whole.
fn announced(log: &str, announcement: &str) -> Option<String> {
    let (_, rest) = log.split_once(announcement)?;
    let (line, _) = rest.split_once('\n')?;
    line.split_whitespace().next().map(str::to_owned)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(20)..];
            eprintln!("the last that {} said:\n{}", self.name, last.join("\n"));
        }
    }
}
