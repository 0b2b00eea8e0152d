//! A page with plots, in one file that needs nothing else.

use super::text::table;
use serde_json::Value;

/// The page.
#[must_use]
pub fn html(run: &Value) -> String {
    format!("<pre>{}</pre>", table(run))
}
