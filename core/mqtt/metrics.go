package mqtt

import (
	"github.com/lmqgate/lmqgate/core/limits"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the protocol side; see docs/metrics.md for their meaning.
type metrics struct {
	received                      [3]prometheus.Counter
	refused, refusals, tooMany    *prometheus.CounterVec
	handshakes                    *prometheus.CounterVec
	turnedAway, stalled           *prometheus.CounterVec
	unread, unsent, slowed        prometheus.Counter
	connects, malformed, tooLarge prometheus.Counter
	disconnects                   *prometheus.CounterVec
	connectTime                   prometheus.Histogram
	stored                        [3]prometheus.Observer
	withdrawn, refusedAgain       prometheus.Counter
	clients                       *prometheus.GaugeVec
	// arrived counts what came from clients, sent what went to them.
	arrived, sent traffic
}

func newMetrics(r prometheus.Registerer, s *Server) *metrics {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "lmqgate", Subsystem: "mqtt", Name: name, Help: help}
	}
	received := prometheus.NewCounterVec(opts("received_messages_total", "Messages received from clients, by QoS."), []string{"qos"})
	m := &metrics{
		refused: prometheus.NewCounterVec(opts("refused_connects_total", "Connections refused by CONNACK, by reason."), []string{"reason"}),
		refusals: prometheus.NewCounterVec(opts("refusals_total",
			"What clients wanted and was refused, by packet (CONNECT, PUBLISH, or SUBSCRIBE: each filter) and reason."),
			[]string{"packet", "reason"}),
		tooMany: prometheus.NewCounterVec(opts("refused_clients_total",
			"Authenticated clients that were refused because there were too many connections, by bound."), []string{"bound"}),
		handshakes: prometheus.NewCounterVec(opts("failed_handshakes_total",
			"Connections closed before MQTT began: by their PROXY protocol header, TLS or WebSocket handshake, or silence."), []string{"listener"}),
		turnedAway: prometheus.NewCounterVec(opts("turned_away_connections_total",
			"Connections closed before their client was admitted because there were too many, by bound."), []string{"bound"}),
		stalled: prometheus.NewCounterVec(opts("stalled_connections_total",
			"Connections closed because they held memory that others waited for and did not go on, by direction."), []string{"memory"}),
		slowed:    prometheus.NewCounter(opts("slowed_total", "Times that a client had to wait because of a rate, or of failed logins.")),
		unread:    prometheus.NewCounter(opts("unread_waits_total", "Times that a client was not read because it, or the node, had no memory left for messages.")),
		unsent:    prometheus.NewCounter(opts("unsent_waits_total", "Times that a client was not sent a message because the node had no memory left for it.")),
		withdrawn: prometheus.NewCounter(opts("withdrawn_subscriptions_total", "Subscriptions that ended because their client's rights have changed.")),
		refusedAgain: prometheus.NewCounter(opts("refused_reauthentications_total",
			"Connections closed because their client authenticated anew too often, or failed to too often.")),
		connects:  prometheus.NewCounter(opts("connects_total", "Clients admitted.")),
		malformed: prometheus.NewCounter(opts("malformed_packets_total", "Connections closed because of a packet that the protocol forbids.")),
		tooLarge:  prometheus.NewCounter(opts("too_large_messages_total", "Messages not sent because the client takes no packets of their size.")),
	}
	m.disconnects = prometheus.NewCounterVec(opts("disconnects_total", "Connections of admitted clients that ended, by reason."), []string{"reason"})
	// A rate needs a reading from before the first event, so the labels that are known are there from the start.
	for _, reason := range []string{endedByClient, endedWithWill, endedLost} {
		m.disconnects.WithLabelValues(reason)
	}
	for _, code := range []packet.Code{packet.SessionTakenOver, packet.KeepAliveTimeout, packet.MalformedPacket, packet.ProtocolError,
		packet.NotAuthorized, packet.ServerShuttingDown, packet.UseAnotherServer, packet.PacketTooLarge, packet.QuotaExceeded,
		packet.AdministrativeAction, packet.MaximumConnectTime, packet.MessageRateTooHigh} {
		m.disconnects.WithLabelValues(code.String())
	}
	for _, code := range []packet.Code{packet.UnsupportedProtocolVersion, packet.ClientIdentifierNotValid, packet.BadUserNameOrPassword,
		packet.NotAuthorized, packet.ServerUnavailable, packet.ServerBusy, packet.Banned, packet.BadAuthenticationMethod,
		packet.QuotaExceeded, packet.ConnectionRateExceeded} {
		m.refused.WithLabelValues(code.String())
		m.refusals.WithLabelValues("CONNECT", code.String())
	}
	for _, code := range []packet.Code{packet.NotAuthorized, packet.TopicNameInvalid, packet.QuotaExceeded,
		packet.ImplementationSpecificError} {
		m.refusals.WithLabelValues("PUBLISH", code.String())
	}
	for _, code := range []packet.Code{packet.NotAuthorized, packet.TopicFilterInvalid, packet.QuotaExceeded, packet.UnspecifiedError} {
		m.refusals.WithLabelValues("SUBSCRIBE", code.String())
	}
	for _, bound := range []string{"node", "listener", "address", "descriptors", "ban", "rate"} {
		m.turnedAway.WithLabelValues(bound)
	}
	for _, bound := range []string{boundNode, boundIdentity, boundShare, boundAddress} {
		m.tooMany.WithLabelValues(bound)
	}
	for _, memory := range []string{"inbound", "outbound"} {
		m.stalled.WithLabelValues(memory)
	}
	packets := prometheus.NewCounterVec(opts("packets_total", "MQTT packets, by direction and type."), []string{"direction", "type"})
	bytes := prometheus.NewCounterVec(opts("packet_bytes_total", "Bytes of MQTT packets, by direction and type."),
		[]string{"direction", "type"})
	m.arrived.init(packets, bytes, "in")
	m.sent.init(packets, bytes, "out")
	m.clients = prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("clients", "Admitted clients, by type of listener and MQTT version.")),
		[]string{"listener", "version"})
	for _, l := range s.o.Listeners {
		m.handshakes.WithLabelValues(l.Type)
		for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
			m.clients.WithLabelValues(l.Type, v.String())
		}
	}
	m.connectTime = prometheus.NewHistogram(histogram("connect_seconds", "From CONNECT to CONNACK, of clients that were admitted."))
	stored := prometheus.NewHistogramVec(histogram("publish_seconds",
		"From PUBLISH to the store's confirmation, after which PUBACK or PUBREC goes out, by QoS."), []string{"qos"})
	for i, q := range []string{"0", "1", "2"} {
		m.stored[i] = stored.WithLabelValues(q)
		m.received[i] = received.WithLabelValues(q)
	}
	if r != nil {
		memory := func(name, help string, b *limits.Budget) prometheus.Collector {
			return prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts(name, help)), func() float64 { return float64(b.Used()) })
		}
		r.MustRegister(m.slowed, prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("bans", "Bans of addresses, users and clients.")),
			func() float64 { return float64(len(s.o.Bans.List())) }))
		r.MustRegister(packets, bytes, m.clients, m.stalled, m.unread, m.unsent,
			memory("inbound_memory_bytes", "Memory of messages on their way into the store.", s.inbound),
			memory("outbound_memory_bytes", "Memory of what is in connections' buffers, on its way to clients.", s.outbound))
		r.MustRegister(received, m.disconnects, m.connectTime, stored, m.refused, m.refusals, m.tooMany, m.handshakes, m.turnedAway,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Namespace: "lmqgate", Subsystem: "mqtt", Name: "unadmitted_connections",
				Help: "Open connections whose client is not admitted.",
			}, func() float64 { return float64(s.pending.size()) }), m.connects, m.malformed, m.tooLarge, m.withdrawn, m.refusedAgain,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Namespace: "lmqgate", Subsystem: "mqtt", Name: "connections", Help: "Open connections, admitted or not.",
			}, func() float64 { return float64(s.Connections()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("connections_fill_ratio",
				"How much of mqtt.max_connections, or of what the limit of open files allows, is used; 0 if there is no bound.")), s.fillRatio))
	}
	return m
}

// histogram returns the options of a histogram in seconds, from a tenth of a millisecond to ten seconds.
func histogram(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Namespace: "lmqgate", Subsystem: "mqtt", Name: name, Help: help,
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}}
}
