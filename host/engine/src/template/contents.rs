//! Finds in the syntax tree of a template the names to which it refers, and what happens if a name
//! has no value.

use minijinja::machinery::{ast, parse, parse_expr};
use minijinja::{Error, ErrorKind};
use runbook_contract::Json;
use std::collections::BTreeSet;

/// How a text is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text with `{{ … }}` in it.
    Template,
    /// The inside of one `{{ … }}`.
    Expression,
}

/// One name in a text, with its keys: `["steps", "stop_app", "output"]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    pub path: Vec<String>,
    pub missing: IfMissing,
}

/// What happens if a reference has no value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum IfMissing {
    /// The template fails.
    Error,
    /// The text handles it: `… | default(0)`, `… is defined`.
    Allowed,
    /// The template fails if this path has a value. If it has none, the reference is never
    /// evaluated: `a is defined and a.b > 3`.
    ErrorIfPresent(Vec<String>),
}

/// A comparison of a name with a literal value: `outcome == 'pass'`, `state in ['up', 'down']`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Comparison {
    /// The name, with its keys.
    pub path: Vec<String>,
    /// The value that it is compared with.
    pub value: Json,
}

/// What a template contains: references, comparisons, filters and tests.
#[derive(Debug, Default)]
pub(crate) struct TemplateContents {
    pub comparisons: Vec<Comparison>,
    pub references: BTreeSet<Reference>,
    pub filters: BTreeSet<String>,
    pub tests: BTreeSet<String>,
}

/// Parses a text, and collects its contents.
pub(crate) fn read_contents(text: &str, form: Form) -> Result<TemplateContents, Error> {
    let mut reader = ContentsReader::default();
    match form {
        Form::Template => reader.statement(&parse(
            text,
            "<template>",
            minijinja::syntax::SyntaxConfig::default(),
        )?)?,
        Form::Expression => reader.expression(&parse_expr(text)?),
    }
    Ok(reader.found)
}

#[derive(Default)]
struct ContentsReader {
    found: TemplateContents,
    /// The names that each loop around this place defines, innermost loop last.
    loops: Vec<BTreeSet<String>>,
    /// The paths that are known to have a value at this place.
    known: Vec<Vec<String>>,
}

/// Which branch of a condition is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    True,
    False,
}

impl Truth {
    fn not(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
        }
    }
}

