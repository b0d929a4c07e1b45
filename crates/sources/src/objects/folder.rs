//! A folder on disk, laid out as a bucket is: keys are paths below it.
//!
//! For people who have copied a trail's bucket. Keys are listed in the order of their bytes, as S3 does it, so that a
//! walk that stopped goes on in the same place. Nothing outside the folder is read: links are not followed, and keys
//! that climb out of it name nothing. Names that are no UTF-8 are no keys.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use dormouse_aws::{ErrorClass, Failure};

use super::{
    BoxFuture, GET, LIST, ListPage, ListRequest, ListedObject, ObjectFailure, ObjectName, ObjectReader,
    ObjectStore, Opened,
};

/// As many keys as S3 puts on a page.
const PAGE: usize = 1_000;

/// A folder that is read like a bucket, whatever the bucket is called.
#[derive(Clone, Debug)]
pub struct FolderObjects {
    root: PathBuf,
}

impl FolderObjects {
    /// Reads this folder.
    ///
    /// # Errors
    /// If it is none, or cannot be looked at.
    pub fn new(root: &Path) -> io::Result<Self> {
        let root = root.canonicalize()?;
        if !root.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no folder"));
        }
        Ok(Self { root })
    }

    fn open_file(&self, name: &ObjectName) -> Result<Opened, ObjectFailure> {
        let failed = |error: &io::Error| disk_failure(GET, name, error);
        let relative = Path::new(&name.key);
        let is_below = relative.components().all(|part| matches!(part, Component::Normal(_)));
        if !is_below || name.key.is_empty() {
            return Err(ObjectFailure::Missing(name.clone()));
        }
        let path = self.root.join(relative);
        // Where it really is: a link, on whatever level, shows here.
        if path.canonicalize().map_err(|error| failed(&error))? != path {
            return Err(ObjectFailure::Missing(name.clone()));
        }
        // A pipe would wait for its writer.
        if !fs::metadata(&path).map_err(|error| failed(&error))?.is_file() {
            return Err(ObjectFailure::Missing(name.clone()));
        }
        let file = fs::File::open(&path).map_err(|error| failed(&error))?;
        let size = file.metadata().map_err(|error| failed(&error))?.len();
        Ok(Opened { size: Some(size), reader: ObjectReader::plain(file) })
    }

    fn list_files(&self, request: &ListRequest) -> Result<ListPage, ObjectFailure> {
        let name = ObjectName::new(request.bucket.as_str(), request.prefix.as_str());
        let mut walk = Walk::new(request);
        walk.folder(&self.root, "").map_err(|error| disk_failure(LIST, &name, &error))?;
        Ok(walk.page)
    }
}

impl ObjectStore for FolderObjects {
    fn open<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Opened, ObjectFailure>> {
        let (folder, name) = (self.clone(), name.clone());
        Box::pin(on_blocking_thread(GET, move || folder.open_file(&name)))
    }

    fn list(&self, request: ListRequest) -> BoxFuture<'_, Result<ListPage, ObjectFailure>> {
        let folder = self.clone();
        Box::pin(on_blocking_thread(LIST, move || folder.list_files(&request)))
    }
}

async fn on_blocking_thread<T: Send + 'static>(
    action: &'static str,
    work: impl FnOnce() -> Result<T, ObjectFailure> + Send + 'static,
) -> Result<T, ObjectFailure> {
    let panicked = |panic: tokio::task::JoinError| {
        ObjectFailure::Transient(Box::new(Failure::transient(action, &panic.to_string())))
    };
    tokio::task::spawn_blocking(work).await.map_err(panicked)?
}

fn disk_failure(action: &'static str, name: &ObjectName, error: &io::Error) -> ObjectFailure {
    let failure = |class| Box::new(Failure { class, ..Failure::transient(action, &error.to_string()) });
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ObjectFailure::Missing(name.clone()),
        io::ErrorKind::PermissionDenied => ObjectFailure::Denied {
            failure: failure(ErrorClass::Denied),
            grant: Some("reading the file".to_owned()),
        },
        _ => ObjectFailure::Unreadable { name: name.clone(), failure: failure(ErrorClass::Poison) },
    }
}

/// A walk through the tree in the order of keys, until a page is full.
struct Walk<'r> {
    request: &'r ListRequest,
    page: ListPage,
    last: Option<String>,
}

impl<'r> Walk<'r> {
    fn new(request: &'r ListRequest) -> Self {
        Self { request, page: ListPage::default(), last: None }
    }

