// Package packet reads and writes MQTT control packets of the versions 3.1, 3.1.1 and 5.0, by the OASIS texts.
//
// A Reader turns a connection's bytes into packets and refuses all that a text forbids, with the reason code to answer and the
// statement that was broken (Error). Append, AppendPublish and AppendAck write packets into the caller's buffer without allocating.
// Both directions exist for every packet, so a test can be the client (Reader.Client). The package keeps no state of a session: packet
// identifiers in use, topic aliases, quotas, the syntax of topic filters and the length of topics and client identifiers are the
// server's business. It starts no goroutine and logs nothing.
//
// Why own code: the packets of mochi-mqtt/server v2.7.9, the nearest library, take what the texts forbid (properties that come twice,
// values out of range, property values that reach into the payload, bytes behind the last field, reserved subscription options, retain
// handling 3, unknown reason codes, a will QoS without a will, user names that are not UTF-8, lengths not in their shortest form),
// refuse what they allow (an empty will payload, an empty password, an empty AUTH), lose properties that are zero or empty (message
// expiry, content type, correlation data), and index out of range on a SUBSCRIBE of MQTT 5 that ends before
// its options. This package's tests use them as an independent oracle where both agree.
//
// Beyond the texts' numbered statements: what the MQTT 3.1 text tells a receiver to disregard is disregarded for 3.1 clients only, and
// a Remaining Length that is not in its shortest form is refused in MQTT 5 only, where the text forbids it.
package packet
