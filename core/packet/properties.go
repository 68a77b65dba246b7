package packet

import "math/bits"

// Properties are the MQTT 5 properties of one packet (MQTT 5, 2.2.2). A nil field is absent; that differs from a property present with
// the value zero. CorrelationData and AuthenticationData that are empty but not nil are present. Times are seconds, sizes bytes.
type Properties struct {
	PayloadFormat           *byte
	MessageExpiryInterval   *uint32
	ContentType             *string
	ResponseTopic           *string
	CorrelationData         []byte
	SubscriptionIdentifiers []uint32 // 1 to 268,435,455; SUBSCRIBE holds at most one

	SessionExpiryInterval    *uint32
	AssignedClientIdentifier *string
	ServerKeepAlive          *uint16

	AuthenticationMethod *string
	AuthenticationData   []byte

	RequestProblemInformation  *byte
	WillDelayInterval          *uint32
	RequestResponseInformation *byte
	ResponseInformation        *string
	ServerReference            *string
	ReasonString               *string

	ReceiveMaximum    *uint16
	TopicAliasMaximum *uint16
	TopicAlias        *uint16

	MaximumQoS      *byte
	RetainAvailable *byte

	User []UserProperty // in the order of the packet; keys may repeat

	MaximumPacketSize               *uint32
	WildcardSubscriptionAvailable   *byte
	SubscriptionIdentifierAvailable *byte
	SharedSubscriptionAvailable     *byte
}

// MaxUserProperties is how many user properties a packet that is read may have. Each takes up to ten times the memory of its bytes on the
// wire.
const MaxUserProperties = 1024

// UserProperty is one name and value that the application defines.
type UserProperty struct {
	Key, Value string
}

// The property identifiers (MQTT 5, table 2-4).
const (
	idPayloadFormat                   = 1
	idMessageExpiryInterval           = 2
	idContentType                     = 3
	idResponseTopic                   = 8
	idCorrelationData                 = 9
	idSubscriptionIdentifier          = 11
	idSessionExpiryInterval           = 17
	idAssignedClientIdentifier        = 18
	idServerKeepAlive                 = 19
	idAuthenticationMethod            = 21
	idAuthenticationData              = 22
	idRequestProblemInformation       = 23
	idWillDelayInterval               = 24
	idRequestResponseInformation      = 25
	idResponseInformation             = 26
	idServerReference                 = 28
	idReasonString                    = 31
	idReceiveMaximum                  = 33
	idTopicAliasMaximum               = 34
	idTopicAlias                      = 35
	idMaximumQoS                      = 36
	idRetainAvailable                 = 37
	idUserProperty                    = 38
	idMaximumPacketSize               = 39
	idWildcardSubscriptionAvailable   = 40
	idSubscriptionIdentifierAvailable = 41
	idSharedSubscriptionAvailable     = 42

	maxPropertyID = 42
)

// kind is a property's wire type.
type kind byte

const (
	kindNone kind = iota
	kindByte
	kindUint16
	kindUint32
	kindVarint
	kindString
	kindBinary
	kindPair
)

// property describes one identifier. Identifiers are below 64, so that a set of them is one word.
type property struct {
	name string
	kind kind
}