impl ContentsReader {
    fn statements(&mut self, statements: &[ast::Stmt<'_>]) -> Result<(), Error> {
        statements.iter().try_for_each(|statement| self.statement(statement))
    }

    /// Statements that store values are refused: with them, a value could grow without end.
    fn statement(&mut self, statement: &ast::Stmt<'_>) -> Result<(), Error> {
        let not_allowed = |word: &str| {
            Err(Error::new(
                ErrorKind::SyntaxError,
                format!("`{{% {word} %}}` is not allowed in templates here"),
            ))
        };
        match statement {
            ast::Stmt::Template(template) => self.statements(&template.children),
            ast::Stmt::EmitRaw(_) => Ok(()),
            ast::Stmt::EmitExpr(emit) => {
                self.expression(&emit.expr);
                Ok(())
            }
            ast::Stmt::ForLoop(for_loop) => self.for_loop(for_loop),
            ast::Stmt::IfCond(condition) => {
                self.expression(&condition.expr);
                self.with_known_paths(paths_known_after(&condition.expr, Truth::True), |reader| {
                    reader.statements(&condition.true_body)
                })?;
                self.with_known_paths(paths_known_after(&condition.expr, Truth::False), |reader| {
                    reader.statements(&condition.false_body)
                })
            }
            ast::Stmt::WithBlock(_) => not_allowed("with"),
            ast::Stmt::Set(_) | ast::Stmt::SetBlock(_) => not_allowed("set"),
            ast::Stmt::AutoEscape(_) => not_allowed("autoescape"),
            ast::Stmt::FilterBlock(_) => not_allowed("filter"),
            ast::Stmt::Do(_) => not_allowed("do"),
        }
    }

    fn for_loop(&mut self, for_loop: &ast::ForLoop<'_>) -> Result<(), Error> {
        if for_loop.recursive {
            return Err(Error::new(
                ErrorKind::SyntaxError,
                "a loop cannot be recursive in templates here",
            ));
        }
        self.expression(&for_loop.iter);
        let mut names = BTreeSet::from(["loop".to_owned()]);
        collect_assigned_names(&for_loop.target, &mut names);
        self.loops.push(names);
        if let Some(filter) = &for_loop.filter_expr {
            self.expression(filter);
        }
        let body = self.statements(&for_loop.body);
        self.loops.pop();
        body?;
        self.statements(&for_loop.else_body)
    }

    fn with_known_paths<T>(
        &mut self,
        paths: Vec<Vec<String>>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let n_known = self.known.len();
        self.known.extend(paths);
        let read = read(self);
        self.known.truncate(n_known);
        read
    }

    fn expression(&mut self, expression: &ast::Expr<'_>) {
        match expression {
            ast::Expr::Const(_) => {}
            ast::Expr::Var(_) | ast::Expr::GetAttr(_) | ast::Expr::GetItem(_) => {
                self.reference(expression, IfMissing::Error);
            }
            ast::Expr::Slice(slice) => {
                self.expression(&slice.expr);
                [&slice.start, &slice.stop, &slice.step]
                    .into_iter()
                    .flatten()
                    .for_each(|part| self.expression(part));
            }
            ast::Expr::UnaryOp(unary) => self.expression(&unary.expr),
            ast::Expr::BinOp(binary) => {
                self.expression(&binary.left);
                let known = match binary.op {
                    ast::BinOpKind::ScAnd => paths_known_after(&binary.left, Truth::True),
                    ast::BinOpKind::ScOr => paths_known_after(&binary.left, Truth::False),
                    _ => Vec::new(),
                };
                match binary.op {
                    ast::BinOpKind::Eq | ast::BinOpKind::Ne => {
                        self.add_equality_comparison(&binary.left, &binary.right);
                    }
                    ast::BinOpKind::In => {
                        self.add_membership_comparison(&binary.left, &binary.right);
                    }
                    _ => {}
                }
                self.with_known_paths(known, |reader| reader.expression(&binary.right));
            }
            ast::Expr::Compare(compare) => {
                self.expression(&compare.expr);
                compare.ops.iter().for_each(|operation| self.expression(&operation.expr));
                self.comparisons(compare);
            }
            ast::Expr::IfExpr(condition) => {
                self.expression(&condition.test_expr);
                self.with_known_paths(
                    paths_known_after(&condition.test_expr, Truth::True),
                    |reader| {
                        reader.expression(&condition.true_expr);
                    },
                );
                if let Some(other) = &condition.false_expr {
                    self.with_known_paths(
                        paths_known_after(&condition.test_expr, Truth::False),
                        |reader| {
                            reader.expression(other);
                        },
                    );
                }
            }
            ast::Expr::Filter(filter) => {
                self.found.filters.insert(filter.name.to_owned());
                let gives_default = matches!(filter.name, "default" | "d");
                if let Some(operand) = &filter.expr {
                    self.operand(
                        operand,
                        if gives_default { IfMissing::Allowed } else { IfMissing::Error },
                    );
                }
                self.arguments(&filter.args);
            }
            ast::Expr::Test(test) => {
                self.found.tests.insert(test.name.to_owned());
                let is_definedness_test = matches!(test.name, "defined" | "undefined");
                self.operand(
                    &test.expr,
                    if is_definedness_test { IfMissing::Allowed } else { IfMissing::Error },
                );
                self.arguments(&test.args);
            }
            ast::Expr::Call(call) => {
                self.expression(&call.expr);
                self.arguments(&call.args);
            }
            ast::Expr::List(list) => list.items.iter().for_each(|item| self.expression(item)),
            ast::Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.expression(item)),
            ast::Expr::Map(map) => {
                map.keys.iter().chain(&map.values).for_each(|part| self.expression(part));
            }
        }
    }

    fn comparisons(&mut self, compare: &ast::Compare<'_>) {
        let mut left = &compare.expr;
        for operation in &compare.ops {
            match operation.op {
                ast::CompareOpKind::Eq | ast::CompareOpKind::Ne => {
                    self.add_equality_comparison(left, &operation.expr);
                }
                ast::CompareOpKind::In | ast::CompareOpKind::NotIn => {
                    self.add_membership_comparison(left, &operation.expr);
                }
                ast::CompareOpKind::Lt
                | ast::CompareOpKind::Lte
                | ast::CompareOpKind::Gt
                | ast::CompareOpKind::Gte => {}
            }
            left = &operation.expr;
        }
    }

    fn add_equality_comparison(&mut self, left: &ast::Expr<'_>, right: &ast::Expr<'_>) {
        for (name, value) in [(left, right), (right, left)] {
            if let Some(value) = constant(value) {
                self.add_comparison(name, value);
            }
        }
    }

    fn add_membership_comparison(&mut self, name: &ast::Expr<'_>, list: &ast::Expr<'_>) {
        let values = match list {
            ast::Expr::List(list) => list.items.iter().filter_map(constant).collect(),
            other => constant(other).and_then(|list| list.as_array().cloned()).unwrap_or_default(),
        };
        values.into_iter().for_each(|value| self.add_comparison(name, value));
    }

    fn add_comparison(&mut self, name: &ast::Expr<'_>, value: Json) {
        let Some(path) = literal_path(name) else { return };
        if !self.loops.iter().any(|names| names.contains(&path[0])) {
            self.found.comparisons.push(Comparison { path, value });
        }
    }

