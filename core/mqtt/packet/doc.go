// Package packet reads and writes MQTT control packets of the versions 3.1, 3.1.1 and 5.0, by the OASIS texts.
//
// A Reader turns a connection's bytes into packets and refuses all that a text forbids, with the reason code to answer and the
// statement that was broken (Error). Append, AppendPublish and AppendAck write packets into the caller's buffer without allocating.
// Both directions exist for every packet, so a test can be the client (Reader.Client). The package keeps no state of a session: packet
// identifiers in use, topic aliases, quotas, the syntax of topic filters and the length of topics and client identifiers are the
// server's business.
package packet
