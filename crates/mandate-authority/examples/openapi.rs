//! Prints the description of the authority's interface, for `docs/openapi.json`.

use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    std::io::stdout().write_all(mandate_authority::openapi()?.as_bytes())?;
    Ok(())
}
