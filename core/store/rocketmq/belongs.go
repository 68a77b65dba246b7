package rocketmq

import (
	"strings"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/lmqgate/lmqgate/remoting"
)

// Anyone who may write to RocketMQ can name any light message queue. RocketMQ itself copies records, with the queue names, into its topics
// for undecided transactions, delayed messages, retries and dead letters. Brokers index all of these. So a record in a queue counts only if
// it lies in the RocketMQ topic that holds the first level of its MQTT topic. All reads of queues and topics apply this rule. Records that
// do not count are skipped, and a group acknowledges them.

// p2pTopic holds point-to-point messages of every first level on brokers where only one topic may feed a queue.
const p2pTopic = ownPrefix + "p2p"

// belongs reports whether a record may lie in a RocketMQ topic. followUp is set for records that only carry entries.
func (s *Store) belongs(rocketmqTopic string, r *store.Record, followUp bool) bool {
	if strings.HasPrefix(rocketmqTopic, ownPrefix) {
		switch rocketmqTopic {
		case followUpTopic:
			return followUp
		case p2pTopic:
			_, p2p := topic.P2PTarget(r.Topic)
			return p2p
		}
		return r.Topic == rocketmqTopic
	}
	if systemTopic(rocketmqTopic) {
		return false
	}
	first := topic.First(r.Topic)
	if first == topic.Events && s.opts.Events != "" {
		return rocketmqTopic == s.opts.Events
	}
	return first == rocketmqTopic || rocketmqTopic == s.opts.Fallback && s.ValidTopic(first) != nil
}

// decode makes a record, without its payload, from a message. The decoding says whether the record counts.
func (s *Store) decode(broker string, m *remoting.Message) (*store.Record, decoding) {
	r, d := decode(broker, m)
	if !s.belongs(m.Topic, r, d.followUp) {
		d.foreign = true
		s.metrics.foreign.Inc()
		s.log.Debug("a record is not of its topic's first level, and is passed over", "topic", clip(m.Topic), "MQTT topic", clip(r.Topic),
			"broker", broker, "log offset", m.LogOffset)
	}
	return r, d
}
