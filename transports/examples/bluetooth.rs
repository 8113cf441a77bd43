//! What Bluetooth does here, for people and for the lab (`tests/lab/bluetooth.sh`).
//!
//! ```text
//! bluetooth watch [hciN]...              tells what happens
//! bluetooth serve hciN [SECONDS]         says its channel and a number, the number another every SECONDS;
//!                                        gives back what comes, or only counts it after "sink", or sends
//!                                        BYTES after "send BYTES"
//! bluetooth echo hciN [BYTES]            dials whom it hears first, and wants its bytes back, all of them
//! bluetooth sink hciN [BYTES]            the same, one way, there
//! bluetooth send hciN [BYTES]            the same, one way, from there
//! bluetooth hold hciN                    the same, a byte ten times a second, and tells when it ends
//! bluetooth pair hciN ADDRESS            pairs without a question, as a person would, over BR/EDR
//! bluetooth alias hciN [NAME]            the name that others are told; gives it
//! bluetooth gatt hciN                    standard input and output as the other end of a GATT link with whom it
//!                                        hears first
//! bluetooth read hciN                    all that whom it hears first lets anybody read over GATT
//! bluetooth knock hciN COUNT             opens so many links with whom it hears first, as a stranger that looks
//!                                        for its channel, and says nothing on them
//! bluetooth gatt-echo hciN [BYTES]       whom it hears first, over GATT, and wants its bytes back
//! ```
#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    linux::main().await
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        error::Error,
        process::ExitCode,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::{Duration, Instant},
    };

    use bluer::{AddressType, l2cap};
    use futures_util::StreamExt as _;
    use postrider_transports::{
        Link, Pipe, Stop, StreamPipe,
        bluetooth::{
            AddressKind, Bluetooth, BluetoothEvent, BluetoothOptions, INDICATED, Place, SAID_BYTES,
            SERVICE, WRITTEN,
        },
    };
    use tokio::{
        io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
        sync::mpsc,
        time::timeout,
    };

    type Done<T = ()> = Result<T, Box<dyn Error>>;

    /// How long somebody may stay unheard.
    const HEARD_WITHIN: Duration = Duration::from_secs(60);
    const BYTES: usize = 65_536;
    /// What both ends of a channel say first (docs/bluetooth.md).
    const HELLO: &[u8] = b"PR\0\x01";

    pub async fn main() -> ExitCode {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let bytes = |rest: &[&str]| rest.first().map_or(Ok(BYTES), |bytes| bytes.parse());
        let done = match words.as_slice() {
            ["watch", adapters @ ..] => watch(adapters).await,
            ["serve", adapter, rest @ ..] => {
                serve(adapter, rest.first().map_or(Ok(0), |s| s.parse())).await
            }
            [what @ ("echo" | "sink" | "send" | "hold"), adapter, rest @ ..] => match bytes(rest) {
                Ok(bytes) => dial(adapter, what, bytes).await,
                Err(error) => Err(error.into()),
            },
            ["pair", adapter, address] => pair(adapter, address).await,
            ["alias", adapter, name @ ..] => alias(adapter, name.first().copied()).await,
            ["gatt", adapter] => gatt(adapter).await,
            ["read", adapter] => read(adapter).await,
            ["knock", adapter, rest @ ..] => match bytes(rest) {
                Ok(count) => knock(adapter, count).await,
                Err(error) => Err(error.into()),
            },
            ["gatt-echo", adapter, rest @ ..] => match bytes(rest) {
                Ok(bytes) => gatt_echo(adapter, bytes).await,
                Err(error) => Err(error.into()),
            },
            _ => Err("see the head of transports/examples/bluetooth.rs".into()),
        };
        if let Err(error) = done {
            let mut cause = error.source();
            eprint!("bluetooth: {error}");
            while let Some(deeper) = cause {
                eprint!(": {deeper}");
                cause = deeper.source();
            }
            eprintln!();
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }

    /// Bluetooth that runs until what is returned with it is dropped.
    struct Running {
        bluetooth: Arc<Bluetooth>,
        events: mpsc::Receiver<BluetoothEvent>,
        stop: Stop,
        task: tokio::task::JoinHandle<()>,
    }

    fn run(adapters: &[&str]) -> Running {
        let adapters = adapters.iter().map(|&name| name.to_owned()).collect();
        let bluetooth = Arc::new(Bluetooth::new(BluetoothOptions { adapters }));
        let (tell, events) = mpsc::channel(64);
        let stop = Stop::new();
        let (runs, until) = (bluetooth.clone(), stop.clone());
        let task = tokio::spawn(async move { runs.run(tell, until).await });
        Running { bluetooth, events, stop, task }
    }

    impl Running {
        async fn end(self) {
            self.stop.cancel();
            let _ = self.task.await;
        }

        /// The next that somebody said, once the adapter is up.
        async fn hear(&mut self) -> Done<(u16, Place, [u8; SAID_BYTES])> {
            let began = Instant::now();
            let hearing = async {
                while let Some(event) = self.events.recv().await {
                    match event {
                        BluetoothEvent::Up { adapter, name } => {
                            eprintln!("up {name} after {:.2} s", began.elapsed().as_secs_f64());
                            self.bluetooth.listen(adapter, true);
                        }
                        BluetoothEvent::Heard { adapter, from, said, .. } => {
                            eprintln!(
                                "heard {from} {:?} after {:.2} s",
                                from.kind,
                                began.elapsed().as_secs_f64()
                            );
                            return Ok((adapter, from, said));
                        }
                        BluetoothEvent::Down { trouble, .. } => eprintln!("{trouble}"),
                        _ => {}
                    }
                }
                Err("nothing is told any more")
            };
            Ok(timeout(HEARD_WITHIN, hearing).await.map_err(|_| "nobody was heard")??)
        }
    }

    async fn watch(adapters: &[&str]) -> Done {
        let mut running = run(adapters);
        let mut ends = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        loop {
            let event = tokio::select! {
                event = running.events.recv() => event,
                _ = ends.recv() => None,
            };
            match event {
                None => break,
                Some(BluetoothEvent::Up { adapter, name }) => {
                    let (channel, facts) =
                        (running.bluetooth.channel(adapter), running.bluetooth.facts(adapter));
                    println!("up {name} channel {channel:?} {facts:?}");
                    running.bluetooth.say(adapter, Some([0; SAID_BYTES]));
                    running.bluetooth.listen(adapter, true);
                }
                Some(BluetoothEvent::Down { adapter, trouble }) => match adapter {
                    Some(adapter) => println!("down hci{adapter} {trouble:?}: {trouble}"),
                    None => println!("down all {trouble:?}: {trouble}"),
                },
                Some(BluetoothEvent::Heard { adapter, from, said, strength_dbm }) => {
                    println!(
                        "heard hci{adapter} {from} {:?} {} {strength_dbm:?}",
                        from.kind,
                        hex(&said)
                    );
                }
                Some(BluetoothEvent::Link { adapter, from, .. }) => {
                    println!("link hci{adapter} {from}")
                }
                Some(_) => {}
            }
        }
        running.end().await;
        println!("ended");
        Ok(())
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    async fn serve(adapter: &str, every_s: Result<u64, std::num::ParseIntError>) -> Done {
        let every_s = every_s?;
        let mut running = run(&[adapter]);
        let mut number = 0_u64;
        let mut up = None;
        let mut change = tokio::time::interval(Duration::from_secs(every_s.max(1)));
        let mut ends = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let say = |bluetooth: &Bluetooth, adapter, number: u64| {
            let mut said = [0; SAID_BYTES];
            said[0] = bluetooth.channel(adapter).unwrap_or_default();
            said[2..].copy_from_slice(&number.to_be_bytes());
            bluetooth.say(adapter, Some(said));
            println!("say {}", hex(&said));
        };
        loop {
            tokio::select! {
                event = running.events.recv() => match event {
                    None => break,
                    Some(BluetoothEvent::Up { adapter, name }) => {
                        println!("up {name}");
                        up = Some(adapter);
                        say(&running.bluetooth, adapter, number);
                    }
                    Some(BluetoothEvent::Down { trouble, .. }) => println!("down {trouble:?}: {trouble}"),
                    Some(BluetoothEvent::Silenced { adapter }) => {
                        number += 1;
                        say(&running.bluetooth, adapter, number);
                    }
                    Some(BluetoothEvent::Link { from, link, .. }) => {
                        println!("link from {from} {:?}, {}", from.kind, link.facts.address);
                        tokio::spawn(async move {
                            let (bytes, end) = answer(link).await;
                            println!("link from {from} ended after {bytes} bytes: {end}");
                        });
                    }
                    Some(_) => {}
                },
                _ = change.tick(), if every_s > 0 => if let Some(adapter) = up {
                    number += 1;
                    say(&running.bluetooth, adapter, number);
                },
                _ = ends.recv() => break,
            }
        }
        running.end().await;
        println!("ended");
        Ok(())
    }

    fn stream(link: Link) -> Box<dyn StreamPipe> {
        match link.pipe {
            Pipe::Stream(stream) => stream,
            _ => Box::new(tokio::io::empty()),
        }
    }

    /// Does what the first line asks for; how much came and how it ended.
    async fn answer(link: Link) -> (u64, String) {
        let mut bytes = 0;
        let answering = async {
            let mut stream = BufReader::with_capacity(16 << 10, stream(link));
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let mut words = line.split_whitespace();
            let words = (words.next(), words.next().and_then(|word| word.parse().ok()));
            if let (Some("send"), Some(count)) = words {
                stream.write_all(&pattern(count)).await?;
                stream.shutdown().await?;
                return Ok(());
            }
            let gives_back = words.0 == Some("echo");
            loop {
                let got = stream.fill_buf().await?.to_vec();
                if got.is_empty() {
                    return Ok(());
                }
                stream.consume(got.len());
                bytes += got.len() as u64;
                if gives_back {
                    stream.write_all(&got).await?;
                } else if Some(usize::try_from(bytes).unwrap_or(usize::MAX)) == words.1 {
                    stream.write_all(b"got\n").await?;
                }
            }
        };
        let ended: Result<(), std::io::Error> = answering.await;
        (bytes, ended.map_or_else(|error| error.to_string(), |()| "end".to_owned()))
    }

    fn pattern(count: usize) -> Vec<u8> {
        (0..count).map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap_or_default()).collect()
    }

    async fn dial(adapter: &str, what: &str, bytes: usize) -> Done {
        let mut running = run(&[adapter]);
        let (adapter, to, said) = running.hear().await?;
        let began = Instant::now();
        let link = running.bluetooth.dial(adapter, to, said[0]).await?;
        println!("connected after {:.3} s, {}", began.elapsed().as_secs_f64(), link.facts.address);
        let mut stream = stream(link);
        if what == "hold" {
            println!("held for {}", hold(stream).await);
            running.end().await;
            return Ok(());
        }
        stream.write_all(format!("{what} {bytes}\n").as_bytes()).await?;
        let began = Instant::now();
        let sent = pattern(bytes);
        let (mut from, mut to) = tokio::io::split(stream);
        let mut got = vec![0; if what == "sink" { 4 } else { bytes }];
        let sending = async { if what == "send" { Ok(()) } else { to.write_all(&sent).await } };
        let (written, read) = tokio::join!(sending, from.read_exact(&mut got));
        written?;
        read?;
        if what == "sink" { got == b"got\n" } else { got == sent }
            .then_some(())
            .ok_or("what came is not what was sent")?;
        let took = began.elapsed().as_secs_f64();
        println!(
            "{what}: {bytes} bytes intact in {took:.2} s, {:.0} kB/s",
            bytes as f64 / took / 1e3
        );
        to.shutdown().await?;
        drop((from, to));
        running.end().await;
        Ok(())
    }

    async fn hold(mut stream: Box<dyn StreamPipe>) -> String {
        let began = Instant::now();
        let holding = async {
            stream.write_all(b"echo\n").await?;
            println!("holding");
            loop {
                stream.write_all(b"x").await?;
                stream.read_u8().await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let ended: Result<(), std::io::Error> = holding.await;
        let why = ended.map_or_else(|error| error.to_string(), |()| String::new());
        format!("{:.1} s: {why}", began.elapsed().as_secs_f64())
    }

    async fn pair(adapter: &str, address: &str) -> Done {
        let session = bluer::Session::new().await?;
        let agent = bluer::agent::Agent {
            request_default: true,
            request_confirmation: Some(Box::new(|_| Box::pin(async { Ok(()) }))),
            request_authorization: Some(Box::new(|_| Box::pin(async { Ok(()) }))),
            authorize_service: Some(Box::new(|_| Box::pin(async { Ok(()) }))),
            ..bluer::agent::Agent::default()
        };
        let _agent = session.register_agent(agent).await?;
        let adapter = session.adapter(adapter)?;
        let address = address.parse()?;
        let filter = bluer::DiscoveryFilter {
            transport: bluer::DiscoveryTransport::BrEdr,
            ..bluer::DiscoveryFilter::default()
        };
        adapter.set_discovery_filter(filter).await?;
        let mut found = Box::pin(adapter.discover_devices().await?);
        let finding = async {
            while let Some(event) = found.next().await {
                if matches!(event, bluer::AdapterEvent::DeviceAdded(other) if other == address) {
                    break;
                }
            }
        };
        timeout(HEARD_WITHIN, finding).await?;
        drop(found);
        let device = adapter.device(address)?;
        timeout(HEARD_WITHIN, device.pair()).await??;
        device.set_trusted(true).await?;
        println!("paired, has {:?}", device.uuids().await?.unwrap_or_default());
        Ok(())
    }

    async fn alias(adapter: &str, name: Option<&str>) -> Done {
        let session = bluer::Session::new().await?;
        let adapter = session.adapter(adapter)?;
        if let Some(name) = name {
            adapter.set_alias(name.to_owned()).await?;
        }
        println!("{}", adapter.alias().await?);
        Ok(())
    }

    /// The other end of a GATT link, as a telephone is.
    struct Telephone {
        _session: bluer::Session,
        device: bluer::Device,
        written: bluer::gatt::remote::Characteristic,
        indicated: std::pin::Pin<Box<dyn futures_util::Stream<Item = Vec<u8>>>>,
    }

    impl Telephone {
        async fn connect(adapter: &str, address: bluer::Address) -> Done<Self> {
            let session = bluer::Session::new().await?;
            let device = session.adapter(adapter)?.device(address)?;
            timeout(HEARD_WITHIN, device.connect()).await??;
            let (mut written, mut indicated) = (None, None);
            for service in timeout(HEARD_WITHIN, device.services()).await?? {
                if service.uuid().await? != SERVICE {
                    continue;
                }
                for characteristic in service.characteristics().await? {
                    match characteristic.uuid().await? {
                        WRITTEN => written = Some(characteristic),
                        INDICATED => indicated = Some(Box::pin(characteristic.notify().await?)),
                        _ => {}
                    }
                }
            }
            let written = written.ok_or("nothing to write to")?;
            let indicated = indicated.ok_or("nothing that indicates")?;
            Ok(Self { _session: session, device, written, indicated })
        }

        async fn write(&self, bytes: &[u8]) -> Done {
            let request = bluer::gatt::remote::CharacteristicWriteRequest {
                op_type: bluer::gatt::WriteOp::Request,
                ..bluer::gatt::remote::CharacteristicWriteRequest::default()
            };
            Ok(self.written.write_ext(bytes, &request).await?)
        }
    }

    /// Whom it hears first, with nothing of ours running any more.
    async fn find(adapter: &str) -> Done<(bluer::Address, [u8; SAID_BYTES])> {
        let mut running = run(&[adapter]);
        let (number, from, said) = running.hear().await?;
        running.bluetooth.listen(number, false);
        running.end().await;
        Ok((from.address.into(), said))
    }

    async fn gatt(adapter: &str) -> Done {
        let (address, _) = find(adapter).await?;
        let mut telephone = Telephone::connect(adapter, address).await?;
        let (mut input, mut output) = (tokio::io::stdin(), tokio::io::stdout());
        let mut buffer = [0; 180];
        loop {
            tokio::select! {
                got = input.read(&mut buffer) => match got? {
                    0 => break,
                    got => telephone.write(&buffer[..got]).await?,
                },
                came = telephone.indicated.next() => match came {
                    None => break,
                    Some(came) => {
                        output.write_all(&came).await?;
                        output.flush().await?;
                    }
                },
            }
        }
        Ok(telephone.device.disconnect().await?)
    }

    async fn read(adapter: &str) -> Done {
        let (address, said) = find(adapter).await?;
        let session = bluer::Session::new().await?;
        let device = session.adapter(adapter)?.device(address)?;
        timeout(HEARD_WITHIN, device.connect()).await??;
        println!("{} said {}", Place { address: *address, kind: AddressKind::Random }, hex(&said));
        println!("name {}", hex(device.name().await?.unwrap_or_default().as_bytes()));
        for service in timeout(HEARD_WITHIN, device.services()).await?? {
            println!("service {}", service.uuid().await?);
            for characteristic in service.characteristics().await? {
                println!("characteristic {}", characteristic.uuid().await?);
                if let Ok(value) = characteristic.read().await {
                    println!("value {}", hex(&value));
                }
                for descriptor in characteristic.descriptors().await? {
                    if let Ok(value) = descriptor.read().await {
                        println!("descriptor {} {}", descriptor.uuid().await?, hex(&value));
                    }
                }
            }
        }
        Ok(device.disconnect().await?)
    }

    async fn knock(adapter: &str, count: usize) -> Done {
        let (address, _) = find(adapter).await?;
        let session = bluer::Session::new().await?;
        let adapter = session.adapter(adapter)?;
        let own = adapter.address().await?;
        let began = Instant::now();
        // Whoever does not know the channel tries all.
        let mut found = None;
        for channel in 0x80..=0xff {
            if let Ok(stream) = knock_once(own, address, channel).await {
                found = Some((channel, stream));
                break;
            }
        }
        let (channel, first) = found.ok_or("no channel is open")?;
        println!("channel {channel:#x} after {:.1} s", began.elapsed().as_secs_f64());
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let hear = |stream| {
            most.fetch_max(open.fetch_add(1, Ordering::AcqRel) + 1, Ordering::AcqRel);
            let open = open.clone();
            async move {
                let came = hear_out(stream).await;
                open.fetch_sub(1, Ordering::AcqRel);
                came
            }
        };
        let mut knocking = tokio::task::JoinSet::new();
        knocking.spawn(hear(first));
        for _ in 1..count {
            let knocked = knock_once(own, address, channel).await;
            println!("after {:.1} s: {:?}", began.elapsed().as_secs_f64(), knocked.as_ref().err());
            if let Ok(stream) = knocked {
                knocking.spawn(hear(stream));
            }
        }
        let bytes: usize = knocking.join_all().await.into_iter().sum();
        println!("open at once: {} of {count}", most.load(Ordering::Acquire));
        println!("all ended after {:.1} s, {bytes} bytes came", began.elapsed().as_secs_f64());
        Ok(())
    }

    /// A channel, once both ends have said hello.
    async fn knock_once(
        own: bluer::Address,
        address: bluer::Address,
        channel: u16,
    ) -> std::io::Result<l2cap::Stream> {
        let socket = l2cap::Socket::new_stream()?;
        socket.bind(l2cap::SocketAddr::new(own, AddressType::LePublic, 0))?;
        let at = l2cap::SocketAddr::new(address, AddressType::LeRandom, channel);
        let greeted = async {
            let mut stream = socket.connect(at).await?;
            stream.write_all(HELLO).await?;
            stream.read_exact(&mut [0; HELLO.len()]).await?;
            Ok(stream)
        };
        timeout(Duration::from_secs(10), greeted).await?
    }

    /// How much comes until the other end has had enough.
    async fn hear_out(mut stream: l2cap::Stream) -> usize {
        let mut came = Vec::new();
        let _ = stream.read_to_end(&mut came).await;
        came.len()
    }

    async fn gatt_echo(adapter: &str, bytes: usize) -> Done {
        let (address, _) = find(adapter).await?;
        let mut telephone = Telephone::connect(adapter, address).await?;
        println!("connected over GATT");
        let sent = pattern(bytes);
        let began = Instant::now();
        telephone.write(format!("echo {bytes}\n").as_bytes()).await?;
        let mut got = Vec::new();
        for piece in sent.chunks(180) {
            telephone.write(piece).await?;
            while got.len() < sent.len() {
                match timeout(Duration::from_millis(1), telephone.indicated.next()).await {
                    Ok(Some(came)) => got.extend(came),
                    Ok(None) => return Err("indications ended".into()),
                    Err(_) => break,
                }
            }
        }
        while got.len() < sent.len() {
            let came = timeout(HEARD_WITHIN, telephone.indicated.next()).await?;
            got.extend(came.ok_or("indications ended")?);
        }
        (got == sent).then_some(()).ok_or("what came is not what was sent")?;
        let took = began.elapsed().as_secs_f64();
        println!(
            "gatt: {bytes} bytes there and back intact in {took:.2} s, {:.1} kB/s",
            bytes as f64 / took / 1e3
        );
        Ok(telephone.device.disconnect().await?)
    }
}