var properties = [maxPropertyID + 1]property{
	idPayloadFormat:                   {"Payload Format Indicator", kindByte},
	idMessageExpiryInterval:           {"Message Expiry Interval", kindUint32},
	idContentType:                     {"Content Type", kindString},
	idResponseTopic:                   {"Response Topic", kindString},
	idCorrelationData:                 {"Correlation Data", kindBinary},
	idSubscriptionIdentifier:          {"Subscription Identifier", kindVarint},
	idSessionExpiryInterval:           {"Session Expiry Interval", kindUint32},
	idAssignedClientIdentifier:        {"Assigned Client Identifier", kindString},
	idServerKeepAlive:                 {"Server Keep Alive", kindUint16},
	idAuthenticationMethod:            {"Authentication Method", kindString},
	idAuthenticationData:              {"Authentication Data", kindBinary},
	idRequestProblemInformation:       {"Request Problem Information", kindByte},
	idWillDelayInterval:               {"Will Delay Interval", kindUint32},
	idRequestResponseInformation:      {"Request Response Information", kindByte},
	idResponseInformation:             {"Response Information", kindString},
	idServerReference:                 {"Server Reference", kindString},
	idReasonString:                    {"Reason String", kindString},
	idReceiveMaximum:                  {"Receive Maximum", kindUint16},
	idTopicAliasMaximum:               {"Topic Alias Maximum", kindUint16},
	idTopicAlias:                      {"Topic Alias", kindUint16},
	idMaximumQoS:                      {"Maximum QoS", kindByte},
	idRetainAvailable:                 {"Retain Available", kindByte},
	idUserProperty:                    {"User Property", kindPair},
	idMaximumPacketSize:               {"Maximum Packet Size", kindUint32},
	idWildcardSubscriptionAvailable:   {"Wildcard Subscription Available", kindByte},
	idSubscriptionIdentifierAvailable: {"Subscription Identifier Available", kindByte},
	idSharedSubscriptionAvailable:     {"Shared Subscription Available", kindByte},
}

// propertySet is a set of property identifiers, one bit each.
type propertySet uint64

func props(ids ...int) (s propertySet) {
	for _, id := range ids {
		s |= 1 << id
	}
	return s
}

// next removes the lowest identifier from the set and returns it.
func (s *propertySet) next() int {
	id := bits.TrailingZeros64(uint64(*s))
	*s &= *s - 1
	return id
}

// The properties that each packet may hold (MQTT 5, table 2-4).
var (
	messageProperties = props(idPayloadFormat, idMessageExpiryInterval, idContentType, idResponseTopic, idCorrelationData, idUserProperty)
	willProperties    = messageProperties | props(idWillDelayInterval)
	answerProperties  = props(idReasonString, idUserProperty)

	connectProperties = props(idSessionExpiryInterval, idAuthenticationMethod, idAuthenticationData, idRequestProblemInformation,
		idRequestResponseInformation, idReceiveMaximum, idTopicAliasMaximum, idUserProperty, idMaximumPacketSize)
	connackProperties = answerProperties | props(idSessionExpiryInterval, idAssignedClientIdentifier, idServerKeepAlive,
		idAuthenticationMethod, idAuthenticationData, idResponseInformation, idServerReference, idReceiveMaximum,
		idTopicAliasMaximum, idMaximumQoS, idRetainAvailable, idMaximumPacketSize, idWildcardSubscriptionAvailable,
		idSubscriptionIdentifierAvailable, idSharedSubscriptionAvailable)
	publishProperties     = messageProperties | props(idSubscriptionIdentifier, idTopicAlias)
	subscribeProperties   = props(idSubscriptionIdentifier, idUserProperty)
	unsubscribeProperties = props(idUserProperty)
	disconnectProperties  = answerProperties | props(idSessionExpiryInterval, idServerReference)
	authProperties        = answerProperties | props(idAuthenticationMethod, idAuthenticationData)
)

// anyProperty holds every identifier.
var anyProperty = willProperties | connectProperties | connackProperties | publishProperties

// present returns the candidates that are set.
func (p *Properties) present(candidates propertySet) (set propertySet) {
	if p == nil {
		return 0
	}
	for candidates != 0 {
		if id := candidates.next(); p.has(id) {
			set |= 1 << id
		}
	}
	return set
}

// has reports whether one property is set.
func (p *Properties) has(id int) bool {
	switch properties[id].kind {
	case kindByte:
		return *p.byteField(id) != nil
	case kindUint16:
		return *p.uint16Field(id) != nil
	case kindUint32:
		return *p.uint32Field(id) != nil
	case kindString:
		return *p.stringField(id) != nil
	case kindBinary:
		return *p.binaryField(id) != nil
	case kindVarint:
		return len(p.SubscriptionIdentifiers) > 0
	case kindPair:
		return len(p.User) > 0
	default:
		return false
	}
}
