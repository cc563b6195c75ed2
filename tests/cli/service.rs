//! A private dbus-daemon, and on it a stand-in for the service with one network and one machine whose
//! answers the tests know.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use zbus::{Connection, DynamicType, fdo};

use crate::objects::{DOMAIN, Domain, ENDLESS, Job, Manager, NETWORK, Network};

/// Something that the stand-in does of itself.
type Task = Box<dyn FnOnce(Connection) -> BoxFuture<'static, zbus::Result<()>> + Send>;

/// A bus of its own for one test; it and what it serves end with it.
pub(crate) struct Bus {
    daemon: Child,
    address: String,
    /// What the stand-in is to do; it ends when this is dropped.
    tasks: Option<UnboundedSender<Task>>,
    thread: Option<JoinHandle<()>>,
    state: Arc<State>,
}

#[derive(Default)]
pub(crate) struct State {
    /// The next start is a job without end.
    pub(crate) slow: AtomicBool,
    /// Somebody has looked at that job.
    pub(crate) watched: AtomicBool,
    /// What has been called, with its arguments.
    calls: Mutex<Vec<String>>,
    /// Who has subscribed last.
    pub(crate) subscriber: Mutex<String>,
}

impl State {
    pub(crate) fn log(&self, call: impl Into<String>) {
        self.calls.lock().unwrap().push(call.into());
    }
}

impl Bus {
    /// A bus on which nobody has Warren's name.
    pub(crate) fn empty() -> Self {
        Self::with_services_in(Path::new("/nonexistent"))
    }

    /// A bus that starts the services named in a data directory.
    pub(crate) fn with_services_in(data: &Path) -> Self {
        let mut daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nosyslog", "--print-address"])
            .env("XDG_DATA_DIRS", data)
            .env("XDG_DATA_HOME", "/nonexistent")
            .env_remove("XDG_RUNTIME_DIR")
            .stdout(Stdio::piped())
            // It complains where it may not raise its own limits, which does not matter here.
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is installed");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        Self { daemon, address, tasks: None, thread: None, state: Arc::default() }
    }

    /// A bus with the stand-in on it.
    pub(crate) fn with_service() -> Self {
        let mut bus = Self::empty();
        let (tasks, mut given) = unbounded_channel::<Task>();
        let (ready, is_ready) = mpsc::channel();
        let (address, state) = (bus.address.clone(), Arc::clone(&bus.state));
        bus.thread = Some(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let connection = serve(&address, state).await.unwrap();
                ready.send(()).unwrap();
                while let Some(task) = given.recv().await {
                    task(connection.clone()).await.unwrap();
                }
            });
        }));
        is_ready.recv_timeout(Duration::from_secs(60)).expect("the stand-in serves");
        bus.tasks = Some(tasks);
        bus
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What has been called since this was asked last.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.state.calls.lock().unwrap())
    }

    /// Who has subscribed last.
    pub(crate) fn subscriber(&self) -> String {
        self.state.subscriber.lock().unwrap().clone()
    }

    /// Lets the stand-in do something.
    pub(crate) fn run<F>(&self, task: F)
    where
        F: FnOnce(Connection) -> BoxFuture<'static, zbus::Result<()>> + Send + 'static,
    {
        self.tasks.as_ref().unwrap().send(Box::new(task)).unwrap();
    }

    /// Lets the stand-in send a signal to all, or to who has subscribed.
    pub(crate) fn signal<B>(
        &self,
        unicast: bool,
        path: &'static str,
        interface: &'static str,
        member: &'static str,
        body: B,
    ) where
        B: serde::Serialize + DynamicType + Send + Sync + 'static,
    {
        let to = unicast.then(|| self.subscriber());
        self.run(move |connection| {
            Box::pin(
                async move { connection.emit_signal(to.as_deref(), path, interface, member, &body).await },
            )
        });
    }

    /// Until the stand-in has been called so.
    pub(crate) fn wait_for_call(&self, call: &str) {
        self.wait(|state| state.calls.lock().unwrap().iter().any(|c| c == call), call);
    }

    /// Until `warrenctl` follows the job without end.
    pub(crate) fn wait_for_endless_job(&self) {
        self.wait(|state| state.watched.swap(false, Ordering::SeqCst), "a look at the job");
    }

    /// Forgets that somebody has looked at that job.
    pub(crate) fn forget_looks(&self) {
        self.state.watched.store(false, Ordering::SeqCst);
    }

    fn wait(&self, come: impl Fn(&State) -> bool, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !come(&self.state) {
            let calls = self.state.calls.lock().unwrap();
            assert!(Instant::now() < deadline, "not called: {what}, but {calls:?}");
            drop(calls);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        drop(self.tasks.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

async fn serve(address: &str, state: Arc<State>) -> zbus::Result<Connection> {
    zbus::connection::Builder::address(address)
        .serve_at("/org/warren1", fdo::ObjectManager)
        .serve_at("/org/warren1", Manager { state: Arc::clone(&state) })
        .serve_at(NETWORK, Network { state: Arc::clone(&state) })
        .serve_at(DOMAIN, Domain { state: Arc::clone(&state) })
        .serve_at(ENDLESS, Job { state })
        .name("org.warren1")
        .build()
        .await
}
