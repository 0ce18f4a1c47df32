//! The walk over a parsed statement. It lists every known field: anything that is not on a list
//! puts the statement into the class `other`, which may concern every relation. So a part of SQL
//! that the parser reads and this file does not know is refused.

use super::acting::{makes_rows_of_its_arguments, reads_its_arguments_alone};
use super::{Dialect, EVERYTHING, FUNCTION, StatementClass, relation_name};
use sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use sqlparser::ast::{
    AlterTable, AlterTableOperation, CascadeOption, CreateTable, CreateTableOptions, CreateView,
    Cte, Delete, Expr, GrantObjects, Insert, Merge, MergeAction, ObjectName, ObjectNamePart,
    ObjectType, OnConflictAction, OnInsert, Query, Select, SelectFlavor, SetExpr, SqliteOnConflict,
    Statement, TableFactor, TableObject, Truncate, Update, UtilityOption, Visit as _, Visitor,
    With,
};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// What is found on the way.
pub(super) struct Walk {
    dialect: Dialect,
    pub(super) classes: BTreeSet<StatementClass>,
    pub(super) relations: BTreeSet<String>,
    /// The name that comes next is a function's.
    skip: bool,
}

impl Walk {
    pub(super) fn over(dialect: Dialect, statement: &Statement) -> Self {
        let mut walk =
            Self { dialect, classes: BTreeSet::new(), relations: BTreeSet::new(), skip: false };
        walk.begin(statement);
        walk
    }

    /// A statement that only asks about another one is not visited: its classes are those of the
    /// question.
    fn begin(&mut self, statement: &Statement) {
        match statement {
            Statement::Query(query) => {
                self.class(StatementClass::Select);
                let _ = query.visit(self);
            }
            Statement::Explain { analyze: false, estimate: false, options, statement, .. } => {
                let inner = Self::over(self.dialect, statement);
                let plain = matches!(
                    **statement,
                    Statement::Query(_)
                        | Statement::Insert(_)
                        | Statement::Update(_)
                        | Statement::Delete(_)
                        | Statement::Merge(_)
                );
                self.relations = inner.relations;
                self.class(StatementClass::Select);
                if !plain
                    || inner.classes.contains(&StatementClass::Other)
                    || !options.as_deref().is_none_or(only_ask)
                {
                    self.unknown();
                }
            }
            Statement::ShowVariable { variable } => {
                self.class(StatementClass::Select);
                // `SHOW INDEX FROM t` comes as words.
                if self.dialect != Dialect::Postgres || variable.is_empty() {
                    self.anything();
                }
            }
            Statement::ShowTables { .. }
            | Statement::ShowColumns { .. }
            | Statement::ShowCreate { .. }
            | Statement::ShowStatus { .. }
            | Statement::ShowVariables { .. }
            | Statement::ShowDatabases { .. }
            | Statement::ShowProcessList { .. }
            | Statement::ShowCollation { .. } => {
                self.class(StatementClass::Select);
                self.anything();
            }
            Statement::ExplainTable { table_name, .. } => {
                self.class(StatementClass::Select);
                self.name(table_name);
            }
            other => {
                let _ = other.visit(self);
            }
        }
    }

    fn class(&mut self, class: StatementClass) {
        self.classes.insert(class);
    }

    fn anything(&mut self) {
        self.relations.insert(EVERYTHING.to_owned());
    }

    fn unknown(&mut self) {
        self.class(StatementClass::Other);
        self.anything();
    }

    fn unknown_unless(&mut self, known: bool) {
        if !known {
            self.unknown();
        }
    }

    fn name(&mut self, name: &ObjectName) {
        self.relations.insert(relation_name(self.dialect, name));
    }

