// Package mqttload puts a measured load on any MQTT broker, and reports rates and latencies.
//
// A Scenario names a traffic pattern, a Plan says how much of it, and Run runs it against a Target. Each message has the time at which it
// was sent, its publisher and a sequence number. With them subscribers measure latency, and detect messages that are missing or out of
// order. Compare alternates between two targets, because on a machine whose speed drifts only ratios from one run are meaningful.
//
// Clients write raw packets (package packet) and share no code with the gateway's connections. A Run ends by itself: each wait has a
// deadline, and all connections are closed when Run returns.
package mqttload
