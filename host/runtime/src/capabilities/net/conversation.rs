//! A conversation over an open connection: lines that are sent, and answers that are read up to an
//! expected text.

use super::failure::Failure;
use crate::bindings::runbook::net::types::{Answer, AnswerEnd, Turn};
use runbook_secrets::Scrubber;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

/// The end of each line that is sent.
const END_OF_LINE: &str = "\r\n";

/// Bytes that are read at once.
const CHUNK: u64 = 4096;

/// An open connection, and how much more may be read from it.
pub(super) struct Conversation<S> {
    stream: S,
    remaining_bytes: usize,
    deadline: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    /// Reads at most `max_bytes`, and nothing after `deadline`.
    pub(super) fn new(stream: S, max_bytes: usize, deadline: Instant) -> Self {
        Self { stream, remaining_bytes: max_bytes, deadline }
    }

    /// Takes the turns one after the other, up to the first whose expected text does not come.
    pub(super) async fn hold(&mut self, turns: &[Turn]) -> Result<Vec<Answer>, Failure> {
        let mut answers = Vec::new();
        for turn in turns {
            if let Some(line) = &turn.say {
                let line = format!("{line}{END_OF_LINE}");
                let said = tokio::time::timeout_at(self.deadline, async {
                    self.stream.write_all(line.as_bytes()).await?;
                    self.stream.flush().await
                });
                let timed_out = |_| Failure::Silent(String::new(), 0);
                said.await.map_err(timed_out)?.map_err(Failure::Broken)?;
            }
            let Some(until) = &turn.until else { continue };
            let answer = self.answer(until).await?;
            let is_last = answer.end != AnswerEnd::Found;
            answers.push(answer);
            if is_last {
                break;
            }
        }
        Ok(answers)
    }

    /// Reads up to the text `until`, the end of the connection or the limit of bytes.
    async fn answer(&mut self, until: &str) -> Result<Answer, Failure> {
        let mut content = Vec::new();
        let mut searched = 0;
        loop {
            if content[searched..].windows(until.len()).any(|part| part == until.as_bytes()) {
                return Ok(Answer { content, end: AnswerEnd::Found });
            }
            searched = content.len().saturating_sub(until.len());
            if self.remaining_bytes == 0 {
                return Ok(Answer { content, end: AnswerEnd::Cut });
            }
            let most = CHUNK.min(self.remaining_bytes as u64);
            let mut next = (&mut self.stream).take(most);
            match tokio::time::timeout_at(self.deadline, next.read_buf(&mut content)).await {
                Ok(Ok(0)) => return Ok(Answer { content, end: AnswerEnd::Closed }),
                Ok(Ok(count)) => self.remaining_bytes -= count,
                Ok(Err(error)) => return Err(Failure::Broken(error)),
                Err(_) => return Err(Failure::Silent(until.to_owned(), content.len())),
            }
        }
    }
}

/// The answers as a plugin gets them. An end of an answer that may be the beginning of a
/// secret is cut off.
///
/// # Errors
/// The name of a secret that the answers show, even if it lies across two of them.
pub(in super::super) fn without_secrets(
    answers: Vec<Answer>,
    scrubber: &Scrubber,
) -> Result<Vec<Answer>, String> {
    let bytes: Vec<u8> = answers.iter().flat_map(|answer| answer.content.iter().copied()).collect();
    if let Some(name) = scrubber.find_shown_secret(&bytes) {
        return Err(name.to_owned());
    }
    let cut = |answer: Answer| Answer {
        content: scrubber.truncated_bytes(&answer.content).into_owned(),
        ..answer
    };
    Ok(answers.into_iter().map(cut).collect())
}