    fn insert(&mut self, insert: &Insert) {
        let Insert {
            insert_token: _,
            optimizer_hints,
            or,
            ignore: _,
            into: _,
            table,
            table_alias: _,
            columns: _,
            overwrite,
            source: _,
            assignments: _,
            partitioned,
            after_columns,
            has_table_keyword,
            on,
            returning: _,
            output,
            replace_into,
            priority: _,
            insert_alias: _,
            settings,
            format_clause,
            multi_table_insert_type,
            multi_table_into_clauses,
            multi_table_when_clauses,
            multi_table_else_clause,
        } = insert;
        self.class(StatementClass::Insert);
        if *replace_into || matches!(or, Some(SqliteOnConflict::Replace)) {
            self.class(StatementClass::Update);
            self.class(StatementClass::Delete);
        }
        match on {
            None => {}
            Some(OnInsert::DuplicateKeyUpdate(_)) => self.class(StatementClass::Update),
            Some(OnInsert::OnConflict(conflict)) => match conflict.action {
                OnConflictAction::DoNothing => {}
                OnConflictAction::DoUpdate(_) => self.class(StatementClass::Update),
            },
            Some(_) => self.unknown(),
        }
        self.unknown_unless(
            matches!(table, TableObject::TableName(_))
                && optimizer_hints.is_empty()
                && !overwrite
                && partitioned.is_none()
                && after_columns.is_empty()
                && !has_table_keyword
                && output.is_none()
                && settings.is_none()
                && format_clause.is_none()
                && multi_table_insert_type.is_none()
                && multi_table_into_clauses.is_empty()
                && multi_table_when_clauses.is_empty()
                && multi_table_else_clause.is_none(),
        );
    }

    fn update(&mut self, update: &Update) {
        let Update {
            update_token: _,
            optimizer_hints,
            table: _,
            assignments: _,
            from: _,
            selection: _,
            returning: _,
            output,
            or,
            order_by: _,
            limit: _,
        } = update;
        self.class(StatementClass::Update);
        if matches!(or, Some(SqliteOnConflict::Replace)) {
            self.class(StatementClass::Delete);
        }
        self.unknown_unless(optimizer_hints.is_empty() && output.is_none());
    }

    fn delete(&mut self, delete: &Delete) {
        // `tables` names what stands in FROM, which is visited.
        let Delete {
            delete_token: _,
            optimizer_hints,
            tables: _,
            from: _,
            using: _,
            selection: _,
            returning: _,
            output,
            order_by: _,
            limit: _,
        } = delete;
        self.class(StatementClass::Delete);
        self.unknown_unless(optimizer_hints.is_empty() && output.is_none());
    }

    fn merge(&mut self, merge: &Merge) {
        let Merge {
            merge_token: _,
            optimizer_hints,
            into: _,
            table: _,
            source: _,
            on: _,
            clauses,
            output,
        } = merge;
        for clause in clauses {
            match &clause.action {
                MergeAction::Insert(_) => self.class(StatementClass::Insert),
                MergeAction::Update(_) => self.class(StatementClass::Update),
                MergeAction::Delete { .. } => self.class(StatementClass::Delete),
                MergeAction::DoNothing { .. } => {}
            }
        }
        // It locks and looks even if it does nothing.
        self.class(StatementClass::Update);
        self.unknown_unless(optimizer_hints.is_empty() && output.is_none());
    }

    fn truncate(&mut self, truncate: &Truncate) {
        let Truncate {
            table_names: _,
            partitions,
            table: _,
            if_exists: _,
            identity: _,
            cascade,
            on_cluster,
        } = truncate;
        self.class(StatementClass::Delete);
        self.unknown_unless(partitions.is_none() && on_cluster.is_none());
        if matches!(cascade, Some(CascadeOption::Cascade)) {
            self.anything();
        }
    }

    fn drop(
        &mut self,
        kind: ObjectType,
        names: &[ObjectName],
        table: Option<&ObjectName>,
        cascade: bool,
    ) {
        self.class(StatementClass::Define);
        for name in names.iter().chain(table) {
            self.name(name);
        }
        let relation = matches!(
            kind,
            ObjectType::Table | ObjectType::View | ObjectType::MaterializedView | ObjectType::Index
        );
        if cascade || !relation {
            self.anything();
        }
    }

