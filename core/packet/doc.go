// Package packet reads and writes the control packets of MQTT 3.1, 3.1.1 and 5.0.
//
// A Reader turns the bytes of a connection into packets. It rejects everything that the texts forbid, with the reason code to answer
// and the statement that was violated (Error). Append, AppendPublish and AppendAck write packets into the caller's buffer without
// allocating. Every packet can be read and written, so a test can be the client (Reader.Client). The package has no session state:
// packet identifiers in use, topic aliases, quotas, the syntax of topic filters and the length of topics and client identifiers are
// checked by the server. It starts no goroutine and logs nothing.
//
// Why not a library: the nearest one, mochi-mqtt/server v2.7.9, accepts what the texts forbid (repeated properties, values out of
// range, property values that extend into the payload, bytes after the last field, reserved subscription options, retain handling 3,
// unknown reason codes, a will QoS without a will, user names that are not UTF-8, lengths that are not in their shortest form). It
// rejects what they allow (an empty will payload, an empty password, an empty AUTH). It loses properties that are zero or empty
// (message expiry, content type, correlation data), and indexes out of range when an MQTT 5 SUBSCRIBE ends before its options. The
// tests of this package use it as an independent oracle where both agree.
//
// Beyond the numbered statements: fields that the MQTT 3.1 text tells a receiver to ignore are ignored for 3.1 clients only. A
// Remaining Length that is not in its shortest form is rejected in MQTT 5 only, where the text forbids it.
package packet
