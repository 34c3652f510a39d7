//! What services say, and what stands in their files.

use holdfast_agents::fuzzing::rabbitmq::{Term, encoded};

use super::{Seeds, after};

pub fn calendars() -> Seeds {
    let at = |zone: u8, instant: i64, text: &str| {
        let head = [&[zone][..], &instant.to_le_bytes()].concat();
        after(&head, text.as_bytes())
    };
    vec![
        at(0, 1_700_000_000, "*/15 * * * *"),
        at(1, 1_711_846_800, "30 2 * * *"),
        at(2, 1_743_868_800, "0,45 1-2 1,15 apr,oct sun"),
        at(3, 0, "@yearly"),
        at(4, 1_725_768_000, "0 0 * * */7"),
        at(1, i64::MAX, "0 0 29 2 */7"),
        at(0, 0, "5/15 0 30,31 2 0-7"),
    ]
}

/// A packet of the protocol.
fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&length[..3], &[sequence], payload].concat()
}

/// A text with its length in one byte before it.
fn counted(text: &str) -> Vec<u8> {
    after(&[text.len() as u8], text.as_bytes())
}

fn column(name: &str) -> Vec<u8> {
    let texts = ["def", "", "", "", name, name].map(counted).concat();
    [&texts[..], &[0x0c, 45, 0, 0, 1, 0, 0, 0xfd, 0, 0, 0, 0, 0]].concat()
}

/// An answer with one row.
fn result(pairs: &[(&str, &str)]) -> Vec<u8> {
    let end = packet(9, &[0xfe, 0, 0, 2, 0]);
    let columns: Vec<u8> = pairs
        .iter()
        .flat_map(|(name, _)| packet(2, &column(name)))
        .collect();
    let row: Vec<u8> = pairs.iter().flat_map(|(_, value)| counted(value)).collect();
    [
        packet(1, &[pairs.len() as u8]),
        columns,
        end.clone(),
        packet(8, &row),
        end,
    ]
    .concat()
}

fn greeting(version: &str) -> Vec<u8> {
    let mut payload = after(&[10], version.as_bytes());
    payload.extend(b"\0\x07\0\0\012345678\0\xfe\xff\x2d\x02\0\xbf\x81\x15");
    payload.extend(b"\0\0\0\0\0\0\0\0\0\0123456789012\0mysql_native_password\0");
    packet(0, &payload)
}

pub fn mysql() -> Seeds {
    let done = packet(2, &[0, 0, 0, 2, 0, 0, 0]);
    let refused = packet(2, b"\xff\x28\x04#42000You have an error in your SQL syntax");
    let replica = [
        ("Slave_IO_Running", "Connecting"),
        ("Slave_SQL_Running", "No"),
        ("Last_SQL_Errno", "1062"),
        ("Last_SQL_Error", "Duplicate entry"),
        ("Seconds_Behind_Master", "3"),
        ("Gtid_IO_Pos", "0-1-7"),
    ];
    let member = [
        ("Variable_name", "wsrep_incoming_addresses"),
        ("Value", "10.0.0.1:3306,[fd00::2]:3306"),
    ];
    let maria = [greeting("5.5.5-10.11.19-MariaDB-log"), done.clone()].concat();
    let switched = [
        greeting("9.7.0"),
        packet(2, b"\xfeauth_socket\0"),
        packet(4, &[1, 3]),
        done,
    ]
    .concat();
    let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    vec![
        after(&[0], &[maria.clone(), result(&replica), result(&member)].concat()),
        after(&[0], &[switched, refused.clone(), result(&[("a", "b")])].concat()),
        after(&[0], &[greeting("8.0.0"), refused].concat()),
        after(&[0], &packet(0, b"\xff\x10\x04Too many connections")),
        after(&[1], b"0-1-100,0-2-105,3-1-7\x000-1-99,0-3-106"),
        after(
            &[2],
            format!("{uuid}:1-100:200-210:tag:1-5\0{uuid}:1-50:60:205").as_bytes(),
        ),
        after(
            &[2],
            format!("{uuid}:1-9223372036854775807\0{uuid}:1-9223372036854775807").as_bytes(),
        ),
    ]
}

