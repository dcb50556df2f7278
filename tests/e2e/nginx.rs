//! nginx with the text of `docker/nginx.conf`, and the DNS server that it asks.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use crate::image::repository_file;
use crate::server::wait_until;

/// A running nginx with `docker/nginx.conf`.
pub(crate) struct Nginx {
    process: Child,
    pub(crate) address: SocketAddr,
    _folder: TempDir,
}

impl Nginx {
    /// Starts nginx in front of the instances on a port of all addresses that `names` answers with.
    pub(crate) fn start(names: &Names, port: u16) -> Self {
        let folder = TempDir::new().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut text = repository_file("docker/nginx.conf");
        for (shipped, ours) in [
            ("listen 8080;", format!("listen {address};")),
            ("resolver 127.0.0.11 ", format!("resolver {} ", names.address)),
            ("$instances web:8080;", format!("$instances web:{port};")),
            (" /tmp/", format!(" {}/", folder.path().display())),
        ] {
            assert!(text.contains(shipped), "{shipped}");
            text = text.replace(shipped, &ours);
        }
        let configuration = folder.path().join("nginx.conf");
        fs::write(&configuration, text).unwrap();
        let nginx = |directives: &str| {
            let mut nginx = Command::new(nginx_program());
            nginx.arg("-e").arg("stderr").arg("-p").arg(folder.path()).arg("-c").arg(&configuration);
            nginx.arg("-g").arg(directives).stdin(Stdio::null());
            nginx
        };
        // The workers must be able to write to the folder of the user that runs the test.
        let user = if is_root() { "user root;" } else { "" };
        let tested = nginx(user).arg("-t").output().unwrap();
        assert!(tested.status.success(), "{tested:?}");
        let log = File::create(folder.path().join("access.log")).unwrap();
        let process =
            nginx(&format!("{user} daemon off;")).stdout(log).stderr(Stdio::null()).spawn().unwrap();
        let nginx = Self { process, address, _folder: folder };
        wait_until("nginx listens", || TcpStream::connect(address).is_ok());
        nginx
    }

    /// Replaces the workers, as after a change of the configuration.
    pub(crate) fn reload(&self) {
        let signalled = Command::new("kill").arg("-HUP").arg(self.process.id().to_string()).status().unwrap();
        assert!(signalled.success());
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with SIGTERM, not with the death of their parent.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

/// As much of DNS as nginx asks for (RFC 1035): every name has the same IPv4 addresses.
pub(crate) struct Names {
    address: SocketAddr,
}

impl Names {
    /// Answers on a thread that ends with the process.
    pub(crate) fn serve(addresses: &[Ipv4Addr]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let addresses = addresses.to_vec();
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut query) {
                // The id, then: an answer without error, with one question.
                let mut answer = query[..2].to_vec();
                answer.extend([0x81, 0x80, 0, 1, 0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0]);
                answer.extend(&query[12..length]);
                for address in &addresses {
                    // The name of the question, type A, class IN, one second, four bytes.
                    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
                    answer.extend(address.octets());
                }
                let _ = socket.send_to(&answer, client);
            }
        });
        Self { address }
    }
}

/// The nginx of this machine or, as root on Debian, the one of Debian's package, unpacked where the tests keep programs.
fn nginx_program() -> PathBuf {
    static UNPACKING: Mutex<()> = Mutex::new(());
    // Tests run at the same time, and one unpacks for all.
    let _lock = UNPACKING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let unpacked = Path::new("/var/cache/portcullis-testkit/nginx");
    let mut programs = places.map(|folder| folder.join("nginx")).chain([unpacked.join("usr/sbin/nginx")]);
    if let Some(found) = programs.find(|program| program.is_file()) {
        return found;
    }
    let installed = is_root().then(|| unpack_nginx(unpacked));
    match installed {
        Some(Ok(())) => unpacked.join("usr/sbin/nginx"),
        failed => panic!(
            "nginx is needed, and there is none: install it (Debian and Ubuntu: `apt-get install nginx`; Fedora: `dnf \
             install nginx`; macOS: `brew install nginx`) {failed:?}"
        ),
    }
}

/// Unpacks Debian's package. Installing it would start a server on port 80.
fn unpack_nginx(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let script =
        "apt-get -qq update && apt-get -qq download nginx && dpkg-deb -x nginx_*.deb . && rm nginx_*.deb";
    let output = Command::new("sh").arg("-c").arg(script).current_dir(folder).output();
    let output = output.map_err(|error| error.to_string())?;
    output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;

    TempDir::new().unwrap().path().metadata().unwrap().uid() == 0
}
