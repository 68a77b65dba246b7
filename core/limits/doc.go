// Package limits bounds what one party may take from the others: memory, rates, and attempts.
//
// A Budget is memory that many share: the node's memory in one direction. Whoever wants to read or send more than is left has to wait;
// nothing fails. An Account is one client's part of a budget, with a bound of its own. A Watermark watches the memory of the process, and
// shrinks budgets before the process dies.
//
// The package knows no MQTT. Its users decide what is counted, and what happens at a bound.
package limits
