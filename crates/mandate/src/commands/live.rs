//! The live bundle, compiled by the same code as the server's.

use mandate_model::BundleVersion;
use mandate_policy::{Bundle, SourceFile};
use serde::Deserialize;

use super::bundle_files;
use crate::client::operator::{Operator, OperatorError};
use crate::context::Context;
use crate::failure::Failure;

/// A bundle as the server hands it out.
#[derive(Debug, Deserialize)]
pub(crate) struct Live {
    /// Its version; zero if none was ever applied.
    pub(crate) version: BundleVersion,
    files: Vec<(String, String)>,
}

impl Live {
    /// The live one, or an earlier version.
    pub(crate) async fn read(
        operator: &Operator,
        version: Option<BundleVersion>,
    ) -> Result<Self, Failure> {
        let number = version.map(|v| v.to_string());
        let query = [("version", number.as_deref())];
        match operator.get("/bundle", &query).await {
            Ok(live) => Ok(live),
            // No bundle was ever applied: nothing is permitted, and version 0 is what to apply on.
            Err(OperatorError::Refused { status: 404, .. }) if version.is_none() => Ok(Self {
                version: BundleVersion::default(),
                files: Vec::new(),
            }),
            Err(why) => Err(why.into()),
        }
    }

    /// Its files.
    pub(crate) fn files(&self) -> Vec<SourceFile> {
        let files = self.files.iter();
        files
            .map(|(name, text)| SourceFile {
                name: name.clone(),
                text: text.clone(),
            })
            .collect()
    }

    /// Compiled; `None` if no bundle was ever applied.
    pub(crate) fn compile(&self, context: &Context) -> Result<Option<Bundle>, Failure> {
        if self.files.is_empty() {
            return Ok(None);
        }
        let environment = bundle_files::environment(context)?;
        match mandate_policy::load(&self.files(), &environment, bundle_files::now()) {
            Ok(loaded) => Ok(Some(loaded.bundle)),
            Err(mistakes) => Err(Failure::failed(
                format!(
                    "this release cannot load bundle version {}: {} mistakes",
                    self.version,
                    mistakes.len()
                ),
                "use a command of the server's own release",
            )),
        }
    }
}

/// The live bundle; an error if there is none.
pub(crate) async fn bundle(operator: &Operator, context: &Context) -> Result<Bundle, Failure> {
    let live = Live::read(operator, None).await?;
    live.compile(context)?.ok_or_else(|| {
        Failure::failed(
            "no bundle is live, so nothing is permitted",
            "make one with `mandate init`, then `mandate apply` it",
        )
    })
}
