//! A way from a server to PostgreSQL on which a test says what goes through.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use crate::database::Database;

/// Stands between a server and PostgreSQL.
pub(crate) struct Proxy {
    pub url: String,
    _folder: tempfile::TempDir,
}

impl Proxy {
    /// `rules` makes for each connection what decides about bytes on the way there and back: whether they pass.
    pub(crate) fn before<There, Back>(
        database: &Database,
        rules: impl Fn() -> (There, Back) + Send + 'static,
    ) -> Self
    where
        There: FnMut(&[u8]) -> bool + Send + 'static,
        Back: FnMut(&[u8]) -> bool + Send + 'static,
    {
        let folder = tempfile::TempDir::new().unwrap();
        let url = database.url();
        let (start, rest) = url.split_once("host=").unwrap();
        let (host, rest) = rest.split_once('&').unwrap();
        let port = rest.split('&').find_map(|part| part.strip_prefix("port=")).unwrap();
        let socket = format!(".s.PGSQL.{port}");
        let real = Path::new(&host.replace("%2F", "/")).join(&socket);
        let listener = UnixListener::bind(folder.path().join(&socket)).unwrap();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = UnixStream::connect(&real).unwrap();
                let (there, back) = rules();
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || copy(from, to, there));
                std::thread::spawn(move || copy(server, client, back));
            }
        });
        let url = format!("{start}host={}&{rest}", folder.path().display().to_string().replace('/', "%2F"));
        Self { url, _folder: folder }
    }
}

/// Copies what `passes` until one side is gone.
fn copy(mut from: UnixStream, mut to: UnixStream, mut passes: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if passes(&buffer[..length]) && to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _gone_already = to.shutdown(Shutdown::Both);
}
