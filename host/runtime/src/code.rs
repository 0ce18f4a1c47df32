//! Estimates from the bytes of a component how much work compiling it would be, and limits it.
//!
//! A compiler takes time and memory that grow with the product of the variables and the blocks of a
//! function, so a file of a megabyte can keep it busy for hours. These limits admit the output of
//! toolchains, including interpreters of scripting languages (their largest functions have some
//! hundred variables and some thousand blocks), and refuse code that is made to exhaust the
//! compiler.

use wasmparser::{BlockType, FunctionBody, Operator};

/// How many functions with a body all modules may have together.
const MAX_FUNCTIONS: u64 = 100_000;
/// How many bytes all function bodies may have together.
const MAX_CODE: u64 = 48 << 20;
/// How many bytes one function body may have.
const MAX_BODY: u64 = 1 << 20;
/// How many variables one function may have, without its parameters.
const MAX_LOCALS: u64 = 10_000;
/// How deep blocks may be nested. Each case of a `switch` adds a level.
const MAX_DEPTH: u64 = 5_000;
/// How many branches between blocks one function may have.
const MAX_BRANCHES: u64 = 100_000;
/// The largest product of the variables and the blocks of one function.
const MAX_PRODUCT: u64 = 8_000_000;
/// The largest sum of these products over all functions.
const MAX_TOTAL_PRODUCT: u64 = 400_000_000;
/// How many parameters, or results, one function or block may have.
pub(crate) const MAX_ARITY: usize = 256;

/// The limit that a component exceeds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooMuchCode {
    /// The component as a whole exceeds a limit.
    #[error("it has {found} {what}; at most {limit} are compiled")]
    Component {
        /// What is counted, in the plural.
        what: &'static str,
        /// The number that was found.
        found: u64,
        /// The largest number that is allowed.
        limit: u64,
    },
    /// One function of the component exceeds a limit.
    #[error("its function {function} has {found} {what}; at most {limit} are compiled")]
    Function {
        /// Counted from 0, in the order of the bodies.
        function: u64,
        /// What is counted, in the plural.
        what: &'static str,
        /// The number that was found.
        found: u64,
        /// The largest number that is allowed.
        limit: u64,
    },
    /// A type with too many parameters or results.
    #[error(
        "one of its functions or blocks has {found} parameters or results; at most {MAX_ARITY} \
             are compiled"
    )]
    Arity {
        /// How many parameters or results it has.
        found: usize,
    },
}

/// The size of the code that was read so far.
#[derive(Debug, Default)]
pub(crate) struct CodeSize {
    functions: u64,
    code: u64,
    total_product: u64,
}

impl CodeSize {
    /// Counts one more function body. The inner result says whether it exceeds a limit, the outer
    /// one whether it could be parsed.
    pub(crate) fn add(
        &mut self,
        body: &FunctionBody<'_>,
    ) -> Result<Result<(), TooMuchCode>, wasmparser::BinaryReaderError> {
        let function = self.functions;
        let bytes = body.range().len() as u64;
        self.functions += 1;
        self.code += bytes;
        let size = check_component("functions", self.functions, MAX_FUNCTIONS)
            .and_then(|()| check_component("bytes of code", self.code, MAX_CODE))
            .and_then(|()| check_function(function, "bytes of code", bytes, MAX_BODY));
        if size.is_err() {
            return Ok(size);
        }
        let mut locals = 0_u64;
        for group in body.get_locals_reader()? {
            locals = locals.saturating_add(group?.0.into());
        }
        let shape = BodyShape::of(body)?;
        // Values on the stack count as variables: 16 in each function.
        let product = (locals + 16).saturating_mul(shape.blocks + 1);
        self.total_product = self.total_product.saturating_add(product);
        Ok(check_function(function, "variables", locals, MAX_LOCALS)
            .and_then(|()| check_function(function, "blocks within blocks", shape.depth, MAX_DEPTH))
            .and_then(|()| check_function(function, "branches", shape.branches, MAX_BRANCHES))
            .and_then(|()| check_function(function, "variables times blocks", product, MAX_PRODUCT))
            .and_then(|()| {
                check_component("variables times blocks", self.total_product, MAX_TOTAL_PRODUCT)
            }))
    }
}

/// Checks the number of parameters or results of a type.
pub(crate) fn check_arity(found: usize) -> Result<(), TooMuchCode> {
    if found > MAX_ARITY { Err(TooMuchCode::Arity { found }) } else { Ok(()) }
}

fn check_component(what: &'static str, found: u64, limit: u64) -> Result<(), TooMuchCode> {
    if found > limit { Err(TooMuchCode::Component { what, found, limit }) } else { Ok(()) }
}

fn check_function(
    function: u64,
    what: &'static str,
    found: u64,
    limit: u64,
) -> Result<(), TooMuchCode> {
    if found > limit { Err(TooMuchCode::Function { function, what, found, limit }) } else { Ok(()) }
}

/// The counts of a function body.
#[derive(Debug, Default)]
struct BodyShape {
    blocks: u64,
    depth: u64,
    branches: u64,
}

impl BodyShape {
    fn of(body: &FunctionBody<'_>) -> Result<Self, wasmparser::BinaryReaderError> {
        let (mut shape, mut depth) = (Self::default(), 0_u64);
        for operator in body.get_operators_reader()? {
            match operator? {
                Operator::Block { blockty }
                | Operator::Loop { blockty }
                | Operator::If { blockty } => {
                    depth += 1;
                    shape.blocks += 1;
                    shape.branches += u64::from(blockty != BlockType::Empty);
                    shape.depth = shape.depth.max(depth);
                }
                Operator::Else | Operator::Br { .. } | Operator::BrIf { .. } => {
                    shape.blocks += 1;
                    shape.branches += 1;
                }
                Operator::BrTable { targets } => {
                    shape.blocks += 1;
                    shape.branches += u64::from(targets.len()) + 1;
                }
                Operator::End => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        Ok(shape)
    }
}