    fn create_table(&mut self, table: &CreateTable) {
        self.class(StatementClass::Define);
        let known = CreateTableBuilder::new(table.name.clone())
            .columns(table.columns.clone())
            .constraints(table.constraints.clone())
            .query(table.query.clone())
            .if_not_exists(table.if_not_exists)
            .temporary(table.temporary)
            .unlogged(table.unlogged)
            .without_rowid(table.without_rowid)
            .strict(table.strict)
            .on_commit(table.on_commit)
            .build();
        if known != *table || refers_to_another(&table.to_string()) {
            self.anything();
        }
    }

    fn create_view(&mut self, view: &CreateView) {
        self.class(StatementClass::Define);
        if view.to.is_some()
            || view.params.is_some()
            || !matches!(view.options, CreateTableOptions::None)
        {
            self.anything();
        }
    }

    fn alter_table(&mut self, alter: &AlterTable) {
        let AlterTable {
            name: _,
            if_exists: _,
            only: _,
            operations,
            location,
            on_cluster,
            table_type,
            end_token: _,
        } = alter;
        self.class(StatementClass::Define);
        let known = |operation: &AlterTableOperation| match operation {
            AlterTableOperation::DropColumn { drop_behavior, .. } => drop_behavior.is_none(),
            AlterTableOperation::AddColumn { .. }
            | AlterTableOperation::AddConstraint { .. }
            | AlterTableOperation::AlterColumn { .. }
            | AlterTableOperation::RenameColumn { .. }
            | AlterTableOperation::ModifyColumn { .. }
            | AlterTableOperation::ChangeColumn { .. }
            | AlterTableOperation::ValidateConstraint { .. } => {
                !refers_to_another(&operation.to_string())
            }
            _ => false,
        };
        if !operations.iter().all(known)
            || location.is_some()
            || on_cluster.is_some()
            || table_type.is_some()
        {
            self.anything();
        }
    }

    fn granted(&mut self, objects: Option<&GrantObjects>) {
        self.class(StatementClass::Define);
        match objects {
            Some(GrantObjects::Tables(names)) => names.iter().for_each(|name| self.name(name)),
            Some(_) | None => self.anything(),
        }
    }

    fn body(&mut self, body: &SetExpr) {
        match body {
            // These come by themselves.
            SetExpr::Select(_)
            | SetExpr::Query(_)
            | SetExpr::Values(_)
            | SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_) => {}
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left);
                self.body(right);
            }
            // The parser keeps the name as a text, which does not say how it was quoted.
            SetExpr::Table(_) => self.anything(),
        }
    }
}

/// Options of EXPLAIN with which it does not run the statement.
fn only_ask(options: &[UtilityOption]) -> bool {
    const ASKING: &[&str] =
        &["verbose", "costs", "settings", "generic_plan", "summary", "format", "memory"];
    options.iter().all(|option| {
        option.name.quote_style.is_none()
            && ASKING.contains(&option.name.value.to_lowercase().as_str())
    })
}

fn is_any_quoted(name: &ObjectName) -> bool {
    name.0
        .iter()
        .any(|part| !matches!(part, ObjectNamePart::Identifier(part) if part.quote_style.is_none()))
}

/// A foreign key reads (and locks) the other table.
fn refers_to_another(text: &str) -> bool {
    super::acting::words(text).any(|word| word == "references")
}

