package rocketmq

import (
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/tracing"
)

// Names in RocketMQ.
const (
	// lmqPrefix begins the RocketMQ names of light message queues, and of the consumer groups that hold clients' offsets.
	lmqPrefix = "%LMQ%"
	// ownPrefix begins the names of the gateway's own topics, which are never first-level topics.
	ownPrefix = store.OwnPrefix
	// followUpTopic holds the follow-up records of dispatch sets that do not fit one record.
	followUpTopic = ownPrefix + "followup"
	// producerGroup is the group that sends. pullGroup is the group that reads; it is Apache RocketMQ MQTT's name, which brokers allow to
	// pull without registration.
	producerGroup = "GID_LMQ_SEND"
	pullGroup     = "CID_RMQ_SYS_LMQ_PULL"
)

// Properties of a record, with the names that Apache RocketMQ MQTT gives them.
const (
	// propID is the message's id, 32 hexadecimal digits.
	propID = "UNIQ_KEY"
	// propTags is tagMQTT for every message from MQTT: RocketMQ consumers can subscribe with this tag to get only those.
	propTags = "TAGS"
	// propDispatch is the dispatch set: LMQ names, including the prefix, joined by commas. A RocketMQ producer sets it to reach the queues
	// of sleeping sessions; online subscribers of the topic get its messages without it.
	propDispatch = "INNER_MULTI_DISPATCH"
	// propOffsets is added by the broker: the record's offset in each queue of the dispatch set, in the same order.
	propOffsets = "INNER_MULTI_QUEUE_OFFSET"
	// propTopic is the MQTT topic name as published.
	propTopic = "originMqttTopic"
	// propEmpty is "true" if the payload is empty; the body is then emptyBody.
	propEmpty = "IS_EMPTY_MSG"
	// propQoS is the QoS of the PUBLISH: 0, 1 or 2. Absent: 1.
	propQoS = "qosLevel"
	// propRetries is always "0" here; Apache RocketMQ MQTT counts redeliveries in it.
	propRetries = "retryTimes"
	// propExt is a JSON object of strings. The gateways of Apache RocketMQ MQTT read qosLevel from it; its mqttRealTopic takes precedence
	// over propTopic.
	propExt = "extData"
)

// Properties of a record that lmqgate adds. All are optional: RocketMQ producers may set them and consumers read them.
const (
	// propPublisher is the client id of the MQTT publisher.
	propPublisher = "mqttClientId"
	// propRetain is "1" if the PUBLISH had the RETAIN flag. It does not make a message from a RocketMQ producer a retained one.
	propRetain = "mqttRetain"
	// propCreated is when the message was published, propExpires when it may no longer be delivered (MQTT 5 message expiry), both in
	// milliseconds since the epoch.
	propCreated = "mqttCreated"
	propExpires = "mqttExpires"
	// propFormat is the MQTT 5 payload format indicator: "0" or "1" (UTF-8 text).
	propFormat = "mqttPayloadFormat"
	// propContentType and propResponseTopic are the MQTT 5 content type and response topic.
	propContentType   = "mqttContentType"
	propResponseTopic = "mqttResponseTopic"
	// propCorrelation is the MQTT 5 correlation data in standard Base64.
	propCorrelation = "mqttCorrelationData"
	// propEmptyOnes names those of propContentType and propCorrelation, joined by a comma, that are present but empty: RocketMQ's clients
	// do not keep empty properties.
	propEmptyOnes = "mqttEmptyProperties"
	// propUser holds the MQTT 5 user properties in order: a JSON array of [name, value] arrays.
	propUser = "mqttUserProperties"
	// propParent and propState are the message's trace context (W3C Trace Context), under the names that instrumented RocketMQ clients use.
	// They are among propUser as well. If the two differ, somebody else has written these, which then count.
	propParent = tracing.Parent
	propState  = tracing.State
	// propExchange names the QoS 2 exchange in which a durable session sent the message. Only that session uses it.
	propExchange = "mqttExchange"
	// propPartial is "1" if follow-up records carry the rest of the dispatch set; propFollowUp is "1" on those. Consumers with the tag
	// tagMQTT never see follow-ups, which have tagFollowUp.
	propPartial  = "mqttPartial"
	propFollowUp = "mqttFollowUp"
)

// base64Suffix ends the name of a text property whose value is in standard Base64, because the plain value would contain one of the two
// bytes that separate properties (0x01 and 0x02): originMqttTopic64 instead of originMqttTopic.
const base64Suffix = "64"

const (
	tagMQTT     = "MQTT_COMMON"
	tagFollowUp = "MQTT_FOLLOWUP"
	// emptyBody stands for an empty payload, which RocketMQ refuses.
	emptyBody = "★\r\n\t☀"
)
