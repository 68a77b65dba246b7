// Package migration is the protocol that moves the metadata of a running cluster from one backend to another.
//
// Gateways never talk to each other, so command and nodes communicate through a board: the namespace lmqgate.migration of the old
// backend (the source). The command (coordinator.Run) writes a plan there, and each node writes its answer. core/meta has the node's side.
//
//	phase     the command                                   a node
//	prepare   copies, again and again                       answers "seen", starts the target's plugin, answers "ready"
//	fence     waits for every node, copies the difference,  holds its writes, waits for those under way, answers "held"
//	          compares, and lets the arbiter decide
//	moved     waits for the nodes; the plan stays           uses the target, lets its writes go on, answers "moved"
//	aborted   the plan stays, and says why                  lets its writes go on, on the source
//
// Why it is safe:
//
// A node acknowledges a write only if the write ends within Lease of the moment at which the node last began to read a plan that
// allows writes. So a node that has not read the new plan acknowledges no write once Lease has passed since the plan was written,
// however long the node was paused. A node writes under a plan only after it has written its answer and read the plan again. The
// command writes "fence" and then reads the answers, so it sees every node that could still write.
//
// One compare-and-set decides whether the cluster moves. It is made on the arbiter: the source if it supports compare-and-set, else
// the target. If neither does, running gateways cannot be migrated. Only the command proposes "moved", after both sides were equal
// while all writes were held. A node that has waited too long proposes "aborted". The first proposal wins. So if the command or a
// node dies, hangs or is cut off at any moment, all nodes end up on the source or all on the target. No two clocks are compared.
//
// A node that cannot ask the arbiter, and never answered "held" with a target that it knew, takes the plan for aborted after twice its time
// and a minute, unless another node has moved: somebody wrote such a plan by hand.
//
// A node that starts or resumes after the move finds the plan on the source. It follows the plan, or refuses to write to the source.
//
// The plan names the target's plugin and never its configuration, which each node has in its own file, under meta.next. The command
// leaves a mark in the target, which proves that all nodes mean the same backend.
package migration
