// Package migration moves the metadata of a running cluster from one backend to another.
//
// Gateways never talk to each other, so everybody meets on a board: the namespace lmqgate.migration of the backend that is left
// (the source). The command (Run) writes the plan there, every node its answer. Nodes are followers; core/meta has their side.
//
//	phase     the command                                   a node
//	prepare   copies, again and again                       answers "seen", starts the target's plugin, answers "ready"
//	fence     waits for every node, copies the difference,  holds its writes, waits for those under way, answers "held"
//	          compares, and lets the arbiter decide
//	moved     waits for the nodes; the plan stays           uses the target, lets its writes go on, answers "moved"
//	aborted   the plan stays, and says why                  lets its writes go on, on the source
//
// What makes it safe:
//
// A node answers (acknowledges) no write whose end is later than Lease after it last began to read a plan that allows writes. So
// Lease after the plan was written, no node writes that has not read it, however long it was paused; and a node may write under a
// plan only after it wrote its answer and then read the plan again, so the command, which writes "fence" and then reads the
// answers, sees every node that could still write.
//
// Whether the cluster moves is decided once, by a compare-and-set (the arbiter: the source where it has that, else the target;
// without either there is no migration of running gateways). Only the command proposes "moved"; it proposes it after both sides
// were equal with all writes held. A node that has waited too long proposes "aborted". The first proposal stands, so a command or
// a node that dies, hangs or is cut off at any moment leaves all nodes on the source or all on the target, never some on each. No clock
// is compared with another's.
//
// A node that is started, or wakes up, after the move finds the plan on the source and follows, or refuses to write there.
//
// The plan names the target's plugin, never its configuration: each node has that in its own file, under meta.next. That it is
// the same backend is proved by a mark which the command leaves there.
package migration
