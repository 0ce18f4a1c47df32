//! Judges containers and programs: their names, images, arguments and variables.

use super::{Creation, Judgment, Rule};
use crate::capability::Verb;
use crate::pattern::first_mismatch;
use crate::targets::{ContainerFacts, DockerTarget, ProcessTarget, is_variable_name};

pub(super) fn judge_container(target: &DockerTarget, container: ContainerFacts<'_>) -> Judgment {
    if target.filter.matches(container) {
        return Ok(());
    }
    Err((
        Rule::Container,
        format!("container `{}` is not one of the target's", container.name.escape_debug()),
    ))
}

pub(super) fn judge_image(target: &DockerTarget, image: &str) -> Judgment {
    if target.images.iter().any(|pattern| crate::pattern_matches(pattern, image)) {
        return Ok(());
    }
    Err((
        Rule::Image,
        format!("image `{}` is not among the target's `images`", image.escape_debug()),
    ))
}

/// Judges the image, the name, the command and the variables of a new container. An empty command
/// is allowed: it is the command of the image, which the target names.
pub(super) fn judge_creation(target: &DockerTarget, creation: &Creation<'_>) -> Judgment {
    judge_image(target, creation.image)?;
    judge_container(target, creation.container)?;
    if !creation.command.is_empty() {
        judge_command(&target.command, creation.command)?;
    }
    creation.environment.iter().try_for_each(|(name, value)| judge_variable(target, name, value))
}

pub(super) fn judge_variable(target: &DockerTarget, name: &str, value: &str) -> Judgment {
    if !is_variable_name(name) {
        return Err((
            Rule::Environment,
            format!("`{}` is not the name of a variable", name.escape_debug()),
        ));
    }
    if value.contains('\0') {
        return Err((Rule::Environment, format!("the value of the variable `{name}` has a NUL")));
    }
    let variable = format!("{name}={value}");
    if target.environment.iter().any(|pattern| crate::pattern_matches(pattern, &variable)) {
        return Ok(());
    }
    Err((
        Rule::Environment,
        format!("the variable `{name}`, with this value, is not among the target's `environment`"),
    ))
}

/// Judges the arguments of a program, and its verb: a `read_only` program runs by `inspect`, any
/// other by `run`, whatever verbs the target lists.
pub(super) fn judge_program(target: &ProcessTarget, verb: Verb, arguments: &[String]) -> Judgment {
    match (target.read_only, verb) {
        (true, Verb::ProcessInspect) | (false, Verb::ProcessRun) => {
            judge_command(&target.arguments, arguments)
        }
        (true, _) => {
            Err((Rule::Verb, "the target's program may only read (`read_only`)".to_owned()))
        }
        (false, _) => Err((
            Rule::Verb,
            "the target does not say that its program only reads; add `read_only = true`"
                .to_owned(),
        )),
    }
}

pub(super) fn judge_command(
    patterns: &[crate::pattern::ArgumentPattern],
    arguments: &[String],
) -> Judgment {
    if arguments.iter().any(|argument| argument.contains('\0')) {
        return Err((Rule::Argument, "an argument has a NUL".to_owned()));
    }
    match first_mismatch(patterns, arguments) {
        None => Ok(()),
        Some((position, expected)) => {
            Err((Rule::Argument, format!("argument {position} must be {expected}")))
        }
    }
}
