//! Checks `tuf-client` as the public TUF conformance suite does, with a real server.
//!
//! The checks cover the three commands, exit codes, the files that are requested, and the ones that are trusted afterwards.

mod expiry;
mod refresh;
mod roots;
mod targets;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::Value;
use slipway_testkit::programs;
use slipway_testkit::server::ReleaseServer;
use slipway_testkit::tuf::Repository;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// A repository on a server, and a client that trusts its first root.
struct Bench {
    repository: Repository,
    served: TempDir,
    server: ReleaseServer,
    home: TempDir,
    /// What comes before the client's name: a clock.
    words: Vec<OsString>,
}

fn future() -> Timestamp {
    slipway_sim::factory::now() + jiff::SignedDuration::from_hours(24 * 30)
}

fn past() -> Timestamp {
    slipway_sim::factory::now() - jiff::SignedDuration::from_hours(24)
}

impl Bench {
    fn new() -> Result<Self> {
        Self::with(Repository::bare(future()))
    }

    fn with(repository: Repository) -> Result<Self> {
        let (served, home) = (tempfile::tempdir()?, tempfile::tempdir()?);
        repository.write_to(served.path())?;
        let server = ReleaseServer::start(served.path())?;
        for folder in ["metadata", "targets"] {
            std::fs::create_dir(home.path().join(folder))?;
        }
        let bench = Self { repository, served, server, home, words: Vec::new() };
        assert!(bench.init(&bench.repository.files["1.root.json"])?, "init");
        Ok(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn init(&self, root: &[u8]) -> Result<bool> {
        std::fs::write(self.path("initial.json"), root)?;
        let initial = self.path("initial.json").display().to_string();
        self.run(&["init", &initial])
    }

    fn run(&self, args: &[&str]) -> Result<bool> {
        let client = programs::program("slipway-tests", "tuf-client")?;
        let mut words = self.words.iter().map(OsString::as_os_str).chain([client.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command.arg("--metadata-dir").arg(self.path("metadata")).args(args);
        Ok(command.output()?.status.code() == Some(0))
    }

    fn publish(&self) -> Result<()> {
        Ok(self.repository.write_to(self.served.path())?)
    }

    fn refresh(&self) -> Result<bool> {
        self.publish()?;
        self.run(&["--metadata-url", &self.server.url_of("metadata"), "refresh"])
    }

    fn download(&self, names: &[&str]) -> Result<bool> {
        self.publish()?;
        let (metadata, targets) = (self.server.url_of("metadata"), self.server.url_of("targets"));
        let into = self.path("targets").display().to_string();
        let mut args = vec!["--metadata-url", &metadata, "--target-dir", &into, "--target-base-url", &targets];
        args.extend(names.iter().flat_map(|name| ["--target-name", name]));
        args.push("download");
        self.run(&args)
    }

    /// The roles that are trusted now, by name, with their versions.
    fn trusted(&self) -> Result<Vec<(String, u64)>> {
        let mut trusted = Vec::new();
        for entry in std::fs::read_dir(self.path("metadata"))? {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if let Some(role) = name.strip_suffix(".json") {
                let metadata: Value = serde_json::from_slice(&std::fs::read(entry.path())?)?;
                trusted.push((role.to_owned(), metadata["signed"]["version"].as_u64().unwrap_or_default()));
            }
        }
        trusted.sort();
        Ok(trusted)
    }

    fn trusts(&self, wanted: &[(&str, u64)]) -> Result<()> {
        let wanted: Vec<_> = wanted.iter().map(|(role, version)| ((*role).to_owned(), *version)).collect();
        assert_eq!(self.trusted()?, wanted);
        Ok(())
    }

    /// The names of the metadata asked for since the last call.
    fn asked(&self) -> Vec<String> {
        let names =
            self.server.requests().into_iter().filter_map(|request| Some(request.path.strip_prefix("/metadata/")?.to_owned()));
        names.collect()
    }

    fn downloaded(&self) -> Result<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(self.path("targets"))? {
            all.push(std::fs::read(entry?.path())?);
        }
        all.sort();
        Ok(all)
    }
}
