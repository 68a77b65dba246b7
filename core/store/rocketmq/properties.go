package rocketmq

import "github.com/lmqgate/lmqgate/core/store"

// Names in RocketMQ.
const (
	// lmqPrefix begins the RocketMQ name of a light message queue, and of the consumer group that holds a client's offsets.
	lmqPrefix = "%LMQ%"
	// ownPrefix begins the names of the gateway's own topics, which are never first-level topics.
	ownPrefix = store.OwnPrefix
	// followUpTopic holds the follow-up records of dispatch sets that do not fit one record.
	followUpTopic = ownPrefix + "followup"
	// producerGroup is what sends; pullGroup what reads (upstream's name: brokers let it pull without registration).
	producerGroup = "GID_LMQ_SEND"
	pullGroup     = "CID_RMQ_SYS_LMQ_PULL"
)

// Properties of a record, as Apache RocketMQ MQTT names them.
const (
	// propID is the message's identity, 32 hexadecimal digits.
	propID = "UNIQ_KEY"
	// propTags is tagMQTT for every message from MQTT: RocketMQ consumers subscribe with it to get those only.
	propTags = "TAGS"
	// propDispatch is the dispatch set: LMQ names, prefix included, joined by commas. A RocketMQ producer sets it to reach the
	// queues of sleeping sessions; online subscribers of the topic get its messages without.
	propDispatch = "INNER_MULTI_DISPATCH"
	// propOffsets is added by the broker: the record's offset in each of them, in the same order.
	propOffsets = "INNER_MULTI_QUEUE_OFFSET"
	// propTopic is the MQTT topic name as published.
	propTopic = "originMqttTopic"
	// propEmpty is "true" where the payload is empty; the body is then emptyBody.
	propEmpty = "IS_EMPTY_MSG"
	// propQoS is the QoS of the PUBLISH: 0, 1 or 2. Absent: 1.
	propQoS = "qosLevel"
	// propRetries is always "0" here; upstream counts redeliveries in it.
	propRetries = "retryTimes"
	// propExt is a JSON object of strings. Upstream's gateways read qosLevel in it; mqttRealTopic in it wins over propTopic.
	propExt = "extData"
)

// Properties of a record that lmqgate adds. All are optional: RocketMQ producers may set them and consumers read them.
const (
	// propPublisher is the client id of the MQTT publisher.
	propPublisher = "mqttClientId"
	// propRetain is "1" where the PUBLISH had the RETAIN flag. It does not make a RocketMQ producer's message a retained one.
	propRetain = "mqttRetain"
	// propCreated and propExpires are when the message was published and when it may no longer be delivered (MQTT 5 message
	// expiry), in milliseconds since the epoch.
	propCreated = "mqttCreated"
	propExpires = "mqttExpires"
	// propFormat is the MQTT 5 payload format indicator: "0" or "1" (UTF-8 text).
	propFormat = "mqttPayloadFormat"
	// propContentType and propResponseTopic are the MQTT 5 content type and response topic.
	propContentType   = "mqttContentType"
	propResponseTopic = "mqttResponseTopic"
	// propCorrelation is the MQTT 5 correlation data in standard Base64.
	propCorrelation = "mqttCorrelationData"
	// propEmptyOnes names those of propContentType and propCorrelation, joined by a comma, that are there and empty: RocketMQ's
	// clients do not keep empty properties.
	propEmptyOnes = "mqttEmptyProperties"
	// propUser holds the MQTT 5 user properties in their order: a JSON array of [name, value] arrays.
	propUser = "mqttUserProperties"
	// propExchange names the QoS 2 exchange by which a durable session sent the message. Of use to that session only.
	propExchange = "mqttExchange"
	// propPartial is "1" where follow-up records carry the rest of the dispatch set, propFollowUp "1" on those. Consumers of
	// tag tagMQTT never see follow-ups: theirs is tagFollowUp.
	propPartial  = "mqttPartial"
	propFollowUp = "mqttFollowUp"
)

// base64Suffix ends the name of a text property whose value is in standard Base64, because as it is it would contain one of the
// two bytes that separate properties (0x01 and 0x02): originMqttTopic64 instead of originMqttTopic.
const base64Suffix = "64"

const (
	tagMQTT     = "MQTT_COMMON"
	tagFollowUp = "MQTT_FOLLOWUP"
	// emptyBody stands for an empty payload, which RocketMQ refuses.
	emptyBody = "★\r\n\t☀"
)
