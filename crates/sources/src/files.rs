//! Paths on a command line, as a list of files to read.
//!
//! `dormouse replay` is pointed at whatever people have: one file, a copy of a trail's bucket, standard input. This
//! finds the files and says about every path that yields none why that is; nothing is opened for reading, and what is in
//! the files is the decoder's business. Folders are walked in the order of their names, so a run can be repeated. Links
//! are followed, each folder is walked once.
//!
//! CloudTrail keeps files in the same bucket that are no logs of events: digests (`CloudTrail-Digest`) and Insights
//! (`CloudTrail-Insight`). They are skipped, even when named directly, and so are hidden files in folders.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

/// What people call standard input.
const STDIN: &str = "-";

/// Parts of names that mark files which are no logs of events.
const NOT_LOGS: [(&str, SkipReason); 2] =
    [("CloudTrail-Digest", SkipReason::Digest), ("CloudTrail-Insight", SkipReason::Insight)];

/// What the paths came to.
#[derive(Debug, Default)]
pub struct Inputs {
    /// What to read, in the order of the paths, folders sorted by name.
    pub files: Vec<InputFile>,
    /// What was left out on purpose.
    pub skipped: Vec<Skipped>,
    /// What should have been read and cannot be.
    pub errors: Vec<InputError>,
}

/// Something to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// Where it is.
    pub place: Place,
    /// How many bytes it has; `None` where that is not known beforehand (standard input, pipes).
    pub size: Option<u64>,
}

/// Where an input is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// A file or folder that was left out on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The file, or the folder with all that is in it.
    pub path: PathBuf,
    /// Why.
    pub reason: SkipReason,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: skipped, {}", self.path.display(), self.reason)
    }
}

/// Why something was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// CloudTrail's list of log files and their hashes.
    Digest,
    /// CloudTrail's findings about unusual rates.
    Insight,
    /// A hidden file or folder inside a folder.
    Hidden,
    /// Standard input was named before, or the folder was reached before by another path.
    Repeated,
    /// A device, socket or pipe inside a folder.
    Special,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Digest => "a CloudTrail digest holds no events",
            Self::Insight => "CloudTrail Insights are no log of calls",
            Self::Hidden => "it is hidden",
            Self::Repeated => "it is read already",
            Self::Special => "it is no regular file",
        })
    }
}

/// A path that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct InputError {
    /// The path.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: InputProblem,
}

/// What is wrong with a path.
#[derive(Debug, thiserror::Error)]
pub enum InputProblem {
    /// Nothing is there.
    #[error("no such file or folder")]
    Missing,
    /// The folder and all folders in it hold no file to read.
    #[error("the folder holds no file to read")]
    EmptyFolder,
    /// The operating system refuses.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
}

impl From<io::Error> for InputProblem {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound { Self::Missing } else { Self::Unreadable(error) }
    }
}

/// Finds the files behind `paths`: files, folders with all that is in them, and `-` for standard input. Blocking.
pub fn expand<P: AsRef<Path>>(paths: &[P]) -> Inputs {
    let mut walk = Walk::default();
    for path in paths {
        walk.enter_named(path.as_ref());
    }
    walk.inputs
}

#[derive(Default)]
struct Walk {
    inputs: Inputs,
    reads_stdin: bool,
    /// Folders that were walked, by their one true path, so that links cannot lead in circles.
    folders: HashSet<PathBuf>,
}

impl Walk {
    fn enter_named(&mut self, path: &Path) {
        if path.as_os_str() == STDIN {
            return self.enter_stdin(path);
        }
        let marked = path.components().find_map(|part| not_a_log(&part.as_os_str().to_string_lossy()));
        if let Some(reason) = marked {
            return self.skip(path, reason);
        }
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => return self.refuse(path, error.into()),
        };
        if !metadata.is_dir() {
            // A pipe that a shell put there (`<(…)`) is as good as a file.
            return self.add(path, &metadata);
        }
        let (files, errors) = (self.inputs.files.len(), self.inputs.errors.len());
        let skipped = self.inputs.skipped.len();
        self.enter_folder(path);
        let found_nothing = (self.inputs.files.len(), self.inputs.errors.len()) == (files, errors);
        let was_read_already =
            self.inputs.skipped[skipped..].iter().any(|s| s.reason == SkipReason::Repeated && s.path == path);
        if found_nothing && !was_read_already {
            self.refuse(path, InputProblem::EmptyFolder);
        }
    }

    fn enter_stdin(&mut self, path: &Path) {
        if self.reads_stdin {
            return self.skip(path, SkipReason::Repeated);
        }
        self.reads_stdin = true;
        self.inputs.files.push(InputFile { place: Place::Stdin, size: None });
    }

    fn enter_folder(&mut self, folder: &Path) {
        let is_new = match fs::canonicalize(folder) {
            Ok(true_path) => self.folders.insert(true_path),
            Err(error) => return self.refuse(folder, error.into()),
        };
        if !is_new {
            return self.skip(folder, SkipReason::Repeated);
        }
        let mut entries = match read_folder(folder) {
            Ok(entries) => entries,
            Err(error) => return self.refuse(folder, error.into()),
        };
        entries.sort_unstable();
        for entry in entries {
            self.enter_found(&entry);
        }
    }

    fn enter_found(&mut self, path: &Path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            return self.skip(path, SkipReason::Hidden);
        }
        if let Some(reason) = not_a_log(&name) {
            return self.skip(path, reason);
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.enter_folder(path),
            Ok(metadata) if metadata.is_file() => self.add(path, &metadata),
            // Reading from it could wait for ever.
            Ok(_) => self.skip(path, SkipReason::Special),
            Err(error) => self.refuse(path, error.into()),
        }
    }

    fn add(&mut self, path: &Path, metadata: &Metadata) {
        let size = metadata.is_file().then_some(metadata.len());
        self.inputs.files.push(InputFile { place: Place::File(path.to_owned()), size });
    }

    fn skip(&mut self, path: &Path, reason: SkipReason) {
        self.inputs.skipped.push(Skipped { path: path.to_owned(), reason });
    }

    fn refuse(&mut self, path: &Path, problem: InputProblem) {
        self.inputs.errors.push(InputError { path: path.to_owned(), problem });
    }
}

