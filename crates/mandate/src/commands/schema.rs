//! `mandate schema`.

use crate::context::Context;
use crate::failure::{Exit, Outcome};

pub(crate) fn run(context: &Context) -> Outcome {
    context.out.raw(&mandate_policy::json_schema());
    Ok(Exit::Ok)
}
