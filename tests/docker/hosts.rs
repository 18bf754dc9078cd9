//! Engines of several hosts are the nodes of one cluster: over a socket, over TLS and over ssh. Hosts are network
//! namespaces with an engine each; what happens to them happens to nobody else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use orchestra::prelude::*;

use crate::daemon::{processes, run};
use crate::host::{Host, LIMIT, eventually_within, pods, settled_within, skip};

const DIR: &str = "ORCHESTRA_TEST_HOSTS";
const HOSTS: [u8; 3] = [1, 2, 3];
const REPLICAS: u32 = 6;

/// How long a node may be silent.
const GRACE: Duration = Duration::from_secs(6);

/// A lost host is noticed, its pods are made elsewhere, and all on a busy machine.
const MOVES: Duration = Duration::from_secs(240);

/// Gives an engine what it needs of its own: the devices of its network, and a place for its sockets.
const ENTER: &str = r#"set -e; groups=$1/groups; shift; mkdir -p "$groups" /run/docker
mount --rbind /sys/fs/cgroup "$groups"; mount -t sysfs sysfs /sys; mount --rbind "$groups" /sys/fs/cgroup
mount -t tmpfs tmpfs /run/docker; exec "$@""#;

/// A network of hosts; all of it is gone when this is dropped.
struct Network {
    name: String,
    dir: PathBuf,
    children: BTreeMap<String, Child>,
}

impl Network {
    fn switch(&self) -> String {
        format!("{}-sw", self.name)
    }

    fn namespace(&self, host: u8) -> String {
        format!("{}-{host}", self.name)
    }

    fn dir_of(&self, host: u8) -> PathBuf {
        self.dir.join(format!("h{host}"))
    }

    fn socket(&self, host: u8) -> String {
        format!("unix://{}", self.dir_of(host).join("docker.sock").display())
    }

