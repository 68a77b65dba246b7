// Package cluster sees to it that a client id is connected once in a whole cluster. Gateways never call each other: what they tell one
// another goes through the store.
//
// # The protocol
//
// Each node has an inbox, a light message queue that it alone reads (InboxQueue). Client ids fall into 256 buckets by a hash, and each
// bucket has an owner among the nodes, by rendezvous hashing. A connection is a claim to its client id. The owner of the bucket knows who
// holds each client id and who waits for it, and decides by the order in which claims come to it: that is their order in its inbox.
//
//	newcomer's node -> owner      claim        a client connects
//	owner -> older node           yield        a later claim came: stop, close the connection, hand the session over
//	older node -> owner           gone         the connection is over, and all of it is committed and recorded
//	owner -> newcomer's node      grant        the session is yours
//
// The newcomer waits for the grant; the session is loaded after it, so no two nodes ever change one session's record at a time, and
// neither metadata nor store need to decide a race. A claim that waits is told to yield as well when a still later one comes, so of any
// number of CONNECTs the last one wins. Three cases do not wait for the older node: a newcomer that begins a new session (it is granted
// at once), an older session that ends with its connection (nothing is handed over), and a newcomer whose session is new and ends with
// its connection: it does not even wait for the grant, so such clients connect whatever state the store is in.
//
// # Who is there
//
// Metadata tells which nodes there may be; a node counts from when it was heard of through the store. When that set changes, buckets
// get other owners. A new owner calls the roll: each node answers with its claims to these buckets. Claims wait until all have answered.
// A node's answer and its later claims cannot miss the new owner, because the call itself tells the node who that is. Where two nodes
// turn out to hold one client id, the later claim stays. Claims that wait are told again every second, so nothing depends on one letter.
//
// # Nodes that do not answer
//
// A node has to read its inbox to serve: it writes itself a letter every fifth of Options.Lease, and once the last one that it has read
// was sent four fifths of a lease ago, by its own monotonic clock, Fenced is true and sessions stop sending, storing, acknowledging and
// committing. So a node that has not answered for a whole lease after a letter to it was stored has stopped, whatever became of it, and
// the owner goes on without it. When it wakes it reads, before its own letter, every yield that it missed. Then it asks the other nodes
// which clients were taken while they went on without it, without knowing that they were its own, and closes those connections too; all
// others go on. It waits a lease for an answer, and a second for that of a node that had stopped before. Where a node that may have taken
// some has ended, crashed or begun anew meanwhile, nobody can answer for it, and all connections are closed. At last the node reads the
// metadata again: what others added while it was away, they did not tell it. Nobody takes anything over while the store cannot store
// letters, so an outage of the store ends no connection. A node that is fenced believes nobody to be silent, and calls the roll for its
// buckets before it decides anything again.
//
// # What it costs
//
// A node that is alone writes and reads nothing, and decides in memory. Otherwise a CONNECT is at most two small appends (claim and grant),
// one where the owner is the node itself or nobody waits, and its end one (gone). What goes to one inbox while an append to it is under
// way shares the next. A node reads its inbox only. With 50 nodes and 100,000 CONNECTs a second in the cluster, each node announces
// 2,000 a second, 40 to each owner; as an owner it reads 2,000 claims and 2,000 ends a second, as a newcomer's node 2,000 grants: 6,000
// entries of some 100 bytes, 600 KB a second. All nodes together write at most 300,000 entries a second; letters to an inbox gather
// while one is under way (some 2 ms), so a second has 500 letters for a pair of nodes at most, and at this rate some 120 with 1 entry each.
// Memory: some 200 bytes a connection at its node, and as many at the owner. Signs of life: a letter and its answer for each pair of nodes
// each quarter of a lease, 20 a second and node with 50 nodes.
//
// # In this package
//
// Cluster is a node's side; Claim is a connection's. wire.go has the letters, mail.go sends them, members.go has who is there, owner.go
// decides, claims.go has what this node holds, wake.go what a node asks after it was fenced, and ask.go asks other nodes what operators
// want to know. One mutex guards it all, and is held over no I/O; sessions are told in goroutines of their own. The package imports the
// store's contract and nothing of sessions.
package cluster
