//! How much work the code of a component makes for the compiler, judged from its bytes.
//!
//! A compiler takes time and memory that grow with the product of the variables and the blocks of a
//! function, so a file of a megabyte can keep it busy for hours. These limits admit the output of
//! toolchains, including interpreters of scripting languages (their largest functions have some
//! hundred variables and some thousand blocks), and refuse code that is made to exhaust the
//! compiler.

use wasmparser::{BlockType, FunctionBody, Operator};

/// Functions with a body, in all modules.
const MAX_FUNCTIONS: u64 = 100_000;
/// How many bytes all function bodies may have together.
const MAX_CODE: u64 = 48 << 20;
/// How many bytes one function body may have.
const MAX_BODY: u64 = 1 << 20;
/// Variables of one function, its parameters not counted.
const MAX_LOCALS: u64 = 10_000;
/// Blocks within blocks. Each case of a `switch` is one.
const MAX_DEPTH: u64 = 5_000;
/// Ways from one block to another, in one function.
const MAX_BRANCHES: u64 = 100_000;
/// Variables of one function times its blocks.
const MAX_PRODUCT: u64 = 8_000_000;
/// The same of all functions together.
const MAX_PRODUCTS: u64 = 400_000_000;
/// Parameters, and results, of one function or block.
pub(crate) const MAX_ARITY: usize = 256;

/// A limit that some code exceeds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooMuchCode {
    /// The component as a whole exceeds a limit.
    #[error("it has {found} {what}; at most {limit} are compiled")]
    Component {
        /// The kind of thing of which there is too much, in the plural.
        what: &'static str,
        /// How much of it there is.
        found: u64,
        /// How much there may be.
        limit: u64,
    },
    /// One function of the component exceeds a limit.
    #[error("its function {function} has {found} {what}; at most {limit} are compiled")]
    Function {
        /// Counted from 0, in the order of the bodies.
        function: u64,
        /// The kind of thing of which there is too much, in the plural.
        what: &'static str,
        /// How much of it there is.
        found: u64,
        /// How much there may be.
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
    products: u64,
}

impl CodeSize {
    /// Counts one more function body.
    pub(crate) fn add(
        &mut self,
        body: &FunctionBody<'_>,
    ) -> Result<Result<(), TooMuchCode>, wasmparser::BinaryReaderError> {
        let function = self.functions;
        let bytes = body.range().len() as u64;
        self.functions += 1;
        self.code += bytes;
        let size = of_component("functions", self.functions, MAX_FUNCTIONS)
            .and_then(|()| of_component("bytes of code", self.code, MAX_CODE))
            .and_then(|()| of_function(function, "bytes of code", bytes, MAX_BODY));
        if size.is_err() {
            return Ok(size);
        }
        let mut locals = 0_u64;
        for group in body.get_locals_reader()? {
            locals = locals.saturating_add(group?.0.into());
        }
        let shape = BodyShape::of(body)?;
        // A function without variables has values on its stack all the same.
        let product = (locals + 16).saturating_mul(shape.blocks + 1);
        self.products = self.products.saturating_add(product);
        Ok(of_function(function, "variables", locals, MAX_LOCALS)
            .and_then(|()| of_function(function, "blocks within blocks", shape.depth, MAX_DEPTH))
            .and_then(|()| of_function(function, "branches", shape.branches, MAX_BRANCHES))
            .and_then(|()| of_function(function, "variables times blocks", product, MAX_PRODUCT))
            .and_then(|()| of_component("variables times blocks", self.products, MAX_PRODUCTS)))
    }
}

/// Judges a type of functions or blocks.
pub(crate) fn check_arity(found: usize) -> Result<(), TooMuchCode> {
    if found > MAX_ARITY { Err(TooMuchCode::Arity { found }) } else { Ok(()) }
}

fn of_component(what: &'static str, found: u64, limit: u64) -> Result<(), TooMuchCode> {
    if found > limit { Err(TooMuchCode::Component { what, found, limit }) } else { Ok(()) }
}

fn of_function(
    function: u64,
    what: &'static str,
    found: u64,
    limit: u64,
) -> Result<(), TooMuchCode> {
    if found > limit { Err(TooMuchCode::Function { function, what, found, limit }) } else { Ok(()) }
}

/// How a body is built.
#[derive(Debug, Default)]
struct BodyShape {
    blocks: u64,
    depth: u64,
    branches: u64,
}

impl BodyShape {
    fn of(body: &FunctionBody<'_>) -> Result<Self, wasmparser::BinaryReaderError> {
        let (mut shape, mut open) = (Self::default(), 0_u64);
        for operator in body.get_operators_reader()? {
            match operator? {
                Operator::Block { blockty }
                | Operator::Loop { blockty }
                | Operator::If { blockty } => {
                    open += 1;
                    shape.blocks += 1;
                    shape.branches += u64::from(blockty != BlockType::Empty);
                    shape.depth = shape.depth.max(open);
                }
                Operator::Else | Operator::Br { .. } | Operator::BrIf { .. } => {
                    shape.blocks += 1;
                    shape.branches += 1;
                }
                Operator::BrTable { targets } => {
                    shape.blocks += 1;
                    shape.branches += u64::from(targets.len()) + 1;
                }
                Operator::End => open = open.saturating_sub(1),
                _ => {}
            }
        }
        Ok(shape)
    }
}