    /// Walks one folder, whose keys begin so. False when the page is full.
    fn folder(&mut self, path: &Path, key: &str) -> io::Result<bool> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if kind.is_dir() {
                entries.push((format!("{key}{name}/"), true, entry));
            } else if kind.is_file() {
                entries.push((format!("{key}{name}"), false, entry));
            }
        }
        // With its slash, a folder has its place among the files where its keys are.
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        for (key, is_folder, entry) in entries {
            let goes_on = match (is_folder, self.request.delimiter && self.is_below_prefix(&key)) {
                (true, true) => self.prefix(key),
                (true, false) if self.may_hold(&key) => self.folder(&entry.path(), &key)?,
                (true, false) => true,
                (false, _) => self.file(key, &entry)?,
            };
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_below_prefix(&self, folder: &str) -> bool {
        folder.len() > self.request.prefix.len() && folder.starts_with(&self.request.prefix)
    }

    /// Whether a folder can hold keys that are asked for.
    fn may_hold(&self, folder: &str) -> bool {
        let prefix = &self.request.prefix;
        let is_asked_for = folder.starts_with(prefix.as_str()) || prefix.starts_with(folder);
        is_asked_for && self.after().is_none_or(|after| folder > after || after.starts_with(folder))
    }

    fn after(&self) -> Option<&'r str> {
        self.request.token.as_deref().max(self.request.start_after.as_deref())
    }

    fn prefix(&mut self, folder: String) -> bool {
        let told_before = self.request.token.as_deref().is_some_and(|token| folder.as_str() <= token);
        if told_before || !self.may_hold(&folder) {
            return true;
        }
        if !self.has_room() {
            return false;
        }
        self.last = Some(folder.clone());
        self.page.prefixes.push(folder);
        true
    }

    fn file(&mut self, key: String, entry: &fs::DirEntry) -> io::Result<bool> {
        if !key.starts_with(&self.request.prefix) || self.after().is_some_and(|after| key.as_str() <= after) {
            return Ok(true);
        }
        if !self.has_room() {
            return Ok(false);
        }
        let size = entry.metadata()?.len();
        self.last = Some(key.clone());
        self.page.objects.push(ListedObject { key, size });
        Ok(true)
    }

    /// False if the page is full; then it says where the next one begins.
    fn has_room(&mut self) -> bool {
        let has_room = self.page.objects.len() + self.page.prefixes.len() < PAGE;
        if !has_room {
            self.page.next = self.last.clone();
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder_with(keys: &[String]) -> (tempfile::TempDir, FolderObjects) {
        let dir = tempfile::tempdir().unwrap();
        for key in keys {
            let path = dir.path().join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, key).unwrap();
        }
        let folder = FolderObjects::new(dir.path()).unwrap();
        (dir, folder)
    }

    async fn list_all(folder: &FolderObjects, mut request: ListRequest) -> (Vec<String>, Vec<String>, usize) {
        let (mut keys, mut prefixes, mut pages) = (Vec::new(), Vec::new(), 0);
        loop {
            let page = folder.list(request.clone()).await.unwrap();
            keys.extend(page.objects.into_iter().map(|object| object.key));
            prefixes.extend(page.prefixes);
            pages += 1;
            match page.next {
                Some(next) => request.token = Some(next),
                None => return (keys, prefixes, pages),
            }
        }
    }

    #[tokio::test]
    async fn keys_come_in_the_order_of_their_bytes_over_pages() {
        let mut keys: Vec<String> = (0..1_500).map(|n| format!("AWSLogs/a/{n}.gz")).collect();
        keys.extend(["AWSLogs/a.b/x", "AWSLogs/a0", "AWSLogs/a-", "z"].map(str::to_owned));
        let (_dir, folder) = folder_with(&keys);
        keys.sort();
        let (listed, prefixes, pages) = list_all(&folder, ListRequest::default()).await;
        assert_eq!(listed, keys);
        assert_eq!((prefixes.len(), pages), (0, 2));
        let after = ListRequest {
            prefix: "AWSLogs/a/".into(),
            start_after: Some("AWSLogs/a/998.gz".into()),
            ..ListRequest::default()
        };
        assert_eq!(list_all(&folder, after).await.0, ["AWSLogs/a/999.gz"]);
    }

    #[tokio::test]
    async fn with_a_delimiter_folders_are_told_once() {
        let mut keys: Vec<String> = (0..1_200).map(|n| format!("t/{n:04}/1/x")).collect();
        keys.push("t/file".to_owned());
        let (_dir, folder) = folder_with(&keys);
        let request = ListRequest { prefix: "t/".into(), delimiter: true, ..ListRequest::default() };
        let (files, prefixes, pages) = list_all(&folder, request.clone()).await;
        assert_eq!((files.len(), prefixes.len(), pages), (1, 1_200, 2));
        assert_eq!((&*prefixes[0], &*prefixes[1_199]), ("t/0000/", "t/1199/"));
        let after = ListRequest { start_after: Some("t/1198".into()), ..request };
        assert_eq!(list_all(&folder, after).await.1, ["t/1198/", "t/1199/"]);
    }

    #[tokio::test]
    async fn nothing_outside_the_folder_is_read() {
        let (dir, folder) = folder_with(&["in/a".to_owned()]);
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        symlink(outside.path(), dir.path().join("link")).unwrap();
        symlink(outside.path().join("secret"), dir.path().join("in/secret")).unwrap();
        let up = format!("../{}/secret", outside.path().file_name().unwrap().to_str().unwrap());
        let absolute = outside.path().join("secret").to_str().unwrap().to_owned();
        for key in [&*up, "link/secret", "in/secret", &absolute, "in/../in/a", "in", "", "nothing"] {
            let name = ObjectName::new("b", key);
            assert_eq!(folder.open(&name).await.unwrap_err(), ObjectFailure::Missing(name.clone()), "{key}");
        }
        assert_eq!(list_all(&folder, ListRequest::default()).await.0, ["in/a"]);
        let mut opened = folder.open(&ObjectName::new("b", "in/a")).await.unwrap();
        let mut text = String::new();
        opened.reader.read_to_string(&mut text).unwrap();
        assert_eq!((&*text, opened.size), ("in/a", Some(4)));
    }
}
