//! A database of its own for each test, and a way to look into it past the server.

use diesel::connection::SimpleConnection as _;
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection};
use portcullis_testkit::postgres::ThrowawayPostgres;
use tempfile::TempDir;

/// An empty database of either kind, and the folder that the server works in.
pub(crate) struct Database {
    pub folder: TempDir,
    pub kind: Kind,
}

pub(crate) enum Kind {
    Sqlite,
    Postgres { server: &'static ThrowawayPostgres, url: String },
}

impl Database {
    pub(crate) fn sqlite() -> Self {
        Self { folder: TempDir::new().unwrap(), kind: Kind::Sqlite }
    }

    pub(crate) fn postgres() -> Self {
        let server = ThrowawayPostgres::shared();
        Self::of(server, &server.create_database())
    }

    /// A PostgreSQL server that a test may stop. It ends with the process.
    pub(crate) fn server_of_its_own() -> &'static ThrowawayPostgres {
        Box::leak(Box::new(ThrowawayPostgres::start()))
    }

    /// The database of a PostgreSQL server to which a URL leads.
    pub(crate) fn of(server: &'static ThrowawayPostgres, url: &str) -> Self {
        let kind = Kind::Postgres { server, url: url.to_owned() };
        Self { folder: TempDir::new().unwrap(), kind }
    }

    pub(crate) fn url(&self) -> String {
        match &self.kind {
            Kind::Sqlite => "sqlite://data/portcullis.db".to_owned(),
            Kind::Postgres { url, .. } => url.clone(),
        }
    }

    /// A number that a query gives.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        match &self.kind {
            Kind::Sqlite => {
                #[derive(QueryableByName)]
                struct Number {
                    #[diesel(sql_type = diesel::sql_types::BigInt)]
                    number: i64,
                }
                let sql = format!("SELECT ({sql}) AS number");
                diesel::sql_query(sql).get_result::<Number>(&mut self.file()).unwrap().number
            }
            Kind::Postgres { .. } => self.text(sql).parse().unwrap(),
        }
    }

    /// A text that a query gives.
    pub(crate) fn text(&self, sql: &str) -> String {
        match &self.kind {
            Kind::Sqlite => {
                #[derive(QueryableByName)]
                struct Text {
                    #[diesel(sql_type = diesel::sql_types::Text)]
                    text: String,
                }
                let sql = format!("SELECT CAST(({sql}) AS TEXT) AS text");
                diesel::sql_query(sql).get_result::<Text>(&mut self.file()).unwrap().text
            }
            Kind::Postgres { server, url } => {
                let rows = server.execute(url, &format!("SELECT ({sql})::text"));
                rows[0][0].clone().expect("a value")
            }
        }
    }

    /// An id as SQL has it.
    pub(crate) fn id(&self, id: &str) -> String {
        match &self.kind {
            Kind::Sqlite => format!("x'{}'", id.replace('-', "")),
            Kind::Postgres { .. } => format!("'{id}'"),
        }
    }

    /// Changes something, as an import or somebody with access to the database would.
    pub(crate) fn execute(&self, sql: &str) {
        match &self.kind {
            Kind::Sqlite => {
                diesel::sql_query(sql).execute(&mut self.file()).unwrap();
            }
            Kind::Postgres { server, url } => {
                server.execute(url, sql);
            }
        }
    }

    /// Runs several statements. A SQLite file is created if it is missing.
    pub(crate) fn script(&self, sql: &str) {
        match &self.kind {
            Kind::Sqlite => {
                std::fs::create_dir_all(self.folder.path().join("data")).unwrap();
                self.file().batch_execute(sql).unwrap();
            }
            // The owner of the tables is the role of the URL.
            Kind::Postgres { .. } => self.execute(&format!("SET ROLE portcullis; {sql}")),
        }
    }

    /// Lets every insert into a table fail.
    pub(crate) fn refuse_inserts(&self, table: &str) {
        match &self.kind {
            Kind::Sqlite => self.execute(&format!(
                "CREATE TRIGGER refused BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )),
            Kind::Postgres { .. } => self.execute(&format!(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'refused'; END$$;
                 CREATE TRIGGER refused BEFORE INSERT ON {table} EXECUTE FUNCTION refuse()"
            )),
        }
    }

    /// Adds a user with a hash from elsewhere.
    pub(crate) fn import_user(&self, number: u8, name: &str, hash: &str) {
        let (id, created_at) = match &self.kind {
            Kind::Sqlite => (format!("CAST(x'0190000000007000800000000000{number:04x}' AS BLOB)"), "0"),
            Kind::Postgres { .. } => (format!("'01900000-0000-7000-8000-00000000{number:04x}'"), "'epoch'"),
        };
        let (name, hash) = (name.replace('\'', "''"), hash.replace('\'', "''"));
        self.execute(&format!(
            "INSERT INTO users (id, username, canonical_name, password_hash, credential_version, created_at)
             VALUES ({id}, '{name}', lower('{name}'), '{hash}', 1, {created_at})"
        ));
    }

    fn file(&self) -> SqliteConnection {
        let path = self.folder.path().join("data/portcullis.db");
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        diesel::sql_query("PRAGMA busy_timeout = 5000").execute(&mut connection).unwrap();
        connection
    }
}
