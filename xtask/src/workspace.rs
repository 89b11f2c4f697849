//! The workspace as Cargo and git see it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The workspace, read once per check.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) members: Vec<Member>,
}

/// One crate of the workspace.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a crate's manifest.
#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// It is another crate of this workspace.
    pub(crate) ours: bool,
}

/// Which of a manifest's tables a dependency stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Dev,
    Build,
}

impl Workspace {
    pub(crate) fn load() -> Result<Workspace, String> {
        let output = stdout_of(Command::new("cargo").args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
        ]))?;
        let metadata =
            serde_json::from_str(&output).map_err(|e| format!("cargo metadata is no JSON: {e}"))?;
        Workspace::from_metadata(&metadata)
    }

    pub(crate) fn from_metadata(metadata: &Value) -> Result<Workspace, String> {
        let members = metadata
            .get("packages")
            .and_then(Value::as_array)
            .ok_or("cargo metadata lists no packages")?
            .iter()
            .map(member)
            .collect::<Result<_, _>>()?;
        Ok(Workspace {
            root: text(metadata, "workspace_root")?.into(),
            target: text(metadata, "target_directory")?.into(),
            members,
        })
    }

    /// Each file that git tracks, or that it would track (so that a check runs before `git add`), by its
    /// path from the root. Files that were deleted but not yet staged are left out.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, String> {
        let listing = stdout_of(
            Command::new("git")
                .args([
                    "ls-files",
                    "-z",
                    "--cached",
                    "--others",
                    "--exclude-standard",
                ])
                .current_dir(&self.root),
        )?;
        Ok(listing
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(PathBuf::from)
            .filter(|path| self.root.join(path).is_file())
            .collect())
    }

    pub(crate) fn read(&self, path: impl AsRef<Path>) -> Result<String, String> {
        let path = self.root.join(path);
        std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))
    }
}

fn member(package: &Value) -> Result<Member, String> {
    let manifest = PathBuf::from(text(package, "manifest_path")?);
    let folder = manifest
        .parent()
        .ok_or("a manifest without a folder")?
        .to_owned();
    let dependencies = package
        .get("dependencies")
        .and_then(Value::as_array)
        .ok_or("a package without a list of dependencies")?
        .iter()
        .map(dependency)
        .collect::<Result<_, _>>()?;
    Ok(Member {
        name: text(package, "name")?,
        folder,
        dependencies,
    })
}

fn dependency(entry: &Value) -> Result<Dependency, String> {
    let kind = match entry.get("kind").and_then(Value::as_str) {
        None => Kind::Normal,
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        Some(other) => return Err(format!("unknown kind of dependency `{other}`")),
    };
    Ok(Dependency {
        name: text(entry, "name")?,
        kind,
        ours: entry.get("path").is_some_and(|path| !path.is_null()),
    })
}

fn text(value: &Value, key: &str) -> Result<String, String> {
    value
        .get(key)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| format!("cargo metadata lacks `{key}`"))
}

fn stdout_of(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|e| format!("cannot run {command:?}: {e}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} failed: {stderr}"));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("{command:?} printed no UTF-8: {e}"))
}
