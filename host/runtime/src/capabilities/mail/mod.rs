//! Messages through a mail server.
//!
//! The library `lettre` writes the message. The dialogue with the server is our own, over the judged
//! connector of the host: it has to know at every moment whether the server may have taken the
//! message, and to refuse bytes that a server was not asked for (docs/adr/0038-our-own-dialogue-with-a-mail-server.md).

mod dialogue;
mod failure;
mod message;

use crate::bindings::runbook::mail::sender;
use crate::bindings::runbook::mail::sender::Receipt;
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host, HostCall};
use crate::net::allowed_addresses::Server;
use crate::net::tls::{ServerVerification, encrypt};
use crate::sanitizer::OutputSanitizer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dialogue::{Dialogue, Greeted, Stream};
use failure::{Failure, Sent};
use message::{Envelope, message_id};
use runbook_authority::gate::MailMessage;
use runbook_authority::targets::{MailLogin, MailTarget, MailTls};
use runbook_authority::{GateRequest, Target, Verb};
use std::collections::BTreeMap;
use std::time::Duration;

/// How many messages the call of the plugin has sent by each slot, or may have sent.
#[derive(Default)]
struct SentMessages(BTreeMap<String, u32>);

impl sender::Host for HostCall<'_> {
    async fn send(
        &mut self,
        slot: String,
        subject: String,
        text: String,
    ) -> Result<Receipt, Fault> {
        let verb = Verb::MailSend;
        let sent_before = self.storage.value::<SentMessages>().0.get(&slot).copied();
        let number = sent_before.unwrap_or(0).saturating_add(1);
        let message = MailMessage { subject: &subject, text: &text, number };
        self.enter(&GateRequest::Mail { slot: &slot, verb, message })?;
        let commit = self.begin_uncommitted(&slot, verb, 1);
        let receipt = self.send_message(&slot, &message, &commit).await;
        if commit.is_sent() {
            self.storage.value::<SentMessages>().0.insert(slot, number);
        }
        receipt
    }
}

fn mail_target(target: &Target) -> &MailTarget {
    target.mail().expect("the gate lets messages through on mail targets only")
}

fn place_of(mail: &MailTarget) -> String {
    format!("{}:{}", mail.host, mail.port)
}

impl Host {
    /// Sends a message that the gate has allowed.
    async fn send_message(
        &mut self,
        slot: &str,
        message: &MailMessage<'_>,
        commit: &Commit,
    ) -> Result<Receipt, Fault> {
        let target = self.target(slot)?;
        let mail = mail_target(&target);
        let within = self.remaining(mail.timeout);
        let message_id = message_id(mail, self.run(), self.step(), slot, message.number);
        let envelope = Envelope::write(mail, message, &message_id)?;
        self.count_transferred(envelope.len());
        let done =
            tokio::time::timeout(within, self.deliver(mail, slot, within, &envelope, commit)).await;
        let answer = done.unwrap_or(Err(Failure::TimedOut(within)));
        let sent = if commit.is_sent() { Sent::Message } else { Sent::Nothing };
        let answer =
            answer.map_err(|why| self.scrubbed_fault(why.into_fault(&place_of(mail), sent)))?;
        let answer = OutputSanitizer::new(&self.scrubber()).line(&answer);
        Ok(Receipt { message_id, answer })
    }

    async fn deliver(
        &mut self,
        mail: &MailTarget,
        slot: &str,
        within: Duration,
        envelope: &Envelope<'_>,
        commit: &Commit,
    ) -> Result<String, Failure> {
        let mut greeted = self.mail_dialogue(mail, slot, within).await?;
        let answer = greeted.deliver(envelope, commit).await;
        greeted.quit().await;
        answer
    }

    /// A dialogue with the server of a target, at an address that the gate has allowed: encrypted
    /// and logged in as the target says.
    async fn mail_dialogue(
        &mut self,
        mail: &MailTarget,
        slot: &str,
        within: Duration,
    ) -> Result<Greeted, Failure> {
        let config = match mail.tls {
            MailTls::Off => None,
            MailTls::Implicit | MailTls::StartTls => {
                let (keys, verification) = (&mail.tls_keys, ServerVerification::Certificate);
                let config = self.client_config(keys, verification, &[], "mail.tls").await;
                Some(config.map_err(Failure::Refused)?)
            }
        };
        let login = match &mail.login {
            Some(login) => Some(self.login(login).await.map_err(Failure::Refused)?),
            None => None,
        };
        let (host, port, verb) = (mail.host.as_str(), mail.port, Verb::MailSend);
        let server = Server { slot, verb, host, port, timeout: within };
        let allowed = self.allowed_addresses(&server).await.map_err(Failure::Connect)?;
        let stream = allowed.connect().await.map_err(Failure::Connect)?;
        let mut greeted = match (mail.tls, config) {
            (MailTls::Implicit, Some(config)) => {
                let stream = encrypt(stream, host, config).await.map_err(Failure::Tls)?;
                Dialogue::open(Box::new(stream) as Box<dyn Stream>).greet().await?
            }
            (MailTls::StartTls, Some(config)) => {
                let stream = Dialogue::open(stream).greet().await?.start_tls().await?;
                let stream = encrypt(stream, host, config).await.map_err(Failure::Tls)?;
                Dialogue::open(Box::new(stream) as Box<dyn Stream>).introduce().await?
            }
            (MailTls::Off, _) | (_, None) => {
                Dialogue::open(Box::new(stream) as Box<dyn Stream>).greet().await?
            }
        };
        if let Some(login) = login {
            greeted.log_in(&login).await?;
        }
        Ok(greeted)
    }

    /// The user and the password of a target, in the forms in which they are sent. Each form is
    /// scrubbed from all output from now on.
    async fn login(&self, login: &MailLogin) -> Result<EncodedLogin, Fault> {
        let secret = self.secret(&login.password).await?;
        let password = secret.expose();
        if password.contains(&0) {
            let message = format!("secret `{}` has a byte 0, which no login has", login.password);
            return Err(Fault::new(FaultClass::Invalid, "mail.password", message));
        }
        let plain = [b"\0", login.user.as_bytes(), b"\0", password].concat();
        let encoded = EncodedLogin {
            plain: STANDARD.encode(plain),
            user: STANDARD.encode(&login.user),
            password: STANDARD.encode(password),
        };
        self.learn_part(&login.password, &encoded.plain);
        self.learn_part(&login.password, &encoded.password);
        Ok(encoded)
    }

    /// Tries whether the server of a slot answers, encrypts and lets its user in. No message is
    /// begun.
    pub(super) async fn reach_mail_server(&mut self, slot: &str) -> Result<String, Fault> {
        let target = self.target(slot)?;
        let mail = mail_target(&target);
        let within = self.remaining(mail.timeout);
        let tried = tokio::time::timeout(within, async {
            self.mail_dialogue(mail, slot, within).await?.quit().await;
            Ok(())
        });
        tried
            .await
            .unwrap_or(Err(Failure::TimedOut(within)))
            .map_err(|why| why.into_fault(&place_of(mail), Sent::Nothing))?;
        Ok(match &mail.login {
            Some(login) => format!("`{}` is let in (SMTP)", login.user),
            None => "it answers (SMTP)".to_owned(),
        })
    }
}

/// A login in Base64.
struct EncodedLogin {
    /// For `AUTH PLAIN`.
    plain: String,
    /// For `AUTH LOGIN`.
    user: String,
    password: String,
}

#[cfg(test)]
mod tests;
