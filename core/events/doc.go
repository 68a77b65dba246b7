// Package events tells programs what happens to clients and sessions: who connected, who left and why, what was subscribed, which sessions
// began, moved and ended, and which messages were dropped. Each Event is a message in JSON that the store keeps like any other, so RocketMQ
// applications consume events, and MQTT clients subscribe to them.
//
// A Log gives each event a number, in the order of Add, keeps those that are not stored yet in bounded memory, and stores them in that
// order, each at least once. Where the store is away for longer than the memory lasts, new events are left out and counted; a reader
// sees that by the numbers that are missing. The memory is that of the process: what waits in it when the process is killed is not stored.
//
// Add never waits. A nil Log takes nothing: ask On before anything is made for an Event.
package events
