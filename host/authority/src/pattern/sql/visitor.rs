//! Visits a parsed statement and collects its classes and relations. Every known field is named
//! here. Anything else puts the statement into the class `other`, which may concern every relation.
//! So a part of SQL that the parser knows and this file does not is never allowed by mistake.

use super::side_effects::{is_pure_function, is_pure_table_function};
use super::{ANY_RELATION, Dialect, FUNCTION_PREFIX, StatementClass, relation_name};
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

/// Collects the classes and relations of a statement.
pub(super) struct StatementVisitor {
    dialect: Dialect,
    pub(super) classes: BTreeSet<StatementClass>,
    pub(super) relations: BTreeSet<String>,
    /// Whether the next relation is the name of a function, which is not a relation.
    skip_next_relation: bool,
}

impl StatementVisitor {
    pub(super) fn visit_statement(dialect: Dialect, statement: &Statement) -> Self {
        let mut visitor = Self {
            dialect,
            classes: BTreeSet::new(),
            relations: BTreeSet::new(),
            skip_next_relation: false,
        };
        visitor.visit_outermost(statement);
        visitor
    }

    /// Visits the outermost statement. EXPLAIN and SHOW only read, so the statement inside an
    /// EXPLAIN adds no class.
    fn visit_outermost(&mut self, statement: &Statement) {
        match statement {
            Statement::Query(query) => {
                self.add_class(StatementClass::Select);
                let _ = query.visit(self);
            }
            Statement::Explain { analyze: false, estimate: false, options, statement, .. } => {
                let inner = Self::visit_statement(self.dialect, statement);
                let is_query_or_change = matches!(
                    **statement,
                    Statement::Query(_)
                        | Statement::Insert(_)
                        | Statement::Update(_)
                        | Statement::Delete(_)
                        | Statement::Merge(_)
                );
                self.relations = inner.relations;
                self.add_class(StatementClass::Select);
                if !is_query_or_change
                    || inner.classes.contains(&StatementClass::Other)
                    || !options.as_deref().is_none_or(explains_without_running)
                {
                    self.mark_unknown();
                }
            }
            Statement::ShowVariable { variable } => {
                self.add_class(StatementClass::Select);
                // The parser reads `SHOW INDEX FROM t` as words of a variable.
                if self.dialect != Dialect::Postgres || variable.is_empty() {
                    self.add_any_relation();
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
                self.add_class(StatementClass::Select);
                self.add_any_relation();
            }
            Statement::ExplainTable { table_name, .. } => {
                self.add_class(StatementClass::Select);
                self.add_relation(table_name);
            }
            other => {
                let _ = other.visit(self);
            }
        }
    }

    fn add_class(&mut self, class: StatementClass) {
        self.classes.insert(class);
    }

    fn add_any_relation(&mut self) {
        self.relations.insert(ANY_RELATION.to_owned());
    }

    fn mark_unknown(&mut self) {
        self.add_class(StatementClass::Other);
        self.add_any_relation();
    }

    fn mark_unknown_unless(&mut self, known: bool) {
        if !known {
            self.mark_unknown();
        }
    }

    fn add_relation(&mut self, name: &ObjectName) {
        self.relations.insert(relation_name(self.dialect, name));
    }

    fn visit_insert(&mut self, insert: &Insert) {
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
        self.add_class(StatementClass::Insert);
        if *replace_into || matches!(or, Some(SqliteOnConflict::Replace)) {
            self.add_class(StatementClass::Update);
            self.add_class(StatementClass::Delete);
        }
        match on {
            None => {}
            Some(OnInsert::DuplicateKeyUpdate(_)) => self.add_class(StatementClass::Update),
            Some(OnInsert::OnConflict(conflict)) => match conflict.action {
                OnConflictAction::DoNothing => {}
                OnConflictAction::DoUpdate(_) => self.add_class(StatementClass::Update),
            },
            Some(_) => self.mark_unknown(),
        }
        self.mark_unknown_unless(
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

    fn visit_update(&mut self, update: &Update) {
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
        self.add_class(StatementClass::Update);
        if matches!(or, Some(SqliteOnConflict::Replace)) {
            self.add_class(StatementClass::Delete);
        }
        self.mark_unknown_unless(optimizer_hints.is_empty() && output.is_none());
    }

    fn visit_delete(&mut self, delete: &Delete) {
        // `tables` repeats names of FROM, which is visited.
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
        self.add_class(StatementClass::Delete);
        self.mark_unknown_unless(optimizer_hints.is_empty() && output.is_none());
    }

    fn visit_merge(&mut self, merge: &Merge) {
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
                MergeAction::Insert(_) => self.add_class(StatementClass::Insert),
                MergeAction::Update(_) => self.add_class(StatementClass::Update),
                MergeAction::Delete { .. } => self.add_class(StatementClass::Delete),
                MergeAction::DoNothing { .. } => {}
            }
        }
        // MERGE locks and reads rows even if it changes nothing.
        self.add_class(StatementClass::Update);
        self.mark_unknown_unless(optimizer_hints.is_empty() && output.is_none());
    }

    fn visit_truncate(&mut self, truncate: &Truncate) {
        let Truncate {
            table_names: _,
            partitions,
            table: _,
            if_exists: _,
            identity: _,
            cascade,
            on_cluster,
        } = truncate;
        self.add_class(StatementClass::Delete);
        self.mark_unknown_unless(partitions.is_none() && on_cluster.is_none());
        if matches!(cascade, Some(CascadeOption::Cascade)) {
            self.add_any_relation();
        }
    }

    fn visit_drop(
        &mut self,
        kind: ObjectType,
        names: &[ObjectName],
        table: Option<&ObjectName>,
        cascade: bool,
    ) {
        self.add_class(StatementClass::Define);
        for name in names.iter().chain(table) {
            self.add_relation(name);
        }
        let is_relation = matches!(
            kind,
            ObjectType::Table | ObjectType::View | ObjectType::MaterializedView | ObjectType::Index
        );
        if cascade || !is_relation {
            self.add_any_relation();
        }
    }

    fn visit_create_table(&mut self, table: &CreateTable) {
        self.add_class(StatementClass::Define);
        let supported_table = CreateTableBuilder::new(table.name.clone())
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
        if supported_table != *table || refers_to_another(&table.to_string()) {
            self.add_any_relation();
        }
    }

    fn visit_create_view(&mut self, view: &CreateView) {
        self.add_class(StatementClass::Define);
        if view.to.is_some()
            || view.params.is_some()
            || !matches!(view.options, CreateTableOptions::None)
        {
            self.add_any_relation();
        }
    }

    fn visit_alter_table(&mut self, alter: &AlterTable) {
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
        self.add_class(StatementClass::Define);
        let is_known = |operation: &AlterTableOperation| match operation {
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
        if !operations.iter().all(is_known)
            || location.is_some()
            || on_cluster.is_some()
            || table_type.is_some()
        {
            self.add_any_relation();
        }
    }

    fn visit_privileges(&mut self, objects: Option<&GrantObjects>) {
        self.add_class(StatementClass::Define);
        match objects {
            Some(GrantObjects::Tables(names)) => {
                names.iter().for_each(|name| self.add_relation(name));
            }
            Some(_) | None => self.add_any_relation(),
        }
    }

    fn visit_body(&mut self, body: &SetExpr) {
        match body {
            // The visitor is called for these parts separately.
            SetExpr::Select(_)
            | SetExpr::Query(_)
            | SetExpr::Values(_)
            | SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_) => {}
            SetExpr::SetOperation { left, right, .. } => {
                self.visit_body(left);
                self.visit_body(right);
            }
            // The parser keeps the name as a text, which does not say how it was quoted.
            SetExpr::Table(_) => self.add_any_relation(),
        }
    }
}

/// Whether EXPLAIN with these options does not run the statement.
fn explains_without_running(options: &[UtilityOption]) -> bool {
    const HARMLESS_OPTIONS: &[&str] =
        &["verbose", "costs", "settings", "generic_plan", "summary", "format", "memory"];
    options.iter().all(|option| {
        option.name.quote_style.is_none()
            && HARMLESS_OPTIONS.contains(&option.name.value.to_lowercase().as_str())
    })
}

fn is_any_quoted(name: &ObjectName) -> bool {
    name.0
        .iter()
        .any(|part| !matches!(part, ObjectNamePart::Identifier(part) if part.quote_style.is_none()))
}

/// Whether the text of a table definition has a foreign key, which reads and locks another table.
fn refers_to_another(text: &str) -> bool {
    super::side_effects::words(text).any(|word| word == "references")
}

impl Visitor for StatementVisitor {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        match statement {
            Statement::Insert(insert) => self.visit_insert(insert),
            Statement::Update(update) => self.visit_update(update),
            Statement::Delete(delete) => self.visit_delete(delete),
            Statement::Merge(merge) => self.visit_merge(merge),
            Statement::Truncate(truncate) => self.visit_truncate(truncate),
            Statement::Drop { object_type, names, cascade, table, .. } => {
                self.visit_drop(*object_type, names, table.as_ref(), *cascade);
            }
            Statement::CreateTable(table) => self.visit_create_table(table),
            Statement::CreateView(view) => self.visit_create_view(view),
            Statement::CreateIndex(_) => self.add_class(StatementClass::Define),
            Statement::AlterTable(alter) => self.visit_alter_table(alter),
            Statement::Grant(grant) => self.visit_privileges(grant.objects.as_ref()),
            Statement::Revoke(revoke) => self.visit_privileges(revoke.objects.as_ref()),
            _ => self.mark_unknown(),
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
                self.mark_unknown_unless(from.is_none());
            }
        }
        self.visit_body(body);
        self.mark_unknown_unless(
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
        self.mark_unknown_unless(
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
                self.skip_next_relation =
                    args.is_some() && is_pure_table_function(&relation_name(self.dialect, name));
                self.mark_unknown_unless(
                    with_hints.is_empty() && version.is_none() && json_path.is_none(),
                );
            }
            TableFactor::Function { name, .. } => {
                let name = relation_name(self.dialect, name);
                if !is_pure_table_function(&name) {
                    self.relations.insert(name);
                }
            }
            TableFactor::Derived { .. }
            | TableFactor::UNNEST { .. }
            | TableFactor::NestedJoin { .. }
            | TableFactor::JsonTable { .. } => {}
            _ => self.mark_unknown(),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if !std::mem::take(&mut self.skip_next_relation) {
            self.add_relation(relation);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        match expression {
            Expr::Function(function) => {
                let name = relation_name(self.dialect, &function.name).to_lowercase();
                if function.uses_odbc_syntax {
                    self.add_any_relation();
                } else if self.dialect == Dialect::MySql && is_any_quoted(&function.name) {
                    // A quoted name can be that of a stored function, even if a built-in one has
                    // it.
                    self.relations.insert(format!("{FUNCTION_PREFIX}`{name}`"));
                } else if !is_pure_function(self.dialect, &name) {
                    self.relations.insert(format!("{FUNCTION_PREFIX}{name}"));
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
            _ => self.mark_unknown(),
        }
        ControlFlow::Continue(())
    }
}