impl Visitor for Walk {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        match statement {
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::Merge(merge) => self.merge(merge),
            Statement::Truncate(truncate) => self.truncate(truncate),
            Statement::Drop { object_type, names, cascade, table, .. } => {
                self.drop(*object_type, names, table.as_ref(), *cascade);
            }
            Statement::CreateTable(table) => self.create_table(table),
            Statement::CreateView(view) => self.create_view(view),
            Statement::CreateIndex(_) => self.class(StatementClass::Define),
            Statement::AlterTable(alter) => self.alter_table(alter),
            Statement::Grant(grant) => self.granted(grant.objects.as_ref()),
            Statement::Revoke(revoke) => self.granted(revoke.objects.as_ref()),
            _ => self.unknown(),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let Query {
            with,
            body,
            order_by: _,
            limit_clause: _,
            fetch: _,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        if let Some(With { with_token: _, recursive: _, cte_tables }) = with {
            for Cte { alias: _, query: _, from, materialized: _, closing_paren_token: _ } in
                cte_tables
            {
                self.unknown_unless(from.is_none());
            }
        }
        self.body(body);
        self.unknown_unless(
            locks.is_empty()
                && for_clause.is_none()
                && settings.is_none()
                && format_clause.is_none()
                && pipe_operators.is_empty(),
        );
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let Select {
            select_token: _,
            optimizer_hints,
            distinct: _,
            select_modifiers: _,
            top,
            top_before_distinct: _,
            projection: _,
            exclude,
            into,
            from: _,
            lateral_views,
            prewhere,
            selection: _,
            connect_by,
            group_by: _,
            cluster_by,
            distribute_by,
            sort_by,
            having: _,
            named_window: _,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        self.unknown_unless(
            optimizer_hints.is_empty()
                && top.is_none()
                && exclude.is_none()
                && into.is_none()
                && lateral_views.is_empty()
                && prewhere.is_none()
                && connect_by.is_empty()
                && cluster_by.is_empty()
                && distribute_by.is_empty()
                && sort_by.is_empty()
                && qualify.is_none()
                && value_table_mode.is_none()
                && *flavor == SelectFlavor::Standard,
        );
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { name, args, with_hints, version, json_path, .. } => {
                self.skip = args.is_some()
                    && makes_rows_of_its_arguments(&relation_name(self.dialect, name));
                self.unknown_unless(
                    with_hints.is_empty() && version.is_none() && json_path.is_none(),
                );
            }
            TableFactor::Function { name, .. } => {
                let name = relation_name(self.dialect, name);
                if !makes_rows_of_its_arguments(&name) {
                    self.relations.insert(name);
                }
            }
            TableFactor::Derived { .. }
            | TableFactor::UNNEST { .. }
            | TableFactor::NestedJoin { .. }
            | TableFactor::JsonTable { .. } => {}
            _ => self.unknown(),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if !std::mem::take(&mut self.skip) {
            self.name(relation);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        match expression {
            Expr::Function(function) => {
                let name = relation_name(self.dialect, &function.name).to_lowercase();
                if function.uses_odbc_syntax {
                    self.anything();
                } else if self.dialect == Dialect::MySql && is_any_quoted(&function.name) {
                    // In quotes it is the name of a stored function, whatever is built in.
                    self.relations.insert(format!("{FUNCTION}`{name}`"));
                } else if !reads_its_arguments_alone(self.dialect, &name) {
                    self.relations.insert(format!("{FUNCTION}{name}"));
                }
            }
            Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::CompoundFieldAccess { .. }
            | Expr::JsonAccess { .. }
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::IsNormalized { .. }
            | Expr::InList { .. }
            | Expr::InSubquery { .. }
            | Expr::Between { .. }
            | Expr::BinaryOp { .. }
            | Expr::Like { .. }
            | Expr::ILike { .. }
            | Expr::SimilarTo { .. }
            | Expr::RLike { .. }
            | Expr::AnyOp { .. }
            | Expr::AllOp { .. }
            | Expr::UnaryOp { .. }
            | Expr::Convert { .. }
            | Expr::Cast { .. }
            | Expr::AtTimeZone { .. }
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Overlay { .. }
            | Expr::Collate { .. }
            | Expr::Nested(_)
            | Expr::Value(_)
            | Expr::TypedString(_)
            | Expr::Case { .. }
            | Expr::Exists { .. }
            | Expr::Subquery(_)
            | Expr::GroupingSets(_)
            | Expr::Cube(_)
            | Expr::Rollup(_)
            | Expr::Tuple(_)
            | Expr::Array(_)
            | Expr::Interval(_)
            | Expr::MatchAgainst { .. }
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..)
            | Expr::MemberOf(_) => {}
            _ => self.unknown(),
        }
        ControlFlow::Continue(())
    }
}