pub fn seed() -> Seeds {
    let frame = |kind: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        [&[kind][..], &length.to_be_bytes(), payload].concat()
    };
    let begin = frame(b'b', &7u64.to_be_bytes());
    vec![
        [begin.clone(), frame(b'd', b"XBSTCK01"), frame(b'e', b"")].concat(),
        [begin, frame(b'f', "no\x07 room: \u{fffd}".as_bytes())].concat(),
        b"db1\n7\n1700000000\n0-1-7,1-2-3\n".to_vec(),
    ]
}

pub fn erlang() -> Seeds {
    let names = |names: &[&str]| Term::List(names.iter().map(|name| Term::atom(name)).collect());
    let facts = Term::Tuple(vec![
        Term::atom("running"),
        Term::atom("false"),
        names(&["rabbit@db1", "rabbit@db2"]),
        names(&["rabbit@db1"]),
        names(&[]),
        Term::Int(2),
        Term::List(vec![Term::Tuple(vec![Term::atom("rabbit@db1"), Term::Int(2)])]),
        Term::atom("true"),
        Term::atom("ignore"),
        Term::Int(1 << 40),
    ]);
    let more = Term::List(vec![
        Term::text("ab"),
        Term::Binary(b"x".to_vec()),
        Term::Map(vec![(Term::atom("k"), Term::Int(-1))]),
    ]);
    let reference = [90, 0, 1, 119, 1, b'n', 0, 0, 0, 1, 0, 0, 0, 9];
    let control = Term::Tuple(vec![Term::Int(2), Term::atom(""), Term::atom("p")]);
    let message = Term::Tuple(vec![Term::Other(reference.to_vec()), facts.clone()]);
    let answer = [&[112, 131][..], &encoded(&control), &[131], &encoded(&message)].concat();
    let framed = [&(answer.len() as u32).to_be_bytes()[..], &answer, &[0; 4]].concat();
    let old = b"\x67\x64\0\x03n@h\0\0\0\x01\0\0\0\x02\x01";
    let opened = b"\0\x03sok\0\x17N\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x02\0\x04n@ho\0\x11a0123456789abcdef";
    vec![
        after(&[0, 0], &encoded(&facts)),
        after(&[0, 0], &encoded(&more)),
        after(&[0, 0], old),
        after(&[1, 3], &framed),
        after(&[2, 0], opened),
        after(&[2, 0], b"\0\x07snot_al"),
        after(&[2, 0], b"\0\x06salive"),
        after(&[2, 0], b"w\0\x12\x34"),
    ]
}

const AGENT: &str = "<resource-agent name=\"db\"><parameters>\
    <parameter name=\"ip\" unique=\"1\" required=\"1\"><content type=\"string\"/></parameter>\
    <parameter name=\"passwd\"><content type=\"integer\" default=\"1\"/></parameter>\
    <parameter name=\"mode\"><deprecated/><content type=\"select\"><option value=\"a\"/><option value='b'/></content></parameter>\
    </parameters><actions><action name=\"start\" timeout=\"20\"/><action name=\"monitor\" depth=\"10\" timeout=\"500ms\" \
    interval=\"0\"/><action name=\"monitor\" role=\"Master\" timeout=\"2min\" interval=\"10s\"/></actions></resource-agent>";

