//! From a document to one shell script with the same line numbers.

/// The commands of one document. Line *n* of `text` is line *n* of the document, so that the shell's own
/// line numbers lead to the page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) text: String,
    /// How many blocks are in it.
    pub(crate) blocks: usize,
    /// The line of each block that is left out, and why.
    pub(crate) skipped: Vec<(usize, String)>,
    /// The lines where a command could fail and the shell would go on.
    pub(crate) forgiving: Vec<usize>,
}

pub(crate) fn script(document: &str) -> Script {
    let mut script = Script {
        text: String::new(),
        blocks: 0,
        skipped: Vec::new(),
        forgiving: Vec::new(),
    };
    let mut open: Option<Fence> = None;
    for (index, line) in document.lines().enumerate() {
        match &open {
            None => {
                open = Fence::open(line);
                script.begin(index + 1, open.as_ref());
            }
            Some(fence) if fence.closes(line) => open = None,
            Some(fence) if fence.runs() => script.take(index + 1, fence.without_indent(line)),
            Some(_) => {}
        }
        script.text.push('\n');
    }
    script
}

impl Script {
    fn take(&mut self, line: usize, command: &str) {
        if forgives(command) {
            self.forgiving.push(line);
        }
        self.text.push_str(command);
    }

    fn begin(&mut self, line: usize, fence: Option<&Fence>) {
        let Some(fence) = fence.filter(|fence| fence.is_shell()) else {
            return;
        };
        match fence.skip() {
            Some(why) => self.skipped.push((line, why)),
            None => self.blocks += 1,
        }
    }
}

/// A shell that stops at the first failure does not stop at one before `&&`, which is meant as a condition.
fn forgives(command: &str) -> bool {
    let first = command.split_whitespace().next();
    command.contains("&&") && !matches!(first, Some("if" | "elif" | "while" | "until" | "#"))
}

/// The line that opens a fenced block.
#[derive(Debug)]
struct Fence {
    indent: usize,
    mark: char,
    length: usize,
    info: String,
}

impl Fence {
    fn open(line: &str) -> Option<Fence> {
        let rest = line.trim_start();
        let mark = rest
            .chars()
            .next()
            .filter(|mark| matches!(mark, '`' | '~'))?;
        let info = rest.trim_start_matches(mark);
        let length = rest.len() - info.len();
        let inline = mark == '`' && info.contains('`');
        (length >= 3 && !inline).then(|| Fence {
            indent: line.len() - rest.len(),
            mark,
            length,
            info: info.trim().to_owned(),
        })
    }

    fn closes(&self, line: &str) -> bool {
        let line = line.trim();
        line.len() >= self.length && line.chars().all(|character| character == self.mark)
    }

    fn is_shell(&self) -> bool {
        self.words().next() == Some("sh")
    }

    fn runs(&self) -> bool {
        self.is_shell() && self.skip().is_none()
    }

    /// Why the block is left out, if it is. What follows the word is the author's reason.
    fn skip(&self) -> Option<String> {
        let (word, why) = SKIPPED
            .iter()
            .find(|(word, _)| self.words().any(|said| said == *word))?;
        let reason: Vec<&str> = self
            .words()
            .skip_while(|said| said != word)
            .skip(1)
            .collect();
        match reason.as_slice() {
            [] => Some((*why).to_owned()),
            reason => Some(format!("{why}: {}", reason.join(" "))),
        }
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.info
            .split([' ', ',', '{', '}'])
            .filter(|word| !word.is_empty())
    }

    /// A block in a list is indented with the list; its here-documents must not be.
    fn without_indent<'a>(&self, line: &'a str) -> &'a str {
        let blank = line.len() - line.trim_start().len();
        line.get(blank.min(self.indent)..).unwrap_or(line)
    }
}

const SKIPPED: &[(&str, &str)] = &[
    ("norun", "not to be run"),
    ("needs-cloud", "needs a cloud account"),
    ("needs-cluster", "needs a cluster"),
];