fn read_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
}

/// Folders carry the mark as their whole name, files between underscores.
fn not_a_log(name: &str) -> Option<SkipReason> {
    let is_marked = |mark: &str| name == mark || name.split('_').any(|part| part == mark);
    NOT_LOGS.iter().find(|(mark, _)| is_marked(mark)).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        folder
    }

    fn names(inputs: &Inputs, folder: &Path) -> Vec<String> {
        let relative = |file: &InputFile| match &file.place {
            Place::Stdin => "-".to_owned(),
            Place::File(path) => path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned(),
        };
        inputs.files.iter().map(relative).collect()
    }

    #[test]
    fn folders_are_walked_in_order_with_sizes() {
        let folder = tree(&["b/2.json", "b/10.json", "a.json.gz", "c/d/e/f.json"]);
        let inputs = expand(&[folder.path()]);
        assert_eq!(names(&inputs, folder.path()), ["a.json.gz", "b/10.json", "b/2.json", "c/d/e/f.json"]);
        assert_eq!(inputs.files[0].size, Some(9));
        assert!(inputs.errors.is_empty() && inputs.skipped.is_empty());
    }

    #[test]
    fn paths_keep_their_order_and_standard_input_is_read_once() {
        let folder = tree(&["a", "b"]);
        let paths = [folder.path().join("b"), "-".into(), folder.path().join("a"), "-".into()];
        let inputs = expand(&paths);
        assert_eq!(names(&inputs, folder.path()), ["b", "-", "a"]);
        assert_eq!(inputs.skipped[0].to_string(), "-: skipped, it is read already");
    }

    #[test]
    fn digests_insights_and_hidden_files_are_skipped_and_named() {
        let folder = tree(&[
            "AWSLogs/111122223333/CloudTrail/eu-west-1/x.json.gz",
            "AWSLogs/111122223333/CloudTrail-Digest/eu-west-1/y.json.gz",
            "AWSLogs/111122223333/CloudTrail-Insight/eu-west-1/z.json.gz",
            "flat/111122223333_CloudTrail-Digest_eu-west-1_t_eu-west-1_20261101T000000Z.json.gz",
            "flat/.DS_Store",
        ]);
        let inputs = expand(&[folder.path()]);
        assert_eq!(names(&inputs, folder.path()), ["AWSLogs/111122223333/CloudTrail/eu-west-1/x.json.gz"]);
        let reasons: Vec<_> = inputs.skipped.iter().map(|skipped| skipped.reason).collect();
        assert_eq!(
            reasons,
            [SkipReason::Digest, SkipReason::Insight, SkipReason::Hidden, SkipReason::Digest]
        );
        let inside = folder.path().join("AWSLogs/111122223333/CloudTrail-Digest/eu-west-1");
        let inputs = expand(&[inside]);
        assert!(inputs.files.is_empty());
        assert_eq!(inputs.skipped[0].reason, SkipReason::Digest);
    }

    #[test]
    fn what_is_missing_or_empty_is_an_error_and_stops_nothing() {
        let folder = tree(&["a"]);
        fs::create_dir(folder.path().join("empty")).unwrap();
        let paths = ["nothing", "empty", "a"].map(|name| folder.path().join(name));
        let inputs = expand(&paths);
        assert_eq!(names(&inputs, folder.path()), ["a"]);
        let texts: Vec<String> = inputs.errors.iter().map(ToString::to_string).collect();
        assert!(texts[0].ends_with("nothing: no such file or folder"), "{texts:?}");
        assert!(texts[1].ends_with("empty: the folder holds no file to read"), "{texts:?}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_but_never_in_circles() {
        let folder = tree(&["logs/a"]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("logs/up")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("logs/broken")).unwrap();
        let inputs = expand(&[folder.path()]);
        assert_eq!(names(&inputs, folder.path()), ["logs/a"]);
        assert_eq!(inputs.skipped[0].reason, SkipReason::Repeated);
        assert!(matches!(inputs.errors[0].problem, InputProblem::Missing));
        let again = expand(&[folder.path(), folder.path()]);
        assert_eq!(again.files.len(), 1);
        assert_eq!(again.errors.len(), 1, "only the broken link: {:?}", again.errors);
    }
}