    /// Links a host to the switch, with a route to the pods of each other.
    fn link(&self, host: u8) -> Result<(), String> {
        let (switch, own) = (self.switch(), self.namespace(host));
        let (port, address) = (format!("p{host}"), format!("10.253.0.{}/24", 10 + host));
        run("ip", &["netns", "add", &own])?;
        let wire = ["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &own];
        run("ip", &[["-n", &switch].as_slice(), &wire].concat())?;
        run("ip", &["-n", &switch, "link", "set", &port, "master", "br0", "up"])?;
        run("ip", &["-n", &own, "link", "set", "lo", "up"])?;
        run("ip", &["-n", &own, "link", "set", "eth0", "up"])?;
        run("ip", &["-n", &own, "addr", "add", &address, "dev", "eth0"])?;
        run("ip", &["netns", "exec", &own, "sysctl", "-qw", "net.ipv4.ip_forward=1"])?;
        for other in HOSTS.into_iter().filter(|other| *other != host) {
            let (pods, via) = (format!("10.254.{other}.0/24"), format!("10.253.0.{}", 10 + other));
            run("ip", &["-n", &own, "route", "add", &pods, "via", &via])?;
        }
        let (pods, via) = (format!("10.254.{host}.0/24"), format!("10.253.0.{}", 10 + host));
        run("ip", &["-n", &switch, "route", "add", &pods, "via", &via])
    }

    /// Runs a program in a host's network.
    fn spawn(&mut self, host: u8, what: &str, words: &[&str]) -> Result<(), String> {
        let dir = self.dir_of(host);
        let log = std::fs::File::options().create(true).append(true).open(dir.join("log"));
        let log = log.map_err(|error| error.to_string())?;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace(host)));
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().map_err(|error| format!("nsenter: {error}"))?;
        self.children.insert(format!("{what}{host}"), child);
        Ok(())
    }

    /// Starts a host's engine, and waits until it answers.
    async fn start(&mut self, host: u8) -> Result<(), String> {
        let dir = self.dir_of(host);
        let of = |name: &str| dir.join(name).display().to_string();
        let _stale = std::fs::remove_file(dir.join("docker.pid"));
        std::fs::write(dir.join("daemon.json"), "{}").map_err(|error| error.to_string())?;
        let (root, socket, bridge) =
            (dir.display().to_string(), self.socket(host), format!("10.254.{host}.1/24"));
        let (config, data, exec, pid) = (of("daemon.json"), of("data"), of("exec"), of("docker.pid"));
        let mut words =
            vec!["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", ENTER, "sh", &root];
        words.extend(["dockerd", "--config-file", &config, "--data-root", &data, "--exec-root", &exec]);
        words.extend([
            "--pidfile",
            &pid,
            "--bip",
            &bridge,
            "--iptables=false",
            "--ip-masq=false",
            "--host",
            &socket,
        ]);
        let tcp = format!("tcp://10.253.0.{}:2376", 10 + host);
        let at = |name: &str| self.dir.join(name).display().to_string();
        let (ca, cert, key) = (at("ca.pem"), at("server-cert.pem"), at("server-key.pem"));
        words.extend([
            "--host",
            &tcp,
            "--tlsverify",
            "--tlscacert",
            &ca,
            "--tlscert",
            &cert,
            "--tlskey",
            &key,
        ]);
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            let ended = |child: &mut Child| child.try_wait().is_ok_and(|ended| ended.is_some());
            if self.children.get_mut(&format!("dockerd{host}")).is_none_or(ended) {
                self.spawn(host, "dockerd", &words)?;
            }
            if run("docker", &["--host", &socket, "version"]).is_ok() {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
                let last: Vec<_> = log.lines().rev().take(5).collect();
                return Err(format!("the engine of host {host} does not start: {last:?}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends a host as a power cut does: all that runs on it, at once.
    fn power_off(&mut self, host: u8) {
        let socket = self.socket(host);
        let ids = output("docker", &["--host", &socket, "ps", "--quiet"]);
        let ids: Vec<&str> = ids.split_whitespace().collect();
        let inspect = ["--host", &socket, "inspect", "--format", "{{.State.Pid}}"];
        let programs = output("docker", &[inspect.as_slice(), &ids].concat());
        let mut pids = processes(&self.dir_of(host));
        pids.extend(programs.split_whitespace().map(str::to_owned));
        if let Some(mut child) = self.children.remove(&format!("dockerd{host}")) {
            let _killed = child.kill();
            let _killed = run(
                "kill",
                &[["-9"].as_slice(), &pids.iter().map(String::as_str).collect::<Vec<_>>()].concat(),
            );
            let _ended = child.wait();
        }
    }

    fn cut(&self, host: u8, state: &str) {
        run("ip", &["-n", &self.switch(), "link", "set", &format!("p{host}"), state]).unwrap();
    }

    /// Certificates of an authority of the test's own, for engines and for us.
    fn certificates(&self) -> Result<(), String> {
        let addresses: Vec<_> = HOSTS.iter().map(|host| format!("IP:10.253.0.{}", 10 + host)).collect();
        let script = format!(
            r#"set -e; cd "$1"; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority \
                -addext basicConstraints=critical,CA:TRUE -keyout ca-key.pem -out ca.pem
            printf 'subjectAltName={}\nextendedKeyUsage=serverAuth,clientAuth\n' > names
            for who in server client; do openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$who -keyout $who-key.pem -out $who.csr
                openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile names -out $who-cert.pem; done
            cp client-key.pem key.pem; cp client-cert.pem cert.pem"#,
            addresses.join(",")
        );
        run("/bin/sh", &["-c", &script, "sh", &self.dir.display().to_string()])
    }

    /// Lets us log in to a host by ssh, whose sessions find the engine.
    fn ssh(&mut self, host: u8) -> Result<(), String> {
        let dir = self.dir.display().to_string();
        for name in ["host-key", "login-key"] {
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &format!("{dir}/{name}")])?;
        }
        let settings = format!(
            "ListenAddress 10.253.0.{}\nPort 22\nHostKey {dir}/host-key\nAuthorizedKeysFile {dir}/login-key.pub\nStrictModes no\n\
             UsePAM no\nPermitRootLogin prohibit-password\nPidFile none\nMaxStartups 200\nMaxSessions 200\nSetEnv DOCKER_HOST={}\n",
            10 + host,
            self.socket(host)
        );
        std::fs::write(self.dir.join("sshd_config"), settings).map_err(|error| error.to_string())?;
        let client = format!(
            "UserKnownHostsFile {dir}/known_hosts\nStrictHostKeyChecking accept-new\nLogLevel ERROR\n"
        );
        std::fs::write(self.dir.join("ssh_config"), client).map_err(|error| error.to_string())?;
        std::fs::create_dir_all("/run/sshd").map_err(|error| error.to_string())?;
        self.spawn(host, "sshd", &["/usr/sbin/sshd", "-D", "-e", "-f", &format!("{dir}/sshd_config")])
    }
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

impl Drop for Network {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            let _sent = run("kill", &["-TERM", &child.id().to_string()]);
        }
        for child in self.children.values_mut() {
            let _ended = child.wait();
        }
        for pid in processes(&self.dir) {
            if pid != std::process::id().to_string() {
                let _killed = run("kill", &["-9", &pid]);
            }
        }
        for host in HOSTS {
            let _gone = run("ip", &["netns", "delete", &self.namespace(host)]);
        }
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}

/// The test itself, inside the network of the hosts.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by another test, in a network of its own"]
async fn inside() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
    let mut network = Network { name, dir, children: BTreeMap::new() };
    network.certificates().unwrap();
    let mut hosts = BTreeMap::new();
    let mut builder = Cluster::builder().node_grace(GRACE);
    for host in HOSTS {
        std::fs::create_dir_all(network.dir_of(host)).unwrap();
        network.link(host).unwrap();
        network.start(host).await.unwrap();
        let name = format!("orchestra-test-{}-h{host}", network.name);
        let of = Host { dir: network.dir_of(host).join("ours"), name, socket: Some(network.socket(host)) };
        of.prepare().await.unwrap();
        hosts.insert(host, of);
    }
    network.ssh(3).unwrap();
    let key = network.dir.join("login-key");
    eventually_within("the host's sshd answers", LIMIT, || {
        std::net::TcpStream::connect("10.253.0.13:22").ok().map(drop)
    })
    .await;
    for (host, of) in &hosts {
        let builder_of = of.builder().host_address([10, 253, 0, 10 + *host].into());
        let builder_of = match host {
            2 => builder_of.host("tcp://10.253.0.12:2376").tls(&network.dir),
            3 => builder_of.host("ssh://root@10.253.0.13").ssh_key(&key),
            _ => builder_of,
        };
        let runtime = builder_of.connect().await.unwrap();
        builder =
            builder.node(NodeOptions::new(format!("h{host}"), runtime).data_dir(of.dir.join("volumes")));
    }
    let cluster = builder.start().await.unwrap();
    cluster.ready().await;
    scenario(&cluster, &hosts, &mut network).await;
    cluster.stop().await;
}

