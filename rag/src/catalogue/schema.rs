//! Schema of the catalogue, as the list of steps that lead to it.

use std::path::Path;

use rusqlite::Connection;

use crate::error::LibraryError;

/// Step `i` takes a database of `user_version` `i` to `i + 1`. Steps are only ever appended.
const MIGRATIONS: &[&str] = &[include_str!("0001_initial.sql")];

/// Brings the database to the newest schema; each step is one transaction.
///
/// # Errors
/// [`LibraryError::NewerSchema`] for a database from the future, [`LibraryError::Catalogue`] otherwise.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), LibraryError> {
    let known = i64::try_from(MIGRATIONS.len()).expect("a short list");
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > known {
        return Err(LibraryError::NewerSchema {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for (step, version) in MIGRATIONS
        .iter()
        .zip(1i64..)
        .skip(usize::try_from(found).unwrap_or(0))
    {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_database_gets_the_newest_schema_and_a_second_run_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        let dump = |connection: &Connection| -> Vec<String> {
            let mut statement = connection
                .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
                .unwrap();
            statement
                .query_map([], |row| row.get(0))
                .unwrap()
                .map(Result::unwrap)
                .collect()
        };
        migrate(&mut connection, Path::new("c.db")).unwrap();
        let schema = dump(&connection);
        migrate(&mut connection, Path::new("c.db")).unwrap();
        assert_eq!(dump(&connection), schema);
        let version: i64 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .unwrap();
        assert_eq!(version, MIGRATIONS.len() as i64);
    }

    #[test]
    fn a_database_from_the_future_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let error = migrate(&mut connection, Path::new("c.db")).unwrap_err();
        assert!(
            matches!(error, LibraryError::NewerSchema { found: 99, .. }),
            "{error}"
        );
    }
}
