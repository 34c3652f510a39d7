use holdfast_proto::config::parse;
use holdfast_proto::ids::NodeId;
use holdfast_proto::state::genesis;

use super::*;

#[test]
fn the_first_record_is_committed_by_decree_and_promises_nothing() {
    let text = "[cluster]\nname = \"t\"\nid = \"00000000000000aa\"\n[[node]]\nname = \"n1\"\nlinks = [\"10.0.0.1\"]\n\
                keys = [\"1111111111111111111111111111111111111111111111111111111111111111\"]\n";
    let config = parse(text, "t.toml").expect("valid");
    let record = Durable::initial(genesis(Arc::new(config), NodeId(1)));
    assert_eq!(record.promised, Ballot::ZERO);
    assert_eq!(record.accepted_ballot, Ballot::ZERO);
    assert_eq!(record.accepted, record.committed);
    assert_eq!(record.accepted_version(), 1);
    assert!(
        record.promised < Ballot::ZERO.next_for(NodeId(1)),
        "every real ballot is higher"
    );
}