pub fn ocf() -> Seeds {
    let tool = |which: u8, words: &str| after(&[3 * which + 1], words.replace(' ', "\n").as_bytes());
    vec![
        after(&[0], AGENT.as_bytes()),
        after(
            &[0],
            format!("{AGENT}\0passwd=Zq7Secret7qZ\nmode=c\nport=1\n").as_bytes(),
        ),
        tool(0, "-Q -v 100 -l reboot"),
        tool(1, "--promotion=g.r --update=-INFINITY"),
        tool(1, "-pg.r -Gq -d 3"),
        tool(2, "-n a-b -U 7 -d 5"),
        tool(3, "-p"),
        after(&[2 + 3 * 7], b"a\nocf-exit-reason:one\x1b[2J\nb\n"),
        after(&[2], br#"{"master-g.r":"-INFINITY","a":"7"}"#),
    ]
}

const DUMP: &str = "<config><common><section name=\"net\"><option name=\"protocol\" value=\"A\"/></section></common>\
    <resource name=\"r0\"><host name=\"n1\"/><host name=\"n2\"/><section name=\"disk\"><option name=\"fencing\" \
    value=\"resource-and-stonith\"/></section><section name=\"handlers\"><option name=\"fence-peer\" value=\"/sbin/reboot\"/>\
    </section><section name=\"net\"><option name=\"allow-two-primaries\"/></section></resource></config>";

const EVENTS: &str = "exists resource name:r0 role:Secondary suspended:no\n\
    exists connection name:r0 peer-node-id:1 conn-name:n2 connection:Connected role:Secondary\n\
    exists device name:r0 volume:0 minor:1000 disk:UpToDate\n\
    exists peer-device name:r0 conn-name:n2 volume:0 replication:Established peer-disk:UpToDate out-of-sync:4\n\
    exists -\ncall helper name:r0 conn-name:n2 helper:fence-peer\n\
    change device name:r0 volume:0 minor:1000 disk:UpToDate->Failed\ndestroy connection name:r0 conn-name:n2\n";

pub fn files() -> Seeds {
    let part = |path: u8, text: &str| after(&[path], text.as_bytes());
    let files = |parts: &[Vec<u8>]| after(&[0], &parts.join(&0));
    let options = "!includedir /etc/mysql/conf.d/\n[mysqld]\nwsrep_on=ON\nwsrep_sst_auth = sst:Zq7Secret7qZ\nskip-networking\n\
                   bind-address = 127.0.0.1\nsync_binlog=0\n";
    let galera = "[galera]\nwsrep_cluster_address=gcomm://\nwsrep_provider_options='pc.bootstrap=1'\nloose-x=\"a # b\"\n";
    let place = "# GALERA saved state\nversion: 2.1\nuuid: 3e11fa47-71ca-11e1-9e33-c80aa9429562\nseqno: -1\nsafe_to_bootstrap: 1\n";
    let redis = "include /etc/redis/more.conf\nsave \"\"\nrequirepass Zq7Secret7qZ\nreplicaof 10.0.0.2 6379\nbind 127.0.0.1 -::1\n\
                 protected-mode yes\n";
    let classic = "[{rabbit, [{cluster_partition_handling, pause_minority}]}]. % \"a\n";
    let nginx = "include conf.d/*.conf;\nserver { listen 10.0.0.101:80; listen [::]:80 default; } # x\n";
    vec![
        files(&[
            part(0, options),
            part(1, galera),
            part(3, place),
            part(4, "_WSREP_NEW_CLUSTER='--wsrep-new-cluster'\n"),
        ]),
        files(&[
            part(5, redis),
            part(6, "include /etc/redis/redis.conf\nappendonly yes\n"),
        ]),
        files(&[
            part(
                7,
                "cluster_partition_handling = pause_minority\ndefault_pass = Zq7Secret7qZ\n",
            ),
            part(9, classic),
        ]),
        files(&[
            part(10, nginx),
            part(12, "frontend a\n  bind 10.0.0.101:443 transparent\n"),
            part(13, "enable nginx.service\ndisable *\n"),
            part(15, ""),
        ]),
        after(&[1], DUMP.as_bytes()),
        after(&[2], EVENTS.as_bytes()),
        after(
            &[3],
            b"fence-peer n2\nunfence-peer\ndiscard-accepted n1 root on n1\n4 n2 left the set\n",
        ),
    ]
}
