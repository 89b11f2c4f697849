//! Bundles, each version kept.

use mandate_model::BundleVersion;
use mandate_ports::{BundleRecord, Conflict, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::column::{get, int, json, moment, parse, timestamp, uint, word};
use crate::failure::{Outcome, store_error};
use crate::head::Head;

/// A bundle becomes live, if `base` still is the live one.
pub(crate) fn apply(
    db: &Connection,
    head: &mut Head,
    base: BundleVersion,
    record: &BundleRecord,
) -> Outcome<()> {
    if head.versions.bundle != base {
        return Err(Conflict::Bundle(head.versions.bundle).into());
    }
    let version = base.next();
    db.prepare_cached(
        "INSERT INTO bundle (version, files, digest, operator, at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        int(version.get()),
        json(&record.files)?,
        record.digest,
        record.operator.to_string(),
        moment(record.at)
    ])?;
    head.versions.bundle = version;
    Ok(())
}

/// The bundle of `version`, or the live one.
pub(crate) fn bundle(
    db: &Connection,
    version: Option<BundleVersion>,
) -> Result<Option<(BundleVersion, BundleRecord)>, StoreError> {
    db.prepare_cached(
        "SELECT version, files, digest, operator, at FROM bundle
         WHERE version = ifnull(?1, (SELECT bundle FROM meta))",
    )
    .and_then(|mut statement| {
        statement
            .query_row([version.map(|v| int(v.get()))], |row| Ok(from_row(row)))
            .optional()
    })
    .map_err(store_error)?
    .transpose()
}

fn from_row(row: &Row<'_>) -> Result<(BundleVersion, BundleRecord), StoreError> {
    let record = BundleRecord {
        files: parse("a bundle", &get::<String>(row, "files")?)?,
        digest: get(row, "digest")?,
        operator: word("an operator", get(row, "operator")?)?,
        at: timestamp(get(row, "at")?),
    };
    Ok((BundleVersion::new(uint(get(row, "version")?)), record))
}
