// Package limits bounds what one party may take from the others: memory, rates, and attempts.
//
// A Budget is memory that many share: of the node, in one direction. Who wants to read or to send more than is left waits; nothing
// fails. An Account is what one client has of a budget, with a bound of its own. A Watermark watches the memory of the process and
// makes budgets small before the process dies.
//
// The package knows no MQTT. Who counts says what is counted, and what happens at the bound.
package limits
