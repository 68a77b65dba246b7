// Package cluster makes sure that a client id is connected only once in a whole cluster. Gateways never call each other: they exchange
// messages through the store.
//
// # The protocol
//
// Each node has an inbox, a light message queue that only this node reads (InboxQueue). A hash maps each client id to one of 256 buckets.
// Each bucket has an owner among the nodes, chosen by rendezvous hashing. A connection is a claim to its client id. The owner of the bucket
// knows who holds each client id and who waits for it. It decides claims in the order in which they arrive in its inbox.
//
//	newcomer's node -> owner      claim        a client connects
//	owner -> older node           yield        a later claim came: stop, close the connection, hand the session over
//	older node -> owner           gone         the connection is over, and all of it is committed and recorded
//	owner -> newcomer's node      grant        the session is yours
//
// The newcomer waits for the grant and loads the session after it. So no two nodes ever change the record of one session at the same time,
// and neither metadata nor store has to decide a race. A waiting claim is also told to yield when a still later one comes, so of any number
// of CONNECTs the last one wins. Three cases do not wait for the older node: a newcomer that begins a new session (it is granted at once);
// an older session that ends with its connection (there is nothing to hand over); and a newcomer whose session is new and ends with its
// connection. The last (a transient claim) does not even wait for the grant.
//
// # Which claim is the later one
//
// A CONNECT that begins after another one's CONNACK must win. So no CONNACK leaves before the claim is in the owner's inbox: a transient
// claim waits until its letter is stored. Claims that a node decides itself take the way through its own inbox, behind the claims of other
// nodes that were stored before. While the store does not answer, a transient claim goes on without after a second, or at once if letters
// to that owner have not been stored for a second already. So such clients can connect whatever state the store is in. The next attempt to
// store the letter says that the claim is late, and the owner then compares the times of the two CONNECTs, by the nodes' clocks. It does
// the same for claims that are repeated or passed on, and where it had to decide its own claim before it has read it in its inbox. What no
// letter can say is that it was stored after its client was let in, if one attempt takes longer than three seconds.
//
// # Membership
//
// The metadata lists the nodes that may exist. A node counts as a member once it was heard from through the store. A node that starts waits
// one lease for each other node that is listed and does not answer, because that node may have stopped just now. When the set of members
// changes, some buckets get new owners. A new owner calls the roll: each node answers with its claims to these buckets, and claims wait
// until all nodes have answered. No claim can miss the new owner, because the roll call itself tells each node who the owner is. If two
// nodes turn out to hold one client id, the later claim stays. Waiting claims are announced again every second, so nothing depends on a
// single letter.
//
// # Nodes that do not answer
//
// A node must read its inbox to serve. It sends itself a letter every fifth of Options.Lease. Once the latest of these that it has read was
// sent more than four fifths of a lease ago, by its own monotonic clock, Fenced is true, and sessions stop sending, storing, acknowledging
// and committing. So a node that has not answered for a whole lease after a letter to it was stored is certain to have stopped, for
// whatever reason, and the owner goes on without it. What counts is how far the owner itself has read: an answer that lies unread in its
// inbox is an answer. A node whose peers have all stopped is bound by the same rules, because they may wake.
//
// A node that wakes reads every yield that it missed before it reads its own letter. Then it asks the other nodes which clients were taken
// while they went on without it, because they could not know that those clients were connected here, and closes those connections too. Its
// other connections go on. It waits one lease for each answer, but only one second for a node that had stopped before. If a node that may
// have taken clients has ended, crashed or restarted meanwhile, nobody can answer for it, and the node closes all its connections. Finally
// it reads the metadata again, because nobody told it about additions while it was away.
//
// A node that is alone does not read its inbox. It relies on the metadata: a node that starts is listed before it serves, and waits for a
// lease for each node that it finds listed. Once a node has not read the metadata for three fifths of a lease, another one may have started
// without its knowledge. Then it reads its inbox as if there were one, and it is fenced if it cannot. So an outage of the store, or of the
// metadata, fences no node that is alone, and an outage of both does. A node that was fenced also asks the nodes that it
// knows from the metadata only.
//
// No node takes anything over while the store cannot store letters, so an outage of the store ends no connection. A fenced node considers
// no other node silent, and calls the roll for its buckets before it decides anything again. Claims that reached it meanwhile are
// forgotten: those that are still open are in the answers.
//
// # Cost
//
// A node that is alone, and whose metadata answers and lists no other, writes and reads nothing, and decides in memory. Otherwise a CONNECT
// costs at most two small appends (claim and grant), or one if the owner is the node itself or the claim is transient. The end of a
// connection costs one (gone), or none if the owner is the node itself. Messages to an inbox that come while an append to it is under way
// share the next append. A node reads only its own inbox.
//
// With 50 nodes and 100,000 CONNECTs per second in the cluster, each node announces 2,000 per second, 40 to each owner. As an owner it
// reads 2,000 claims and 2,000 ends per second, as a newcomer's node 2,000 grants: 6,000 entries of about 100 bytes, 600 KB per second. All
// nodes together write at most 300,000 entries per second. Messages to an inbox gather while an append is under way (about 2 ms), so each
// pair of nodes sends at most 500 letters per second; at this rate it sends about 120, with 1 entry each.
//
// Memory: about 200 bytes per connection on its node, and as many on the owner. Signs of life: one letter and its answer for each pair of
// nodes every quarter of a lease; with 50 nodes, 20 per second and node.
//
// # In this package
//
// Cluster is a node's side of the protocol, Claim a connection's side. wire.go defines the letters, and mail.go sends them. members.go
// tracks the members. owner.go decides claims, after rollcall.go has asked for those that there are. claims.go holds this node's claims,
// and transient.go has the wait for their letters. wake.go has what a node asks after it was fenced. ask.go asks other nodes on behalf of
// operators. One mutex guards everything and is never held during I/O; sessions are told in goroutines of their own. The package imports
// the contract of the store, and nothing about sessions.
package cluster