    /// The operand of a filter or a test. It may be missing only if it is a reference itself, and
    /// not a larger expression.
    fn operand(&mut self, operand: &ast::Expr<'_>, missing: IfMissing) {
        match operand {
            ast::Expr::Var(_) | ast::Expr::GetAttr(_) | ast::Expr::GetItem(_) => {
                self.reference(operand, missing);
            }
            other => self.expression(other),
        }
    }

    fn arguments(&mut self, arguments: &[ast::CallArg<'_>]) {
        for argument in arguments {
            match argument {
                ast::CallArg::Pos(value)
                | ast::CallArg::Kwarg(_, value)
                | ast::CallArg::PosSplat(value)
                | ast::CallArg::KwargSplat(value) => self.expression(value),
            }
        }
    }

    fn reference(&mut self, expression: &ast::Expr<'_>, missing: IfMissing) {
        let mut keys: Vec<String> = Vec::new();
        let mut current = expression;
        let root = loop {
            match current {
                ast::Expr::Var(name) => break name.id,
                ast::Expr::GetAttr(attribute) => {
                    keys.push(attribute.name.to_owned());
                    current = &attribute.expr;
                }
                ast::Expr::GetItem(item) => {
                    match literal_key(&item.subscript_expr) {
                        Some(key) => keys.push(key),
                        None => {
                            // The key is computed, so the keys after it cannot be checked.
                            keys.clear();
                            self.expression(&item.subscript_expr);
                        }
                    }
                    current = &item.expr;
                }
                other => return self.expression(other),
            }
        };
        if self.loops.iter().any(|names| names.contains(root)) {
            return;
        }
        let path = path_from_root(root, keys);
        let known_prefix = self.known.iter().find(|known| path.starts_with(known));
        let missing = match (missing, known_prefix) {
            (IfMissing::Error, Some(known)) => IfMissing::ErrorIfPresent(known.clone()),
            (missing, _) => missing,
        };
        self.found.references.insert(Reference { path, missing });
    }
}

fn constant(expression: &ast::Expr<'_>) -> Option<Json> {
    match expression {
        ast::Expr::Const(constant) => serde_json::to_value(&constant.value).ok(),
        _ => None,
    }
}

fn literal_key(subscript: &ast::Expr<'_>) -> Option<String> {
    match subscript {
        ast::Expr::Const(value) => value.value.as_str().map(str::to_owned),
        _ => None,
    }
}

/// A path from its root and its keys, innermost last. The id of a step in `steps['stop-app']`
/// becomes its key.
fn path_from_root(root: &str, mut keys: Vec<String>) -> Vec<String> {
    keys.push(root.to_owned());
    keys.reverse();
    if let ("steps", Some(step)) = (root, keys.get_mut(1)) {
        *step = step.replace('-', "_");
    }
    keys
}

fn collect_assigned_names(target: &ast::Expr<'_>, names: &mut BTreeSet<String>) {
    match target {
        ast::Expr::Var(name) => drop(names.insert(name.id.to_owned())),
        ast::Expr::List(list) => {
            list.items.iter().for_each(|item| collect_assigned_names(item, names));
        }
        ast::Expr::Tuple(tuple) => {
            tuple.items.iter().for_each(|item| collect_assigned_names(item, names));
        }
        _ => {}
    }
}

/// The paths that surely have a value if this expression is true, or if it is false.
fn paths_known_after(test: &ast::Expr<'_>, truth: Truth) -> Vec<Vec<String>> {
    match test {
        ast::Expr::Test(existence_test) => {
            let defined_if = match existence_test.name {
                "defined" => Truth::True,
                "undefined" => Truth::False,
                _ => return Vec::new(),
            };
            if defined_if == truth {
                literal_path(&existence_test.expr).into_iter().collect()
            } else {
                Vec::new()
            }
        }
        ast::Expr::UnaryOp(unary) if matches!(unary.op, ast::UnaryOpKind::Not) => {
            paths_known_after(&unary.expr, truth.not())
        }
        ast::Expr::BinOp(binary) => {
            let are_both_decided = matches!(
                (&binary.op, truth),
                (ast::BinOpKind::ScAnd, Truth::True) | (ast::BinOpKind::ScOr, Truth::False)
            );
            if !are_both_decided {
                return Vec::new();
            }
            let mut known = paths_known_after(&binary.left, truth);
            known.extend(paths_known_after(&binary.right, truth));
            known
        }
        _ => Vec::new(),
    }
}

fn literal_path(expression: &ast::Expr<'_>) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    let mut current = expression;
    loop {
        match current {
            ast::Expr::Var(name) => return Some(path_from_root(name.id, keys)),
            ast::Expr::GetAttr(attribute) => {
                keys.push(attribute.name.to_owned());
                current = &attribute.expr;
            }
            ast::Expr::GetItem(item) => {
                keys.push(literal_key(&item.subscript_expr)?);
                current = &item.expr;
            }
            _ => return None,
        }
    }
}