/// How many pods that serve a node has.
async fn serving(cluster: &Cluster) -> BTreeMap<String, usize> {
    let mut nodes = BTreeMap::new();
    for pod in pods(cluster).await {
        if pod.is_ready() && !pod.is_terminating() {
            *nodes.entry(pod.node_name.as_deref().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    nodes
}

/// Waits until all replicas serve, none of them on `without`.
async fn all_serve(cluster: &Cluster, without: &str) {
    let deadline = tokio::time::Instant::now() + MOVES;
    loop {
        let nodes = serving(cluster).await;
        if !nodes.contains_key(without) && nodes.values().sum::<usize>() == REPLICAS as usize {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "without {without}: {nodes:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the engines run what the cluster has, once each.
async fn each_once(cluster: &Cluster, hosts: &BTreeMap<u8, Host>) {
    settled_within(cluster, REPLICAS, MOVES).await;
    eventually_within("every pod runs once", MOVES, || {
        let containers = hosts.values().map(|host| host.containers().len()).sum::<usize>();
        (containers == 2 * REPLICAS as usize).then_some(())
    })
    .await;
}

async fn scenario(cluster: &Cluster, hosts: &BTreeMap<u8, Host>, network: &mut Network) {
    let image = hosts[&1].image();
    let mut manifest = hosts[&1].web(REPLICAS);
    for (host, of) in hosts.iter().filter(|(host, _)| **host != 1) {
        // One name for the image on all engines.
        of.docker(&["tag", &of.image(), &image]);
        assert!(of.docker(&["images", "--quiet", &image]).len() > 1, "host {host}");
    }
    manifest = manifest.replace(
        "terminationGracePeriodSeconds: 1,",
        "terminationGracePeriodSeconds: 1, topologySpreadConstraints: [{maxSkew: 2, topologyKey: kubernetes.io/hostname, \
         whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}],",
    );
    cluster.apply_yaml(&manifest).await.unwrap();
    settled_within(cluster, REPLICAS, MOVES).await;
    let nodes = serving(cluster).await;
    assert_eq!(nodes.keys().collect::<Vec<_>>(), ["h1", "h2", "h3"], "{nodes:?}");

    // From each host to a pod of each other, asked through the engine that is reached in another way each.
    let pods = pods(cluster).await;
    let on = |node: &str| pods.iter().find(|pod| pod.node_name.as_deref() == Some(node)).unwrap();
    for from in ["h1", "h2", "h3"] {
        for to in ["h1", "h2", "h3"] {
            let url = format!("http://{}:8080/busybox", on(to).status.pod_ip.unwrap());
            let options = ExecOptions::new(["/bin/wget", "-q", "-O", "/dev/null", &url]);
            let pod = cluster.pod(&on(from).metadata.name);
            let ran = pod.exec(&options).await.unwrap().wait_with_output().await.unwrap();
            assert_eq!(ran.exit_code, 0, "{from} to {to}: {}", String::from_utf8_lossy(&ran.stderr));
        }
    }

    // A host that is cut off: its pods run elsewhere, and when it is back its own are stopped.
    let before = hosts[&2].starts();
    network.cut(2, "down");
    all_serve(cluster, "h2").await;
    assert_eq!(hosts[&2].starts(), before, "nobody can end what runs there");
    network.cut(2, "up");
    let reachable = |node: Option<&Node>| node.is_some_and(Node::is_ready);
    tokio::time::timeout(MOVES, cluster.wait::<Node>("h2", reachable)).await.unwrap().unwrap();
    each_once(cluster, hosts).await;
    assert!(before.is_disjoint(&hosts[&2].starts()), "what was replaced is stopped");

    // A host that loses its power.
    network.power_off(3);
    all_serve(cluster, "h3").await;
    network.start(3).await.unwrap();
    tokio::time::timeout(MOVES, cluster.wait::<Node>("h3", reachable)).await.unwrap().unwrap();
    each_once(cluster, hosts).await;

    cluster.delete::<Deployment>("web", &DeleteOptions::default()).await.unwrap();
    eventually_within("nothing is left", MOVES, || {
        hosts.values().all(|host| host.containers().is_empty()).then_some(())
    })
    .await;
}

#[test]
fn engines_of_several_hosts_are_the_nodes_of_one_cluster() {
    for program in ["dockerd", "ip", "nsenter", "unshare", "openssl", "ssh", "ssh-keygen", "/usr/sbin/sshd"] {
        if Command::new("which")
            .arg(program)
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|found| !found.success())
        {
            return skip(&format!(
                "{program} is not there: install docker.io, iproute2, util-linux, openssl, openssh-server"
            ));
        }
    }
    let name = format!("orch{}", std::process::id());
    let switch = format!("{name}-sw");
    if let Err(why) = run("ip", &["netns", "add", &switch]) {
        return skip(&format!("network namespaces can't be made: {why}"));
    }
    let guard = Switch(switch.clone());
    run("ip", &["-n", &switch, "link", "set", "lo", "up"]).unwrap();
    run("ip", &["-n", &switch, "link", "add", "br0", "type", "bridge"]).unwrap();
    run("ip", &["-n", &switch, "addr", "add", "10.253.0.1/24", "dev", "br0"]).unwrap();
    run("ip", &["-n", &switch, "link", "set", "br0", "up"]).unwrap();
    let dir = std::env::temp_dir().join(&name);
    let programs = dir.join("programs");
    std::fs::create_dir_all(&programs).unwrap();
    // The program `ssh` with settings of the test's own.
    let ssh = format!("#!/bin/sh\nexec /usr/bin/ssh -F {}/ssh_config \"$@\"\n", dir.display());
    std::fs::write(programs.join("ssh"), ssh).unwrap();
    run("chmod", &["755", &programs.join("ssh").display().to_string()]).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let ran = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{switch}"))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "hosts::inside", "--ignored", "--nocapture"])
        .env(DIR, &dir)
        .env("PATH", path)
        .status()
        .unwrap();
    drop(guard);
    let _gone = std::fs::remove_dir_all(Path::new(&dir));
    assert!(ran.success(), "the test inside the network failed: see above");
}

/// The namespace of the switch, deleted with this value.
struct Switch(String);

impl Drop for Switch {
    fn drop(&mut self) {
        let _gone = run("ip", &["netns", "delete", &self.0]);
    }
}
