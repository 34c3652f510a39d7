//! The agents that are run, with what they need and how they are broken.

use anyhow::{Context, Result};

/// One agent with parameters.
pub struct Case {
    /// Unique; the agent's type, and more where there are several of it.
    pub name: &'static str,
    /// `PROVIDER:TYPE`.
    pub agent: &'static str,
    /// Its parameters.
    pub params: &'static [(&'static str, &'static str)],
    /// It has roles.
    pub promotable: bool,
    /// Programs without which it is skipped.
    pub needs: &'static [&'static str],
    /// Shell: what has to be there. Runs in `/run/t`, with an interface `d0` (10.9.0.1/24).
    pub setup: &'static str,
    /// Shell: prints the state that both executors must leave alike.
    pub state: &'static str,
    /// Shell: breaks what runs, so that `monitor` must say so. Empty when nothing can be broken.
    pub breaks: &'static str,
}

const PLAIN: Case = Case {
    name: "",
    agent: "",
    params: &[],
    promotable: false,
    needs: &[],
    setup: "",
    state: "",
    breaks: "",
};

/// The case of that name.
pub fn find(name: &str) -> Result<&'static Case> {
    CASES
        .iter()
        .find(|case| case.name == name)
        .with_context(|| format!("there is no case {name}"))
}

