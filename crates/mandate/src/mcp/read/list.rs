//! Lists, page by page.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{Client, Link, ReadError};
use crate::mcp::plain::plain;

/// What a server has lists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Tools,
    Prompts,
    Templates,
    Resources,
}

/// One item of a list.
#[derive(Debug)]
pub(crate) struct Item {
    /// Its name; of a resource the URI, of a template the template. Whatever the server wrote.
    pub(crate) name: String,
    /// All of it, byte for byte.
    pub(crate) raw: Box<RawValue>,
}

impl Family {
    pub(super) const ALL: [Self; 4] =
        [Self::Tools, Self::Prompts, Self::Templates, Self::Resources];

    fn method(self) -> &'static str {
        match self {
            Family::Tools => "tools/list",
            Family::Prompts => "prompts/list",
            Family::Templates => "resources/templates/list",
            Family::Resources => "resources/list",
        }
    }

    /// The capability of a server that has such a list.
    pub(super) fn capability(self) -> &'static str {
        match self {
            Family::Tools => "tools",
            Family::Prompts => "prompts",
            Family::Templates | Family::Resources => "resources",
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Page {
    tools: Vec<Box<RawValue>>,
    prompts: Vec<Box<RawValue>>,
    resources: Vec<Box<RawValue>>,
    #[serde(rename = "resourceTemplates")]
    templates: Vec<Box<RawValue>>,
    #[serde(rename = "nextCursor")]
    next: Option<String>,
}

impl Page {
    fn items(self, family: Family) -> Vec<Box<RawValue>> {
        match family {
            Family::Tools => self.tools,
            Family::Prompts => self.prompts,
            Family::Templates => self.templates,
            Family::Resources => self.resources,
        }
    }
}

/// All items of a list, in the server's order.
pub(super) async fn read<L: Link>(
    client: &mut Client<L>,
    family: Family,
) -> Result<Vec<Item>, ReadError> {
    let method = family.method();
    let (mut found, mut names, mut bytes) = (Vec::new(), HashSet::new(), 0);
    // The empty text is a cursor like any other.
    let (mut cursor, mut cursors): (Option<String>, _) = (None, HashSet::new());
    for _ in 0..MOST_PAGES {
        let params = cursor
            .as_ref()
            .map_or_else(|| json!({}), |cursor| json!({ "cursor": cursor }));
        let result = client.ask(method, params).await?;
        bytes += result.get().len();
        if bytes > MOST_BYTES {
            return Err(ReadError::TooMuch("a list of more than 32 MiB"));
        }
        let mut page: Page =
            serde_json::from_str(result.get()).map_err(|_| ReadError::Malformed(method))?;
        let next = page.next.take();
        for raw in page.items(family) {
            if found.len() == MOST_ITEMS {
                return Err(ReadError::TooMuch("a list of more than 2,000 items"));
            }
            let item = item(family, raw)?;
            if !names.insert(item.name.clone()) {
                let name = plain(&item.name, 80);
                return Err(ReadError::Twice { method, name });
            }
            found.push(item);
        }
        match next {
            None => return Ok(found),
            Some(next) if cursors.insert(next.clone()) => cursor = Some(next),
            Some(_) => {
                return Err(ReadError::TooMuch(
                    "a list that comes back to the same page",
                ));
            }
        }
    }
    Err(ReadError::TooMuch("a list of more than 200 pages"))
}

fn item(family: Family, raw: Box<RawValue>) -> Result<Item, ReadError> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    #[derive(Deserialize)]
    struct Resource {
        uri: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Template {
        uri_template: String,
    }
    let text = raw.get();
    let name = match family {
        Family::Tools | Family::Prompts => serde_json::from_str(text).map(|Named { name }| name),
        Family::Resources => serde_json::from_str(text).map(|Resource { uri }| uri),
        Family::Templates => {
            serde_json::from_str(text).map(|Template { uri_template }| uri_template)
        }
    };
    let name = name.map_err(|_| ReadError::Malformed(family.method()))?;
    Ok(Item { name, raw })
}

const MOST_PAGES: usize = 200;
const MOST_ITEMS: usize = 2_000;
const MOST_BYTES: usize = 32 << 20;
