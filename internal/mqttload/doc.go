// Package mqttload puts measured loads on an MQTT broker of any make, and reports rates and latencies.
//
// A Scenario names a traffic pattern, a Plan says how much of it, and Run plays it against a Target. Messages carry the time
// at which they were sent, their publisher and a sequence number, so that subscribers measure latency and notice what is
// missing or out of order. Compare plays a Plan against two targets in turns, because only ratios from one run count on a
// machine whose speed drifts.
//
// Clients write raw packets (package packet) and share no code with the gateway's own connections. A Run ends by itself: each wait
// has a deadline, and every connection is closed when Run returns.
package mqttload