/// All of them.
pub const CASES: &[Case] = &[
    Case {
        name: "Dummy",
        agent: "heartbeat:Dummy",
        params: &[("state", "/run/t/dummy")],
        state: "ls",
        breaks: "rm dummy",
        ..PLAIN
    },
    Case {
        name: "pacemaker:Dummy",
        agent: "pacemaker:Dummy",
        params: &[("state", "/run/t/dummy")],
        state: "ls",
        breaks: "rm dummy",
        ..PLAIN
    },
    Case {
        name: "dummypy",
        agent: "heartbeat:dummypy",
        params: &[("state", "/run/t/dummy")],
        state: "ls",
        breaks: "rm dummy",
        ..PLAIN
    },
    Case {
        name: "Stateful",
        agent: "heartbeat:Stateful",
        params: &[("state", "/run/t/state")],
        state: "ls",
        breaks: "rm state",
        ..PLAIN
    },
    Case {
        name: "Stateful (promotable)",
        agent: "pacemaker:Stateful",
        params: &[("state", "/run/t/state")],
        promotable: true,
        state: "ls; cat /run/attributes /run/holdfast-agentd/shop.attributes 2>/dev/null; true",
        breaks: "rm state",
        ..PLAIN
    },
    Case {
        name: "Delay",
        agent: "heartbeat:Delay",
        params: &[("startdelay", "0"), ("stopdelay", "0"), ("mondelay", "0")],
        state: "ls /run/resource-agents",
        breaks: "rm /run/resource-agents/*",
        ..PLAIN
    },
    Case {
        name: "MailTo",
        agent: "heartbeat:MailTo",
        params: &[("email", "root"), ("subject", "test")],
        needs: &["mail"],
        state: "ls /run/resource-agents",
        breaks: "rm /run/resource-agents/*",
        ..PLAIN
    },
    Case {
        name: "symlink",
        agent: "heartbeat:symlink",
        params: &[("link", "/run/t/link"), ("target", "/run/t/target")],
        setup: "echo x > target",
        state: "ls; readlink link; true",
        breaks: "rm link",
        ..PLAIN
    },
    Case {
        name: "anything",
        agent: "heartbeat:anything",
        params: &[
            ("binfile", "/bin/sleep"),
            ("cmdline_options", "1000"),
            ("pidfile", "/run/t/pid"),
        ],
        state: "names sleep; ls",
        breaks: "end sleep",
        ..PLAIN
    },
    Case {
        name: "IPaddr2",
        agent: "heartbeat:IPaddr2",
        params: &[("ip", "10.9.0.9"), ("cidr_netmask", "24"), ("nic", "d0")],
        state: "ip -br -4 addr show dev d0",
        breaks: "ip addr del 10.9.0.9/24 dev d0",
        ..PLAIN
    },
    Case {
        name: "IPaddr2 (IPv6)",
        agent: "heartbeat:IPaddr2",
        params: &[("ip", "fd00::9"), ("cidr_netmask", "64"), ("nic", "d0")],
        state: "ip -br -6 addr show dev d0 | grep -o fd00::9/64; true",
        breaks: "ip addr del fd00::9/64 dev d0",
        ..PLAIN
    },
    Case {
        name: "IPsrcaddr",
        agent: "heartbeat:IPsrcaddr",
        params: &[("ipaddress", "10.9.0.8"), ("cidr_netmask", "24")],
        setup: "ip addr add 10.9.0.8/24 dev d0; ip route add default via 10.9.0.254 dev d0 src 10.9.0.1",
        state: "ip route",
        breaks: "ip route replace default via 10.9.0.254 dev d0 src 10.9.0.1; ip route replace 10.9.0.0/24 dev d0 src 10.9.0.1",
        ..PLAIN
    },
    Case {
        name: "Route",
        agent: "heartbeat:Route",
        params: &[("destination", "10.8.0.0/24"), ("gateway", "10.9.0.254"), ("device", "d0")],
        state: "ip route",
        breaks: "ip route del 10.8.0.0/24",
        ..PLAIN
    },
    Case {
        name: "SendArp",
        agent: "heartbeat:SendArp",
        params: &[("ip", "10.9.0.1"), ("nic", "d0")],
        // Without what it does in the background for some seconds: that is over sooner or later, by whoever's pace.
        state: "ls /run/resource-agents | grep -v '^send_arp-'; true",
        ..PLAIN
    },
    Case {
        name: "ethmonitor",
        agent: "heartbeat:ethmonitor",
        params: &[("interface", "d0"), ("repeat_count", "1")],
        state: "ls /run/resource-agents",
        ..PLAIN
    },
    Case {
        name: "Filesystem (bind)",
        agent: "heartbeat:Filesystem",
        params: &[
            ("device", "/run/t/a"),
            ("directory", "/run/t/b"),
            ("fstype", "none"),
            ("options", "bind"),
        ],
        setup: "mkdir a b; echo x > a/file",
        state: "ls b; grep -c /run/t/b /proc/mounts; true",
        breaks: "umount b",
        ..PLAIN
    },
    Case {
        name: "Filesystem (loop)",
        agent: "heartbeat:Filesystem",
        params: &[
            ("device", "/run/t/image"),
            ("directory", "/run/t/b"),
            ("fstype", "ext4"),
            ("options", "loop"),
        ],
        needs: &["mkfs.ext4"],
        setup: "mkdir b; truncate -s 8M image; mkfs.ext4 -q image",
        state: "ls b; grep -c /run/t/b /proc/mounts; true",
        breaks: "umount b",
        ..PLAIN
    },
    Case {
        name: "portblock",
        agent: "heartbeat:portblock",
        params: &[
            ("protocol", "tcp"),
            ("portno", "8080"),
            ("action", "block"),
            ("ip", "10.9.0.1"),
        ],
        needs: &["iptables"],
        state: "iptables -S INPUT",
        ..PLAIN
    },
    Case {
        name: "nginx",
        agent: "heartbeat:nginx",
        params: &[("configfile", "/run/t/nginx.conf"), ("port", "8080")],
        needs: &["nginx", "curl"],
        setup: "cat > nginx.conf <<END
pid /run/nginx.pid; error_log /run/t/error.log;
events {} http { access_log off; server { listen 127.0.0.1:8080; location / { return 200 ok; } } }
END",
        state: "names nginx; ls /run/nginx.pid 2>/dev/null; true",
        breaks: "end nginx",
        ..PLAIN
    },
    Case {
        name: "apache",
        agent: "heartbeat:apache",
        params: &[("configfile", "/run/t/apache.conf"), ("statusurl", "http://127.0.0.1:8080/")],
        needs: &["apache2", "wget"],
        setup: "mkdir htdocs; echo '<html><body>ok</body></html>' > htdocs/index.html; chmod 755 . htdocs; cat > apache.conf <<END
ServerName localhost
ServerRoot /run/t
Listen 127.0.0.1:8080
PidFile /run/t/apache.pid
ErrorLog /run/t/error.log
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
DocumentRoot /run/t/htdocs
DirectoryIndex index.html
END",
        state: "names apache2; ls apache.pid 2>/dev/null; true",
        breaks: "end apache2",
        ..PLAIN
    },
    Case {
        name: "mysql",
        agent: "heartbeat:mysql",
        params: &[
            ("binary", "/usr/sbin/mariadbd"),
            ("client_binary", "/usr/bin/mariadb"),
            ("config", "/run/t/my.cnf"),
            ("datadir", "/run/t/data"),
            ("socket", "/run/t/sock"),
            ("pid", "/run/t/pid"),
            ("log", "/run/t/log"),
            ("additional_parameters", "--skip-networking"),
        ],
        needs: &["mariadbd", "mariadb-install-db"],
        setup: "chmod 777 .; printf '[mysqld]\\n' > my.cnf
mariadb-install-db --no-defaults --user=mysql --datadir=/run/t/data --skip-test-db >/dev/null 2>&1",
        state: "names mariadbd; ls sock pid 2>/dev/null; true",
        breaks: "end mariadbd",
        ..PLAIN
    },
    Case {
        name: "pgsql",
        agent: "heartbeat:pgsql",
        params: &[
            ("pgctl", "/run/t/bin/pg_ctl"),
            ("psql", "/usr/bin/psql"),
            ("pgdata", "/run/t/data"),
            ("config", "/run/t/data/postgresql.conf"),
            ("socketdir", "/run/t/sockets"),
            ("logfile", "/run/t/sockets/log"),
        ],
        needs: &["psql"],
        setup: "chmod 755 .; ln -s \"$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)\" bin
install -d -o postgres -g postgres -m 700 data; install -d -o postgres -g postgres sockets
su postgres -s /bin/sh -c '/run/t/bin/initdb --auth=trust --no-sync /run/t/data' >/dev/null
printf \"listen_addresses = '127.0.0.1'\\nunix_socket_directories = '/run/t/sockets'\\n\" >> data/postgresql.conf",
        state: "names postgres; ls data/postmaster.pid 2>/dev/null; true",
        breaks: "end postgres",
        ..PLAIN
    },
    Case {
        name: "named",
        agent: "heartbeat:named",
        params: &[
            ("named_config", "/run/t/named.conf"),
            ("named_pidfile", "/run/t/named.pid"),
            ("named_user", "bind"),
            ("monitor_request", "x.test"),
            ("monitor_response", "10.9.0.1"),
            ("monitor_ip", "127.0.0.1"),
        ],
        needs: &["named", "host", "rndc"],
        setup: "chmod 777 .; mkdir -p /run/named; chown bind /run/named; rndc-confgen -a >/dev/null 2>&1
cat > named.conf <<END
include \"/etc/bind/rndc.key\";
options { directory \"/run/t\"; pid-file \"/run/t/named.pid\"; listen-on { 127.0.0.1; }; listen-on-v6 { none; };
  recursion no; session-keyfile \"/run/t/session.key\"; };
controls { inet 127.0.0.1 allow { 127.0.0.1; } keys { \"rndc-key\"; }; };
zone \"test\" { type master; file \"/run/t/zone\"; };
END
cat > zone <<END
@ 60 IN SOA a.test. b.test. 1 60 60 60 60
@ 60 IN NS a.test.
a 60 IN A 10.9.0.1
x 60 IN A 10.9.0.1
END",
        state: "names named; ls named.pid 2>/dev/null; true",
        breaks: "end named",
        ..PLAIN
    },
    Case {
        name: "dhcpd",
        agent: "heartbeat:dhcpd",
        params: &[
            ("config", "/run/t/dhcpd.conf"),
            ("interface", "d0"),
            ("chrooted", "false"),
            ("user", "root"),
            ("group", "root"),
            ("pid", "dhcpd.pid"),
        ],
        needs: &["dhcpd"],
        setup: "echo 'subnet 10.9.0.0 netmask 255.255.255.0 { range 10.9.0.50 10.9.0.60; }' > dhcpd.conf; mkdir -p /var/lib/dhcp/db; touch /var/lib/dhcp/dhcpd.leases",
        state: "names dhcpd",
        breaks: "end dhcpd",
        ..PLAIN
    },
    Case {
        name: "rsyncd",
        agent: "heartbeat:rsyncd",
        params: &[("conffile", "/run/t/rsyncd.conf")],
        needs: &["rsync"],
        setup: "printf 'pid file = /run/t/rsyncd.pid\\nport = 8730\\n[x]\\npath = /run/t\\n' > rsyncd.conf",
        state: "names rsync; ls rsyncd.pid 2>/dev/null; true",
        breaks: "end rsync",
        ..PLAIN
    },
    Case {
        name: "Squid",
        agent: "heartbeat:Squid",
        params: &[
            ("squid_exe", "/usr/sbin/squid"),
            ("squid_conf", "/run/t/squid.conf"),
            ("squid_pidfile", "/run/t/squid.pid"),
            ("squid_port", "3128"),
        ],
        needs: &["squid", "netstat"],
        setup: "chmod 777 .; cat > squid.conf <<END
http_port 127.0.0.1:3128
pid_filename /run/t/squid.pid
access_log none
cache_log /run/t/cache.log
cache deny all
pinger_enable off
shutdown_lifetime 1 seconds
END",
        state: "names squid; ls squid.pid 2>/dev/null; true",
        breaks: "end squid",
        ..PLAIN
    },
    Case {
        name: "dovecot",
        agent: "heartbeat:dovecot",
        params: &[("config_file", "/run/t/dovecot.conf")],
        needs: &["dovecot"],
        setup: "mkdir base; cat > dovecot.conf <<END
base_dir = /run/t/base
protocols =
log_path = /run/t/log
ssl = no
END",
        state: "names dovecot",
        breaks: "end dovecot",
        ..PLAIN
    },
    Case {
        name: "postfix",
        agent: "heartbeat:postfix",
        needs: &["postfix"],
        setup: "postconf -e inet_interfaces=loopback-only compatibility_level=3.6 >/dev/null 2>&1; newaliases 2>/dev/null; true",
        state: "names master",
        breaks: "end master; end qmgr; end pickup",
        ..PLAIN
    },
    Case {
        name: "rsyslog",
        agent: "heartbeat:rsyslog",
        params: &[
            ("configfile", "/run/t/rsyslog.conf"),
            ("start_opts", "-f /run/t/rsyslog.conf -i /run/t/rsyslog.pid"),
        ],
        needs: &["rsyslogd"],
        setup: "echo '*.* /run/t/log' > rsyslog.conf",
        state: "names rsyslogd",
        breaks: "end rsyslogd",
        ..PLAIN
    },
    Case {
        name: "redis",
        agent: "heartbeat:redis",
        params: &[
            ("bin", "/usr/bin/redis-server"),
            ("client_bin", "/usr/bin/redis-cli"),
            ("config", "/run/t/redis.conf"),
            ("user", "root"),
            ("rundir", "/run/t"),
            ("pidfile_name", "redis.pid"),
            ("socket_name", "redis.sock"),
            ("port", "6390"),
            ("wait_last_known_master", "false"),
        ],
        needs: &["redis-server", "redis-cli"],
        setup: "printf 'bind 127.0.0.1\\nport 6390\\ndaemonize yes\\ndir /run/t\\nunixsocket /run/t/redis.sock\\n' > redis.conf",
        state: "names redis-server",
        breaks: "end redis-server",
        ..PLAIN
    },
    Case {
        name: "tomcat",
        agent: "heartbeat:tomcat",
        params: &[
            ("java_home", "/usr/lib/jvm/default-java"),
            ("catalina_home", "/usr/share/tomcat10"),
            ("catalina_base", "/run/t/base"),
            ("catalina_pid", "/run/t/tomcat.pid"),
            ("tomcat_user", "root"),
            ("statusurl", "http://127.0.0.1:8081/"),
            ("catalina_rotate_log", "NO"),
        ],
        needs: &[
            "/usr/lib/jvm/default-java",
            "/usr/share/tomcat10/bin/catalina.sh",
        ],
        setup: "mkdir -p base/conf base/logs base/temp base/webapps/ROOT base/work; cp /etc/tomcat10/web.xml base/conf/
echo ok > base/webapps/ROOT/index.html
echo '<Server port=\"-1\"><Service name=\"Catalina\"><Connector port=\"8081\" address=\"127.0.0.1\"/><Engine name=\"Catalina\" defaultHost=\"localhost\"><Host name=\"localhost\" appBase=\"webapps\"/></Engine></Service></Server>' > base/conf/server.xml",
        state: "names java",
        breaks: "end java",
        ..PLAIN
    },
    Case {
        name: "exportfs",
        agent: "heartbeat:exportfs",
        params: &[
            ("clientspec", "10.9.0.0/24"),
            ("directory", "/run/t/share"),
            ("fsid", "7"),
            ("options", "rw"),
        ],
        needs: &["exportfs"],
        setup: "mkdir share",
        state: "exportfs",
        breaks: "exportfs -u 10.9.0.0/24:/run/t/share",
        ..PLAIN
    },
    Case {
        name: "HealthCPU",
        agent: "pacemaker:HealthCPU",
        state: "ls /run/resource-agents",
        ..PLAIN
    },
    Case {
        name: "SysInfo",
        agent: "pacemaker:SysInfo",
        params: &[("pidfile", "/run/t/pid")],
        state: "ls",
        breaks: "rm pid",
        ..PLAIN
    },
    Case {
        name: "ping",
        agent: "pacemaker:ping",
        params: &[("host_list", "127.0.0.1"), ("pidfile", "/run/t/ping"), ("dampen", "0")],
        needs: &["ping"],
        state: "ls",
        breaks: "rm ping",
        ..PLAIN
    },
];
