//! The program as a process.
//!
//! It is the one that `cargo build` made beside these tests. Its output goes to files, not pipes: a pipe that nobody
//! reads stops the writer, and a killed process would take its last words with it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

use crate::wait::until;

/// The binary under test.
///
/// # Panics
/// If it has not been built.
pub fn binary() -> PathBuf {
    // target/PROFILE/deps/e2e-0123 is this test.
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap();
    let binary = folder.join("dormouse");
    let profile = folder.file_name().unwrap().to_string_lossy().into_owned();
    let option = if profile == "debug" { String::new() } else { format!(" --profile {profile}") };
    assert!(binary.is_file(), "{} is missing; run `cargo build -p dormouse{option}` first", binary.display());
    binary
}

/// A call of the program that can reach no AWS and is led astray by nobody's settings.
pub fn dormouse(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).stdin(Stdio::null());
    isolate(&mut command);
    command
}

fn isolate(command: &mut Command) {
    for (name, _) in std::env::vars() {
        if name.starts_with("DORMOUSE_") || name.starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command
        .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "no secret")
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("NO_PROXY", "127.0.0.1");
}

/// What a call that has ended left behind.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Finished {
    /// The exit status as a number.
    ///
    /// # Panics
    /// If a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:#?}"))
    }

    /// What it printed, as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self:#?}"))
    }

    /// No test may see a panic, whatever else went wrong.
    ///
    /// # Panics
    /// If it did.
    #[must_use]
    pub fn without_panic(self) -> Self {
        assert!(!self.stderr.contains("panicked at"), "{}", self.stderr);
        self
    }
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> Finished {
    let output = command.output().unwrap();
    Finished {
        status: output.status,
        stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
    .without_panic()
}

/// Asks the program for a JSON document; fails the test if the exit status is not 0.
pub fn ask(arguments: &[&str]) -> Value {
    let finished = finish(&mut dormouse(arguments));
    assert!(finished.status.success(), "dormouse {}: {finished:#?}", arguments.join(" "));
    finished.json()
}

/// Runs its arguments and then says, on a last line of standard error, how much memory they took in KiB.
const MEASURED: &str = "
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(status if status >= 0 else 128 - status)
";

/// Runs the program to its end and returns the most memory it had resident, in MiB, beside what it said.
pub fn finish_measured(arguments: &[&str]) -> (Finished, u64) {
    let mut command = Command::new("python3");
    command.args(["-c", MEASURED]).arg(binary()).args(arguments).stdin(Stdio::null());
    isolate(&mut command);
    let mut finished = finish(&mut command);
    let said = finished.stderr.trim_end();
    let (rest, kib) = said.rsplit_once('\n').unwrap_or(("", said));
    let kib: u64 = kib.parse().unwrap_or_else(|_| panic!("no memory was measured: {said}"));
    finished.stderr = rest.to_owned();
    (finished, kib / 1_024)
}

/// Runs its arguments on a terminal that is so wide, and prints what the terminal got.
const ON_TERMINAL: &str = "
import fcntl, os, pty, struct, sys, termios
child, screen = pty.fork()
if child == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 50, int(sys.argv[1]), 0, 0))
    os.execv(sys.argv[2], sys.argv[2:])
while True:
    try:
        some = os.read(screen, 65536)
    except OSError:
        break
    if not some:
        break
    sys.stdout.buffer.write(some)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";

/// Runs the program on a terminal of this width, with these variables. What it printed and what it complained about
/// come together, as one would see them.
pub fn finish_on_terminal(columns: u16, arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
    let mut command = Command::new("python3");
    command
        .args(["-c", ON_TERMINAL, &columns.to_string()])
        .arg(binary())
        .args(arguments)
        .stdin(Stdio::null());
    isolate(&mut command);
    command.env("TERM", "xterm").env_remove("NO_COLOR").envs(variables.iter().copied());
    finish(&mut command)
}

/// `dormouse run` at work. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stderr: PathBuf,
    /// Where this process's part of the log begins: its predecessors may have used the same file.
    log_from: usize,
}

impl Running {
    /// Starts `dormouse run` with this configuration; what it logs is kept in `stderr`.
    pub fn start(configuration: &Path, stderr: PathBuf) -> Self {
        let log_from = std::fs::read(&stderr).map_or(0, |log| log.len());
        let log = File::options().create(true).append(true).open(&stderr).unwrap();
        let mut command = dormouse(&["run", "--config", configuration.to_str().unwrap()]);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child, stderr, log_from }
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has had resident so far, in KiB.
    pub fn most_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// What it and its predecessors with the same file logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.stderr).unwrap()).into_owned()
    }

    /// Where its server listens, as soon as it says so.
    pub async fn url(&mut self) -> String {
        until("dormouse run listens", || {
            self.assert_alive();
            let log = self.log();
            let own = log.get(self.log_from..).unwrap_or_default();
            let line = own.lines().find(|line| line.contains("listening url="));
            let url =
                line.and_then(|line| line.split("url=").nth(1)).map(|url| url.trim_matches('"').to_owned());
            url.ok_or(log)
        })
        .await
    }

    /// Fails the test if the process has ended; to be asked while waiting for something that it should do.
    ///
    /// # Panics
    /// If it has ended.
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("dormouse run ended with {status}:\n{}", self.log());
        }
    }

    /// `kill -9`: it gets to do nothing more.
    pub fn kill(mut self) {
        self.assert_alive();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.assert_no_panic();
    }

    /// Asks it to stop with SIGTERM and waits until it has.
    pub async fn stop(mut self) -> ExitStatus {
        self.assert_alive();
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        self.wait().await
    }

    /// Waits until it ends by itself.
    pub async fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = until("dormouse run ends", || child.try_wait().unwrap().ok_or("running")).await;
        self.assert_no_panic();
        status
    }

    fn assert_no_panic(&self) {
        let log = self.log();
        assert!(!log.contains("panicked at"), "{log}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(20)..];
            eprintln!("the last that dormouse run said:\n{}", last.join("\n"));
        }
    }
}
