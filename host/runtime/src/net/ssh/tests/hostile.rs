//! Servers that are no bastions, and bastions that answer with something else.

use super::{Audit, SERVER, gateway, greet, greet_with, host};
use crate::fault::FaultClass;
use runbook_tests::ssh::KeyFile;

use russh::server::{self, Auth, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelOpenFailure};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

#[tokio::test]
async fn what_is_no_ssh_server_is_a_fault_and_never_more_than_a_little_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyFile::create(folder.path(), "key", "ed25519", "");
    let private = key.private();
    let endless_line: Vec<u8> = vec![b'a'; 4 << 20];
    let endless_lines: Vec<u8> = b"notice\r\n".repeat(1 << 19);
    let huge_packet = [b"SSH-2.0-x\r\n\xff\xff\xff\xff".as_slice(), &vec![0; 1 << 20]].concat();
    for (answer, class) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), FaultClass::Transient),
        (b"SSH-1.5-old\r\n".to_vec(), FaultClass::Transient),
        (Vec::new(), FaultClass::Transient),
        (b"SSH-2.0-x\r\n".to_vec(), FaultClass::Transient),
        (endless_line, FaultClass::Assertion),
        (endless_lines, FaultClass::Assertion),
        (huge_packet, FaultClass::Transient),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(20)]).into_owned();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Whoever hangs up in the middle has read enough.
            let _ = stream.write_all(&answer).await;
        });
        let targets = gateway(port, "ops")
            + &format!("host_key = \"{}\"\nkey = \"secret:key\"\n", key.public());
        let fault = greet_with(&targets, &[("key", &private)]).await.unwrap_err();
        assert_eq!(fault.class, class, "{shown}: {}", fault.message);
        assert!(fault.message.len() < 400, "{}", fault.message);
        tokio::time::timeout(Duration::from_secs(30), served).await.expect("it hangs up").unwrap();
    }
}

/// A bastion that sends another stream before the data, and opens channels back to the client.
#[derive(Clone, Default)]
struct Hostile {
    /// The destination of each connection.
    asked: Arc<Mutex<Vec<String>>>,
    /// The answers to the channels that it opened.
    opened: Arc<Mutex<Vec<String>>>,
}

impl server::Handler for Hostile {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        _: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host_to_connect: &str,
        port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: server::ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.asked.lock().unwrap().push(format!("{host_to_connect}:{port_to_connect}"));
        reply.accept().await;
        let (handle, opened) = (session.handle(), Arc::clone(&self.opened));
        tokio::spawn(async move {
            let answers = [
                handle.channel_open_forwarded_tcpip("127.0.0.1", 22, "127.0.0.1", 1).await.err(),
                handle.channel_open_agent().await.err(),
                handle.channel_open_session().await.err(),
                handle.channel_open_x11("127.0.0.1", 1).await.err(),
            ];
            opened.lock().unwrap().extend(answers.map(|answer| format!("{answer:?}")));
            let _ = channel.extended_data(1, &b"220 from another stream\r\n"[..]).await;
            let _ = channel.data(&b"220 ready\r\n"[..]).await;
        });
        Ok(())
    }
}

#[tokio::test]
async fn a_bastion_that_sends_another_stream_and_opens_channels_gets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyFile::create(folder.path(), "key", "ed25519", "");
    let private = key.private();
    let config = server::Config {
        keys: vec![russh::keys::decode_secret_key(&private, None).unwrap()],
        ..server::Config::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hostile = Hostile::default();
    let served = hostile.clone();
    tokio::spawn(async move {
        let config = Arc::new(config);
        while let Ok((stream, _)) = listener.accept().await {
            let session = server::run_stream(Arc::clone(&config), stream, served.clone()).await;
            tokio::spawn(session.unwrap());
        }
    });
    let targets = gateway(port, "ops")
        + &format!("host_key = \"{}\"\nkey = \"secret:key\"\n", key.public())
        + "[targets.t]\nnet = \"db.internal\"\nports = [25]\nvia = \"bastion\"\nremote_dns = true\n";
    let audit = Audit::default();
    // The name is resolved by nobody here.
    let mut call = host(SERVER, &targets, &[("key", &private)], &[], &audit);
    let greeting = greet(&mut call).await.unwrap();
    assert_eq!(greeting, "\"220 ready\\r\\n\" by db.internal:25 through bastion");
    assert_eq!(*hostile.asked.lock().unwrap(), ["db.internal:25"]);
    let refused = format!(
        "{:?}",
        Some(russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited))
    );
    assert_eq!(*hostile.opened.lock().unwrap(), vec![refused; 4]);
    assert!(super::allowed(&audit).contains(&"forward to the name db.internal".to_owned()));
}
