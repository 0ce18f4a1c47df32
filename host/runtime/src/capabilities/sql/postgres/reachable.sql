-- What of somebody's own a statement would make the server run, or show, without naming a relation: one row of kind and name, or none.
-- $1 every name of the statement, $2 those before a bracket, $3 those that may be types, $4 the functions that read their arguments
-- alone, $5 the types whose values are names of the catalog, $6 the relations that are allowed.
-- `own`: made in this database. Not what an extension of a superuser brought, and not what is written in C, which only a superuser can make.
WITH own AS MATERIALIZED (
  SELECT p.oid, p.proname, p.pronargs, p.pronargdefaults, p.provariadic, p.proargtypes,
    pg_catalog.has_function_privilege(p.oid, 'EXECUTE') AS is_executable
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
  WHERE p.oid >= 16384 AND (p.prokind = 'a' OR l.lanname NOT IN ('internal', 'c'))
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_roles r ON r.oid = p.proowner AND r.rolsuper
      WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e')
), reading AS MATERIALIZED (
  -- Functions of the server that the gate would not let a statement call, and that no operator or cast of the server stands for.
  SELECT p.oid FROM pg_catalog.pg_proc p WHERE p.oid < 16384 AND p.proname <> ALL ($4::pg_catalog.name[])
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_operator o WHERE o.oid < 16384 AND o.oprcode = p.oid)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_cast c WHERE c.oid < 16384 AND c.castfunc = p.oid)
), called AS MATERIALIZED (
  SELECT oid FROM own WHERE is_executable UNION ALL SELECT oid FROM reading
), catalog_names AS MATERIALIZED (
  SELECT t.oid FROM pg_catalog.pg_type t WHERE t.oid < 16384 AND t.typname = ANY ($5::pg_catalog.name[])
  UNION ALL
  SELECT t.typarray FROM pg_catalog.pg_type t WHERE t.oid < 16384 AND t.typname = ANY ($5::pg_catalog.name[])
), found (kind, name) AS (
  SELECT 'the function', p.oid::pg_catalog.regprocedure::pg_catalog.text FROM own p
  WHERE p.is_executable AND p.proname = ANY ($2::pg_catalog.name[])
  UNION ALL
  -- `o.told` calls told(o).
  SELECT 'the function', p.oid::pg_catalog.regprocedure::pg_catalog.text FROM own p
  WHERE p.is_executable AND p.proname = ANY ($1::pg_catalog.name[]) AND p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1
    AND (p.provariadic <> 0
      OR EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.oid = p.proargtypes[0] AND t.typtype IN ('c', 'd', 'p'))
      OR EXISTS (SELECT FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_type t ON t.oid = c.castsource
        WHERE c.oid >= 16384 AND c.castcontext = 'i' AND t.typtype IN ('c', 'd', 'p')))
  UNION ALL
  -- Many are written as words: LIKE, BETWEEN, IN, CASE, DISTINCT, USING.
  SELECT 'the operator', o.oid::pg_catalog.regoperator::pg_catalog.text FROM pg_catalog.pg_operator o
  WHERE o.oid >= 16384 AND (o.oprcode IN (SELECT oid FROM own WHERE is_executable)
    OR (o.oprcode IN (SELECT oid FROM reading) AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
      JOIN pg_catalog.pg_roles r ON r.oid = o.oprowner AND r.rolsuper
      WHERE d.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND d.objid = o.oid AND d.deptype = 'e')))
  UNION ALL
  SELECT 'the cast', pg_catalog.format('%s AS %s', pg_catalog.format_type(c.castsource, NULL), pg_catalog.format_type(c.casttarget, NULL))
  FROM pg_catalog.pg_cast c WHERE c.oid >= 16384 AND c.castfunc IN (SELECT oid FROM called)
  UNION ALL
  SELECT 'the domain', t.oid::pg_catalog.regtype::pg_catalog.text FROM pg_catalog.pg_type t
  WHERE t.oid >= 16384 AND t.typtype = 'd' AND (
    t.typbasetype IN (SELECT oid FROM catalog_names)
    OR EXISTS (SELECT FROM (
        SELECT k.conbin::pg_catalog.text FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid
        UNION ALL SELECT t.typdefaultbin::pg_catalog.text
      ) AS expressions(tree) CROSS JOIN LATERAL pg_catalog.regexp_matches(tree, 'func(?:id)? (\d+)', 'g') AS functions(id)
      WHERE id[1]::pg_catalog.oid IN (SELECT oid FROM called)))
  UNION ALL
  SELECT 'the operator class', f.opfname::pg_catalog.text FROM pg_catalog.pg_amproc a JOIN pg_catalog.pg_opfamily f ON f.oid = a.amprocfamily
  WHERE a.amproc IN (SELECT oid FROM own)
  UNION ALL
  SELECT 'the type', t.oid::pg_catalog.regtype::pg_catalog.text FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
    CROSS JOIN LATERAL (VALUES (t.typinput), (t.typoutput), (t.typreceive), (t.typsend), (t.typmodin), (t.typmodout),
      (r.rngcanonical), (r.rngsubdiff)) AS functions(id)
  WHERE t.oid >= 16384 AND (functions.id IN (SELECT oid FROM own) OR r.rngsubtype IN (SELECT oid FROM catalog_names))
  UNION ALL
  -- A row type shows the columns of its relation; one of names of the catalog shows those names.
  SELECT 'the row type', r.oid::pg_catalog.regclass::pg_catalog.text
  FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
    LEFT JOIN pg_catalog.pg_type e ON e.oid IN (t.typelem, b.typelem) AND e.oid <> 0
    JOIN pg_catalog.pg_class r ON r.oid IN (t.typrelid, b.typrelid, e.typrelid)
  WHERE t.typname = ANY ($3::pg_catalog.name[]) AND r.oid >= 16384 AND r.oid::pg_catalog.int8 <> ALL ($6)
    AND (r.relkind <> 'c' OR EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = r.oid AND a.atttypid IN (SELECT oid FROM catalog_names)))
)
SELECT kind, name FROM found LIMIT 1
