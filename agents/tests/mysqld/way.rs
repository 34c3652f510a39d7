//! The way to an old primary, in a network of the test's own.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};

use holdfast_agents::mysqld::way;

use crate::netns::Pair;

const PORT: u16 = 3306;

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

#[test]
fn while_the_way_is_shut_a_connection_fails_at_once_and_afterwards_nothing_is_left() {
    let Some(pair) = Pair::new() else { return };
    pair.enter_left_and(|pair| {
        for ip in ["10.77.0.2", "fd77::2"] {
            let listen = |port| pair.in_right(move || TcpListener::bind(at(ip, port)).unwrap());
            let _servers = [listen(PORT), listen(PORT + 1)];
            let known = TcpStream::connect(at(ip, PORT)).unwrap();
            let shut = way::shut(at(ip, PORT).ip(), PORT).unwrap();
            let refused = TcpStream::connect(at(ip, PORT)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{refused}");
            TcpStream::connect(at(ip, PORT + 1)).unwrap();
            drop(shut);
            TcpStream::connect(at(ip, PORT)).unwrap();
            drop(known);
        }
        assert!(!rules(&pair).contains("prohibit"));
    });
}

#[test]
fn what_an_acknowledgement_was_sent_over_carries_no_more() {
    let Some(pair) = Pair::new() else { return };
    pair.enter_left_and(|pair| {
        let server = pair.in_right(|| TcpListener::bind(at("10.77.0.2", PORT)).unwrap());
        let replica = TcpStream::connect(at("10.77.0.2", PORT)).unwrap();
        let (primary, _) = server.accept().unwrap();
        let _shut = way::shut(at("10.77.0.2", PORT).ip(), PORT).unwrap();
        std::io::Write::write_all(&mut &replica, b"received").unwrap();
        // Another connection the other way, made and answered after that: what was sent before it has had its time.
        let back = TcpListener::bind(at("10.77.0.1", PORT)).unwrap();
        pair.connect_right(back.local_addr().unwrap());
        primary.set_nonblocking(true).unwrap();
        let nothing = std::io::Read::read(&mut &primary, &mut [0; 8]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn what_a_killed_agent_left_is_opened_and_nothing_of_others() {
    let Some(pair) = Pair::new() else { return };
    pair.enter_left_and(|pair| {
        for ip in ["10.77.0.2", "fd77::2"] {
            std::mem::forget(way::shut(ip.parse().unwrap(), PORT).unwrap());
        }
        // Shut once more by the same promotion, repeated.
        std::mem::forget(way::shut("10.77.0.2".parse().unwrap(), PORT).unwrap());
        std::mem::forget(way::shut("10.77.0.2".parse().unwrap(), PORT + 1).unwrap());
        pair.run_left("ip rule add to 10.77.0.9 ipproto tcp dport 3306 prohibit");
        assert_eq!(way::open_all(PORT).unwrap(), 2);
        assert_eq!(way::open_all(PORT).unwrap(), 0);
        let left = rules(&pair);
        assert!(
            left.contains("to 10.77.0.9 ") && left.contains("dport 3307"),
            "{left}"
        );
        assert_eq!(left.matches("prohibit").count(), 2, "{left}");
        assert_eq!(way::open_all(PORT + 1).unwrap(), 1);
    });
}

fn rules(pair: &Pair) -> String {
    pair.run_left("ip rule") + &pair.run_left("ip -6 rule")
}
